//! Policies: who decides about an action, how many, in what time.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ResourceName, Role, Violations};

/// Longest owner, in bytes.
const OWNER_LIMIT: usize = 100;
/// Most approvals a policy may ask for.
const QUORUM_LIMIT: u32 = 100;

/// What a decision lets happen, for example `automation.activate`: two or more
/// words of lower-case letters, digits, dashes and underscores, joined by dots;
/// at most 100 bytes.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActionName(String);

/// A text names no action.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "{0:?} is not an action: write lower-case words joined by dots, for example \
     automation.activate"
)]
pub struct InvalidActionName(pub String);

impl ActionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ActionName {
    /// The action whose policy holds where this one has none of its own. A changed
    /// definition that is approved acts at once, so that a change is not easier to
    /// approve than an activation unless an admin says so.
    pub fn ruled_by(&self) -> Option<&'static str> {
        matches!(self.as_str(), "automation.scale" | "automation.adjust")
            .then_some("automation.activate")
    }
}

impl FromStr for ActionName {
    type Err = InvalidActionName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        };
        let valid = text.len() <= 100 && text.contains('.') && text.split('.').all(word);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidActionName(text.to_owned())) }
    }
}

impl TryFrom<String> for ActionName {
    type Error = InvalidActionName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ActionName> for String {
    fn from(name: ActionName) -> Self {
        name.0
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The role a person needs to give a verdict.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeciderRole {
    /// Approvers, and so admins too.
    Approver,
    /// Admins only.
    Admin,
}

/// A text names no role that decides.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a role that decides: use approver or admin")]
pub struct UnknownDeciderRole(pub String);

impl From<DeciderRole> for Role {
    fn from(role: DeciderRole) -> Self {
        match role {
            DeciderRole::Approver => Self::Approver,
            DeciderRole::Admin => Self::Admin,
        }
    }
}

impl FromStr for DeciderRole {
    type Err = UnknownDeciderRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "approver" => Ok(Self::Approver),
            "admin" => Ok(Self::Admin),
            _ => Err(UnknownDeciderRole(text.to_owned())),
        }
    }
}

impl fmt::Display for DeciderRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Role::from(*self).as_str())
    }
}

/// A policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: ResourceName,
    /// What it says.
    pub spec: PolicySpec,
}

/// What a policy says; the `spec` of a `kind: Policy` document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// The action it rules; one policy per action.
    pub action: ActionName,
    /// Role a person needs to give a verdict.
    pub role: DeciderRole,
    /// Approvals needed, 1 to 100.
    pub quorum: u32,
    /// Time to decide, a minute to 366 days; after it the request expires.
    #[serde(with = "crate::duration")]
    pub sla: TimeDelta,
    /// Who answers for it.
    pub owner: String,
}

/// What a decision request takes from the policy when it is asked; a later
/// change of the policy does not touch it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Role a person needs to give a verdict.
    pub role: DeciderRole,
    /// Approvals needed.
    pub quorum: u32,
    /// Time to decide.
    pub sla: TimeDelta,
}

impl Terms {
    /// What holds for an action without a policy: one approver within 72 hours.
    pub const DEFAULT: Self =
        Self { role: DeciderRole::Approver, quorum: 1, sla: TimeDelta::hours(72) };
}

impl PolicySpec {
    /// Everything that is wrong with it; field paths begin at the spec.
    pub fn violations(&self) -> Violations {
        let mut violations = Violations::new();
        violations.require(
            (1..=QUORUM_LIMIT).contains(&self.quorum),
            "quorum",
            "must lie between 1 and 100",
        );
        violations.require(
            self.sla >= TimeDelta::minutes(1) && self.sla <= TimeDelta::days(366),
            "sla",
            "must lie between one minute and 366 days",
        );
        violations.require_text("owner", &self.owner, OWNER_LIMIT);
        violations
    }

    /// What a decision request takes from it.
    pub fn terms(&self) -> Terms {
        Terms { role: self.role, quorum: self.quorum, sla: self.sla }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::{ActionName, DeciderRole, PolicySpec};

    #[test]
    fn an_action_is_lower_case_words_joined_by_dots() {
        for good in ["automation.activate", "experiment.ship", "a.b-c.d_2"] {
            assert!(good.parse::<ActionName>().is_ok(), "{good}");
        }
        for bad in ["", "ship", "Experiment.ship", "experiment.", ".ship", "a..b", "a.2b", "a.b c"]
        {
            assert!(bad.parse::<ActionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_document_reads_as_people_write_it() {
        let spec: PolicySpec = serde_norway::from_str(
            "{action: experiment.ship, role: admin, quorum: 2, sla: 48h, owner: growth}",
        )
        .unwrap();
        assert_eq!(spec.role, DeciderRole::Admin);
        assert_eq!(spec.sla, TimeDelta::hours(48));
        assert!(spec.violations().is_empty());
        let unknown = "{action: a.b, role: admin, quorum: 2, sla: 48h, owner: x, bypass: true}";
        assert!(serde_norway::from_str::<PolicySpec>(unknown).is_err());
    }

    #[test]
    fn a_policy_without_quorum_time_or_owner_is_refused_at_once() {
        let spec = PolicySpec {
            action: "experiment.ship".parse().unwrap(),
            role: DeciderRole::Approver,
            quorum: 0,
            sla: TimeDelta::seconds(59),
            owner: String::new(),
        };
        let violations = spec.violations();
        let fields: Vec<_> = violations.as_slice().iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["quorum", "sla", "owner"]);
    }
}
