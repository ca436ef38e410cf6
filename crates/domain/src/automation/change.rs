//! A change of a definition: what people want changed, what that makes of the
//! definition, and the diff they approve.

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{Definition, Spec};
use crate::canonical_json::{self, Digest};
use crate::{ResourceName, Violations};

/// What is wanted of a definition.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Another holdout: this is added to its share. Below 0 more subjects are acted
    /// on.
    HoldoutBy(f64),
    /// A JSON merge patch ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)) of the
    /// spec, as its document writes it.
    Patch(Value),
}

impl Wanted {
    /// The word for it in actions, as in `automation.scale`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::HoldoutBy(_) => "scale",
            Self::Patch(_) => "adjust",
        }
    }

    /// What it makes of a spec. Whether that keeps the rules is for
    /// [`Definition::check`] to say.
    ///
    /// # Errors
    /// The field `holdout_by` or `patch_json`, when it asks for nothing, or for what
    /// is no spec.
    pub fn apply(&self, spec: &Spec) -> Result<Spec, Violations> {
        let mut violations = Violations::new();
        let changed = match self {
            Self::HoldoutBy(by) => {
                let share = tidy(spec.holdout + by);
                let problem = format!(
                    "would make the holdout {share}; it is {}, and must stay above 0 and below 1",
                    spec.holdout
                );
                violations.require(share > 0.0 && share < 1.0, "holdout_by", &problem);
                Some(Spec { holdout: share, ..spec.clone() })
            }
            Self::Patch(patch) => {
                violations.require(patch.is_object(), "patch_json", "must be a JSON object");
                let mut document = serde_json::to_value(spec).unwrap_or_default();
                merge(&mut document, patch);
                serde_json::from_value(document)
                    .map_err(|error| violations.push("patch_json", error.to_string()))
                    .ok()
            }
        };
        match changed {
            Some(changed) if violations.is_empty() && changed == *spec => {
                let field = match self {
                    Self::HoldoutBy(_) => "holdout_by",
                    Self::Patch(_) => "patch_json",
                };
                violations.push(field, "changes nothing");
                Err(violations)
            }
            Some(changed) if violations.is_empty() => Ok(changed),
            _ => Err(violations),
        }
    }
}

/// A share as a person writes it: 0.3 - 0.1 is 0.2.
fn tidy(share: f64) -> f64 {
    (share * 1e12).round() / 1e12
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A change that people approve: of which definition, into which.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    before: Digest,
    definition: Definition,
}

/// A diff is not a change of an automation.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum InvalidChange {
    /// It has another form.
    #[error("the diff does not hold the change of a definition: {0}")]
    Form(String),
    /// It is about another automation.
    #[error("the diff changes automation {found}, not {expected}")]
    OtherAutomation {
        /// The one it changes.
        found: String,
        /// The one that was decided about.
        expected: String,
    },
}

impl Change {
    /// A change of the definition with digest `before`.
    pub fn new(before: Digest, definition: Definition) -> Self {
        Self { before, definition }
    }

    /// Digest of the definition that it changes. Another one was not looked at.
    pub fn before(&self) -> Digest {
        self.before
    }

    /// What it makes of it.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The diff that people look at; `word` as in [`Wanted::word`].
    pub fn diff(&self, word: &str) -> Value {
        let definition: Value =
            serde_json::from_str(self.definition.canonical()).unwrap_or_default();
        json!({
            "action": word,
            "automation": self.definition.name(),
            "before_digest": self.before.to_string(),
            "definition": definition,
        })
    }

    /// Reads the diff of a decision about an automation. Beside the change it may
    /// say what asked for it.
    ///
    /// # Errors
    /// When it is no change of this automation, or its definition breaks a rule that
    /// does not depend on anything else.
    pub fn read(diff_json: &str, expected: &ResourceName) -> Result<Self, InvalidChange> {
        let form = |problem: &str| InvalidChange::Form(problem.to_owned());
        let diff: Value =
            serde_json::from_str(diff_json).map_err(|error| form(&error.to_string()))?;
        let text = |field: &str| diff.get(field).and_then(Value::as_str).unwrap_or_default();
        let before = text("before_digest").parse().map_err(|_| form("before_digest is missing"))?;
        let definition = diff.get("definition").ok_or_else(|| form("definition is missing"))?;
        let definition = Definition::read_canonical(&canonical_json::to_string(definition))
            .map_err(InvalidChange::Form)?;
        for found in [text("automation"), definition.name().as_str()] {
            if found != expected.as_str() {
                return Err(InvalidChange::OtherAutomation {
                    found: found.to_owned(),
                    expected: expected.to_string(),
                });
            }
        }
        Ok(Self { before, definition })
    }
}

/// What differs between two specs, a line a field: `holdout: 0.3 -> 0.2`.
pub fn differences(before: &Spec, after: &Spec) -> Vec<String> {
    let [before, after] = [before, after].map(|spec| match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    });
    let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let told = |value: Option<&Value>| {
        value.map_or_else(|| "nothing".to_owned(), canonical_json::to_string)
    };
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| format!("{name}: {} -> {}", told(before.get(name)), told(after.get(name))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::{Action, EmitEvent, Guardrail, Trigger};

    fn spec() -> Spec {
        Spec {
            description: "Says hello.".to_owned(),
            kpi: "activated-users".to_owned(),
            pillar: "activation".to_owned(),
            owner: "growth".to_owned(),
            guardrails: vec![Guardrail { metric: "tickets".to_owned(), margin: 0.1 }],
            holdout: 0.3,
            sunset_time: Some("2099-12-31T00:00:00Z".parse().unwrap()),
            trigger: Trigger { event: "Signed Up".to_owned(), condition: String::new() },
            actions: vec![Action::EmitEvent(EmitEvent {
                event: "Greeted".to_owned(),
                ..EmitEvent::default()
            })],
            ..Spec::default()
        }
    }

    fn definition(spec: Spec) -> Definition {
        Definition::check("hello", spec, "2026-03-02T12:00:00Z".parse().unwrap()).unwrap()
    }

    fn refused(wanted: &Wanted) -> String {
        let violations = wanted.apply(&spec()).unwrap_err();
        violations.as_slice()[0].field.clone()
    }

    #[test]
    fn a_holdout_moves_by_an_amount_and_stays_a_share() {
        assert_eq!(Wanted::HoldoutBy(-0.1).apply(&spec()).unwrap().holdout, 0.2);
        assert_eq!(Wanted::HoldoutBy(0.25).apply(&spec()).unwrap().holdout, 0.55);
        for by in [-0.3, 0.7, 0.0, f64::NAN] {
            assert_eq!(refused(&Wanted::HoldoutBy(by)), "holdout_by", "{by}");
        }
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let patch =
            json!({"trigger": {"condition": "properties.plan == 'pro'"}, "outcome_window": null});
        let changed = Wanted::Patch(patch).apply(&spec()).unwrap();
        assert_eq!(changed.trigger.event, "Signed Up");
        assert_eq!(changed.trigger.condition, "properties.plan == 'pro'");
        assert_eq!(Spec { trigger: spec().trigger, ..changed.clone() }, spec());
        assert_eq!(
            differences(&spec(), &changed),
            [
                r#"trigger: {"event":"Signed Up"} -> {"condition":"properties.plan == 'pro'","event":"Signed Up"}"#
            ]
        );
        for patch in [json!({}), json!([]), json!({"hold_out": 0.2}), json!({"holdout": "much"})] {
            assert_eq!(refused(&Wanted::Patch(patch)), "patch_json");
        }
    }

    #[test]
    fn a_change_survives_the_way_through_its_diff() {
        let name: ResourceName = "hello".parse().unwrap();
        let (before, after) = (definition(spec()), definition(Spec { holdout: 0.2, ..spec() }));
        let change = Change::new(before.digest(), after);
        let mut diff = change.diff("scale");
        diff["threshold"] = json!("few-signups");
        assert_eq!(Change::read(&diff.to_string(), &name).unwrap(), change);

        let other: ResourceName = "other".parse().unwrap();
        let refused = Change::read(&diff.to_string(), &other).unwrap_err();
        assert!(matches!(refused, InvalidChange::OtherAutomation { .. }), "{refused}");
        diff["definition"]["name"] = json!("other");
        let refused = Change::read(&diff.to_string(), &name).unwrap_err();
        assert!(matches!(refused, InvalidChange::OtherAutomation { .. }), "{refused}");
        for edited in ["no JSON", "{}", r#"{"action":"pause","automation":"hello"}"#] {
            assert!(matches!(Change::read(edited, &name), Err(InvalidChange::Form(_))), "{edited}");
        }
        let mut broken = change.diff("scale");
        broken["definition"]["spec"]["holdout"] = json!(1.5);
        assert!(matches!(Change::read(&broken.to_string(), &name), Err(InvalidChange::Form(_))));
    }
}
