//! What is left of an event when its subject is forgotten: that it happened, when
//! and where, with its numbers; not whose it was nor what was said. And of what
//! others wrote about the subject: the text without its identifiers.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Properties without what is personal, as JSON text. `personal` names the
/// top-level properties that a contract tags; without tags, every text goes,
/// because it may hold anything. Numbers and truths stay.
///
/// Properties that are not a JSON object lose everything.
pub fn without_personal(properties: &str, personal: Option<&BTreeSet<String>>) -> String {
    let Ok(Value::Object(properties)) = serde_json::from_str(properties) else {
        return "{}".to_owned();
    };
    let left = match personal {
        Some(personal) => {
            properties.into_iter().filter(|(name, _)| !personal.contains(name)).collect()
        }
        None => without_texts(properties),
    };
    Value::Object(left).to_string()
}

fn without_texts(object: Map<String, Value>) -> Map<String, Value> {
    object.into_iter().filter_map(|(name, value)| Some((name, left_of(value)?))).collect()
}

fn left_of(value: Value) -> Option<Value> {
    match value {
        Value::String(_) => None,
        Value::Array(values) => {
            Some(Value::Array(values.into_iter().filter_map(left_of).collect()))
        }
        Value::Object(object) => Some(Value::Object(without_texts(object))),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value),
    }
}

/// Whether a text names an identifier: the identifier stands in it on its own,
/// not as a part of a longer word.
pub fn names(text: &[u8], identifier: &str) -> bool {
    let wanted = identifier.as_bytes();
    !wanted.is_empty()
        && text.windows(wanted.len()).enumerate().any(|(start, found)| {
            found == wanted && stands_alone(text, start, start + wanted.len())
        })
}

fn stands_alone(text: &[u8], start: usize, end: usize) -> bool {
    let word = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
    };
    !word(start.checked_sub(1).and_then(|before| text.get(before))) && !word(text.get(end))
}

/// An identifier of a forgotten subject, and what stands in its place everywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Renaming {
    /// Kind of the identifier.
    pub kind: String,
    /// Its value.
    pub value: String,
    /// The pseudonym.
    pub pseudonym: String,
}

/// A text without the identifiers; `None` when it names none. A text that is an
/// identifier is replaced whatever it is. Within a longer text an identifier is
/// replaced where it stands on its own, if it is long enough to mean somebody: at
/// least four characters, or six when they are digits. `7` in "7 days" is nobody.
pub fn renamed(text: &str, renamings: &[Renaming]) -> Option<String> {
    if let Some(whole) = renamings.iter().find(|renaming| renaming.value == text) {
        return (!text.is_empty()).then(|| whole.pseudonym.clone());
    }
    let mut telling: Vec<&Renaming> =
        renamings.iter().filter(|renaming| means_somebody(&renaming.value)).collect();
    // One may be a part of another.
    telling.sort_by_key(|renaming| std::cmp::Reverse(renaming.value.len()));
    let mut left: Option<String> = None;
    for renaming in telling {
        let before = left.as_deref().unwrap_or(text);
        if let Some(replaced) = replaced(before, renaming) {
            left = Some(replaced);
        }
    }
    left
}

fn means_somebody(identifier: &str) -> bool {
    let least = if identifier.bytes().all(|byte| byte.is_ascii_digit()) { 6 } else { 4 };
    identifier.chars().count() >= least
}

fn replaced(text: &str, renaming: &Renaming) -> Option<String> {
    let mut left = String::new();
    let mut copied = 0;
    for (start, found) in text.match_indices(renaming.value.as_str()) {
        let end = start + found.len();
        if stands_alone(text.as_bytes(), start, end) {
            left.push_str(&text[copied..start]);
            left.push_str(&renaming.pseudonym);
            copied = end;
        }
    }
    (copied > 0).then(|| left + &text[copied..])
}

/// The texts of a JSON value without the identifiers; `None` when none names one.
/// Names of fields stay.
pub fn renamed_json(value: &Value, renamings: &[Renaming]) -> Option<Value> {
    match value {
        Value::String(text) => renamed(text, renamings).map(Value::String),
        Value::Array(values) => {
            let left: Vec<_> = values.iter().map(|value| renamed_json(value, renamings)).collect();
            left.iter().any(Option::is_some).then(|| {
                let both = left.into_iter().zip(values);
                Value::Array(
                    both.map(|(left, value)| left.unwrap_or_else(|| value.clone())).collect(),
                )
            })
        }
        Value::Object(object) => {
            let left: Vec<_> =
                object.values().map(|value| renamed_json(value, renamings)).collect();
            left.iter().any(Option::is_some).then(|| {
                let both = left.into_iter().zip(object);
                let field = |(left, (name, value)): (Option<Value>, (&String, &Value))| {
                    (name.clone(), left.unwrap_or_else(|| value.clone()))
                };
                Value::Object(both.map(field).collect())
            })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_and_numbers_stay() {
        let properties =
            r#"{"amount":12.5,"email":"a@x.io","items":[{"sku":"x","n":2},"note"],"vip":true}"#;
        assert_eq!(
            without_personal(properties, None),
            r#"{"amount":12.5,"items":[{"n":2}],"vip":true}"#
        );
        let tagged = BTreeSet::from(["email".to_owned()]);
        assert_eq!(
            without_personal(properties, Some(&tagged)),
            r#"{"amount":12.5,"items":[{"sku":"x","n":2},"note"],"vip":true}"#
        );
        assert_eq!(without_personal("no object", None), "{}");
    }

    #[test]
    fn an_identifier_is_named_when_it_stands_on_its_own() {
        for (text, named) in [
            (r#"{"user":"ada"}"#, true),
            ("ada,12,x", true),
            ("ada", true),
            ("adam", false),
            ("canada", false),
            ("ada_2", false),
            ("order-ada-7", true),
            ("", false),
        ] {
            assert_eq!(names(text.as_bytes(), "ada"), named, "{text}");
        }
        assert!(!names(b"x", ""));
    }

    fn renaming(value: &str, pseudonym: &str) -> Renaming {
        let (value, pseudonym) = (value.to_owned(), pseudonym.to_owned());
        Renaming { kind: "user_id".to_owned(), value, pseudonym }
    }

    #[test]
    fn an_identifier_is_replaced_where_it_stands_on_its_own() {
        let all = [
            renaming("ada-lovelace", "erased-x"),
            renaming("lovelace", "erased-y"),
            renaming("7", "z"),
        ];
        for (text, left) in [
            ("ada-lovelace", Some("erased-x")),
            ("7", Some("z")),
            ("she waits 7 days", None),
            ("told ada-lovelace, then lovelace.", Some("told erased-x, then erased-y.")),
            ("lovelaces", None),
            ("", None),
        ] {
            assert_eq!(renamed(text, &all).as_deref(), left, "{text}");
        }
        assert_eq!(renamed("", &[renaming("", "z")]), None);
    }

    #[test]
    fn json_keeps_its_shape() {
        let all = [renaming("ada-lovelace", "erased-x")];
        let value = serde_json::json!({
            "ada-lovelace": 1, "who": "ada-lovelace", "list": [2, "by ada-lovelace"], "n": null
        });
        let left = serde_json::json!({
            "ada-lovelace": 1, "who": "erased-x", "list": [2, "by erased-x"], "n": null
        });
        assert_eq!(renamed_json(&value, &all), Some(left));
        assert_eq!(renamed_json(&serde_json::json!([1, {"who": "grace"}]), &all), None);
    }
}
