//! The gate before shipping: an approved decision about this experiment, its
//! variant and nothing else.

use serde_json::{Value, json};
use thiserror::Error;

use super::Experiment;
use crate::DecisionRequestId;
use crate::canonical_json::Digest;
use crate::decision::Diff;

/// The action that approvers decide about.
pub const ACTION: &str = "experiment.ship";

/// The change that shipping a variant is.
pub fn ship_diff(experiment: &str, variant: &str) -> Diff {
    Diff::from(&json!({"experiment": experiment, "variant": variant}))
}

/// A decision request as approvals tells it.
#[derive(Clone, Debug)]
pub struct DecisionFacts<'a> {
    /// Its id.
    pub id: DecisionRequestId,
    /// Whether its state is APPROVED.
    pub approved: bool,
    /// What it is about.
    pub action: &'a str,
    /// What it happens to.
    pub subject: &'a str,
    /// The change that was approved, as JSON text.
    pub diff_json: &'a str,
    /// The digest the verdicts named, in hex.
    pub diff_digest: &'a str,
}

/// Why a decision does not allow the step. Nothing changes.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum NotApproved {
    /// It is not approved.
    #[error("decision request {0} is not approved")]
    NotApproved(DecisionRequestId),
    /// It is about something else.
    #[error("decision request {id} is about {action} of {subject}, not about shipping {wanted}")]
    AnotherSubject {
        /// The decision request.
        id: DecisionRequestId,
        /// Its action.
        action: String,
        /// Its subject.
        subject: String,
        /// The experiment.
        wanted: String,
    },
    /// What was approved is not a variant of this experiment, or not what the
    /// verdicts named.
    #[error("decision request {0} approves a change that is not the shipping of a variant")]
    AnotherDiff(DecisionRequestId),
}

/// The proof that approvers decided to ship a variant of an experiment. It can
/// only be had from [`ApprovedDecision::verify`], and nothing is shipped without
/// it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApprovedDecision {
    id: DecisionRequestId,
    experiment: String,
    variant: String,
    digest: Digest,
}

impl ApprovedDecision {
    /// Checks a decision against an experiment. Approvers may have edited the
    /// diff to another variant: then that variant is approved.
    ///
    /// # Errors
    /// Why the decision does not allow shipping.
    pub fn verify(
        decision: &DecisionFacts<'_>,
        experiment: &Experiment,
    ) -> Result<Self, NotApproved> {
        if !decision.approved {
            return Err(NotApproved::NotApproved(decision.id));
        }
        let wanted = experiment.resource();
        if decision.action != ACTION || decision.subject != wanted {
            return Err(NotApproved::AnotherSubject {
                id: decision.id,
                action: decision.action.to_owned(),
                subject: decision.subject.to_owned(),
                wanted,
            });
        }
        let another_diff = || NotApproved::AnotherDiff(decision.id);
        let approved = Diff::parse(decision.diff_json).map_err(|_| another_diff())?;
        let diff: Value = serde_json::from_str(approved.json()).map_err(|_| another_diff())?;
        let variant = diff.get("variant").and_then(Value::as_str).ok_or_else(another_diff)?;
        // What was approved must be what would be asked for now, to the byte,
        // and what the verdicts named.
        let wanted = ship_diff(experiment.name.as_str(), variant);
        let digest = wanted.digest();
        if !experiment.spec.has_treatment(variant)
            || approved != wanted
            || digest.to_string() != decision.diff_digest
        {
            return Err(another_diff());
        }
        Ok(Self {
            id: decision.id,
            experiment: experiment.name.to_string(),
            variant: variant.to_owned(),
            digest,
        })
    }

    /// The decision request.
    pub fn id(&self) -> DecisionRequestId {
        self.id
    }

    /// Name of the experiment it is about.
    pub fn experiment(&self) -> &str {
        &self.experiment
    }

    /// The variant to ship.
    pub fn variant(&self) -> &str {
        &self.variant
    }

    /// Digest of the approved change.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceName;
    use crate::experiment::{ExperimentSpec, Variant};

    fn experiment() -> Experiment {
        let variant = |name: &str| Variant { name: name.to_owned(), weight: 1.0 };
        let variants = vec![variant("control"), variant("short"), variant("long")];
        let name: ResourceName = "checkout".parse().unwrap();
        Experiment::draft(name, ExperimentSpec { variants, ..ExperimentSpec::default() })
    }

    fn facts<'a>(diff_json: &'a str, diff_digest: &'a str) -> DecisionFacts<'a> {
        DecisionFacts {
            id: DecisionRequestId::generate(),
            approved: true,
            action: ACTION,
            subject: "experiments/checkout",
            diff_json,
            diff_digest,
        }
    }

    fn digest_of(diff_json: &str) -> String {
        Diff::parse(diff_json).map(|diff| diff.digest().to_string()).unwrap_or_default()
    }

    const SHORT: &str = r#"{"experiment":"checkout","variant":"short"}"#;

    #[test]
    fn an_approved_decision_about_this_experiment_ships_the_variant_it_names() {
        // Another variant than asked for is what an edit leaves.
        for variant in ["short", "long"] {
            let diff = SHORT.replace("short", variant);
            let digest = digest_of(&diff);
            let approved = ApprovedDecision::verify(&facts(&diff, &digest), &experiment());
            assert_eq!(approved.unwrap().variant(), variant);
        }
    }

    #[test]
    fn a_decision_that_is_not_approved_or_about_something_else_ships_nothing() {
        let digest = digest_of(SHORT);
        let sound = facts(SHORT, &digest);
        let pending = DecisionFacts { approved: false, ..sound.clone() };
        let other = DecisionFacts { subject: "experiments/other", ..sound.clone() };
        let start = DecisionFacts { action: "experiment.start", ..sound };
        let verify = |facts| ApprovedDecision::verify(&facts, &experiment()).unwrap_err();
        assert!(matches!(verify(pending), NotApproved::NotApproved(_)));
        assert!(matches!(verify(other), NotApproved::AnotherSubject { .. }));
        assert!(matches!(verify(start), NotApproved::AnotherSubject { .. }));
    }

    #[test]
    fn a_change_that_is_not_the_shipping_of_a_variant_ships_nothing() {
        for diff in [
            "",
            "{}",
            r#"{"experiment":"other","variant":"short"}"#,
            r#"{"experiment":"checkout","variant":"control"}"#,
            r#"{"experiment":"checkout","variant":"nobody"}"#,
            r#"{"experiment":"checkout","share":1,"variant":"short"}"#,
        ] {
            for digest in [digest_of(diff), digest_of(SHORT)] {
                let refused = ApprovedDecision::verify(&facts(diff, &digest), &experiment());
                assert!(matches!(refused, Err(NotApproved::AnotherDiff(_))), "{diff}");
            }
        }
        // Nor does a digest of another change than the one shown.
        let long = SHORT.replace("short", "long");
        let refused = ApprovedDecision::verify(&facts(SHORT, &digest_of(&long)), &experiment());
        assert!(matches!(refused, Err(NotApproved::AnotherDiff(_))));
    }
}
