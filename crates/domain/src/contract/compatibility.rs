//! What a change of a JSON Schema means for data that was valid before.
//!
//! The comparison is conservative: [`Bump::Addition`] is said only when every
//! value that is valid under the old schema is valid under the new one, keyword
//! by keyword. What it cannot prove is a revision.
//!
//! | Change | Bump |
//! |---|---|
//! | a rule is dropped or loosened; a property is added to a closed object | addition |
//! | a rule is added or tightened; an optional property becomes required | revision |
//! | a new property is required; a type changes to one that shares no value | model |

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Bump;

/// One difference between two schemas.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Change {
    /// Where in the schema, as a JSON Pointer, for example `/properties/plan`.
    pub path: String,
    /// The property of the event at which it is; empty at the root.
    pub property: String,
    /// Whether the schema does not plan the property any more.
    pub removed: bool,
    /// What it means for data.
    pub bump: Bump,
    /// What changed, in words.
    pub what: String,
}

/// All differences between two schemas.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Compatibility {
    /// In the order of the schema.
    pub changes: Vec<Change>,
}

impl Compatibility {
    /// The largest bump of a change.
    pub fn bump(&self) -> Bump {
        self.changes.iter().map(|change| change.bump).max().unwrap_or(Bump::None)
    }
}

/// Compares two JSON Schemas 2020-12 of the properties of an event.
pub fn compare(old: &Value, new: &Value) -> Compatibility {
    let mut comparison = Comparison { path: Vec::new(), changes: Vec::new() };
    if old != new {
        // What a reference or an unevaluated keyword means depends on places
        // elsewhere; nothing is proven about such schemas.
        if reaches_elsewhere(old) || reaches_elsewhere(new) {
            comparison.note(Bump::Revision, "schemas with references are not compared further");
        } else {
            comparison.schema(old, new, Need::Required);
        }
        if comparison.changes.is_empty() {
            comparison.note(Bump::Addition, "words that rule nothing changed");
        }
    }
    Compatibility { changes: comparison.changes }
}

const REACHING: [&str; 5] =
    ["$ref", "$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems"];

fn reaches_elsewhere(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| REACHING.contains(&name.as_str()) || reaches_elsewhere(value)),
        Value::Array(values) => values.iter().any(reaches_elsewhere),
        _ => false,
    }
}

/// Keywords that rule nothing.
const ANNOTATIONS: [&str; 12] = [
    "$comment",
    "$schema",
    "$id",
    "$anchor",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "contentMediaType",
];

/// Keywords that only ever narrow, each by itself: without one, more is valid.
const NARROWING: [&str; 26] = [
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "required",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "contains",
    "allOf",
    "not",
];

/// Keywords of which a smaller number allows more.
const LOWER_BOUNDS: [&str; 5] =
    ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
/// Keywords of which a larger number allows more.
const UPPER_BOUNDS: [&str; 5] =
    ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];

/// Whether the value that a schema rules must be there: if so, a schema that
/// shares no value with the old one makes all old data invalid.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Need {
    Required,
    Optional,
}

struct Comparison {
    path: Vec<String>,
    changes: Vec<Change>,
}

impl Comparison {
    fn note(&mut self, bump: Bump, what: impl Into<String>) {
        let path: String = self
            .path
            .iter()
            .map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1")))
            .collect();
        let property = match self.path.as_slice() {
            [first, name, ..] if first == "properties" => name.clone(),
            _ => String::new(),
        };
        self.changes.push(Change { path, property, removed: false, bump, what: what.into() });
    }

    fn note_removal(&mut self, bump: Bump, what: &str) {
        self.note(bump, what);
        if let Some(change) = self.changes.last_mut() {
            // Of a property of the event; what is deeper belongs to its value.
            change.removed = self.path.len() == 2;
        }
    }

    fn below(&mut self, steps: &[&str], work: impl FnOnce(&mut Self)) {
        let depth = self.path.len();
        self.path.extend(steps.iter().map(|step| (*step).to_owned()));
        work(self);
        self.path.truncate(depth);
    }

    fn schema(&mut self, old: &Value, new: &Value, need: Need) {
        if old == new {
            return;
        }
        let empty = Map::new();
        let (old, new) = match (old, new) {
            (Value::Bool(false), _) => {
                return self.note(Bump::Addition, "nothing was allowed before");
            }
            (_, Value::Bool(false)) => {
                let bump = if need == Need::Required { Bump::Model } else { Bump::Revision };
                return self.note(bump, "nothing is allowed any more");
            }
            (old, new) => (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty)),
        };
        self.types(old, new);
        self.values(old, new, need);
        self.bounds(old, new);
        self.objects(old, new);
        self.items(old, new);
        self.rest(old, new);
    }

    fn types(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        let (Some(new_type), old_type) = (new.get("type"), old.get("type")) else {
            if old.contains_key("type") {
                self.below(&["type"], |at| at.note(Bump::Addition, "any type is allowed now"));
            }
            return;
        };
        if old_type == Some(new_type) {
            return;
        }
        let allowed = type_names(new_type);
        let before = old_type.map_or_else(every_type, type_names);
        let lost: Vec<_> = before.iter().filter(|name| !covers(&allowed, name)).copied().collect();
        let bump = if lost.is_empty() {
            Bump::Addition
        } else if lost.len() == before.len() && !before.iter().any(|name| overlaps(&allowed, name))
        {
            // A field that changes its type is a new model even when it is
            // optional: whoever reads it reads something else.
            Bump::Model
        } else {
            Bump::Revision
        };
        let what = format!("type was {}, is {}", list(&before), list(&allowed));
        self.below(&["type"], |at| at.note(bump, what));
    }

    /// `enum` and `const`.
    fn values(&mut self, old: &Map<String, Value>, new: &Map<String, Value>, need: Need) {
        let before = allowed_values(old);
        let after = allowed_values(new);
        if before == after {
            return;
        }
        let (bump, what) = match (before, after) {
            (_, None) => (Bump::Addition, "any value is allowed now".to_owned()),
            (None, Some(_)) => (Bump::Revision, "only listed values are allowed now".to_owned()),
            (Some(before), Some(after)) => {
                let lost: Vec<_> = before.iter().filter(|value| !after.contains(value)).collect();
                let texts: Vec<_> = lost.iter().map(ToString::to_string).collect();
                if lost.is_empty() {
                    (Bump::Addition, "more values are allowed".to_owned())
                } else if lost.len() == before.len() && need == Need::Required {
                    (Bump::Model, "none of the values before is allowed any more".to_owned())
                } else {
                    (Bump::Revision, format!("not allowed any more: {}", texts.join(", ")))
                }
            }
        };
        let keyword =
            if new.contains_key("const") || old.contains_key("const") { "const" } else { "enum" };
        self.below(&[keyword], |at| at.note(bump, what));
    }

    fn bounds(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        for (keywords, lower) in [(LOWER_BOUNDS, true), (UPPER_BOUNDS, false)] {
            for keyword in keywords {
                let (before, after) = (number(old, keyword), number(new, keyword));
                let (bump, what) = match (before, after) {
                    (before, after) if before == after => continue,
                    (_, None) => (Bump::Addition, format!("{keyword} is gone")),
                    (None, Some(after)) => (Bump::Revision, format!("{keyword} is {after} now")),
                    (Some(before), Some(after)) => {
                        let looser = if lower { after < before } else { after > before };
                        let bump = if looser { Bump::Addition } else { Bump::Revision };
                        (bump, format!("{keyword} was {before}, is {after}"))
                    }
                };
                self.below(&[keyword], |at| at.note(bump, what));
            }
        }
    }

    fn objects(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        let required = (names(old.get("required")), names(new.get("required")));
        let open = Value::Bool(true);
        let none = Map::new();
        let members = |schema: &Map<String, Value>| {
            schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
        };
        let (before, after) = (members(old), members(new));
        let others = |schema: &Map<String, Value>| {
            schema.get("additionalProperties").cloned().unwrap_or_else(|| open.clone())
        };
        let (old_others, new_others) = (others(old), others(new));
        let patterns = |schema: &Map<String, Value>| {
            schema.get("patternProperties").and_then(Value::as_object).unwrap_or(&none).clone()
        };
        let by_pattern = !patterns(old).is_empty() || !patterns(new).is_empty();

        for name in &required.1 {
            if required.0.contains(name) {
                continue;
            }
            let (bump, what) = if before.contains_key(*name) {
                (Bump::Revision, "is required now")
            } else {
                (Bump::Model, "is new and required")
            };
            self.below(&["properties", name], |at| at.note(bump, what));
        }
        for name in required.0.difference(&required.1) {
            self.below(&["properties", name], |at| at.note(Bump::Addition, "is optional now"));
        }
        for (name, schema) in &before {
            let need =
                if required.0.contains(name.as_str()) { Need::Required } else { Need::Optional };
            self.below(&["properties", name], |at| match after.get(name) {
                Some(now) => at.schema(schema, now, need),
                None if by_pattern => at.note_removal(Bump::Revision, "is not planned any more"),
                None => match &new_others {
                    Value::Bool(true) => {
                        at.note_removal(Bump::Addition, "is not planned any more");
                    }
                    Value::Bool(false) if need == Need::Required => {
                        at.note_removal(Bump::Model, "was required and is not allowed any more");
                    }
                    Value::Bool(false) => {
                        at.note_removal(Bump::Revision, "is not allowed any more");
                    }
                    now => at.schema(schema, now, need),
                },
            });
        }
        for (name, schema) in &after {
            if before.contains_key(name) {
                continue;
            }
            self.below(&["properties", name], |at| match &old_others {
                Value::Bool(false) if !by_pattern => at.note(Bump::Addition, "is new"),
                _ if allows_all(schema) => at.note(Bump::Addition, "is new"),
                // It could be there before, with any value.
                _ => at.note(Bump::Revision, "is new; it could have been sent with any value"),
            });
        }
        if patterns(old) != patterns(new) {
            self.below(&["patternProperties"], |at| at.note(Bump::Revision, "changed"));
        }
        if old_others != new_others {
            self.below(&["additionalProperties"], |at| {
                if old_others != Value::Bool(false) && new_others == Value::Bool(false) {
                    at.note(Bump::Revision, "properties that are not planned are refused now");
                } else {
                    at.schema(&old_others, &new_others, Need::Optional);
                }
            });
        }
    }

    fn items(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        let (before, after) = (old.get("items"), new.get("items"));
        if old.get("prefixItems") != new.get("prefixItems") {
            self.below(&["prefixItems"], |at| at.note(Bump::Revision, "changed"));
        }
        let open = Value::Bool(true);
        self.below(&["items"], |at| {
            at.schema(before.unwrap_or(&open), after.unwrap_or(&open), Need::Optional);
        });
    }

    /// Every other keyword: dropping one that narrows allows more, the rest is
    /// not proven.
    fn rest(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        const DONE: [&str; 9] = [
            "type",
            "enum",
            "const",
            "properties",
            "patternProperties",
            "additionalProperties",
            "required",
            "items",
            "prefixItems",
        ];
        let keywords: BTreeSet<_> = old.keys().chain(new.keys()).map(String::as_str).collect();
        for keyword in keywords {
            let handled = DONE.contains(&keyword)
                || ANNOTATIONS.contains(&keyword)
                || LOWER_BOUNDS.contains(&keyword)
                || UPPER_BOUNDS.contains(&keyword);
            let (before, after) = (old.get(keyword), new.get(keyword));
            if handled || before == after {
                continue;
            }
            let (bump, what) = match (before, after) {
                (Some(_), None) if NARROWING.contains(&keyword) => {
                    (Bump::Addition, format!("{keyword} is gone"))
                }
                (None, _) => (Bump::Revision, format!("{keyword} is new")),
                _ => (Bump::Revision, format!("{keyword} changed")),
            };
            self.below(&[keyword], |at| at.note(bump, what));
        }
    }
}

const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];

fn every_type() -> Vec<&'static str> {
    TYPES[..6].to_vec()
}

/// The types of a `type` keyword, in a fixed order.
fn type_names(keyword: &Value) -> Vec<&'static str> {
    let said = |name: &&str| match keyword {
        Value::String(text) => text == name,
        Value::Array(texts) => texts.iter().any(|text| text == name),
        _ => false,
    };
    TYPES.iter().filter(|name| said(name)).copied().collect()
}

/// Whether every value of a type is allowed.
fn covers(allowed: &[&str], name: &str) -> bool {
    allowed.contains(&name) || name == "integer" && allowed.contains(&"number")
}

/// Whether some value of a type is allowed.
fn overlaps(allowed: &[&str], name: &str) -> bool {
    covers(allowed, name) || name == "number" && allowed.contains(&"integer")
}

fn list(names: &[&str]) -> String {
    names.join(" or ")
}

fn number(schema: &Map<String, Value>, keyword: &str) -> Option<f64> {
    schema.get(keyword).and_then(Value::as_f64)
}

fn names(keyword: Option<&Value>) -> BTreeSet<&str> {
    keyword.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn allows_all(schema: &Value) -> bool {
    match schema {
        Value::Bool(allows) => *allows,
        Value::Object(fields) => {
            fields.keys().all(|keyword| ANNOTATIONS.contains(&keyword.as_str()))
        }
        _ => false,
    }
}

/// The values that `enum` and `const` leave; `None` when neither is said.
fn allowed_values(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    let listed = schema.get("enum").and_then(Value::as_array).cloned();
    match (listed, schema.get("const")) {
        (listed, None) => listed,
        (None, Some(only)) => Some(vec![only.clone()]),
        (Some(listed), Some(only)) => {
            Some(listed.into_iter().filter(|value| value == only).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bump(old: Value, new: Value) -> Bump {
        compare(&old, &new).bump()
    }

    fn object(properties: Value, rest: Value) -> Value {
        let mut schema = json!({"type": "object", "properties": properties});
        let fields = schema.as_object_mut().unwrap();
        fields.extend(rest.as_object().unwrap().clone());
        schema
    }

    #[test]
    fn what_allows_more_is_an_addition() {
        let closed = json!({"additionalProperties": false});
        let plan = json!({"plan": {"type": "string"}});
        let more = json!({"plan": {"type": "string"}, "seats": {"type": "integer"}});
        for (old, new) in [
            (object(plan.clone(), closed.clone()), object(more, closed)),
            (object(plan.clone(), json!({"required": ["plan"]})), object(plan.clone(), json!({}))),
            (json!({"type": "integer"}), json!({"type": ["number", "null"]})),
            (json!({"enum": ["a"]}), json!({"enum": ["a", "b"]})),
            (json!({"const": "a"}), json!({"enum": ["a", "b"]})),
            (json!({"minimum": 3, "maxLength": 5}), json!({"minimum": 2.5, "maxLength": 6})),
            (json!({"pattern": "^a"}), json!({})),
            (json!({"title": "a"}), json!({"title": "b"})),
            (object(plan.clone(), json!({})), object(json!({}), json!({}))),
            (
                object(plan, json!({})),
                object(json!({"plan": {"type": "string"}, "any": {}}), json!({})),
            ),
        ] {
            assert_eq!(bump(old.clone(), new.clone()), Bump::Addition, "{old} -> {new}");
        }
    }

    #[test]
    fn what_may_refuse_old_data_is_a_revision() {
        let plan = json!({"plan": {"type": "string"}});
        for (old, new) in [
            (object(plan.clone(), json!({})), object(plan.clone(), json!({"required": ["plan"]}))),
            (
                object(plan.clone(), json!({})),
                object(plan.clone(), json!({"additionalProperties": false})),
            ),
            (
                object(plan, json!({})),
                object(
                    json!({"plan": {"type": "string"}, "seats": {"type": "integer"}}),
                    json!({}),
                ),
            ),
            (json!({"type": "number"}), json!({"type": "integer"})),
            (json!({"enum": ["a", "b"]}), json!({"enum": ["a"]})),
            (json!({"type": "string"}), json!({"type": "string", "format": "email"})),
            (json!({"minimum": 0}), json!({"minimum": 1})),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {}}}), json!({"$ref": "#/$defs/a"})),
            (json!({"contains": {}, "minContains": 0}), json!({"contains": {}})),
            (json!({"items": {"type": "string"}}), json!({"items": {"minLength": 1}})),
        ] {
            assert_eq!(bump(old.clone(), new.clone()), Bump::Revision, "{old} -> {new}");
        }
    }

    #[test]
    fn what_refuses_old_data_is_a_model() {
        let plan = json!({"plan": {"type": "string"}});
        for (old, new, property) in [
            (
                object(plan.clone(), json!({})),
                object(
                    json!({"plan": {"type": "string"}, "seats": {"type": "integer"}}),
                    json!({"required": ["seats"]}),
                ),
                "seats",
            ),
            (
                object(plan.clone(), json!({})),
                object(json!({"plan": {"type": "integer"}}), json!({})),
                "plan",
            ),
            (
                object(plan, json!({"required": ["plan"]})),
                object(json!({}), json!({"additionalProperties": false})),
                "plan",
            ),
        ] {
            let found = compare(&old, &new);
            assert_eq!(found.bump(), Bump::Model, "{old} -> {new}");
            let largest = found.changes.iter().find(|change| change.bump == Bump::Model);
            assert_eq!(largest.unwrap().property, property);
        }
    }

    #[test]
    fn a_change_says_where_it_is() {
        let old = object(json!({"a/b": {"type": "string"}}), json!({}));
        let new = object(json!({"a/b": {"type": "string", "minLength": 2}}), json!({}));
        let [change] = compare(&old, &new).changes.try_into().unwrap();
        assert_eq!(change.path, "/properties/a~1b/minLength");
        assert_eq!(change.property, "a/b");
    }
}
