//! From messages to the domain and back: the one place both vocabularies meet.
//! Free functions, because neither side is a type of this crate.

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::Violations;
use northstar_domain::automation::{
    Action, AutomationState, EmitEvent, Guardrail, Spec, Trigger, Webhook,
};
use northstar_domain::retry::RetryPolicy;
use northstar_domain::run::RunState;
use northstar_proto::automations::v1 as pb;
use northstar_store::automations::{Run, Stored};

/// Reads the document of an automation; its name and etag are not part of it.
/// Whether it keeps the rules is for
/// [`Definition::check`](northstar_domain::automation::Definition::check) to say;
/// the violations are of what cannot be read at all.
pub fn spec_from_proto(automation: pb::Automation) -> (Spec, Violations) {
    let mut violations = Violations::new();
    let trigger = automation.trigger.unwrap_or_default();
    let mut actions = Vec::with_capacity(automation.actions.len());
    for (index, action) in automation.actions.into_iter().enumerate() {
        match action.kind {
            Some(kind) => actions.push(action_from_proto(kind)),
            None => violations
                .push(format!("actions[{index}]"), "must be either a webhook or an emit_event"),
        }
    }
    let sunset_time = automation.sunset_time.and_then(|time| {
        let read = time_from_proto(&time);
        violations.require(read.is_some(), "sunset_time", "is out of range");
        read
    });
    let retry_policy = automation.retry_policy.unwrap_or_default();
    let default = RetryPolicy::default();
    let mut duration = |field: &str, duration: Option<prost_types::Duration>| {
        duration.and_then(|duration| {
            let read = duration_from_proto(&duration);
            violations.require(read.is_some(), field, "is out of range");
            read
        })
    };
    let spec = Spec {
        description: automation.description,
        kpi: automation.kpi,
        pillar: automation.pillar,
        owner: automation.owner,
        guardrails: automation
            .guardrails
            .into_iter()
            .map(|guardrail| Guardrail { metric: guardrail.metric, margin: guardrail.margin })
            .collect(),
        holdout: automation.holdout,
        sunset_time,
        trigger: Trigger { event: trigger.event, condition: trigger.condition },
        actions,
        retry_policy: RetryPolicy {
            max_attempts: match retry_policy.max_attempts {
                0 => default.max_attempts,
                // A negative number is beyond every limit, and told as such.
                attempts => u32::try_from(attempts).unwrap_or(u32::MAX),
            },
            initial_interval: duration(
                "retry_policy.initial_interval",
                retry_policy.initial_interval,
            )
            .unwrap_or(default.initial_interval),
            max_interval: duration("retry_policy.max_interval", retry_policy.max_interval)
                .unwrap_or(default.max_interval),
        },
        outcome_window: duration("outcome_window", automation.outcome_window),
    };
    (spec, violations)
}

fn action_from_proto(kind: pb::action::Kind) -> Action {
    match kind {
        pb::action::Kind::Webhook(webhook) => Action::Webhook(Webhook {
            url: webhook.url,
            secret_name: webhook.secret_name,
            message_type: webhook.r#type,
        }),
        pb::action::Kind::EmitEvent(emit) => Action::EmitEvent(EmitEvent {
            event: emit.event,
            properties: emit.properties.into_iter().collect(),
        }),
    }
}

/// Writes a document; what the server sets stays unset.
pub fn spec_to_proto(name: &str, spec: &Spec) -> pb::Automation {
    pb::Automation {
        name: name.to_owned(),
        description: spec.description.clone(),
        kpi: spec.kpi.clone(),
        pillar: spec.pillar.clone(),
        owner: spec.owner.clone(),
        guardrails: spec
            .guardrails
            .iter()
            .map(|guardrail| pb::Guardrail {
                metric: guardrail.metric.clone(),
                margin: guardrail.margin,
            })
            .collect(),
        holdout: spec.holdout,
        sunset_time: spec.sunset_time.map(time_to_proto),
        trigger: Some(pb::Trigger {
            event: spec.trigger.event.clone(),
            condition: spec.trigger.condition.clone(),
        }),
        actions: spec.actions.iter().map(action_to_proto).collect(),
        retry_policy: Some(pb::RetryPolicy {
            max_attempts: i32::try_from(spec.retry_policy.max_attempts).unwrap_or(i32::MAX),
            initial_interval: Some(duration_to_proto(spec.retry_policy.initial_interval)),
            max_interval: Some(duration_to_proto(spec.retry_policy.max_interval)),
        }),
        outcome_window: spec.outcome_window.map(duration_to_proto),
        ..pb::Automation::default()
    }
}

fn action_to_proto(action: &Action) -> pb::Action {
    let kind = match action {
        Action::Webhook(webhook) => pb::action::Kind::Webhook(pb::WebhookAction {
            url: webhook.url.clone(),
            secret_name: webhook.secret_name.clone(),
            r#type: webhook.message_type.clone(),
        }),
        Action::EmitEvent(emit) => pb::action::Kind::EmitEvent(pb::EmitEventAction {
            event: emit.event.clone(),
            properties: emit.properties.clone().into_iter().collect(),
        }),
    };
    pb::Action { kind: Some(kind) }
}

pub(crate) fn stored_automation(stored: &Stored) -> pb::Automation {
    let definition = &stored.definition;
    pb::Automation {
        state: state_to_proto(stored.state).into(),
        activate_time: stored.activated_at.map(time_to_proto),
        etag: stored.version.to_string(),
        ..spec_to_proto(definition.name().as_str(), definition.spec())
    }
}

fn state_to_proto(state: AutomationState) -> pb::AutomationState {
    match state {
        AutomationState::Draft => pb::AutomationState::Draft,
        AutomationState::Active => pb::AutomationState::Active,
        AutomationState::Paused => pb::AutomationState::Paused,
        AutomationState::Retired => pb::AutomationState::Retired,
    }
}

pub(crate) fn run_to_proto(run: &Run) -> pb::Run {
    pb::Run {
        run_id: run.id.to_string(),
        automation: run.automation.clone(),
        subject: run.subject.clone(),
        trigger_position: run.trigger_position,
        trigger_time: Some(time_to_proto(run.trigger_at)),
        state: run_state_to_proto(run.state).into(),
        attempts: run.attempts,
        last_error: run.last_error.clone(),
        next_attempt_time: run.next_attempt_at.map(time_to_proto),
        create_time: Some(time_to_proto(run.created_at)),
        finish_time: run.finished_at.map(time_to_proto),
    }
}

fn run_state_to_proto(state: RunState) -> pb::RunState {
    match state {
        RunState::Pending => pb::RunState::Pending,
        RunState::Running => pb::RunState::Running,
        RunState::Succeeded => pb::RunState::Succeeded,
        RunState::WouldHaveActed => pb::RunState::WouldHaveActed,
        RunState::DeadLetter => pb::RunState::DeadLetter,
    }
}

/// Reads the state runs are listed by; unset is any.
pub(crate) fn run_state_filter(state: i32) -> Result<Option<RunState>, Violations> {
    match pb::RunState::try_from(state) {
        Ok(pb::RunState::Unspecified) => Ok(None),
        Ok(pb::RunState::Pending) => Ok(Some(RunState::Pending)),
        Ok(pb::RunState::Running) => Ok(Some(RunState::Running)),
        Ok(pb::RunState::Succeeded) => Ok(Some(RunState::Succeeded)),
        Ok(pb::RunState::WouldHaveActed) => Ok(Some(RunState::WouldHaveActed)),
        Ok(pb::RunState::DeadLetter) => Ok(Some(RunState::DeadLetter)),
        Err(_) => {
            let mut violations = Violations::new();
            violations.push("state", "is not a state of a run");
            Err(violations)
        }
    }
}

pub(crate) fn time_from_proto(time: &prost_types::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?)
}

pub(crate) fn time_to_proto(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().cast_signed(),
    }
}

pub(crate) fn duration_from_proto(duration: &prost_types::Duration) -> Option<TimeDelta> {
    let nanos = TimeDelta::nanoseconds(duration.nanos.into());
    TimeDelta::try_seconds(duration.seconds)?.checked_add(&nanos)
}

pub(crate) fn duration_to_proto(duration: TimeDelta) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.num_seconds(), nanos: duration.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_survives_the_way_through_a_message() {
        let spec = Spec {
            description: "Says hello.".to_owned(),
            kpi: "activated-users".to_owned(),
            pillar: "activation".to_owned(),
            owner: "growth".to_owned(),
            guardrails: vec![Guardrail { metric: "tickets".to_owned(), margin: 0.1 }],
            holdout: 0.25,
            sunset_time: Some("2099-12-31T00:00:00.5Z".parse().unwrap()),
            trigger: Trigger { event: "Signed Up".to_owned(), condition: "true".to_owned() },
            actions: vec![
                Action::Webhook(Webhook {
                    url: "https://example.com".to_owned(),
                    secret_name: "demo".to_owned(),
                    message_type: "user.nudge".to_owned(),
                }),
                Action::EmitEvent(EmitEvent {
                    event: "Greeted".to_owned(),
                    properties: [("channel".to_owned(), "mail".to_owned())].into(),
                }),
            ],
            retry_policy: RetryPolicy { max_attempts: 3, ..RetryPolicy::default() },
            outcome_window: Some(TimeDelta::milliseconds(1_500)),
        };
        let (read, violations) = spec_from_proto(spec_to_proto("hello", &spec));
        assert!(violations.is_empty(), "{violations}");
        assert_eq!(read, spec);
    }

    #[test]
    fn what_cannot_be_read_is_told_by_field() {
        let automation = pb::Automation {
            actions: vec![pb::Action { kind: None }],
            sunset_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
            outcome_window: Some(prost_types::Duration { seconds: i64::MAX, nanos: 0 }),
            ..pb::Automation::default()
        };
        let (_, violations) = spec_from_proto(automation);
        let fields: Vec<_> = violations.as_slice().iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["actions[0]", "sunset_time", "outcome_window"]);
    }
}
