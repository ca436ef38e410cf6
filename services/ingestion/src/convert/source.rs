//! Source documents.

use northstar_domain::source::{
    Basis, EventRules, Failures, Freshness, Period, RateLimit, Rule, SourceSpec, State, Unit,
    Volume,
};
use northstar_domain::{Violation, Violations};
use northstar_proto::ingestion::v1 as pb;

/// A source document as people write it, from the wire.
///
/// # Errors
/// Everything that is wrong with it.
pub fn source_definition_from_proto(
    source: &pb::SourceDefinition,
) -> Result<(String, SourceSpec), Vec<Violation>> {
    let mut found = Violations::new();
    let spec = SourceSpec {
        owner: source.owner.clone(),
        description: source.description.clone(),
        freshness: freshness(&mut found, "freshness", source.freshness.as_ref()),
        volume: volume(&mut found, "volume", source.volume.as_ref()),
        failures: failures(&mut found, "failures", source.failures.as_ref()),
        limit: source.limit.map(limit_from_proto),
        events: source
            .events
            .iter()
            .map(|(name, rules)| {
                let field = |part| format!("events.{name}.{part}");
                let rules = EventRules {
                    freshness: freshness(&mut found, &field("freshness"), rules.freshness.as_ref()),
                    volume: volume(&mut found, &field("volume"), rules.volume.as_ref()),
                    failures: failures(&mut found, &field("failures"), rules.failures.as_ref()),
                };
                (name.clone(), rules)
            })
            .collect(),
    };
    let mut violations = found.as_slice().to_vec();
    violations.extend(spec.violations(&source.name));
    if violations.is_empty() { Ok((source.name.clone(), spec)) } else { Err(violations) }
}

fn freshness(
    found: &mut Violations,
    field: &str,
    rule: Option<&pb::FreshnessRule>,
) -> Rule<Freshness> {
    match rule {
        None => Rule::Inherited,
        Some(rule) if rule.off => Rule::Off,
        Some(rule) => Rule::Set(Freshness {
            warn_after: threshold(found, &format!("{field}.warn_after"), rule.warn_after.as_ref()),
            error_after: threshold(
                found,
                &format!("{field}.error_after"),
                rule.error_after.as_ref(),
            ),
            basis: match pb::FreshnessBasis::try_from(rule.basis) {
                Ok(pb::FreshnessBasis::Unspecified) => None,
                Ok(pb::FreshnessBasis::Received) => Some(Basis::Received),
                Ok(pb::FreshnessBasis::Effective) => Some(Basis::Effective),
                Err(_) => {
                    found.push(format!("{field}.basis"), "say received or effective");
                    None
                }
            },
            events: rule.events.clone(),
        }),
    }
}

fn threshold(
    found: &mut Violations,
    field: &str,
    threshold: Option<&pb::Threshold>,
) -> Rule<Period> {
    match threshold {
        None => Rule::Inherited,
        Some(threshold) if threshold.off => Rule::Off,
        Some(threshold) => period(found, field, threshold.after).map_or(Rule::Off, Rule::Set),
    }
}

fn period(found: &mut Violations, field: &str, period: Option<pb::Period>) -> Option<Period> {
    let Some(period) = period else {
        found.push(field, "say how long");
        return None;
    };
    let unit = match pb::PeriodUnit::try_from(period.unit) {
        Ok(pb::PeriodUnit::Minute) => Unit::Minute,
        Ok(pb::PeriodUnit::Hour) => Unit::Hour,
        Ok(pb::PeriodUnit::Day) => Unit::Day,
        Ok(pb::PeriodUnit::Unspecified) | Err(_) => {
            found.push(field, "its unit is minute, hour or day");
            return None;
        }
    };
    // A negative count is none, which is refused with the field's name.
    Some(Period { count: u32::try_from(period.count).unwrap_or(0), period: unit })
}

fn volume(found: &mut Violations, field: &str, rule: Option<&pb::VolumeRule>) -> Rule<Volume> {
    match rule {
        None => Rule::Inherited,
        Some(rule) if rule.off => Rule::Off,
        Some(rule) => match period(found, &format!("{field}.every"), rule.every) {
            None => Rule::Off,
            Some(every) => Rule::Set(Volume {
                expected: u64::try_from(rule.expected).unwrap_or(0),
                every,
                warn_below: rule.warn_below,
                error_below: rule.error_below,
            }),
        },
    }
}

fn failures(
    found: &mut Violations,
    field: &str,
    rule: Option<&pb::FailuresRule>,
) -> Rule<Failures> {
    match rule {
        None => Rule::Inherited,
        Some(rule) if rule.off => Rule::Off,
        Some(rule) => match period(found, &format!("{field}.every"), rule.every) {
            None => Rule::Off,
            Some(every) => Rule::Set(Failures {
                every,
                warn_above: rule.warn_above,
                error_above: rule.error_above,
                // A negative number is none, which is refused with the field's name.
                least: if rule.least == 0 { 1 } else { u64::try_from(rule.least).unwrap_or(0) },
            }),
        },
    }
}

/// How many events are taken.
pub(crate) fn limit_from_proto(limit: pb::RateLimit) -> RateLimit {
    // A negative number is none, which is refused with the field's name.
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    RateLimit {
        events_per_second: number(limit.events_per_second),
        burst: (limit.burst != 0).then(|| number(limit.burst)),
    }
}

fn limit_to_proto(limit: RateLimit) -> pb::RateLimit {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    pb::RateLimit {
        events_per_second: number(limit.events_per_second),
        burst: limit.burst.map_or(0, number),
    }
}

/// A source document for the wire, without what only the store knows: etag,
/// times and author.
pub fn source_definition_to_proto(name: &str, spec: &SourceSpec) -> pb::SourceDefinition {
    pb::SourceDefinition {
        name: name.to_owned(),
        owner: spec.owner.clone(),
        description: spec.description.clone(),
        freshness: freshness_to_proto(&spec.freshness),
        volume: volume_to_proto(&spec.volume),
        failures: failures_to_proto(&spec.failures),
        limit: spec.limit.map(limit_to_proto),
        events: spec
            .events
            .iter()
            .map(|(name, rules)| {
                let rules = pb::SourceEventRules {
                    freshness: freshness_to_proto(&rules.freshness),
                    volume: volume_to_proto(&rules.volume),
                    failures: failures_to_proto(&rules.failures),
                };
                (name.clone(), rules)
            })
            .collect(),
        ..pb::SourceDefinition::default()
    }
}

fn freshness_to_proto(rule: &Rule<Freshness>) -> Option<pb::FreshnessRule> {
    match rule {
        Rule::Inherited => None,
        Rule::Off => Some(pb::FreshnessRule { off: true, ..pb::FreshnessRule::default() }),
        Rule::Set(freshness) => Some(pb::FreshnessRule {
            off: false,
            warn_after: threshold_to_proto(freshness.warn_after),
            error_after: threshold_to_proto(freshness.error_after),
            basis: match freshness.basis {
                None => pb::FreshnessBasis::Unspecified,
                Some(Basis::Received) => pb::FreshnessBasis::Received,
                Some(Basis::Effective) => pb::FreshnessBasis::Effective,
            }
            .into(),
            events: freshness.events.clone(),
        }),
    }
}

fn threshold_to_proto(rule: Rule<Period>) -> Option<pb::Threshold> {
    match rule {
        Rule::Inherited => None,
        Rule::Off => Some(pb::Threshold { off: true, after: None }),
        Rule::Set(period) => {
            Some(pb::Threshold { off: false, after: Some(period_to_proto(period)) })
        }
    }
}

fn period_to_proto(period: Period) -> pb::Period {
    let unit = match period.period {
        Unit::Minute => pb::PeriodUnit::Minute,
        Unit::Hour => pb::PeriodUnit::Hour,
        Unit::Day => pb::PeriodUnit::Day,
    };
    pb::Period { count: i32::try_from(period.count).unwrap_or(i32::MAX), unit: unit.into() }
}

fn volume_to_proto(rule: &Rule<Volume>) -> Option<pb::VolumeRule> {
    match rule {
        Rule::Inherited => None,
        Rule::Off => Some(pb::VolumeRule { off: true, ..pb::VolumeRule::default() }),
        Rule::Set(volume) => Some(pb::VolumeRule {
            off: false,
            expected: i64::try_from(volume.expected).unwrap_or(i64::MAX),
            every: Some(period_to_proto(volume.every)),
            warn_below: volume.warn_below,
            error_below: volume.error_below,
        }),
    }
}

fn failures_to_proto(rule: &Rule<Failures>) -> Option<pb::FailuresRule> {
    match rule {
        Rule::Inherited => None,
        Rule::Off => Some(pb::FailuresRule { off: true, ..pb::FailuresRule::default() }),
        Rule::Set(failures) => Some(pb::FailuresRule {
            off: false,
            every: Some(period_to_proto(failures.every)),
            warn_above: failures.warn_above,
            error_above: failures.error_above,
            least: i64::try_from(failures.least).unwrap_or(i64::MAX),
        }),
    }
}

/// A state.
pub(crate) fn state_to_proto(state: State) -> pb::SourceState {
    match state {
        State::Off => pb::SourceState::Off,
        State::Fresh => pb::SourceState::Fresh,
        State::Warn => pb::SourceState::Warn,
        State::Breached => pb::SourceState::Breached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(count: i32) -> Option<pb::Threshold> {
        let unit = pb::PeriodUnit::Hour.into();
        Some(pb::Threshold { off: false, after: Some(pb::Period { count, unit }) })
    }

    fn shop() -> pb::SourceDefinition {
        let off = Some(pb::FreshnessRule { off: true, ..pb::FreshnessRule::default() });
        pb::SourceDefinition {
            name: "shop".to_owned(),
            owner: "growth".to_owned(),
            description: "the web shop".to_owned(),
            freshness: Some(pb::FreshnessRule {
                warn_after: hours(6),
                error_after: Some(pb::Threshold { off: true, after: None }),
                basis: pb::FreshnessBasis::Effective.into(),
                events: vec!["Order Placed".to_owned()],
                ..pb::FreshnessRule::default()
            }),
            volume: Some(pb::VolumeRule {
                expected: 100,
                every: Some(pb::Period { count: 1, unit: pb::PeriodUnit::Day.into() }),
                warn_below: Some(0.9),
                ..pb::VolumeRule::default()
            }),
            failures: Some(pb::FailuresRule {
                every: Some(pb::Period { count: 1, unit: pb::PeriodUnit::Hour.into() }),
                error_above: Some(0.1),
                least: 10,
                ..pb::FailuresRule::default()
            }),
            limit: Some(pb::RateLimit { events_per_second: 1_000, burst: 5_000 }),
            events: [
                (
                    "A".to_owned(),
                    pb::SourceEventRules { freshness: off, ..pb::SourceEventRules::default() },
                ),
                ("B".to_owned(), pb::SourceEventRules::default()),
            ]
            .into(),
            ..pb::SourceDefinition::default()
        }
    }

    #[test]
    fn a_document_reads_back_from_the_wire() {
        let (name, spec) = source_definition_from_proto(&shop()).unwrap();
        assert_eq!(source_definition_to_proto(&name, &spec), shop());
    }

    #[test]
    fn what_the_wire_can_say_and_a_document_cannot_is_refused() {
        let mut bad = shop();
        let freshness = bad.freshness.get_or_insert_default();
        freshness.warn_after = hours(-1);
        freshness.error_after = Some(pb::Threshold { off: false, after: None });
        freshness.basis = 7;
        bad.volume.get_or_insert_default().every = Some(pb::Period { count: 1, unit: 0 });
        let fields: Vec<_> = source_definition_from_proto(&bad)
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(
            fields,
            ["freshness.error_after", "freshness.basis", "volume.every", "freshness.warn_after"]
        );
    }
}
