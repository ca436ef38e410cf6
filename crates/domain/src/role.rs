//! Roles of API keys and which role may do what another may.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the holder of an API key may do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends events, nothing else.
    Ingest,
    /// Reads definitions and answers.
    Viewer,
    /// Also reads raw events and changes metrics and drafts.
    Analyst,
    /// Also starts, stops and pauses; sends events.
    Operator,
    /// Reads, and decides decision requests.
    Approver,
    /// Everything, API keys and policies too.
    Admin,
}

/// A text names no role.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a role: use ingest, viewer, analyst, operator, approver or admin")]
pub struct UnknownRole(pub String);

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Ingest, Self::Viewer, Self::Analyst, Self::Operator, Self::Approver, Self::Admin];

    /// Whether a holder of this role may do what needs `required`.
    ///
    /// Operators include analysts, who include viewers. Approvers include
    /// viewers only: who operates does not decide. Operators may send events.
    pub fn allows(self, required: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Operator => {
                matches!(required, Self::Ingest | Self::Viewer | Self::Analyst | Self::Operator)
            }
            Self::Analyst => matches!(required, Self::Viewer | Self::Analyst),
            Self::Approver => matches!(required, Self::Viewer | Self::Approver),
            Self::Viewer | Self::Ingest => self == required,
        }
    }

    /// The role as text, as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Viewer => "viewer",
            Self::Analyst => "analyst",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn only_admin_and_approver_decide() {
        let deciders: Vec<_> =
            Role::ALL.into_iter().filter(|role| role.allows(Role::Approver)).collect();
        assert_eq!(deciders, [Role::Approver, Role::Admin]);
    }

    #[test]
    fn an_ingest_key_reads_nothing() {
        for required in Role::ALL {
            assert_eq!(Role::Ingest.allows(required), required == Role::Ingest, "{required}");
        }
    }

    #[test]
    fn a_role_reads_back_from_its_text() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
    }
}
