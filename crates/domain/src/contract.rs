//! The rule that events of one name keep.

mod change;
mod compatibility;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::Violation;
use crate::consent::Consent;
use crate::event::MAX_ID_BYTES;

pub use change::{
    ACTION, Decided, EventUse, NotApproved, Refusal, affects, change_diff, check_version, subject,
};
pub use compatibility::{Change, Compatibility, compare};
pub use version::{Bump, InvalidSchemaVersion, SchemaVersion};

/// Most bytes of a contract's JSON Schema.
pub const MAX_SCHEMA_BYTES: usize = 256 * 1024;
/// Most properties that may have rules of their own.
pub const MAX_PROPERTY_RULES: usize = 1000;
/// Most versions a contract may supersede.
pub const MAX_SUPERSEDED: usize = 32;
/// The property by which an event names the version of its contract that its
/// producer was built for, for example `"1-0-2"`. It is not held against the
/// schema.
pub const VERSION_PROPERTY: &str = "$schema_version";
const MAX_TEXT_BYTES: usize = 4096;
const MAX_TAG_BYTES: usize = 63;

/// What happens to an event that breaks a rule.
/// The later of two modes is the stricter one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContractMode {
    /// It is accepted, and counted.
    Observe,
    /// It is accepted without the properties at fault, which are kept aside. An
    /// event that cannot be mended so waits in quarantine.
    Omit,
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
            Self::Omit => "omit",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// A text names no mode.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a mode: use observe, omit, quarantine or reject")]
pub struct UnknownMode(pub String);

impl FromStr for ContractMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Observe, Self::Omit, Self::Quarantine, Self::Reject]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| UnknownMode(text.to_owned()))
    }
}

/// What becomes of an event that lies more than 24 hours ahead.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FutureRule {
    /// It counts at the time of its receipt.
    #[default]
    Clamp,
    /// It waits in quarantine.
    Quarantine,
}

impl FutureRule {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a contract says about one property, beside its schema.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PropertyRule {
    /// What happens when this property breaks the schema or is not planned;
    /// `None` leaves that to the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ContractMode>,
    /// Kind of personal data it holds, for example `email`; empty when it holds
    /// none. Erasure removes the values of tagged properties.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pii: String,
    /// Purposes it may be used for, for example `analytics`; none given means
    /// any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<String>,
    /// Only a pseudonym of its value is kept: equal values stay equal, and nothing
    /// leads back from them without the key of the service.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pseudonym: bool,
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
    /// What happens to an event with properties that the root of the schema does
    /// not name; `None` lets them pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unplanned_properties: Option<ContractMode>,
    /// Older versions whose clients are still welcome: an event that names one
    /// of them is held against this version, and an event that fails this
    /// version is accepted when it keeps one of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub supersedes: BTreeSet<SchemaVersion>,
    /// Rules for single properties, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, PropertyRule>,
    /// Events that happened longer than this before their receipt are accepted
    /// and flagged as late; `None` flags none.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub late_after: Option<TimeDelta>,
    /// What becomes of an event from the future.
    #[serde(default, skip_serializing_if = "FutureRule::is_default")]
    pub future: FutureRule,
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
        self.check_rules(&mut found);
        found
    }

    fn check_rules(&self, found: &mut Vec<Violation>) {
        if self.supersedes.len() > MAX_SUPERSEDED {
            found.push(Violation::new(
                "supersedes",
                format!("must name at most {MAX_SUPERSEDED} versions"),
            ));
        }
        for version in &self.supersedes {
            if *version >= self.schema_version {
                found.push(Violation::new(
                    "supersedes",
                    format!("{version} is not older than {}", self.schema_version),
                ));
            }
        }
        if self.late_after.is_some_and(|horizon| horizon <= TimeDelta::zero()) {
            found.push(Violation::new("late_after", "must be longer than nothing"));
        }
        if self.properties.len() > MAX_PROPERTY_RULES {
            found.push(Violation::new(
                "properties",
                format!("must have at most {MAX_PROPERTY_RULES} rules"),
            ));
        }
        for (name, rule) in &self.properties {
            let field = format!("properties.{name}");
            if !(1..=MAX_ID_BYTES).contains(&name.len()) || name.contains('\0') {
                found.push(Violation::new(
                    &*field,
                    format!("must have a name of 1 to {MAX_ID_BYTES} bytes without U+0000"),
                ));
            }
            if !rule.pii.is_empty() && !is_tag(&rule.pii) {
                found.push(Violation::new(format!("{field}.pii"), TAG_HINT));
            }
            let schema = &self.json_schema["properties"][name]["type"];
            let is_text = |kind: &serde_json::Value| kind == "string";
            if rule.pseudonym
                && !schema.is_null()
                && !is_text(schema)
                && !schema.as_array().is_some_and(|kinds| kinds.iter().any(is_text))
            {
                found.push(Violation::new(
                    format!("{field}.pseudonym"),
                    "is a text; the schema must allow one",
                ));
            }
            if rule.purposes.len() > 32 || !rule.purposes.iter().all(|purpose| is_tag(purpose)) {
                found.push(Violation::new(format!("{field}.purposes"), TAG_HINT));
            }
        }
    }

    /// The properties that hold personal data, with the kind of it.
    pub fn personal_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties
            .iter()
            .filter(|(_, rule)| !rule.pii.is_empty())
            .map(|(name, rule)| (name.as_str(), rule.pii.as_str()))
    }

    /// Whether a property may be used for a purpose.
    pub fn allows_purpose(&self, property: &str, purpose: &str) -> bool {
        self.properties.get(property).is_none_or(|rule| {
            rule.purposes.is_empty() || rule.purposes.iter().any(|allowed| allowed == purpose)
        })
    }

    /// The properties that may not be kept of an actor who said this: those whose
    /// rule names purposes, none of which is granted. What is not said is not
    /// granted.
    pub fn withheld_properties<'a>(
        &'a self,
        said: Option<&'a Consent>,
    ) -> impl Iterator<Item = &'a str> {
        let granted = move |purpose: &String| {
            said.is_some_and(|said| {
                said.granted.contains(purpose) && !said.denied.contains(purpose)
            })
        };
        self.properties
            .iter()
            .filter(move |(_, rule)| {
                !rule.purposes.is_empty() && !rule.purposes.iter().any(granted)
            })
            .map(|(name, _)| name.as_str())
    }

    /// The properties of which only a pseudonym is kept.
    pub fn concealed_properties(&self) -> impl Iterator<Item = &str> {
        self.properties.iter().filter(|(_, rule)| rule.pseudonym).map(|(name, _)| name.as_str())
    }

    /// Changes with every change of the contract.
    pub fn etag(&self) -> String {
        let document = serde_json::to_vec(self).expect("a contract's keys are strings");
        hex::encode(&Sha256::digest(document)[..8])
    }
}

const TAG_HINT: &str = "must be lower-case letters, digits and underscores, at most 63 bytes";

fn is_tag(text: &str) -> bool {
    (1..=MAX_TAG_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_a_contract_are_checked() {
        let spec: ContractSpec = serde_norway::from_str(
            "schema_version: 2-0-0
mode: omit
owner: growth
json_schema:
  type: object
  properties: {seats: {type: integer}, name: {type: [string, 'null']}}
unplanned_properties: omit
supersedes: [1-0-0, 2-0-0]
properties:
  email: {pii: email, purposes: [analytics], mode: reject}
  phone: {pii: A Phone, pseudonym: true}
  name: {pseudonym: true}
  seats: {pseudonym: true}
late_after: 30d
future: quarantine
",
        )
        .unwrap();
        let fields: Vec<_> = spec.violations("a").into_iter().map(|found| found.field).collect();
        assert_eq!(fields, ["supersedes", "properties.phone.pii", "properties.seats.pseudonym"]);
        assert_eq!(spec.concealed_properties().collect::<Vec<_>>(), ["name", "phone", "seats"]);
        let personal: Vec<_> = spec.personal_properties().collect();
        assert_eq!(personal, [("email", "email"), ("phone", "A Phone")]);
        assert!(spec.allows_purpose("email", "analytics"));
        assert!(!spec.allows_purpose("email", "marketing"));
        assert!(spec.allows_purpose("phone", "marketing"));
        let text = serde_norway::to_string(&spec).unwrap();
        assert_eq!(serde_norway::from_str::<ContractSpec>(&text).unwrap(), spec);
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
