//! What a threshold asks people to decide.

use serde::{Deserialize, Serialize};

use crate::automation::Wanted;
use crate::{ResourceName, Violations};

/// What people are asked to decide. A pause, and a scale or adjust that names what is
/// changed, is carried out when people approve; everything else is a task for the
/// owner of the threshold.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// What would happen.
    pub action: Action,
    /// The automation it would happen to. Required for pause and scale.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub automation: String,
    /// Of a scale: added to the share of the automation's holdout. Below 0 more
    /// subjects are acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout_by: Option<f64>,
    /// Of an adjust: a JSON merge patch (RFC 7396) of the automation's spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<serde_json::Value>,
}

impl Decision {
    /// What would become of the automation's definition; `None` when that stays as it
    /// is.
    pub fn wanted(&self) -> Option<Wanted> {
        match self.action {
            Action::Scale => self.holdout_by.map(Wanted::HoldoutBy),
            Action::Adjust => self.change.clone().map(Wanted::Patch),
            Action::Pause | Action::Investigate => None,
        }
    }

    /// Notes every field that breaks a rule, below `decision`.
    pub(super) fn check(&self, found: &mut Violations) {
        if !self.automation.is_empty() {
            found.parse::<ResourceName>("decision.automation", &self.automation);
        } else if matches!(self.action, Action::Pause | Action::Scale) {
            found.push("decision.automation", "is required for pause and scale");
        }
        self.check_change(found);
    }

    fn check_change(&self, found: &mut Violations) {
        if let Some(by) = self.holdout_by {
            found.require(
                self.action == Action::Scale,
                "decision.holdout_by",
                "must be empty unless the action is scale",
            );
            found.require(
                by != 0.0 && by > -1.0 && by < 1.0,
                "decision.holdout_by",
                "must lie between -1 and 1, and not be 0: -0.1 acts on a tenth more",
            );
        }
        if let Some(change) = &self.change {
            found.require(
                self.action == Action::Adjust && !self.automation.is_empty(),
                "decision.change",
                "must be empty unless an automation is adjusted",
            );
            found.require(
                change.as_object().is_some_and(|change| !change.is_empty()),
                "decision.change",
                "must name the fields of the automation's spec that change",
            );
        }
    }

    /// Whether an approval is carried out by the suite. Otherwise people are given a
    /// task.
    pub fn is_carried_out(&self) -> bool {
        self.action == Action::Pause || self.wanted().is_some()
    }
}

/// What would happen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The automation is paused.
    Pause,
    /// The automation gets more of what it acts on.
    Scale,
    /// What is done is changed.
    Adjust,
    /// Somebody finds out why.
    Investigate,
}

impl Action {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Scale => "scale",
            Self::Adjust => "adjust",
            Self::Investigate => "investigate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_belongs_to_its_action() {
        let decided = |decision: &str| {
            let decision: Decision = serde_norway::from_str(decision).unwrap();
            let mut found = Violations::new();
            decision.check(&mut found);
            let fields = found.into_iter().map(|violation| violation.field).collect::<Vec<_>>();
            (fields, decision.is_carried_out())
        };
        for (decision, carried_out) in [
            ("{action: pause, automation: nudge}", true),
            ("{action: scale, automation: nudge, holdout_by: -0.1}", true),
            ("{action: adjust, automation: nudge, change: {holdout: 0.2}}", true),
            ("{action: scale, automation: nudge}", false),
            ("{action: adjust, automation: nudge}", false),
            ("{action: investigate}", false),
        ] {
            assert_eq!(decided(decision), (vec![], carried_out), "{decision}");
        }
        for (decision, field) in [
            ("{action: scale, automation: nudge, holdout_by: 0}", "decision.holdout_by"),
            ("{action: scale, automation: nudge, holdout_by: -1}", "decision.holdout_by"),
            ("{action: pause, automation: nudge, holdout_by: 0.1}", "decision.holdout_by"),
            ("{action: adjust, automation: nudge, change: {}}", "decision.change"),
            ("{action: adjust, change: {holdout: 0.2}}", "decision.change"),
            ("{action: investigate, change: {holdout: 0.2}}", "decision.change"),
        ] {
            assert_eq!(decided(decision).0, [field], "{decision}");
        }
    }
}
