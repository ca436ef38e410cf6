//! The choices that definitions offer.

use serde::{Deserialize, Serialize};

/// Which figure of a set of times, or of numbers per subject, is the value.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeStatistic {
    /// Median, by linear interpolation.
    #[default]
    Median,
    /// Arithmetic mean.
    Mean,
    /// 90th percentile.
    P90,
    /// 95th percentile.
    P95,
    /// Sum.
    Sum,
}

impl TimeStatistic {
    pub(super) fn is_median(&self) -> bool {
        *self == Self::Median
    }

    pub(super) fn mean() -> Self {
        Self::Mean
    }
}

/// Length of an interval of stickiness.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    /// Civil days.
    #[default]
    Day,
    /// Weeks from Monday.
    Week,
    /// Calendar months.
    Month,
}

/// Which figure of the stickiness of a period is the value.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StickinessMeasure {
    /// Mean number of subjects active in an interval over the subjects active in
    /// the period: DAU/MAU for days and months.
    #[default]
    Ratio,
    /// Share of the active subjects that are active in the wanted number of
    /// intervals.
    Share,
    /// Number of subjects that are.
    Count,
}

/// Whether more intervals than the wanted number will do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StickinessMode {
    /// They will.
    #[default]
    AtLeast,
    /// They will not.
    Exactly,
}

/// What a subject is in a period.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LifecycleState {
    /// Active for the first time ever.
    New,
    /// Active in this period and the one before.
    Returning,
    /// Active in this period and an earlier one, but not in the one before.
    Resurrecting,
    /// Active in the period before, but not in this one.
    Dormant,
}

/// A calendar period that a window may begin with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CalendarGrain {
    /// Civil days.
    Day,
    /// Weeks from Monday.
    Week,
    /// Calendar months.
    Month,
    /// Calendar quarters.
    Quarter,
    /// Calendar years.
    Year,
}

impl CalendarGrain {
    /// Its name, one of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }
}

/// Where the window of a cumulative metric ends.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CumulativePoint {
    /// With the bucket: the closing balance.
    #[default]
    End,
    /// Before the bucket: the opening balance.
    Start,
}

/// Which figure of conversions is the value.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Calculation {
    /// Share of the base events that led to a conversion.
    #[default]
    ConversionRate,
    /// Conversions that were credited to a base event.
    Conversions,
}

/// The number of one subject.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectAggregate {
    /// Its events.
    Count,
    /// The sum of a property.
    Sum,
    /// Its smallest value.
    Min,
    /// Its largest value.
    Max,
    /// The value of its first event that has one.
    First,
    /// The value of its last event that has one.
    Last,
}
