//! The choices that definitions offer, on the wire.

use northstar_domain::Violations;
use northstar_domain::metric::{
    Calculation, CalendarGrain, CumulativePoint, Interval, LifecycleState, StickinessMeasure,
    StickinessMode, SubjectAggregate, TimeStatistic,
};
use northstar_proto::metrics::v1 as pb;

use super::unknown;

/// Reads a choice; what is not set is `default`, and what is not known is noted.
fn read<P: TryFrom<i32>, T>(
    found: &mut Violations,
    field: &str,
    number: i32,
    default: T,
    choose: impl FnOnce(P) -> Option<T>,
) -> T {
    match P::try_from(number) {
        Ok(choice) => choose(choice).unwrap_or(default),
        Err(_) => {
            found.push(field, unknown(number));
            default
        }
    }
}

pub(super) fn statistic_to_proto(statistic: TimeStatistic) -> pb::SubjectStatistic {
    match statistic {
        TimeStatistic::Median => pb::SubjectStatistic::Median,
        TimeStatistic::Mean => pb::SubjectStatistic::Mean,
        TimeStatistic::P90 => pb::SubjectStatistic::P90,
        TimeStatistic::P95 => pb::SubjectStatistic::P95,
        TimeStatistic::Sum => pb::SubjectStatistic::Sum,
    }
}

pub(super) fn statistic_from_proto(
    found: &mut Violations,
    field: &str,
    number: i32,
    default: TimeStatistic,
) -> TimeStatistic {
    read(found, field, number, default, |choice: pb::SubjectStatistic| match choice {
        pb::SubjectStatistic::Unspecified => None,
        pb::SubjectStatistic::Median => Some(TimeStatistic::Median),
        pb::SubjectStatistic::Mean => Some(TimeStatistic::Mean),
        pb::SubjectStatistic::P90 => Some(TimeStatistic::P90),
        pb::SubjectStatistic::P95 => Some(TimeStatistic::P95),
        pb::SubjectStatistic::Sum => Some(TimeStatistic::Sum),
    })
}

pub(super) fn interval_to_proto(interval: Interval) -> pb::Interval {
    match interval {
        Interval::Day => pb::Interval::Day,
        Interval::Week => pb::Interval::Week,
        Interval::Month => pb::Interval::Month,
    }
}

pub(super) fn interval_from_proto(found: &mut Violations, field: &str, number: i32) -> Interval {
    read(found, field, number, Interval::default(), |choice: pb::Interval| match choice {
        pb::Interval::Unspecified => None,
        pb::Interval::Day => Some(Interval::Day),
        pb::Interval::Week => Some(Interval::Week),
        pb::Interval::Month => Some(Interval::Month),
    })
}

pub(super) fn measure_to_proto(measure: StickinessMeasure) -> pb::StickinessMeasure {
    match measure {
        StickinessMeasure::Ratio => pb::StickinessMeasure::Ratio,
        StickinessMeasure::Share => pb::StickinessMeasure::Share,
        StickinessMeasure::Count => pb::StickinessMeasure::Count,
    }
}

pub(super) fn measure_from_proto(
    found: &mut Violations,
    field: &str,
    number: i32,
) -> StickinessMeasure {
    read(found, field, number, StickinessMeasure::default(), |choice: pb::StickinessMeasure| {
        match choice {
            pb::StickinessMeasure::Unspecified => None,
            pb::StickinessMeasure::Ratio => Some(StickinessMeasure::Ratio),
            pb::StickinessMeasure::Share => Some(StickinessMeasure::Share),
            pb::StickinessMeasure::Count => Some(StickinessMeasure::Count),
        }
    })
}

pub(super) fn mode_to_proto(mode: StickinessMode) -> pb::StickinessMode {
    match mode {
        StickinessMode::AtLeast => pb::StickinessMode::AtLeast,
        StickinessMode::Exactly => pb::StickinessMode::Exactly,
    }
}

pub(super) fn mode_from_proto(found: &mut Violations, field: &str, number: i32) -> StickinessMode {
    read(found, field, number, StickinessMode::default(), |choice: pb::StickinessMode| match choice
    {
        pb::StickinessMode::Unspecified => None,
        pb::StickinessMode::AtLeast => Some(StickinessMode::AtLeast),
        pb::StickinessMode::Exactly => Some(StickinessMode::Exactly),
    })
}

pub(super) fn state_to_proto(state: LifecycleState) -> pb::LifecycleState {
    match state {
        LifecycleState::New => pb::LifecycleState::New,
        LifecycleState::Returning => pb::LifecycleState::Returning,
        LifecycleState::Resurrecting => pb::LifecycleState::Resurrecting,
        LifecycleState::Dormant => pb::LifecycleState::Dormant,
    }
}

/// `None` for what is not set or not known, which is noted.
pub(super) fn state_from_proto(
    found: &mut Violations,
    field: &str,
    number: i32,
) -> Option<LifecycleState> {
    let required = "is required: new, returning, resurrecting or dormant";
    match pb::LifecycleState::try_from(number) {
        Ok(pb::LifecycleState::New) => return Some(LifecycleState::New),
        Ok(pb::LifecycleState::Returning) => return Some(LifecycleState::Returning),
        Ok(pb::LifecycleState::Resurrecting) => return Some(LifecycleState::Resurrecting),
        Ok(pb::LifecycleState::Dormant) => return Some(LifecycleState::Dormant),
        Ok(pb::LifecycleState::Unspecified) => found.push(field, required),
        Err(_) => found.push(field, unknown(number)),
    }
    None
}

pub(super) fn grain_to_proto(grain: Option<CalendarGrain>) -> pb::Grain {
    match grain {
        None => pb::Grain::Unspecified,
        Some(CalendarGrain::Day) => pb::Grain::Day,
        Some(CalendarGrain::Week) => pb::Grain::Week,
        Some(CalendarGrain::Month) => pb::Grain::Month,
        Some(CalendarGrain::Quarter) => pb::Grain::Quarter,
        Some(CalendarGrain::Year) => pb::Grain::Year,
    }
}

pub(super) fn grain_from_proto(
    found: &mut Violations,
    field: &str,
    number: i32,
) -> Option<CalendarGrain> {
    match pb::Grain::try_from(number) {
        Ok(pb::Grain::Unspecified) => return None,
        Ok(pb::Grain::Day) => return Some(CalendarGrain::Day),
        Ok(pb::Grain::Week) => return Some(CalendarGrain::Week),
        Ok(pb::Grain::Month) => return Some(CalendarGrain::Month),
        Ok(pb::Grain::Quarter) => return Some(CalendarGrain::Quarter),
        Ok(pb::Grain::Year) => return Some(CalendarGrain::Year),
        Ok(pb::Grain::Hour | pb::Grain::Total) => {
            found.push(field, "must be day, week, month, quarter or year");
        }
        Err(_) => found.push(field, unknown(number)),
    }
    None
}

pub(super) fn point_to_proto(point: CumulativePoint) -> pb::CumulativePoint {
    match point {
        CumulativePoint::End => pb::CumulativePoint::End,
        CumulativePoint::Start => pb::CumulativePoint::Start,
    }
}

pub(super) fn point_from_proto(
    found: &mut Violations,
    field: &str,
    number: i32,
) -> CumulativePoint {
    read(found, field, number, CumulativePoint::default(), |choice: pb::CumulativePoint| {
        match choice {
            pb::CumulativePoint::Unspecified => None,
            pb::CumulativePoint::End => Some(CumulativePoint::End),
            pb::CumulativePoint::Start => Some(CumulativePoint::Start),
        }
    })
}

pub(super) fn calculation_to_proto(calculation: Calculation) -> pb::Calculation {
    match calculation {
        Calculation::ConversionRate => pb::Calculation::ConversionRate,
        Calculation::Conversions => pb::Calculation::Conversions,
    }
}

pub(super) fn calculation_from_proto(
    found: &mut Violations,
    field: &str,
    number: i32,
) -> Calculation {
    read(found, field, number, Calculation::default(), |choice: pb::Calculation| match choice {
        pb::Calculation::Unspecified => None,
        pb::Calculation::ConversionRate => Some(Calculation::ConversionRate),
        pb::Calculation::Conversions => Some(Calculation::Conversions),
    })
}

pub(super) fn aggregate_to_proto(aggregate: SubjectAggregate) -> pb::SubjectAggregate {
    match aggregate {
        SubjectAggregate::Count => pb::SubjectAggregate::Count,
        SubjectAggregate::Sum => pb::SubjectAggregate::Sum,
        SubjectAggregate::Min => pb::SubjectAggregate::Min,
        SubjectAggregate::Max => pb::SubjectAggregate::Max,
        SubjectAggregate::First => pb::SubjectAggregate::First,
        SubjectAggregate::Last => pb::SubjectAggregate::Last,
    }
}

/// `None` for what is not set or not known, which is noted.
pub(super) fn aggregate_from_proto(
    found: &mut Violations,
    field: &str,
    number: i32,
) -> Option<SubjectAggregate> {
    match pb::SubjectAggregate::try_from(number) {
        Ok(pb::SubjectAggregate::Count) => return Some(SubjectAggregate::Count),
        Ok(pb::SubjectAggregate::Sum) => return Some(SubjectAggregate::Sum),
        Ok(pb::SubjectAggregate::Min) => return Some(SubjectAggregate::Min),
        Ok(pb::SubjectAggregate::Max) => return Some(SubjectAggregate::Max),
        Ok(pb::SubjectAggregate::First) => return Some(SubjectAggregate::First),
        Ok(pb::SubjectAggregate::Last) => return Some(SubjectAggregate::Last),
        Ok(pb::SubjectAggregate::Unspecified) => {
            found.push(field, "is required: count, sum, min, max, first or last");
        }
        Err(_) => found.push(field, unknown(number)),
    }
    None
}
