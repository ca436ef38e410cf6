//! Thresholds on the wire.

use northstar_domain::Violations;
use northstar_domain::threshold::{
    Action, Breaches, Breakdown, Condition, Decision, Effect, Gate, Grain, Observation, Phase,
    QuietHours, Reading, Rules, Scale, State, Stray, Threshold, USUAL_DEVIATIONS, Versus,
};
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::threshold::Condition as PbCondition;
use northstar_store::Error as StoreError;
use northstar_store::metrics::definition::Stored;
use northstar_store::metrics::threshold::{Logged, Standing};
use prost::Message as _;

use super::{Received, read_duration, to_duration, to_timestamp};

/// A threshold for the wire.
pub fn to_proto(name: &str, version: i64, etag: &str, threshold: &Threshold) -> pb::Threshold {
    pb::Threshold {
        name: name.to_owned(),
        title: threshold.title.clone(),
        description: threshold.description.clone(),
        owner: threshold.owner.clone(),
        kpi: threshold.kpi.clone(),
        metric: threshold.metric.clone(),
        grain: threshold.grain.map_or(pb::Grain::Unspecified, grain_to_proto).into(),
        window_days: threshold.window_days,
        time_zone: threshold.time_zone.clone(),
        breakdown: threshold.breakdown.as_ref().map(|Breakdown { by, value }| {
            pb::ThresholdBreakdown { by: by.clone(), value: value.clone() }
        }),
        condition: threshold.condition.map(condition_to_proto),
        breaches: threshold.breaches.map(|Breaches { count, of }| pb::Breaches {
            count: count.cast_signed(),
            of: of.unwrap_or_default().cast_signed(),
        }),
        minimum_sample: threshold.minimum_sample,
        settle: threshold.settle.map(to_duration),
        every: threshold.every.map(to_duration),
        cool_down: threshold.cool_down.map(to_duration),
        quiet: threshold.quiet.as_ref().map(|quiet| pb::QuietHours {
            from: quiet.from.map(|time| time.to_string()).unwrap_or_default(),
            to: quiet.to.map(|time| time.to_string()).unwrap_or_default(),
            weekends: quiet.weekends,
            time_zone: quiet.time_zone.clone(),
        }),
        decision: threshold.decision.as_ref().map(|decision| pb::ThresholdDecision {
            action: action_to_proto(decision.action).into(),
            automation: decision.automation.clone(),
            holdout_by: decision.holdout_by,
            change_json: decision.change.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        etag: etag.to_owned(),
        version,
    }
}

fn grain_to_proto(grain: Grain) -> pb::Grain {
    match grain {
        Grain::Hour => pb::Grain::Hour,
        Grain::Day => pb::Grain::Day,
        Grain::Week => pb::Grain::Week,
        Grain::Month => pb::Grain::Month,
    }
}

fn condition_to_proto(condition: Condition) -> PbCondition {
    let change = |amount, scale: Scale, versus: Versus, clear| pb::ChangeCondition {
        amount,
        scale: match scale {
            Scale::Absolute => pb::ChangeScale::Absolute,
            Scale::Relative => pb::ChangeScale::Relative,
        }
        .into(),
        versus: match versus {
            Versus::Previous => pb::ChangeReference::Previous,
            Versus::Baseline => pb::ChangeReference::Baseline,
            Versus::Target => pb::ChangeReference::Target,
        }
        .into(),
        clear,
    };
    match condition {
        Condition::Above { value, clear } => {
            PbCondition::Above(pb::LevelCondition { value, clear })
        }
        Condition::Below { value, clear } => {
            PbCondition::Below(pb::LevelCondition { value, clear })
        }
        Condition::Outside { low, high, clear_low, clear_high } => {
            PbCondition::Outside(pb::BoundsCondition { low, high, clear_low, clear_high })
        }
        Condition::Increase { amount, scale, versus, clear } => {
            PbCondition::Increase(change(amount, scale, versus, clear))
        }
        Condition::Decrease { amount, scale, versus, clear } => {
            PbCondition::Decrease(change(amount, scale, versus, clear))
        }
        Condition::Anomaly { deviations, direction, minimum_change, clear } => {
            let direction = match direction {
                Stray::Both => pb::AnomalyDirection::Unspecified,
                Stray::Up => pb::AnomalyDirection::Up,
                Stray::Down => pb::AnomalyDirection::Down,
            };
            PbCondition::Anomaly(pb::AnomalyCondition {
                deviations,
                direction: direction.into(),
                minimum_change,
                clear,
            })
        }
    }
}

fn action_to_proto(action: Action) -> pb::ThresholdAction {
    match action {
        Action::Pause => pb::ThresholdAction::Pause,
        Action::Scale => pb::ThresholdAction::Scale,
        Action::Adjust => pb::ThresholdAction::Adjust,
        Action::Investigate => pb::ThresholdAction::Investigate,
    }
}

/// A threshold from the wire.
pub fn from_proto(threshold: pb::Threshold) -> Received<Threshold> {
    let mut violations = Violations::new();
    let found = &mut violations;
    let document = Threshold {
        title: threshold.title,
        description: threshold.description,
        owner: threshold.owner,
        kpi: threshold.kpi,
        metric: threshold.metric,
        grain: grain_from_proto(found, threshold.grain),
        window_days: threshold.window_days,
        time_zone: threshold.time_zone,
        breakdown: threshold
            .breakdown
            .map(|pb::ThresholdBreakdown { by, value }| Breakdown { by, value }),
        condition: threshold.condition.and_then(|condition| condition_from_proto(found, condition)),
        breaches: threshold.breaches.and_then(|breaches| breaches_from_proto(found, breaches)),
        minimum_sample: threshold.minimum_sample,
        settle: read_duration(found, "settle", threshold.settle),
        every: read_duration(found, "every", threshold.every),
        cool_down: read_duration(found, "cool_down", threshold.cool_down),
        quiet: threshold.quiet.map(|quiet| quiet_from_proto(found, quiet)),
        decision: threshold.decision.and_then(|decision| decision_from_proto(found, decision)),
    };
    Received { name: threshold.name, etag: threshold.etag, document, violations }
}

fn grain_from_proto(found: &mut Violations, grain: i32) -> Option<Grain> {
    match pb::Grain::try_from(grain) {
        Ok(pb::Grain::Unspecified) => None,
        Ok(pb::Grain::Hour) => Some(Grain::Hour),
        Ok(pb::Grain::Day) => Some(Grain::Day),
        Ok(pb::Grain::Week) => Some(Grain::Week),
        Ok(pb::Grain::Month) => Some(Grain::Month),
        Ok(_) | Err(_) => {
            found.push("grain", "must be hour, day, week or month");
            None
        }
    }
}

fn condition_from_proto(found: &mut Violations, condition: PbCondition) -> Option<Condition> {
    let mut change = |change: &pb::ChangeCondition| {
        let scale = match pb::ChangeScale::try_from(change.scale) {
            Ok(pb::ChangeScale::Unspecified | pb::ChangeScale::Absolute) => Some(Scale::Absolute),
            Ok(pb::ChangeScale::Relative) => Some(Scale::Relative),
            Err(_) => {
                found.push("condition.scale", "must be absolute or relative");
                None
            }
        };
        let versus = match pb::ChangeReference::try_from(change.versus) {
            Ok(pb::ChangeReference::Unspecified | pb::ChangeReference::Previous) => {
                Some(Versus::Previous)
            }
            Ok(pb::ChangeReference::Baseline) => Some(Versus::Baseline),
            Ok(pb::ChangeReference::Target) => Some(Versus::Target),
            Err(_) => {
                found.push("condition.versus", "must be previous, baseline or target");
                None
            }
        };
        Some((scale?, versus?))
    };
    Some(match condition {
        PbCondition::Above(pb::LevelCondition { value, clear }) => {
            Condition::Above { value, clear }
        }
        PbCondition::Below(pb::LevelCondition { value, clear }) => {
            Condition::Below { value, clear }
        }
        PbCondition::Outside(pb::BoundsCondition { low, high, clear_low, clear_high }) => {
            Condition::Outside { low, high, clear_low, clear_high }
        }
        PbCondition::Increase(increase) => {
            let (scale, versus) = change(&increase)?;
            Condition::Increase { amount: increase.amount, scale, versus, clear: increase.clear }
        }
        PbCondition::Decrease(decrease) => {
            let (scale, versus) = change(&decrease)?;
            Condition::Decrease { amount: decrease.amount, scale, versus, clear: decrease.clear }
        }
        PbCondition::Anomaly(anomaly) => {
            let direction = match pb::AnomalyDirection::try_from(anomaly.direction) {
                Ok(pb::AnomalyDirection::Unspecified) => Stray::Both,
                Ok(pb::AnomalyDirection::Up) => Stray::Up,
                Ok(pb::AnomalyDirection::Down) => Stray::Down,
                Err(_) => {
                    found.push("condition.direction", "must be both, up or down");
                    return None;
                }
            };
            let usual = anomaly.deviations == 0.0;
            Condition::Anomaly {
                deviations: if usual { USUAL_DEVIATIONS } else { anomaly.deviations },
                direction,
                minimum_change: anomaly.minimum_change,
                clear: anomaly.clear,
            }
        }
    })
}

fn breaches_from_proto(found: &mut Violations, breaches: pb::Breaches) -> Option<Breaches> {
    let count = u32::try_from(breaches.count);
    let of = u32::try_from(breaches.of);
    found.require(count.is_ok(), "breaches.count", "must be at least 1");
    found.require(of.is_ok(), "breaches.of", "must not be negative");
    Some(Breaches { count: count.ok()?, of: Some(of.ok()?).filter(|of| *of > 0) })
}

fn quiet_from_proto(found: &mut Violations, quiet: pb::QuietHours) -> QuietHours {
    let mut time = |field: &str, text: &str| {
        if text.is_empty() { None } else { found.parse(field, text) }
    };
    QuietHours {
        from: time("quiet.from", &quiet.from),
        to: time("quiet.to", &quiet.to),
        weekends: quiet.weekends,
        time_zone: quiet.time_zone,
    }
}

fn decision_from_proto(
    found: &mut Violations,
    decision: pb::ThresholdDecision,
) -> Option<Decision> {
    let action = match decision.action() {
        pb::ThresholdAction::Unspecified => {
            found.push("decision.action", "must be pause, scale, adjust or investigate");
            return None;
        }
        pb::ThresholdAction::Pause => Action::Pause,
        pb::ThresholdAction::Scale => Action::Scale,
        pb::ThresholdAction::Adjust => Action::Adjust,
        pb::ThresholdAction::Investigate => Action::Investigate,
    };
    let change = match decision.change_json.as_str() {
        "" => None,
        text => match serde_json::from_str(text) {
            Ok(change) => Some(change),
            Err(error) => {
                found.push("decision.change", format!("must be JSON: {error}"));
                None
            }
        },
    };
    let (automation, holdout_by) = (decision.automation, decision.holdout_by);
    Some(Decision { action, automation, holdout_by, change })
}

/// A threshold as stored, for the wire.
pub(crate) fn stored_to_proto(stored: &Stored<Threshold>) -> pb::Threshold {
    let Stored { name, version, etag, document } = stored;
    to_proto(name.as_str(), *version, etag, document)
}

/// A threshold and where it is, for the wire.
pub(crate) fn status_to_proto(
    stored: &Stored<Threshold>,
    standing: &Standing,
) -> pb::ThresholdStatus {
    let question = standing.question.clone().unwrap_or_default();
    pb::ThresholdStatus {
        threshold: Some(stored_to_proto(stored)),
        state: Some(state_to_proto(&standing.state)),
        paused: standing.pause_reason.is_some(),
        pause_reason: standing.pause_reason.clone().unwrap_or_default(),
        next_evaluation_time: standing.next_due_at.map(to_timestamp),
        decision_request: question.decision_request.map(|id| id.to_string()).unwrap_or_default(),
        refusal: question.refusal.unwrap_or_default(),
        withdrawal: question.withdrawal.unwrap_or_default(),
    }
}

/// What a threshold remembers, for the wire.
pub(crate) fn state_to_proto(state: &State) -> pb::ThresholdState {
    let (phase, since, until) = match state.phase {
        Phase::Watching => (pb::ThresholdPhase::Watching, None, None),
        Phase::Deferred { since, until } => {
            (pb::ThresholdPhase::Deferred, Some(since), Some(until))
        }
        Phase::Open { since } => (pb::ThresholdPhase::Open, Some(since), None),
    };
    pb::ThresholdState {
        phase: phase.into(),
        episode: state.episode.cast_signed(),
        since_time: since.map(to_timestamp),
        deferred_until_time: until.map(to_timestamp),
        cool_until_time: state.cool_until.map(to_timestamp),
        counted_after_time: state.counted_after.map(to_timestamp),
    }
}

fn reading_to_proto(reading: Reading) -> pb::ThresholdReading {
    match reading {
        Reading::Breached => pb::ThresholdReading::Breached,
        Reading::Between => pb::ThresholdReading::Between,
        Reading::Clear => pb::ThresholdReading::Clear,
        Reading::Unknown => pb::ThresholdReading::Unknown,
    }
}

fn gate_to_proto(gate: Gate) -> pb::ThresholdGate {
    match gate {
        Gate::Empty => pb::ThresholdGate::Empty,
        Gate::Stale => pb::ThresholdGate::Stale,
        Gate::NoData => pb::ThresholdGate::NoData,
        Gate::Immature => pb::ThresholdGate::Immature,
        Gate::SmallSample => pb::ThresholdGate::SmallSample,
        Gate::CoolDown => pb::ThresholdGate::CoolDown,
        Gate::Quiet => pb::ThresholdGate::Quiet,
    }
}

fn effect_to_proto(effect: Effect) -> pb::ThresholdEffect {
    match effect {
        Effect::None => pb::ThresholdEffect::None,
        Effect::Inform => pb::ThresholdEffect::Inform,
        Effect::Defer { .. } => pb::ThresholdEffect::Defer,
        Effect::Raise { .. } => pb::ThresholdEffect::Raise,
        Effect::Clear { .. } => pb::ThresholdEffect::Clear,
    }
}

fn observation_to_proto(observation: &Observation, rules: &Rules) -> pb::ThresholdObservation {
    pb::ThresholdObservation {
        start_time: Some(to_timestamp(observation.start)),
        end_time: Some(to_timestamp(observation.end)),
        segment: observation.segment.clone(),
        value: observation.value,
        reference: observation.reference,
        spread: observation.spread,
        sample: observation.sample.cast_signed(),
        complete: observation.complete,
        reading: reading_to_proto(observation.read(rules).0).into(),
    }
}

/// An evaluation, for the wire.
pub(crate) fn evaluation_to_proto(
    logged: &Logged,
    rules: &Rules,
) -> Result<pb::ThresholdEvaluation, StoreError> {
    let provenance = pb::Provenance::decode(logged.provenance.as_slice()).map_err(|error| {
        StoreError::Corrupt {
            table: "metrics.threshold_evaluations",
            column: "provenance",
            row: format!("{}/{}", logged.name, logged.sequence),
            value: error.to_string(),
        }
    })?;
    Ok(pb::ThresholdEvaluation {
        threshold: logged.name.clone(),
        sequence: logged.sequence,
        threshold_version: logged.version,
        evaluation_time: Some(to_timestamp(logged.evaluated_at)),
        create_time: Some(to_timestamp(logged.created_at)).filter(|_| logged.sequence > 0),
        observations: logged
            .observations
            .iter()
            .map(|observation| observation_to_proto(observation, rules))
            .collect(),
        reading: reading_to_proto(logged.reading).into(),
        breaches: i32::try_from(logged.breaches).unwrap_or(i32::MAX),
        gates: logged.gates.iter().map(|gate| gate_to_proto(*gate).into()).collect(),
        state_before: Some(state_to_proto(&logged.state_before)),
        state_after: Some(state_to_proto(&logged.state_after)),
        effect: effect_to_proto(logged.effect).into(),
        provenance: Some(provenance),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_survives_the_wire() {
        for condition in [
            "{type: above, value: 2, clear: 1}",
            "{type: below, value: 2}",
            "{type: outside, low: 1, high: 4, clear_low: 2, clear_high: 3}",
            "{type: increase, amount: 0.5, scale: relative, versus: target, clear: 0.25}",
            "{type: decrease, amount: 3}",
            "{type: anomaly}",
            "{type: anomaly, deviations: 5, direction: down, minimum_change: 0.1, clear: 2}",
        ] {
            let json: serde_json::Value = serde_json::json!({
                "owner": "growth", "kpi": "activation", "grain": "week", "time_zone": "Asia/Tokyo",
                "breakdown": {"by": "plan", "value": "pro"}, "breaches": {"count": 2, "of": 3},
                "minimum_sample": 10, "settle": "2h", "every": "1d", "cool_down": "7d",
                "quiet": {"from": "22:00", "to": "07:00", "weekends": true, "time_zone": "UTC"},
                "decision": {"action": "pause", "automation": "nudge"},
            });
            let mut threshold: Threshold = serde_json::from_value(json).unwrap();
            threshold.condition = Some(condition_of(condition));
            let received = from_proto(to_proto("drop", 3, "e", &threshold));
            assert_eq!(received.violations, Violations::new());
            assert_eq!((received.name.as_str(), received.etag.as_str()), ("drop", "e"));
            assert_eq!(received.document, threshold);
        }
    }

    fn condition_of(yaml: &str) -> Condition {
        serde_norway::from_str(yaml).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_told_field_by_field() {
        let threshold = pb::Threshold {
            grain: pb::Grain::Total.into(),
            condition: Some(PbCondition::Increase(pb::ChangeCondition {
                scale: 9,
                versus: 9,
                ..pb::ChangeCondition::default()
            })),
            breaches: Some(pb::Breaches { count: -1, of: 0 }),
            quiet: Some(pb::QuietHours { from: "late".to_owned(), ..pb::QuietHours::default() }),
            decision: Some(pb::ThresholdDecision::default()),
            ..pb::Threshold::default()
        };
        let fields: Vec<_> =
            from_proto(threshold).violations.into_iter().map(|violation| violation.field).collect();
        assert_eq!(
            fields,
            [
                "grain",
                "condition.scale",
                "condition.versus",
                "breaches.count",
                "quiet.from",
                "decision.action"
            ]
        );
    }
}
