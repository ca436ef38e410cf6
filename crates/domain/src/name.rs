//! Names of resources: what people write in YAML and on the command line.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of a pillar, metric, KPI, automation, experiment or policy, unique
/// within its project and kind: 1 to 63 lower-case letters, digits and dashes,
/// beginning with a letter and not ending with a dash (an RFC 1035 label, as
/// Kubernetes names its resources).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName(String);

/// A text is not a resource name.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "{0:?} is not a name: use 1 to 63 lower-case letters, digits and dashes, \
     beginning with a letter and not ending with a dash"
)]
pub struct InvalidName(pub String);

impl ResourceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let valid = (1..=63).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes[bytes.len() - 1] != b'-'
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidName(text.to_owned())) }
    }
}

impl TryFrom<String> for ResourceName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ResourceName> for String {
    fn from(name: ResourceName) -> Self {
        name.0
    }
}

/// So that a map by name is searched by text.
impl Borrow<str> for ResourceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::ResourceName;

    #[test]
    fn a_name_is_a_dns_label() {
        for good in ["a", "weekly-active-users", "kpi2"] {
            assert!(good.parse::<ResourceName>().is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "A", "2fast", "trailing-", "under_score", "ü", long.as_str()] {
            assert!(bad.parse::<ResourceName>().is_err(), "{bad}");
        }
    }
}
