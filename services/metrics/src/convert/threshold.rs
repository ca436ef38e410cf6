//! Thresholds on the wire.

use northstar_domain::Violations;
use northstar_domain::threshold::{
    Action, Breaches, Breakdown, Condition, Decision, Grain, QuietHours, Scale, Stray, Threshold,
    USUAL_DEVIATIONS, Versus,
};
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::threshold::Condition as PbCondition;
use northstar_store::metrics::definition::Stored;

use super::{Received, read_duration, to_duration};

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
            survives(&threshold);
            for decision in [
                "{action: scale, automation: nudge, holdout_by: -0.1}",
                "{action: adjust, automation: nudge, change: {trigger: {condition: 'true'}}}",
                "{action: investigate}",
            ] {
                threshold.decision = serde_norway::from_str(decision).unwrap();
                survives(&threshold);
            }
        }
    }

    fn survives(threshold: &Threshold) {
        let received = from_proto(to_proto("drop", 3, "e", threshold));
        assert_eq!(received.violations, Violations::new());
        assert_eq!((received.name.as_str(), received.etag.as_str()), ("drop", "e"));
        assert_eq!(&received.document, threshold);
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
