//! Interfaces, and a function for each event.

use std::fmt::Write as _;

use super::model::{Definition, Enum, Model, Struct, Type, quoted};

/// Writes the module.
pub fn write(model: &Model) -> String {
    let mut out = String::from(
        "// Written by `northstar contract codegen`. Change the contracts and write it again.\n\n\
         /** An event as tracking libraries take it. */\n\
         export interface TypedEvent {\n  event: string;\n  \
         properties: { [name: string]: unknown };\n}\n",
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
    let text = text.trim().replace("*/", "* /");
    if text.is_empty() {
        return;
    }
    let _ = writeln!(out, "{indent}/** {} */", text.replace('\n', &format!("\n{indent} * ")));
}

fn write_struct(out: &mut String, it: &Struct) {
    doc(out, "", &it.doc);
    let _ = writeln!(out, "export interface {} {{", it.name);
    for field in &it.fields {
        doc(out, "  ", &field.doc);
        let optional = if field.required { "" } else { "?" };
        let _ = writeln!(out, "  {}{optional}: {};", quoted(&field.name), type_name(&field.kind));
    }
    out.push_str("}\n");
    let Some(event) = &it.event else { return };
    let mut function = it.name.clone();
    if let Some(first) = function.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let _ = write!(
        out,
        "
/** The event {name}; its properties name version {version} of the contract. */
export function {function}Event(properties: {kind}): TypedEvent {{
  return {{ event: {name}, properties: {{ ...properties, \"$schema_version\": {version} }} }};
}}
",
        name = quoted(&event.name).replace("*/", "*\\/"),
        version = quoted(&event.version),
        kind = it.name,
    );
}

fn write_enum(out: &mut String, it: &Enum) {
    let values: Vec<_> = it.values.iter().map(|value| quoted(value)).collect();
    let _ = writeln!(out, "/** One of a few texts. */");
    let _ = writeln!(out, "export type {} = {};", it.name, values.join(" | "));
}

fn type_name(kind: &Type) -> String {
    match kind {
        Type::Text => "string".to_owned(),
        Type::Integer | Type::Number => "number".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Any => "unknown".to_owned(),
        Type::List(items) => format!("Array<{}>", type_name(items)),
        Type::Map(values) => format!("{{ [name: string]: {} }}", type_name(values)),
        Type::Named(name) => name.clone(),
        Type::Nullable(inner) => format!("{} | null", type_name(inner)),
    }
}
