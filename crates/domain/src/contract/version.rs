//! Versions of a schema, as SchemaVer numbers them
//! (<https://docs.snowplow.io/docs/pipeline-components-and-applications/iglu/common-architecture/schemaver/>).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How much a change of a schema changes. The later of two is the larger.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bump {
    /// Nothing.
    None,
    /// All data that was valid still is.
    Addition,
    /// Some data that was valid may not be any more.
    Revision,
    /// Data that was valid as a rule is not any more.
    Model,
}

impl Bump {
    /// The bump as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Addition => "addition",
            Self::Revision => "revision",
            Self::Model => "model",
        }
    }
}

impl fmt::Display for Bump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Version of a schema, MODEL-REVISION-ADDITION: the first number grows when old
/// data no longer fits, the second when it may not, the third when all of it
/// does (SchemaVer).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SchemaVersion {
    /// From 1.
    pub model: u32,
    /// From 0.
    pub revision: u32,
    /// From 0.
    pub addition: u32,
}

/// A text is not a schema version.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a schema version: write three numbers, the first from 1, for example 1-0-0")]
pub struct InvalidSchemaVersion(pub String);

impl FromStr for SchemaVersion {
    type Err = InvalidSchemaVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSchemaVersion(text.to_owned());
        let number = |part: &str| {
            let plain = part.bytes().all(|byte| byte.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'));
            if plain { part.parse().map_err(|_| invalid()) } else { Err(invalid()) }
        };
        let mut parts = text.split('-');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(model), Some(revision), Some(addition), None) if model != "0" => Ok(Self {
                model: number(model)?,
                revision: number(revision)?,
                addition: number(addition)?,
            }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.model, self.revision, self.addition)
    }
}

impl TryFrom<String> for SchemaVersion {
    type Error = InvalidSchemaVersion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SchemaVersion> for String {
    fn from(version: SchemaVersion) -> Self {
        version.to_string()
    }
}

impl SchemaVersion {
    /// The smallest version that a change of this size leads to.
    #[must_use]
    pub fn bumped(self, bump: Bump) -> Self {
        let Self { model, revision, addition } = self;
        match bump {
            Bump::None => self,
            Bump::Addition => Self { addition: addition.saturating_add(1), ..self },
            Bump::Revision => Self { model, revision: revision.saturating_add(1), addition: 0 },
            Bump::Model => Self { model: model.saturating_add(1), revision: 0, addition: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_version_has_three_numbers() {
        for good in ["1-0-0", "2-10-3"] {
            assert_eq!(good.parse::<SchemaVersion>().unwrap().to_string(), good);
        }
        for bad in ["", "1", "1-0", "0-0-1", "01-0-0", "1-0-0-0", "1.0.0", "1-0-x", "-1-0-0"] {
            assert!(bad.parse::<SchemaVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bump_resets_what_is_smaller() {
        let version: SchemaVersion = "1-2-3".parse().unwrap();
        for (bump, expected) in [
            (Bump::None, "1-2-3"),
            (Bump::Addition, "1-2-4"),
            (Bump::Revision, "1-3-0"),
            (Bump::Model, "2-0-0"),
        ] {
            assert_eq!(version.bumped(bump).to_string(), expected);
        }
    }
}
