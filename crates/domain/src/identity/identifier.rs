//! What names a subject.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::MAX_ID_BYTES;

/// Longest name of a kind, in bytes.
const MAX_KIND_BYTES: usize = 50;

/// Kind of an identifier: `user_id`, `anonymous_id`, `email`, `phone` or a name
/// of the project's own, 1 to 50 lower-case letters, digits and underscores that
/// begin with a letter.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentifierKind(String);

/// A text is no identifier, or not of its kind.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum InvalidIdentifier {
    /// The kind is no name.
    #[error(
        "{0:?} is not a kind of identifier: use user_id, anonymous_id, email, phone or a name of \
         your own in lower-case letters, digits and underscores"
    )]
    Kind(String),
    /// The value is empty, too long or holds U+0000.
    #[error("an identifier has 1 to {MAX_ID_BYTES} bytes and no U+0000")]
    Value,
}

impl IdentifierKind {
    /// Name of the kind of known persons.
    pub const USER_ID: &'static str = "user_id";
    /// Name of the kind of devices and sessions.
    pub const ANONYMOUS_ID: &'static str = "anonymous_id";

    /// Known persons.
    pub fn user_id() -> Self {
        Self(Self::USER_ID.to_owned())
    }

    /// Devices and sessions.
    pub fn anonymous_id() -> Self {
        Self(Self::ANONYMOUS_ID.to_owned())
    }

    /// The kind as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether events carry identifiers of this kind as their actor.
    pub fn is_actor(&self) -> bool {
        matches!(self.as_str(), Self::USER_ID | Self::ANONYMOUS_ID)
    }
}

impl FromStr for IdentifierKind {
    type Err = InvalidIdentifier;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.len() <= MAX_KIND_BYTES
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIdentifier::Kind(text.to_owned()))
        }
    }
}

impl TryFrom<String> for IdentifierKind {
    type Error = InvalidIdentifier;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IdentifierKind> for String {
    fn from(kind: IdentifierKind) -> Self {
        kind.0
    }
}

impl fmt::Display for IdentifierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One identifier: `user_id:ada`. The same text of two kinds is two identifiers.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Identifier {
    /// Its kind.
    pub kind: IdentifierKind,
    /// Its value, in the form [`Identifier::new`] gives it.
    pub value: String,
}

impl Identifier {
    /// An identifier in its one form: an email address in lower case and without
    /// surrounding space, a phone number as its digits with a leading plus if it
    /// has one, everything else as it is.
    ///
    /// # Errors
    /// When the value is empty, too long or holds U+0000.
    pub fn new(kind: IdentifierKind, value: &str) -> Result<Self, InvalidIdentifier> {
        let value = match kind.as_str() {
            "email" => value.trim().to_lowercase(),
            "phone" => {
                let trimmed = value.trim();
                let plus = if trimmed.starts_with('+') { "+" } else { "" };
                let digits: String = trimmed.chars().filter(char::is_ascii_digit).collect();
                if digits.is_empty() { trimmed.to_owned() } else { format!("{plus}{digits}") }
            }
            _ => value.to_owned(),
        };
        if value.is_empty() || value.len() > MAX_ID_BYTES || value.contains('\0') {
            return Err(InvalidIdentifier::Value);
        }
        Ok(Self { kind, value })
    }

    /// A known person.
    pub fn user(value: impl Into<String>) -> Self {
        Self { kind: IdentifierKind::user_id(), value: value.into() }
    }

    /// A device or session.
    pub fn anonymous(value: impl Into<String>) -> Self {
        Self { kind: IdentifierKind::anonymous_id(), value: value.into() }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

/// Reads `kind:value`.
impl FromStr for Identifier {
    type Err = InvalidIdentifier;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, value) =
            text.split_once(':').ok_or_else(|| InvalidIdentifier::Kind(text.to_owned()))?;
        Self::new(kind.parse()?, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_one_form() {
        let of = |text: &str| text.parse::<Identifier>().unwrap().to_string();
        assert_eq!(of("email: Ada@Example.COM "), "email:ada@example.com");
        assert_eq!(of("phone:+44 (0)20-7946"), "phone:+440207946");
        assert_eq!(of("user_id:Ada:1"), "user_id:Ada:1");
        for bad in ["ada", "User:ada", "user_id:", ":x", "9x:y"] {
            assert!(bad.parse::<Identifier>().is_err(), "{bad}");
        }
    }
}
