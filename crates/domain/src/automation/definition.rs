//! What an automation is: trigger, condition and actions bound to one KPI. The
//! document people write, and the rules it must keep.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::canonical_json::{self, Digest};
use crate::expression::Condition;
use crate::holdout::Holdout;
use crate::retry::RetryPolicy;
use crate::{ResourceName, Violations};

/// Longest description, in bytes.
const DESCRIPTION_LIMIT: usize = 10_000;
/// Longest owner, in bytes.
const OWNER_LIMIT: usize = 100;
/// Longest event name, in bytes; ingestion's limit.
const EVENT_LIMIT: usize = 200;
/// Longest URL, in bytes.
const URL_LIMIT: usize = 2_000;
/// Longest name of a signing secret or of a message type, in bytes.
const WORD_LIMIT: usize = 100;
/// Most actions.
const MOST_ACTIONS: usize = 10;
/// Most guardrails.
const MOST_GUARDRAILS: usize = 20;
/// Most properties of an emitted event.
const MOST_PROPERTIES: usize = 50;

/// The `spec` of an automation document. What is missing reads as empty, so
/// that [`Definition::check`] can name everything that is wrong at once.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// What it does and why it should move the KPI.
    pub description: String,
    /// Name of the primary KPI.
    pub kpi: String,
    /// Name of the pillar.
    pub pillar: String,
    /// Who answers for it.
    pub owner: String,
    /// What must not get worse.
    pub guardrails: Vec<Guardrail>,
    /// Share of triggered subjects that is not acted on.
    pub holdout: f64,
    /// When it ends unless it is renewed.
    #[serde(with = "crate::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub sunset_time: Option<DateTime<Utc>>,
    /// What sets it off.
    pub trigger: Trigger,
    /// What it does, in order.
    pub actions: Vec<Action>,
    /// How failed deliveries are retried.
    pub retry_policy: RetryPolicy,
    /// Outcomes count up to this long after the trigger; unset is unlimited.
    #[serde(with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub outcome_window: Option<TimeDelta>,
}

/// A metric that must not get worse.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// Name of the metric.
    pub metric: String,
    /// Largest tolerated relative worsening, at least 0.
    #[serde(default)]
    pub margin: f64,
}

/// An event that sets an automation off, once per subject.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trigger {
    /// Event name.
    pub event: String,
    /// CEL condition; empty is always true.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub condition: String,
}

/// One side effect: in a document, a map with one key that says which.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "ActionDocument", into = "ActionDocument")]
pub enum Action {
    /// Call an HTTP endpoint.
    Webhook(Webhook),
    /// Put an event in the log.
    EmitEvent(EmitEvent),
}

/// Posts a message signed by standard-webhooks.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// Name of the signing secret in the service's configuration.
    pub secret_name: String,
    /// Message type, for example `user.nudge`.
    #[serde(rename = "type")]
    pub message_type: String,
}

/// Puts an event about the subject in the log.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmitEvent {
    /// Event name.
    pub event: String,
    /// Properties of the event.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// An action of no kind, or of two.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("an action has exactly one of `webhook` and `emit_event`")]
pub struct InvalidAction;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ActionDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook: Option<Webhook>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    emit_event: Option<EmitEvent>,
}

impl TryFrom<ActionDocument> for Action {
    type Error = InvalidAction;

    fn try_from(document: ActionDocument) -> Result<Self, InvalidAction> {
        match (document.webhook, document.emit_event) {
            (Some(webhook), None) => Ok(Self::Webhook(webhook)),
            (None, Some(emit)) => Ok(Self::EmitEvent(emit)),
            (None, None) | (Some(_), Some(_)) => Err(InvalidAction),
        }
    }
}

impl From<Action> for ActionDocument {
    fn from(action: Action) -> Self {
        match action {
            Action::Webhook(webhook) => Self { webhook: Some(webhook), emit_event: None },
            Action::EmitEvent(emit) => Self { webhook: None, emit_event: Some(emit) },
        }
    }
}

/// An automation that keeps every rule. Cannot be had without KPI, pillar,
/// owner, guardrail, holdout and sunset time.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    name: ResourceName,
    spec: Spec,
    holdout: Holdout,
    sunset: DateTime<Utc>,
    condition: Condition,
    canonical: String,
    digest: Digest,
}

impl Definition {
    /// Checks a document, also against the time.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn check(name: &str, spec: Spec, now: DateTime<Utc>) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let name = violations.parse::<ResourceName>("name", name);
        spec.check(&mut violations);
        if let Some(sunset) = spec.sunset_time
            && sunset <= now
        {
            violations.push("sunset_time", "must be in the future");
        }
        match name {
            Some(name) if violations.is_empty() => Self::assemble(name, spec).ok_or(violations),
            _ => Err(violations),
        }
    }

    /// Reads a definition that was checked when it was stored. Its sunset may
    /// have passed since.
    ///
    /// # Errors
    /// When it is not one this program wrote.
    pub fn read_canonical(text: &str) -> Result<Self, String> {
        let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut violations = Violations::new();
        document.spec.check(&mut violations);
        violations.or(()).map_err(|violations| violations.to_string())?;
        Self::assemble(document.name, document.spec).ok_or_else(|| "incomplete".to_owned())
    }

    /// `None` when a part is missing, which the check has told already.
    fn assemble(name: ResourceName, spec: Spec) -> Option<Self> {
        let holdout = Holdout::try_from(spec.holdout).ok()?;
        let condition = Condition::parse(&spec.trigger.condition).ok()?;
        let sunset = spec.sunset_time?;
        let document = serde_json::json!({"name": name, "spec": spec});
        let canonical = canonical_json::to_string(&document);
        let digest = canonical_json::digest_of_text(&canonical);
        Some(Self { name, spec, holdout, sunset, condition, canonical, digest })
    }

    /// Its name.
    pub fn name(&self) -> &ResourceName {
        &self.name
    }

    /// The document.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Who is held out.
    pub fn holdout(&self) -> Holdout {
        self.holdout
    }

    /// When it ends.
    pub fn sunset(&self) -> DateTime<Utc> {
        self.sunset
    }

    /// The trigger's condition.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Name and spec as canonical JSON: what people approve.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// SHA-256 of the canonical JSON.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: ResourceName,
    spec: Spec,
}

impl Spec {
    fn check(&self, violations: &mut Violations) {
        violations.require_text("description", &self.description, DESCRIPTION_LIMIT);
        for (field, name) in [("kpi", &self.kpi), ("pillar", &self.pillar)] {
            require_name(violations, field, name);
        }
        violations.require_text("owner", &self.owner, OWNER_LIMIT);
        self.check_guardrails(violations);
        if let Err(error) = Holdout::try_from(self.holdout) {
            violations.push("holdout", error.to_string());
        }
        violations.require(
            self.sunset_time.is_some(),
            "sunset_time",
            "must be set: nothing acts for ever without being looked at again",
        );
        violations.require_text("trigger.event", &self.trigger.event, EVENT_LIMIT);
        if let Err(error) = Condition::parse(&self.trigger.condition) {
            violations.push("trigger.condition", error.to_string());
        }
        violations.require(!self.actions.is_empty(), "actions", "must hold at least one action");
        violations.require(
            self.actions.len() <= MOST_ACTIONS,
            "actions",
            "must hold at most 10 actions",
        );
        for (index, action) in self.actions.iter().enumerate() {
            violations.extend(action.violations().below(&format!("actions[{index}]")));
        }
        violations.extend(self.retry_policy.violations().below("retry_policy"));
        violations.require(
            self.outcome_window.is_none_or(|window| window > TimeDelta::zero()),
            "outcome_window",
            "must be longer than nothing",
        );
    }

    fn check_guardrails(&self, violations: &mut Violations) {
        violations.require(
            !self.guardrails.is_empty(),
            "guardrails",
            "must name at least one metric that must not get worse",
        );
        violations.require(
            self.guardrails.len() <= MOST_GUARDRAILS,
            "guardrails",
            "must name at most 20 metrics",
        );
        for (index, guardrail) in self.guardrails.iter().enumerate() {
            require_name(violations, &format!("guardrails[{index}].metric"), &guardrail.metric);
            violations.require(
                guardrail.margin.is_finite() && guardrail.margin >= 0.0,
                &format!("guardrails[{index}].margin"),
                "must be a number of at least 0, for example 0.02 for two percent",
            );
        }
    }
}

impl Action {
    fn violations(&self) -> Violations {
        let mut violations = Violations::new();
        match self {
            Self::Webhook(webhook) => {
                violations.require_text("webhook.url", &webhook.url, URL_LIMIT);
                violations.require_text("webhook.secret_name", &webhook.secret_name, WORD_LIMIT);
                violations.require_text("webhook.type", &webhook.message_type, WORD_LIMIT);
            }
            Self::EmitEvent(emit) => {
                violations.require_text("emit_event.event", &emit.event, EVENT_LIMIT);
                violations.require(
                    !emit.event.starts_with("northstar."),
                    "emit_event.event",
                    "must not begin with `northstar.`: those events are the suite's own",
                );
                violations.require(
                    emit.properties.len() <= MOST_PROPERTIES,
                    "emit_event.properties",
                    "must hold at most 50 properties",
                );
            }
        }
        violations
    }
}

fn require_name(violations: &mut Violations, field: &str, name: &str) {
    if name.is_empty() {
        violations.push(field, "must be set");
    } else {
        violations.parse::<ResourceName>(field, name);
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::{Action, Definition, Spec};

    const DOCUMENT: &str = "
description: Sends a set-up guide, because a finished set-up is what first value depends on.
kpi: activated-users
pillar: activation
owner: growth-team
guardrails:
  - {metric: tickets, margin: 0.1}
holdout: 0.3
sunset_time: 2099-12-31
trigger:
  event: Setup Stalled
  condition: \"properties.plan != 'free'\"
actions:
  - webhook: {url: 'https://example.com/nudge', secret_name: demo, type: user.nudge}
  - emit_event: {event: Nudged, properties: {channel: mail}}
retry_policy: {max_attempts: 5}
outcome_window: 21d
";

    fn now() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn document() -> Spec {
        serde_norway::from_str(DOCUMENT).unwrap()
    }

    fn fields(spec: Spec) -> Vec<String> {
        let violations = Definition::check("nudge", spec, now()).unwrap_err();
        violations.as_slice().iter().map(|violation| violation.field.clone()).collect()
    }

    #[test]
    fn a_document_reads_from_yaml_and_back_from_its_canonical_form() {
        let definition = Definition::check("nudge", document(), now()).unwrap();
        assert!(matches!(definition.spec().actions[0], Action::Webhook(_)));
        assert!(matches!(definition.spec().actions[1], Action::EmitEvent(_)));
        assert_eq!(definition.spec().retry_policy.max_attempts, 5);
        assert_eq!(Definition::read_canonical(definition.canonical()).unwrap(), definition);
    }

    #[test]
    fn an_empty_document_is_told_everything_it_lacks_at_once() {
        let expected = [
            "description",
            "kpi",
            "pillar",
            "owner",
            "guardrails",
            "holdout",
            "sunset_time",
            "trigger.event",
            "actions",
        ];
        assert_eq!(fields(Spec::default()), expected);
    }

    #[test]
    fn each_rule_names_the_field_that_breaks_it() {
        type Break = fn(&mut Spec);
        let cases: [(&str, Break); 10] = [
            ("holdout", |spec| spec.holdout = 1.0),
            ("sunset_time", |spec| spec.sunset_time = Some(now())),
            ("kpi", |spec| spec.kpi = "Activated Users".to_owned()),
            ("guardrails[0].margin", |spec| spec.guardrails[0].margin = -0.1),
            ("trigger.condition", |spec| spec.trigger.condition = "properties.plan =".to_owned()),
            ("actions[1].emit_event.event", |spec| {
                let Action::EmitEvent(emit) = &mut spec.actions[1] else { unreachable!() };
                emit.event = "northstar.automation.run".to_owned();
            }),
            ("actions[0].webhook.secret_name", |spec| {
                let Action::Webhook(webhook) = &mut spec.actions[0] else { unreachable!() };
                webhook.secret_name.clear();
            }),
            ("retry_policy.max_attempts", |spec| spec.retry_policy.max_attempts = 0),
            ("outcome_window", |spec| spec.outcome_window = Some(chrono::TimeDelta::zero())),
            ("actions", |spec| spec.actions.clear()),
        ];
        for (field, broken) in cases {
            let mut spec = document();
            broken(&mut spec);
            assert_eq!(fields(spec), [field]);
        }
    }

    #[test]
    fn another_definition_has_another_digest() {
        let digest = |spec| Definition::check("nudge", spec, now()).unwrap().digest();
        let mut other = document();
        other.holdout = 0.31;
        assert_ne!(digest(document()), digest(other));
        assert_eq!(digest(document()), digest(document()));
    }

    #[test]
    fn an_unknown_key_or_an_action_of_two_kinds_is_refused() {
        assert!(serde_norway::from_str::<Spec>("hold_out: 0.1").is_err());
        assert!(serde_norway::from_str::<Action>("{webhook: {}, emit_event: {}}").is_err());
        assert!(serde_norway::from_str::<Action>("{}").is_err());
    }
}
