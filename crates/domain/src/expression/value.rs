//! JSON as CEL sees it, and back.

use cel::Value;
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelNull, CelString};
use cel::common::value::Val;

pub(super) fn object<'a>(
    fields: &'a serde_json::Map<String, serde_json::Value>,
) -> Box<dyn Val + 'a> {
    let entries: std::collections::HashMap<_, _> =
        fields.iter().map(|(name, value)| (name.as_str().into(), json(value))).collect();
    Box::new(CelMap::from(entries))
}

/// A JSON value as CEL sees it.
pub(crate) fn json(value: &serde_json::Value) -> Box<dyn Val + '_> {
    use serde_json::Value as Json;
    match value {
        Json::Null => Box::new(CelNull),
        Json::Bool(value) => Box::new(CelBool::from(*value)),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Box::new(CelInt::from(integer)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Json::String(text) => Box::new(CelString::from(text.as_str())),
        Json::Array(values) => Box::new(CelList::from(values.iter().map(json).collect::<Vec<_>>())),
        Json::Object(fields) => object(fields),
    }
}

/// A value as JSON; `None` when it has no place there.
pub(super) fn to_json(value: Value) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::UInt(value) => value.into(),
        Value::Float(value) => serde_json::Number::from_f64(value)?.into(),
        Value::String(text) => text.as_str().into(),
        Value::Timestamp(time) => time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true).into(),
        Value::List(values) => {
            Json::Array(values.iter().cloned().map(to_json).collect::<Option<_>>()?)
        }
        Value::Map(map) => {
            let mut fields = serde_json::Map::new();
            for (name, value) in map.map.iter() {
                let cel::objects::Key::String(name) = name else { return None };
                fields.insert(name.to_string(), to_json(value.clone())?);
            }
            fields.sort_keys();
            Json::Object(fields)
        }
        Value::Function(..)
        | Value::Bytes(_)
        | Value::Duration(_)
        | Value::Opaque(_)
        | Value::Struct(_) => return None,
    })
}
