//! What is left of an event when its subject is forgotten: that it happened, when
//! and where, with its numbers; not whose it was nor what was said.

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
    let word = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
    };
    let wanted = identifier.as_bytes();
    !wanted.is_empty()
        && text.windows(wanted.len()).enumerate().any(|(start, found)| {
            found == wanted
                && !word(start.checked_sub(1).and_then(|before| text.get(before)))
                && !word(text.get(start + wanted.len()))
        })
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
}
