//! A contract from observed events: types, what is always there, the few values
//! a property has, and formats that all of its texts keep.

use std::collections::{BTreeMap, BTreeSet};

use northstar_domain::contract::VERSION_PROPERTY;
use serde_json::{Map, Value, json};

/// A text property with at most so many different values is an enumeration,
/// provided that each was seen often enough on average.
const MAX_VALUES: usize = 12;
const MIN_SEEN_PER_VALUE: u64 = 10;
/// Formats are said only when so many texts kept them.
const MIN_TEXTS: u64 = 10;
/// Most properties of one object that are described.
const MAX_PROPERTIES: usize = 500;
/// Deepest object that is described.
const MAX_DEPTH: usize = 6;

/// What the values of one place have in common.
#[derive(Default)]
struct Seen {
    count: u64,
    types: BTreeSet<&'static str>,
    texts: u64,
    values: BTreeSet<String>,
    /// There were more different texts than fit.
    many_values: bool,
    /// How many texts keep each of [`FORMATS`].
    kept: [u64; FORMATS.len()],
    objects: u64,
    properties: BTreeMap<String, Seen>,
    items: Option<Box<Seen>>,
}

const FORMATS: [&str; 5] = ["uuid", "date-time", "date", "email", "uri"];

/// What events of one name have in common.
pub(crate) struct Inference {
    root: Seen,
    validators: Vec<jsonschema::Validator>,
}

impl Inference {
    pub(crate) fn new() -> Self {
        let validators = FORMATS
            .iter()
            .map(|format| {
                jsonschema::options()
                    .with_draft(jsonschema::Draft::Draft202012)
                    .should_validate_formats(true)
                    .build(&json!({"format": format}))
                    .expect("a format alone is a schema")
            })
            .collect();
        Self { root: Seen::default(), validators }
    }

    /// Looks at the properties of one event.
    pub(crate) fn observe(&mut self, mut properties: Map<String, Value>) {
        properties.shift_remove(VERSION_PROPERTY);
        see(&mut self.root, &Value::Object(properties), &self.validators, 0);
    }

    /// Events looked at.
    pub(crate) fn events(&self) -> u64 {
        self.root.count
    }

    /// The schema that all of them keep.
    pub(crate) fn schema(&self) -> Value {
        let mut schema = describe(&self.root);
        if let Some(fields) = schema.as_object_mut() {
            fields.insert("type".to_owned(), json!("object"));
        }
        schema
    }
}

fn see(seen: &mut Seen, value: &Value, validators: &[jsonschema::Validator], depth: usize) {
    seen.count += 1;
    match value {
        Value::Null => _ = seen.types.insert("null"),
        Value::Bool(_) => _ = seen.types.insert("boolean"),
        Value::Number(number) => {
            _ = seen.types.insert(if number.is_f64() { "number" } else { "integer" });
        }
        Value::String(text) => {
            seen.types.insert("string");
            seen.texts += 1;
            if !seen.many_values {
                seen.values.insert(text.clone());
                if seen.values.len() > MAX_VALUES || text.len() > 64 {
                    seen.many_values = true;
                    seen.values.clear();
                }
            }
            for (kept, validator) in seen.kept.iter_mut().zip(validators) {
                // One that broke a format once needs no further look.
                if *kept + 1 == seen.texts && validator.is_valid(value) {
                    *kept += 1;
                }
            }
        }
        Value::Array(values) => {
            seen.types.insert("array");
            let items = seen.items.get_or_insert_default();
            if depth < MAX_DEPTH {
                for value in values {
                    see(items, value, validators, depth + 1);
                }
            }
        }
        Value::Object(fields) => {
            seen.types.insert("object");
            seen.objects += 1;
            if depth < MAX_DEPTH {
                for (name, value) in fields {
                    let room = seen.properties.len() < MAX_PROPERTIES;
                    if room || seen.properties.contains_key(name) {
                        let property = seen.properties.entry(name.clone()).or_default();
                        see(property, value, validators, depth + 1);
                    }
                }
            }
        }
    }
}

fn describe(seen: &Seen) -> Value {
    let mut schema = Map::new();
    let mut types = seen.types.clone();
    if types.contains("number") {
        // Every integer is a number.
        types.remove("integer");
    }
    match types.len() {
        0 => {}
        1 => _ = schema.insert("type".to_owned(), json!(types.first())),
        _ => _ = schema.insert("type".to_owned(), json!(types)),
    }
    if types.iter().eq(&["string"]) {
        let distinct = seen.values.len() as u64;
        if !seen.many_values && distinct > 0 && seen.texts >= distinct * MIN_SEEN_PER_VALUE {
            schema.insert("enum".to_owned(), json!(seen.values));
        } else if seen.texts >= MIN_TEXTS
            && let Some(index) = seen.kept.iter().position(|kept| *kept == seen.texts)
        {
            schema.insert("format".to_owned(), json!(FORMATS[index]));
        }
    }
    if !seen.properties.is_empty() {
        let required: Vec<&str> = seen
            .properties
            .iter()
            .filter(|(_, property)| property.count == seen.objects)
            .map(|(name, _)| name.as_str())
            .collect();
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        let properties: Map<String, Value> =
            seen.properties.iter().map(|(name, it)| (name.clone(), describe(it))).collect();
        schema.insert("properties".to_owned(), Value::Object(properties));
    }
    if let Some(items) = &seen.items
        && items.count > 0
    {
        schema.insert("items".to_owned(), describe(items));
    }
    Value::Object(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_what_all_events_have_in_common() {
        let mut inference = Inference::new();
        for number in 0..40 {
            let mut event = json!({
                "plan": if number % 2 == 0 { "pro" } else { "free" },
                "seats": number,
                "price": if number == 0 { json!(1) } else { json!(1.5) },
                "order": format!("order {number}"),
                "mail": format!("user{number}@example.com"),
                "tags": ["a", "b"],
                "address": {"city": "Ulm"},
                "$schema_version": "1-0-0",
            });
            if number == 7 {
                event["seats"] = Value::Null;
                event.as_object_mut().unwrap().shift_remove("mail");
            }
            let Value::Object(event) = event else { unreachable!() };
            inference.observe(event);
        }
        let schema = inference.schema();
        assert_eq!(schema["type"], "object");
        let required = json!(["address", "order", "plan", "price", "seats", "tags"]);
        assert_eq!(schema["required"], required);
        let properties = &schema["properties"];
        assert_eq!(properties["plan"], json!({"type": "string", "enum": ["free", "pro"]}));
        assert_eq!(properties["seats"], json!({"type": ["integer", "null"]}));
        assert_eq!(properties["price"], json!({"type": "number"}));
        assert_eq!(properties["order"], json!({"type": "string"}));
        assert_eq!(properties["mail"], json!({"type": "string", "format": "email"}));
        assert_eq!(properties["tags"]["items"], json!({"type": "string", "enum": ["a", "b"]}));
        assert_eq!(properties["address"]["required"], json!(["city"]));
        assert!(properties.get("$schema_version").is_none());
    }
}
