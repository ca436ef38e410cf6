//! The gate before a contract changes: its version must say how much changes,
//! and people must approve what would break a metric.

use serde_json::json;
use thiserror::Error;

use super::{Bump, Compatibility, ContractSpec};
use crate::DecisionRequestId;
use crate::Violation;
use crate::decision::Diff;

/// The action that approvers decide about.
pub const ACTION: &str = "contract.change";

/// The subject of decision requests about the contract of an event name.
pub fn subject(name: &str) -> String {
    format!("contracts/{name}")
}

/// The change as approvers see it and as their verdicts name it.
pub fn change_diff(name: &str, before: &ContractSpec, after: &ContractSpec) -> Diff {
    Diff::from(&json!({"contract": name, "before": before, "after": after}))
}

/// What is wrong with the version of a contract that replaces another: a version
/// never goes back, and grows at least as much as the schema changed.
pub fn check_version(
    before: &ContractSpec,
    after: &ContractSpec,
    found: &Compatibility,
) -> Option<Violation> {
    let (old, new) = (before.schema_version, after.schema_version);
    let bump = found.bump();
    let least = old.bumped(bump);
    if new >= least {
        return None;
    }
    let problem = if bump == Bump::None {
        format!("must not go back from {old} to {new}; publish the old schema under a new version")
    } else {
        let changes: Vec<_> = found
            .changes
            .iter()
            .filter(|change| change.bump == bump)
            .take(5)
            .map(|change| format!("{} {}", change.path, change.what))
            .collect();
        format!(
            "{new} understates the change from {old}; it is a {bump} and needs at least {least}: {}",
            changes.join("; ")
        )
    };
    Some(Violation::new("schema_version", problem))
}

/// How a metric uses the events of a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EventUse {
    /// Name of the metric.
    pub metric: String,
    /// Every text in which it may name a property: paths and conditions.
    pub texts: Vec<String>,
}

impl EventUse {
    /// Whether a text names a property: as a whole word, so that `seat` does not
    /// name `seats`.
    fn names(&self, property: &str) -> bool {
        let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        self.texts.iter().any(|text| {
            text.match_indices(property).any(|(start, found)| {
                let before = text[..start].chars().next_back();
                let after = text[start + found.len()..].chars().next();
                !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
            })
        })
    }
}

/// The metrics that a change would break, by name: those that look at an event
/// whose data is as a rule refused from now on, and those that read a property
/// that changes its values or goes away.
pub fn affects(found: &Compatibility, uses: &[EventUse]) -> Vec<String> {
    let breaks = |used: &EventUse| {
        found.changes.iter().any(|change| match change.bump {
            Bump::Model => true,
            _ if change.removed => used.names(&change.property),
            Bump::Revision if change.property.is_empty() => !used.texts.is_empty(),
            Bump::Revision => used.names(&change.property),
            Bump::None | Bump::Addition => false,
        })
    };
    let mut broken: Vec<_> =
        uses.iter().filter(|used| breaks(used)).map(|used| used.metric.clone()).collect();
    broken.sort_unstable();
    broken.dedup();
    broken
}

/// A decision request as approvals tells of it.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Its id.
    pub id: DecisionRequestId,
    /// Whether it was approved.
    pub approved: bool,
    /// What it lets happen.
    pub action: String,
    /// What it is about.
    pub subject: String,
    /// The digest of what was looked at, in hex.
    pub diff_digest: String,
}

/// Why a decision does not let a contract change.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Refusal {
    /// It is about something else.
    #[error("it is about something else")]
    Other,
    /// Nobody approved it.
    #[error("it is not approved")]
    Undecided,
    /// The contract or the change is not the one that was approved.
    #[error("the contract or the change is not the one that was approved; ask again")]
    Changed,
}

/// A decision does not let a contract change.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("decision request {id} does not allow the change: {refusal}")]
pub struct NotApproved {
    /// The decision request.
    pub id: DecisionRequestId,
    /// Why not.
    pub refusal: Refusal,
}

impl Decided {
    /// Reads the decision as leave for exactly this change.
    ///
    /// # Errors
    /// [`NotApproved`] unless it is an approval of this very change.
    pub fn allows(
        &self,
        name: &str,
        before: &ContractSpec,
        after: &ContractSpec,
    ) -> Result<(), NotApproved> {
        let refuse = |refusal| Err(NotApproved { id: self.id, refusal });
        if self.action != ACTION || self.subject != subject(name) {
            return refuse(Refusal::Other);
        }
        if !self.approved {
            return refuse(Refusal::Undecided);
        }
        if self.diff_digest != change_diff(name, before, after).digest().to_string() {
            return refuse(Refusal::Changed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::contract::compare;

    fn spec(version: &str, schema: Value) -> ContractSpec {
        serde_json::from_value(json!({
            "schema_version": version, "mode": "quarantine", "owner": "growth",
            "json_schema": schema,
        }))
        .unwrap()
    }

    fn plan(kind: &str) -> Value {
        json!({"type": "object", "properties": {"plan": {"type": kind}}})
    }

    fn problem(before: &ContractSpec, after: &ContractSpec) -> Option<String> {
        let found = compare(&before.json_schema, &after.json_schema);
        check_version(before, after, &found).map(|violation| violation.problem)
    }

    #[test]
    fn a_version_must_not_understate_its_change() {
        let before = spec("1-2-3", plan("string"));
        assert_eq!(problem(&before, &before), None);
        let texts = problem(&before, &spec("1-3-0", plan("integer"))).unwrap();
        assert!(texts.contains("at least 2-0-0: /properties/plan/type"), "{texts}");
        assert_eq!(problem(&before, &spec("2-0-0", plan("integer"))), None);
        assert_eq!(problem(&before, &spec("3-0-0", plan("string"))), None);
        assert!(problem(&before, &spec("1-2-2", plan("string"))).unwrap().contains("go back"));
        let described = json!({"type": "object", "properties": {"plan": {"type": "string"}},
            "description": "more words"});
        assert!(problem(&before, &spec("1-2-3", described.clone())).is_some());
        assert_eq!(problem(&before, &spec("1-2-4", described)), None);
    }

    #[test]
    fn a_metric_breaks_when_what_it_reads_changes() {
        let uses = [
            EventUse { metric: "events".to_owned(), texts: vec![] },
            EventUse {
                metric: "pro".to_owned(),
                texts: vec!["properties.plan == 'pro'".to_owned()],
            },
            EventUse { metric: "seats".to_owned(), texts: vec!["properties.seats".to_owned()] },
        ];
        let broken = |old: Value, new: Value| affects(&compare(&old, &new), &uses);
        assert_eq!(broken(plan("string"), plan("integer")), ["events", "pro", "seats"]);
        assert_eq!(broken(plan("number"), plan("integer")), ["pro"]);
        assert_eq!(broken(plan("string"), json!({"type": "object"})), ["pro"]);
        assert_eq!(broken(json!({"type": "object"}), plan("string")), ["pro"]);
        assert_eq!(broken(plan("integer"), plan("number")), [""; 0]);
    }

    #[test]
    fn only_an_approval_of_this_very_change_allows_it() {
        let (before, after) = (spec("1-0-0", plan("string")), spec("2-0-0", plan("integer")));
        let good = Decided {
            id: DecisionRequestId::generate(),
            approved: true,
            action: ACTION.to_owned(),
            subject: subject("Signed Up"),
            diff_digest: change_diff("Signed Up", &before, &after).digest().to_string(),
        };
        let refusal = |decided: Decided| {
            decided.allows("Signed Up", &before, &after).map_err(|found| found.refusal)
        };
        assert_eq!(refusal(good.clone()), Ok(()));
        assert_eq!(refusal(Decided { approved: false, ..good.clone() }), Err(Refusal::Undecided));
        assert_eq!(
            refusal(Decided { subject: subject("Other"), ..good.clone() }),
            Err(Refusal::Other)
        );
        let other = change_diff("Signed Up", &before, &before).digest().to_string();
        assert_eq!(refusal(Decided { diff_digest: other, ..good }), Err(Refusal::Changed));
    }
}
