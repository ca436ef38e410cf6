//! Dataclasses for Python 3.9 and newer.

use std::fmt::Write as _;

use super::model::{Definition, Enum, Model, Struct, Type, distinct, quoted, snake_case};

const RESERVED: [&str; 40] = [
    "false",
    "none",
    "true",
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "class",
    "continue",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "match",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "return",
    "self",
    "try",
    "type",
    "while",
    "with",
    "yield",
    "to_properties",
    "to_json",
];

/// Writes the module.
pub fn write(model: &Model) -> String {
    let mut out = String::from(
        "# Written by `northstar contract codegen`. Change the contracts and write it again.\n\n\
         from __future__ import annotations\n\n\
         from dataclasses import dataclass\n\
         from typing import Any, ClassVar, Dict, List, Literal, Optional\n\n\n\
         def _plain(value: Any) -> Any:\n\
         \x20   if hasattr(value, \"to_json\"):\n\
         \x20       return value.to_json()\n\
         \x20   if isinstance(value, list):\n\
         \x20       return [_plain(item) for item in value]\n\
         \x20   if isinstance(value, dict):\n\
         \x20       return {name: _plain(item) for name, item in value.items()}\n\
         \x20   return value\n",
    );
    for definition in &model.definitions {
        out.push_str("\n\n");
        match definition {
            Definition::Struct(it) => write_struct(&mut out, it),
            Definition::Enum(it) => write_enum(&mut out, it),
        }
    }
    out
}

/// A text as the inside of a docstring.
fn doc(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "'")
}

fn write_struct(out: &mut String, it: &Struct) {
    let _ = writeln!(out, "@dataclass(frozen=True)");
    let _ = writeln!(out, "class {}:", it.name);
    let _ = writeln!(out, "    \"\"\"{}\"\"\"\n", doc(&it.doc));
    let names = distinct(it.fields.iter().map(|field| field_name(&field.name)));
    for (field, name) in it.fields.iter().zip(&names) {
        let kind = type_name(&field.kind);
        let _ = match (&field.kind, field.required) {
            (_, true) => writeln!(out, "    {name}: {kind}"),
            (Type::Nullable(_) | Type::Any, false) => writeln!(out, "    {name}: {kind} = None"),
            (_, false) => writeln!(out, "    {name}: Optional[{kind}] = None"),
        };
    }
    if let Some(event) = &it.event {
        let _ = writeln!(out, "    EVENT_NAME: ClassVar[str] = {}", quoted(&event.name));
        let _ = writeln!(out, "    SCHEMA_VERSION: ClassVar[str] = {}", quoted(&event.version));
    }
    let _ = writeln!(out, "\n    def to_json(self) -> Dict[str, Any]:");
    let _ =
        writeln!(out, "        \"\"\"The object as JSON has it; what is None is left out.\"\"\"");
    let _ = writeln!(out, "        plain: Dict[str, Any] = {{}}");
    for (field, name) in it.fields.iter().zip(&names) {
        let json = quoted(&field.name);
        if field.required {
            let _ = writeln!(out, "        plain[{json}] = _plain(self.{name})");
        } else {
            let _ = writeln!(out, "        if self.{name} is not None:");
            let _ = writeln!(out, "            plain[{json}] = _plain(self.{name})");
        }
    }
    let _ = writeln!(out, "        return plain");
    if it.event.is_some() {
        let _ = write!(
            out,
            "
    def to_properties(self) -> Dict[str, Any]:
        \"\"\"The properties to send; they name the version of the contract.\"\"\"
        return {{**self.to_json(), \"$schema_version\": self.SCHEMA_VERSION}}
"
        );
    }
}

fn write_enum(out: &mut String, it: &Enum) {
    let values: Vec<_> = it.values.iter().map(|value| quoted(value)).collect();
    let _ = writeln!(out, "{} = Literal[{}]", it.name, values.join(", "));
}

fn field_name(name: &str) -> String {
    let name = snake_case(name);
    if RESERVED.contains(&name.as_str()) { format!("{name}_") } else { name }
}

fn type_name(kind: &Type) -> String {
    match kind {
        Type::Text => "str".to_owned(),
        Type::Integer => "int".to_owned(),
        Type::Number => "float".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::Any => "Any".to_owned(),
        Type::List(items) => format!("List[{}]", type_name(items)),
        Type::Map(values) => format!("Dict[str, {}]", type_name(values)),
        Type::Named(name) => name.clone(),
        Type::Nullable(inner) => format!("Optional[{}]", type_name(inner)),
    }
}
