//! JSON with one spelling, so that equal documents have equal digests: keys
//! sorted by their bytes, no white space, numbers and strings as `serde_json`
//! writes them.
//!
//! Numbers beyond 64-bit integers become the nearest double; `1` and `1.0` stay
//! different. Of a repeated key the last value counts.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// SHA-256 of a canonical document.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Digest([u8; 32]);

/// A text is not a digest.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a digest: it has 64 lower-case hexadecimal digits")]
pub struct InvalidDigest(pub String);

impl Digest {
    /// A digest read back from where it was kept; `None` unless it has 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDigest(text.to_owned());
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid());
        }
        let bytes = hex::decode(text).map_err(|_| invalid())?;
        Self::from_bytes(&bytes).ok_or_else(invalid)
    }
}

/// Writes a value canonically.
pub fn to_string(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, &mut text);
    text
}

/// SHA-256 of the canonical spelling of a value.
pub fn digest(value: &Value) -> Digest {
    digest_of_text(&to_string(value))
}

/// SHA-256 of a text that is canonical already.
pub fn digest_of_text(canonical: &str) -> Digest {
    Digest(Sha256::digest(canonical).into())
}

// The depth of a parsed value is limited by serde_json to 128, so recursion is
// safe.
fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut keys: Vec<_> = fields.keys().collect();
            keys.sort_unstable();
            text.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_value(&fields[key], text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Digest, digest, to_string};

    #[test]
    fn equal_documents_have_one_spelling() {
        let one: Value =
            serde_json::from_str(r#"{"b": [1, {"d":null,"c":"é\n"}], "a": 0.5}"#).unwrap();
        let other: Value =
            serde_json::from_str(r#"{"a":5e-1,"b":[1,{"c":"\u00e9\u000a","d":null}]}"#).unwrap();
        assert_eq!(to_string(&one), "{\"a\":0.5,\"b\":[1,{\"c\":\"é\\n\",\"d\":null}]}");
        assert_eq!(digest(&one), digest(&other));
    }

    #[test]
    fn the_order_of_a_list_counts() {
        assert_ne!(digest(&json!([1, 2])), digest(&json!([2, 1])));
    }

    #[test]
    fn a_digest_is_sha_256_of_the_canonical_bytes() {
        // printf '{"a":1}' | sha256sum
        let expected = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862";
        assert_eq!(digest(&json!({"a": 1})).to_string(), expected);
        assert_eq!(expected.parse(), Ok(digest(&json!({"a": 1}))));
        assert!("015abd".parse::<Digest>().is_err());
        assert!(expected.to_uppercase().parse::<Digest>().is_err());
    }
}
