//! Structs for serde.

use std::fmt::Write as _;

use super::model::{Definition, Enum, Model, Struct, Type, distinct, pascal_case, snake_case};

const KEYWORDS: [&str; 39] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super",
];
const MORE_KEYWORDS: [&str; 12] = [
    "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where",
    "while", "yield",
];

/// Writes the module.
pub fn write(model: &Model) -> String {
    let mut out = String::from(
        "// Written by `northstar contract codegen`. Change the contracts and write it again.\n\n\
         use serde::{Deserialize, Serialize};\n",
    );
    for definition in &model.definitions {
        out.push('\n');
        match definition {
            Definition::Struct(it) => write_struct(&mut out, it),
            Definition::Enum(it) => write_enum(&mut out, it),
        }
    }
    out
}

fn doc(out: &mut String, indent: &str, text: &str) {
    for line in text.lines() {
        let line = line.trim_end();
        let _ = if line.is_empty() {
            writeln!(out, "{indent}///")
        } else {
            writeln!(out, "{indent}/// {line}")
        };
    }
}

/// A text as a Rust literal.
fn literal(text: &str) -> String {
    format!("{text:?}")
}

fn write_struct(out: &mut String, it: &Struct) {
    doc(out, "", &it.doc);
    let _ = writeln!(out, "#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]");
    let _ = writeln!(out, "pub struct {} {{", it.name);
    let names = distinct(it.fields.iter().map(|field| field_name(&field.name)));
    for (field, name) in it.fields.iter().zip(names) {
        doc(out, "    ", &field.doc);
        let kind = type_name(&field.kind);
        let rename = literal(&field.name);
        if field.required {
            let _ = writeln!(out, "    #[serde(rename = {rename})]");
            let _ = writeln!(out, "    pub {name}: {kind},");
        } else {
            let _ = writeln!(
                out,
                "    #[serde(rename = {rename}, default, skip_serializing_if = \"Option::is_none\")]"
            );
            let kind = match &field.kind {
                // What may be left out needs no null.
                Type::Nullable(inner) => type_name(inner),
                _ => kind,
            };
            let _ = writeln!(out, "    pub {name}: Option<{kind}>,");
        }
    }
    out.push_str("}\n");
    let Some(event) = &it.event else { return };
    let _ = write!(
        out,
        "
impl {name} {{
    /// Name of the event.
    pub const EVENT_NAME: &'static str = {event_name};
    /// Version of the contract that these properties keep.
    pub const SCHEMA_VERSION: &'static str = {version};

    /// The properties to send; they name the version of the contract.
    ///
    /// # Errors
    /// When a number is no JSON number.
    pub fn to_properties(&self) -> serde_json::Result<serde_json::Value> {{
        let mut properties = serde_json::to_value(self)?;
        properties[\"$schema_version\"] = Self::SCHEMA_VERSION.into();
        Ok(properties)
    }}
}}
",
        name = it.name,
        event_name = literal(&event.name),
        version = literal(&event.version),
    );
}

fn write_enum(out: &mut String, it: &Enum) {
    let _ = writeln!(out, "/// One of a few texts.");
    let _ = writeln!(out, "#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]");
    let _ = writeln!(out, "pub enum {} {{", it.name);
    let names = distinct(it.values.iter().map(|value| pascal_case(value)));
    for (value, name) in it.values.iter().zip(names) {
        // The one name that a variant cannot have.
        let name = if name == "Self" { "Self_".to_owned() } else { name };
        let _ = writeln!(out, "    /// {}", literal(value));
        let _ = writeln!(out, "    #[serde(rename = {})]", literal(value));
        let _ = writeln!(out, "    {},", name.replace('_', "Nr"));
    }
    out.push_str("}\n");
}

fn field_name(name: &str) -> String {
    let name = snake_case(name);
    if KEYWORDS.contains(&name.as_str()) || MORE_KEYWORDS.contains(&name.as_str()) {
        format!("{name}_")
    } else {
        name
    }
}

fn type_name(kind: &Type) -> String {
    match kind {
        Type::Text => "String".to_owned(),
        Type::Integer => "i64".to_owned(),
        Type::Number => "f64".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::Any => "serde_json::Value".to_owned(),
        Type::List(items) => format!("Vec<{}>", type_name(items)),
        Type::Map(values) => {
            format!("std::collections::BTreeMap<String, {}>", type_name(values))
        }
        Type::Named(name) => name.clone(),
        Type::Nullable(inner) => format!("Option<{}>", type_name(inner)),
    }
}
