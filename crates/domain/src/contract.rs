//! The rule that events of one name keep.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::Violation;
use crate::event::MAX_ID_BYTES;

/// Most bytes of a contract's JSON Schema.
pub const MAX_SCHEMA_BYTES: usize = 256 * 1024;
const MAX_TEXT_BYTES: usize = 4096;

/// What happens to an event that breaks its contract.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContractMode {
    /// It is accepted, and counted.
    Observe,
    /// It waits in quarantine, whole.
    Quarantine,
    /// It is refused.
    Reject,
}

impl ContractMode {
    /// The mode as text, as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// A text names no mode.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a mode: use observe, quarantine or reject")]
pub struct UnknownMode(pub String);

impl FromStr for ContractMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Observe, Self::Quarantine, Self::Reject]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| UnknownMode(text.to_owned()))
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

/// The body of a `kind: Contract` document; the event's name is its name.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ContractSpec {
    /// Version of the schema.
    pub schema_version: SchemaVersion,
    /// What happens on violation.
    pub mode: ContractMode,
    /// Who answers for it.
    pub owner: String,
    /// What the event means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// JSON Schema 2020-12 of the properties.
    pub json_schema: serde_json::Value,
}

impl ContractSpec {
    /// Everything that is wrong with the contract of `name`, apart from whether
    /// the schema is one, which needs a validator.
    pub fn violations(&self, name: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut bounded = |field: &str, text: &str, least: usize, most: usize| {
            if !(least..=most).contains(&text.len()) || text.contains('\0') {
                found.push(Violation::new(
                    field,
                    format!("must have {least} to {most} bytes and no U+0000"),
                ));
            }
        };
        bounded("name", name, 1, MAX_ID_BYTES);
        bounded("owner", &self.owner, 1, MAX_ID_BYTES);
        bounded("description", &self.description, 0, MAX_TEXT_BYTES);
        bounded("json_schema", &self.json_schema.to_string(), 2, MAX_SCHEMA_BYTES);
        if !self.json_schema.is_object() {
            found.push(Violation::new("json_schema", "must be an object: a JSON Schema 2020-12"));
        }
        found
    }

    /// Changes with every change of the contract.
    pub fn etag(&self) -> String {
        let document = serde_json::to_vec(self).expect("a contract's keys are strings");
        hex::encode(&Sha256::digest(document)[..8])
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
    fn a_document_is_read_strictly() {
        let spec: ContractSpec = serde_norway::from_str(
            "schema_version: 1-0-0\nmode: quarantine\nowner: growth\njson_schema: {type: object}\n",
        )
        .unwrap();
        assert_eq!(spec.violations("Signed Up"), []);
        assert_eq!(spec.violations("")[0].field, "name");
        assert!(serde_norway::from_str::<ContractSpec>("mode: quarantine\nowners: x\n").is_err());
        let mut other = spec.clone();
        other.mode = ContractMode::Observe;
        assert_ne!(other.etag(), spec.etag());
    }
}
