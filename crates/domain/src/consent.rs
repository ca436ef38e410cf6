//! What an actor agreed to, by purpose, as an event carries it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::event::{Fault, Reason, check_text};

/// Most bytes of the name of a purpose.
pub const MAX_PURPOSE_BYTES: usize = 100;
/// Most purposes that one event may name.
pub const MAX_PURPOSES: usize = 100;

/// What an actor agreed to. A purpose in neither set was not asked.
///
/// Its text form is JSON with sorted purposes, `{"granted":["a"],"denied":["b"]}`, so equal consents are equal
/// texts; an event that says nothing has the empty text.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// Purposes agreed to.
    pub granted: BTreeSet<String>,
    /// Purposes refused.
    pub denied: BTreeSet<String>,
}

impl Consent {
    /// The consent that says so.
    ///
    /// # Errors
    /// When a purpose is empty, too long, named on both sides, holds U+0000, or there are too many.
    pub fn new<'a>(
        granted: impl IntoIterator<Item = &'a str>,
        denied: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Fault> {
        let purposes = |field, purposes: &mut dyn Iterator<Item = &'a str>| {
            let mut checked = BTreeSet::new();
            for purpose in purposes {
                if purpose.is_empty() {
                    return Err(Fault::new(Reason::InvalidConsent, field, "a purpose has a name"));
                }
                check_text(field, purpose, MAX_PURPOSE_BYTES)?;
                checked.insert(purpose.to_owned());
                if checked.len() > MAX_PURPOSES {
                    let message = format!("names more than {MAX_PURPOSES} purposes");
                    return Err(Fault::new(Reason::InvalidConsent, field, message));
                }
            }
            Ok(checked)
        };
        let granted = purposes("consent.granted_purposes", &mut granted.into_iter())?;
        let denied = purposes("consent.denied_purposes", &mut denied.into_iter())?;
        if let Some(both) = granted.intersection(&denied).next() {
            let message = format!("`{both}` is both granted and denied");
            return Err(Fault::new(Reason::InvalidConsent, "consent.denied_purposes", message));
        }
        if granted.len() + denied.len() > MAX_PURPOSES {
            let message = format!("names more than {MAX_PURPOSES} purposes");
            return Err(Fault::new(Reason::InvalidConsent, "consent", message));
        }
        Ok(Self { granted, denied })
    }

    /// The text form.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("sets of texts are JSON")
    }

    /// Reads the text form; `None` for the empty text, which says nothing.
    ///
    /// # Errors
    /// When the text is no consent.
    pub fn from_text(text: &str) -> serde_json::Result<Option<Self>> {
        if text.is_empty() { Ok(None) } else { serde_json::from_str(text).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_consents_are_equal_texts_and_read_back() {
        let one = Consent::new(["b", "a", "a"], ["c"]).unwrap();
        let other = Consent::new(["a", "b"], ["c"]).unwrap();
        assert_eq!(one.to_text(), other.to_text());
        assert_eq!(one.to_text(), r#"{"granted":["a","b"],"denied":["c"]}"#);
        assert_eq!(Consent::from_text(&one.to_text()).unwrap(), Some(one));
        assert_eq!(Consent::from_text("").unwrap(), None);
        assert!(Consent::from_text("{").is_err());
    }

    #[test]
    fn a_consent_that_contradicts_itself_or_never_ends_is_refused() {
        let field = |granted: &[&str], denied: &[&str]| {
            Consent::new(granted.iter().copied(), denied.iter().copied()).unwrap_err().field
        };
        assert_eq!(field(&["a"], &["a"]), "consent.denied_purposes");
        assert_eq!(field(&[""], &[]), "consent.granted_purposes");
        let long = "x".repeat(MAX_PURPOSE_BYTES + 1);
        assert_eq!(field(&[], &[&long]), "consent.denied_purposes");
        let many: Vec<String> = (0..60).map(|number| number.to_string()).collect();
        let others: Vec<String> = (60..120).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        assert_eq!(field(&many, &others), "consent");
    }
}
