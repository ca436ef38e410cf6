//! Values of which only a pseudonym is kept: equal values of a project stay equal,
//! so that they can be counted and joined, and nothing leads back from one without
//! the key.

use std::fmt;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use northstar_domain::ProjectId;
use ring::hmac;
use serde_json::Value;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// What a pseudonym begins with.
const PREFIX: &str = "pn_";
/// Bytes of the code that are kept: 2^64 values before two of them meet.
const CODE_BYTES: usize = 16;

/// The key that pseudonyms are made with: HMAC-SHA-256
/// ([RFC 2104](https://www.rfc-editor.org/rfc/rfc2104)).
#[derive(Clone)]
pub struct PseudonymKey(hmac::Key);

impl PseudonymKey {
    /// Reads a key: 32 bytes in base64, as `openssl rand -base64 32` makes them.
    /// `None` when the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text.trim()).ok()?;
        (bytes.len() == KEY_BYTES).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A key for judging events that are not kept.
    pub(crate) fn of_nobody() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &[0; KEY_BYTES]))
    }

    /// The pseudonym of a value. A number and the text that writes it have one. What
    /// is one already stays as it is, so that an export can be imported.
    pub(crate) fn of(&self, project: ProjectId, value: &Value) -> Value {
        let text = match value {
            Value::Null => return Value::Null,
            Value::String(text) if is_pseudonym(text) => return value.clone(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&project.0.to_be_bytes());
        context.update(text.as_bytes());
        let code = context.sign();
        let code = BASE64_URL_SAFE_NO_PAD.encode(&code.as_ref()[..CODE_BYTES]);
        Value::String(format!("{PREFIX}{code}"))
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey(..)")
    }
}

fn is_pseudonym(text: &str) -> bool {
    let code = text.strip_prefix(PREFIX).map(|code| BASE64_URL_SAFE_NO_PAD.decode(code));
    code.is_some_and(|code| code.is_ok_and(|code| code.len() == CODE_BYTES))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_of_a_project_have_one_pseudonym_under_one_key() {
        let key = |byte: u8| PseudonymKey::parse(&BASE64_STANDARD.encode([byte; 32])).unwrap();
        let of = |value: Value| key(1).of(ProjectId(1), &value);
        let ada = of(json!("ada@example.com"));
        assert_eq!(of(json!("ada@example.com")), ada);
        assert_eq!(of(ada.clone()), ada, "once is enough");
        assert_ne!(of(json!("bob@example.com")), ada);
        assert_ne!(key(1).of(ProjectId(2), &json!("ada@example.com")), ada);
        assert_ne!(key(2).of(ProjectId(1), &json!("ada@example.com")), ada);
        assert_eq!(of(json!(42)), of(json!("42")));
        assert_eq!(of(json!(null)), json!(null));
        assert!(is_pseudonym(ada.as_str().unwrap()), "{ada}");
        assert!(!is_pseudonym("pn_ada"));
        assert_ne!(of(json!("pn_ada")), json!("pn_ada"));
    }

    #[test]
    fn a_key_is_32_bytes_in_base64_and_is_not_shown() {
        assert!(PseudonymKey::parse("hunter2").is_none());
        assert_eq!(format!("{:?}", PseudonymKey::of_nobody()), "PseudonymKey(..)");
    }
}
