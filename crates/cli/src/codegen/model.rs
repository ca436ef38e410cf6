//! Types that a JSON Schema describes, as far as languages can say them.
//!
//! What they cannot (bounds, patterns, alternatives) is left to the contract.

use std::collections::BTreeSet;

use northstar_domain::contract::ContractSpec;
use serde_json::{Map, Value};

/// Deepest nesting that gets types of its own.
const MAX_DEPTH: usize = 12;
/// Names that mean something else in a module of one of the languages.
const RESERVED: [&str; 17] = [
    "Any",
    "Array",
    "Box",
    "ClassVar",
    "Deserialize",
    "Dict",
    "List",
    "Literal",
    "None",
    "Option",
    "Optional",
    "Self",
    "Serialize",
    "Some",
    "String",
    "TypedEvent",
    "Vec",
];

/// Every type of a module, those that others use first.
#[derive(Debug, Default)]
pub struct Model {
    /// The types.
    pub definitions: Vec<Definition>,
    names: BTreeSet<String>,
}

/// One type.
#[derive(Debug)]
pub enum Definition {
    /// An object.
    Struct(Struct),
    /// One of a few texts.
    Enum(Enum),
}

/// An object with known properties.
#[derive(Debug)]
pub struct Struct {
    /// Name of the type, in Pascal case.
    pub name: String,
    /// What it means, one line or many.
    pub doc: String,
    /// Its properties, required ones first.
    pub fields: Vec<Field>,
    /// The event whose properties it holds; `None` for a nested object.
    pub event: Option<Event>,
}

/// The event that a type stands for.
#[derive(Debug)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// The version of its contract.
    pub version: String,
}

/// One property.
#[derive(Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: String,
    /// What it means.
    pub doc: String,
    /// What it holds.
    pub kind: Type,
    /// Whether it must be there.
    pub required: bool,
}

/// One of a few texts.
#[derive(Debug)]
pub struct Enum {
    /// Name of the type, in Pascal case.
    pub name: String,
    /// The texts.
    pub values: Vec<String>,
}

/// What a property holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// Any JSON value.
    Any,
    /// A list.
    List(Box<Type>),
    /// An object with any keys.
    Map(Box<Type>),
    /// A type of the module.
    Named(String),
    /// Or null.
    Nullable(Box<Type>),
}

impl Model {
    /// The types of the properties of each event.
    pub fn of(contracts: &[(String, ContractSpec)]) -> Self {
        let mut model = Self::default();
        model.names.extend(RESERVED.map(str::to_owned));
        for (name, spec) in contracts {
            let type_name = model.unused(&pascal_case(name));
            let event = Event { name: name.clone(), version: spec.schema_version.to_string() };
            let doc = if spec.description.is_empty() {
                format!("Properties of the event {name:?}.")
            } else {
                spec.description.clone()
            };
            let root = Schema { root: &spec.json_schema, here: &spec.json_schema };
            let fields = model.fields(root, &type_name, 0);
            model.definitions.push(Definition::Struct(Struct {
                name: type_name,
                doc,
                fields,
                event: Some(event),
            }));
        }
        model
    }

    fn unused(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{wanted}{number}");
            number += 1;
        }
        name
    }

    fn fields(&mut self, schema: Schema<'_>, owner: &str, depth: usize) -> Vec<Field> {
        let none = Map::new();
        let properties = schema.here.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let required: BTreeSet<&str> = schema
            .here
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut fields: Vec<Field> = properties
            .iter()
            .map(|(name, here)| Field {
                name: name.clone(),
                doc: here.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
                kind: self.kind(
                    Schema { here, ..schema },
                    &format!("{owner}{}", pascal_case(name)),
                    depth,
                ),
                required: required.contains(name.as_str()),
            })
            .collect();
        fields.sort_by_key(|field| !field.required);
        fields
    }

    fn kind(&mut self, schema: Schema<'_>, name: &str, depth: usize) -> Type {
        let Some(schema) = schema.resolved() else { return Type::Any };
        if depth >= MAX_DEPTH {
            return Type::Any;
        }
        let (types, nullable) = schema.types();
        let kind = match (schema.texts(), types.as_slice()) {
            (Some(values), _) => {
                let name = self.unused(name);
                self.definitions.push(Definition::Enum(Enum { name: name.clone(), values }));
                Type::Named(name)
            }
            (None, ["string"]) => Type::Text,
            (None, ["integer"]) => Type::Integer,
            (None, ["number"] | ["integer", "number"] | ["number", "integer"]) => Type::Number,
            (None, ["boolean"]) => Type::Boolean,
            (None, ["array"]) => {
                let items = schema.here.get("items").map_or(Type::Any, |here| {
                    self.kind(Schema { here, ..schema }, &format!("{name}Item"), depth + 1)
                });
                Type::List(Box::new(items))
            }
            (None, ["object"]) if schema.here.get("properties").is_some() => {
                let name = self.unused(name);
                let doc = schema
                    .here
                    .get("description")
                    .and_then(Value::as_str)
                    .unwrap_or("A nested object.")
                    .to_owned();
                let fields = self.fields(schema, &name, depth + 1);
                self.definitions.push(Definition::Struct(Struct {
                    name: name.clone(),
                    doc,
                    fields,
                    event: None,
                }));
                Type::Named(name)
            }
            (None, ["object"]) => {
                let others = schema.here.get("additionalProperties").filter(|it| it.is_object());
                let values = others.map_or(Type::Any, |here| {
                    self.kind(Schema { here, ..schema }, &format!("{name}Value"), depth + 1)
                });
                Type::Map(Box::new(values))
            }
            _ => Type::Any,
        };
        if nullable && kind != Type::Any { Type::Nullable(Box::new(kind)) } else { kind }
    }
}

/// A place in a schema.
#[derive(Clone, Copy)]
struct Schema<'a> {
    root: &'a Value,
    here: &'a Value,
}

impl<'a> Schema<'a> {
    /// The place that a chain of references leads to; `None` when it does not
    /// end.
    fn resolved(self) -> Option<Self> {
        let mut here = self.here;
        for _ in 0..MAX_DEPTH {
            let Some(reference) = here.get("$ref").and_then(Value::as_str) else {
                return Some(Self { here, ..self });
            };
            here = self.root.pointer(reference.strip_prefix('#')?)?;
        }
        None
    }

    /// The types, and whether null is one of them.
    fn types(self) -> (Vec<&'a str>, bool) {
        let mut types: Vec<&str> = match self.here.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ if self.here.get("properties").is_some() => vec!["object"],
            _ => Vec::new(),
        };
        let before = types.len();
        types.retain(|name| *name != "null");
        let nullable = types.len() < before;
        (types, nullable)
    }

    /// The texts that are allowed, when only listed ones are.
    fn texts(self) -> Option<Vec<String>> {
        let values = match (self.here.get("enum"), self.here.get("const")) {
            (_, Some(only)) => vec![only.clone()],
            (Some(Value::Array(values)), None) => values.clone(),
            _ => return None,
        };
        let texts: Option<Vec<String>> =
            values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        texts.filter(|texts| !texts.is_empty())
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut previous = ' ';
    for c in text.chars() {
        let starts = !previous.is_alphanumeric() || previous.is_lowercase() && c.is_uppercase();
        if c.is_ascii_alphanumeric() {
            if starts || words.is_empty() {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.push(c);
            }
        }
        previous = if c.is_ascii_alphanumeric() { c } else { ' ' };
    }
    words
}

/// `signed up` as `SignedUp`.
pub fn pascal_case(text: &str) -> String {
    let name: String = words(text)
        .iter()
        .map(|word| {
            let mut chars = word.chars();
            chars
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
                .unwrap_or_default()
        })
        .collect();
    guarded(name, "Event")
}

/// `signedUp` as `signed_up`.
pub fn snake_case(text: &str) -> String {
    let name = words(text).join("_").to_ascii_lowercase();
    guarded(name, "value")
}

/// A name begins with a letter.
fn guarded(name: String, otherwise: &str) -> String {
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => name,
        _ => format!("{otherwise}{name}"),
    }
}

/// The same name is not given twice.
pub fn distinct(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    names
        .into_iter()
        .map(|name| {
            let mut given = name.clone();
            let mut number = 2;
            while !taken.insert(given.clone()) {
                given = format!("{name}_{number}");
                number += 1;
            }
            given
        })
        .collect()
}

/// A text in double quotes, as JSON and the languages write it.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
