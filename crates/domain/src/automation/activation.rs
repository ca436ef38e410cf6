//! The gate before an automation acts: an approved decision about the very
//! definition that will act.

use thiserror::Error;

use super::{Change, Definition};
use crate::DecisionRequestId;
use crate::canonical_json::Digest;
use crate::decision::DecisionState;

/// A decision request as approvals tells of it.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Its id.
    pub id: DecisionRequestId,
    /// What it lets happen.
    pub action: String,
    /// What it is about.
    pub subject: String,
    /// Where it stands.
    pub state: DecisionState,
    /// The digest of what was looked at.
    pub diff_digest: String,
}

/// A decision does not allow the activation.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NotApproved {
    /// It is about something else.
    #[error(
        "the decision request is about {action} of {subject}, not about {ACTION} of {expected}"
    )]
    Other {
        /// What it lets happen.
        action: String,
        /// What it is about.
        subject: String,
        /// What it should be about.
        expected: String,
    },
    /// It is about something else than a change of this automation.
    #[error(
        "the decision request is about {action} of {subject}, not about a change of {expected}"
    )]
    OtherChange {
        /// What it lets happen.
        action: String,
        /// What it is about.
        subject: String,
        /// What it should be about.
        expected: String,
    },
    /// Nobody approved it.
    #[error("the decision request is {0}, not approved")]
    State(DecisionState),
    /// The definition is not the one that was approved.
    #[error(
        "the definition changed since it was approved: its digest is {digest}, approved was \
         {approved}; ask again with RequestActivation"
    )]
    Changed {
        /// Digest of the definition as it is.
        digest: String,
        /// Digest that was approved.
        approved: String,
    },
}

/// What a decision request about an activation lets happen.
pub(super) const ACTION: &str = "automation.activate";
/// What decision requests about a changed definition let happen.
const CHANGES: [&str; 2] = ["automation.scale", "automation.adjust"];

/// Proof that people approved a definition. The store takes nothing else to
/// activate an automation, and only [`Approval::of`] and
/// [`Approval::of_change`] make one.
#[derive(Clone, Debug)]
pub struct Approval {
    decision: DecisionRequestId,
    digest: Digest,
}

impl Approval {
    /// What decision requests about an activation let happen.
    pub const ACTION: &str = ACTION;

    /// The subject of decision requests about an automation.
    pub fn subject(name: &crate::ResourceName) -> String {
        format!("automations/{name}")
    }

    /// Reads a decision as leave to activate a definition.
    ///
    /// # Errors
    /// [`NotApproved`] unless it is an approval of this very definition.
    pub fn of(decision: &Decision, definition: &Definition) -> Result<Self, NotApproved> {
        let expected = Self::subject(definition.name());
        if decision.action != ACTION || decision.subject != expected {
            return Err(NotApproved::Other {
                action: decision.action.clone(),
                subject: decision.subject.clone(),
                expected,
            });
        }
        if decision.state != DecisionState::Approved {
            return Err(NotApproved::State(decision.state));
        }
        let digest = definition.digest();
        if decision.diff_digest != digest.to_string() {
            return Err(NotApproved::Changed {
                digest: digest.to_string(),
                approved: decision.diff_digest.clone(),
            });
        }
        Ok(Self { decision: decision.id, digest })
    }

    /// Reads a decision as leave to act by a changed definition: people approved the
    /// whole of it, as the diff that `change` was read from.
    ///
    /// # Errors
    /// [`NotApproved`] unless it is an approval of this very change.
    pub fn of_change(
        decision: &Decision,
        diff_digest: Digest,
        change: &Change,
    ) -> Result<Self, NotApproved> {
        let expected = Self::subject(change.definition().name());
        if !CHANGES.contains(&decision.action.as_str()) || decision.subject != expected {
            return Err(NotApproved::OtherChange {
                action: decision.action.clone(),
                subject: decision.subject.clone(),
                expected,
            });
        }
        if decision.state != DecisionState::Approved {
            return Err(NotApproved::State(decision.state));
        }
        if decision.diff_digest != diff_digest.to_string() {
            return Err(NotApproved::Changed {
                digest: diff_digest.to_string(),
                approved: decision.diff_digest.clone(),
            });
        }
        Ok(Self { decision: decision.id, digest: change.definition().digest() })
    }

    /// The decision.
    pub fn decision(&self) -> DecisionRequestId {
        self.decision
    }

    /// The digest of the approved definition.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::{Action, EmitEvent, Guardrail, Spec, Trigger};

    fn definition() -> Definition {
        let now = "2026-03-02T12:00:00Z".parse().unwrap();
        let spec = Spec {
            description: "Says hello.".to_owned(),
            kpi: "activated-users".to_owned(),
            pillar: "activation".to_owned(),
            owner: "growth".to_owned(),
            guardrails: vec![Guardrail { metric: "tickets".to_owned(), margin: 0.1 }],
            holdout: 0.1,
            sunset_time: Some(now + chrono::TimeDelta::days(90)),
            trigger: Trigger { event: "Signed Up".to_owned(), condition: String::new() },
            actions: vec![Action::EmitEvent(EmitEvent {
                event: "Greeted".to_owned(),
                ..EmitEvent::default()
            })],
            ..Spec::default()
        };
        Definition::check("hello", spec, now).unwrap()
    }

    fn decision() -> Decision {
        Decision {
            id: DecisionRequestId::generate(),
            action: "automation.activate".to_owned(),
            subject: "automations/hello".to_owned(),
            state: DecisionState::Approved,
            diff_digest: definition().digest().to_string(),
        }
    }

    #[test]
    fn an_approval_of_this_definition_is_leave_to_activate() {
        let approval = Approval::of(&decision(), &definition()).unwrap();
        assert_eq!(approval.digest(), definition().digest());
    }

    #[test]
    fn what_nobody_approved_stays_where_it_is() {
        for state in
            DecisionState::ALL.into_iter().filter(|state| *state != DecisionState::Approved)
        {
            let refused = Approval::of(&Decision { state, ..decision() }, &definition());
            assert_eq!(refused.unwrap_err(), NotApproved::State(state));
        }
    }

    #[test]
    fn a_change_acts_only_when_it_was_approved_itself() {
        use crate::canonical_json;
        let change = Change::new(definition().digest(), definition());
        let digest = canonical_json::digest(&change.diff("scale"));
        let approved = Decision {
            action: "automation.scale".to_owned(),
            diff_digest: digest.to_string(),
            ..decision()
        };
        let approval = Approval::of_change(&approved, digest, &change).unwrap();
        assert_eq!(approval.digest(), definition().digest());
        let withdrawn = Decision { state: DecisionState::Withdrawn, ..approved.clone() };
        let others = [
            withdrawn,
            Decision { action: "automation.pause".to_owned(), ..approved.clone() },
            Decision { subject: "automations/other".to_owned(), ..approved.clone() },
            Decision { diff_digest: "00".repeat(32), ..approved },
        ];
        for other in others {
            assert!(Approval::of_change(&other, digest, &change).is_err(), "{other:?}");
        }
        // Nor does an approved change let something be activated by hand.
        let scale = Decision { action: "automation.scale".to_owned(), ..decision() };
        assert!(Approval::of(&scale, &definition()).is_err());
    }

    #[test]
    fn an_approval_of_something_else_counts_for_nothing() {
        let others = [
            Decision { subject: "automations/other".to_owned(), ..decision() },
            Decision { action: "experiment.ship".to_owned(), ..decision() },
        ];
        for other in others {
            let refused = Approval::of(&other, &definition()).unwrap_err();
            assert!(matches!(refused, NotApproved::Other { .. }), "{refused}");
        }
        let changed = Decision { diff_digest: "00".repeat(32), ..decision() };
        let refused = Approval::of(&changed, &definition()).unwrap_err();
        assert!(matches!(refused, NotApproved::Changed { .. }), "{refused}");
    }
}
