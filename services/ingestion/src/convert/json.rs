//! Properties: values on the wire, JSON text in the log.

use std::collections::BTreeMap;

use northstar_domain::event::{Fault, MAX_PROPERTIES_BYTES, MAX_PROPERTIES_DEPTH, Reason};
use northstar_proto::ingestion::v1 as pb;
use pb::value::Kind;
use serde_json::Value as Json;

/// Appends properties as JSON text: keys sorted, integers without and doubles
/// with a point or an exponent. Equal properties are equal texts.
pub(crate) fn write_properties(
    out: &mut Vec<u8>,
    properties: &BTreeMap<String, pb::Value>,
) -> Result<(), Fault> {
    let start = out.len();
    write_object(out, properties, MAX_PROPERTIES_DEPTH)
        .map_err(|fault| fault.within("properties".to_owned()))?;
    let written = out.len() - start;
    if written > MAX_PROPERTIES_BYTES { Err(too_large(written)) } else { Ok(()) }
}

/// The fault of properties of so many bytes.
pub(crate) fn too_large(bytes: usize) -> Fault {
    Fault::new(
        Reason::PropertiesTooLarge,
        "properties",
        format!("{bytes} bytes as JSON; at most {MAX_PROPERTIES_BYTES} are allowed"),
    )
}

/// Appends the value of one property, given as JSON text, the way
/// [`write_properties`] writes it.
pub(crate) fn write_json(out: &mut Vec<u8>, text: &str, key: &str) -> Result<(), Fault> {
    let value: Json = serde_json::from_str(text).map_err(|error| {
        Fault::new(Reason::InvalidJson, format!("properties.{key}"), format!("no JSON: {error}"))
    })?;
    write_value(out, &value_to_proto(value), MAX_PROPERTIES_DEPTH)
        .map_err(|fault| property_fault(fault, key))
}

/// A fault of the value of one property.
pub(crate) fn property_fault(fault: Inner, key: &str) -> Fault {
    fault.within(format!("properties.{key}"))
}

/// A fault on its way up; the path is built from its end.
pub(crate) struct Inner {
    reason: Reason,
    message: &'static str,
    path: Vec<String>,
}

impl Inner {
    fn new(reason: Reason, message: &'static str) -> Self {
        Self { reason, message, path: Vec::new() }
    }

    fn below(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }

    fn within(self, mut path: String) -> Fault {
        for step in self.path.iter().rev() {
            path.push_str(step);
        }
        Fault::new(self.reason, path, self.message)
    }
}

fn write_object(
    out: &mut Vec<u8>,
    fields: &BTreeMap<String, pb::Value>,
    depth: usize,
) -> Result<(), Inner> {
    out.push(b'{');
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, name)
            .and_then(|()| {
                out.push(b':');
                write_value(out, value, depth)
            })
            .map_err(|fault| fault.below(format!(".{name}")))?;
    }
    out.push(b'}');
    Ok(())
}

fn write_value(out: &mut Vec<u8>, value: &pb::Value, depth: usize) -> Result<(), Inner> {
    let deeper = || {
        depth
            .checked_sub(1)
            .ok_or_else(|| Inner::new(Reason::PropertiesTooDeep, "nested more than 16 levels deep"))
    };
    match &value.kind {
        None => out.extend_from_slice(b"null"),
        Some(Kind::StringValue(text)) => write_text(out, text)?,
        Some(Kind::IntValue(integer)) => write_number(out, integer),
        Some(Kind::DoubleValue(double)) if double.is_finite() => write_number(out, double),
        Some(Kind::DoubleValue(_)) => {
            return Err(Inner::new(
                Reason::InvalidNumber,
                "NaN and infinities are no JSON numbers",
            ));
        }
        Some(Kind::BoolValue(true)) => out.extend_from_slice(b"true"),
        Some(Kind::BoolValue(false)) => out.extend_from_slice(b"false"),
        Some(Kind::ListValue(list)) => {
            let depth = deeper()?;
            out.push(b'[');
            for (index, value) in list.values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, value, depth)
                    .map_err(|fault| fault.below(format!("[{index}]")))?;
            }
            out.push(b']');
        }
        Some(Kind::StructValue(object)) => write_object(out, &object.fields, deeper()?)?,
    }
    Ok(())
}

/// Appends a number: an integer without a point, a double always with a point
/// or an exponent. A double must be finite.
pub(crate) fn write_number(out: &mut Vec<u8>, number: &impl serde::Serialize) {
    serde_json::to_writer(out, number).expect("a finite number is JSON and a vector grows");
}

/// Appends a text with its quotes.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), Inner> {
    if text.as_bytes().contains(&0) {
        return Err(Inner::new(Reason::NulCharacter, "contains the character U+0000"));
    }
    serde_json::to_writer(out, text).expect("a text is JSON and a vector grows");
    Ok(())
}

/// Properties from the log as values on the wire.
pub(crate) fn properties_to_proto(
    properties: serde_json::Map<String, Json>,
) -> BTreeMap<String, pb::Value> {
    properties.into_iter().map(|(name, value)| (name, value_to_proto(value))).collect()
}

/// Properties as JSON text, exactly as the log keeps them.
///
/// # Errors
/// When the log would refuse them.
pub fn properties_to_json(properties: &BTreeMap<String, pb::Value>) -> Result<String, Fault> {
    let mut out = Vec::new();
    write_properties(&mut out, properties)?;
    Ok(String::from_utf8(out).expect("JSON made of texts is a text"))
}

/// Properties from JSON text.
///
/// # Errors
/// When it is no JSON object.
pub fn properties_from_json(text: &str) -> serde_json::Result<BTreeMap<String, pb::Value>> {
    serde_json::from_str(text).map(properties_to_proto)
}

fn value_to_proto(value: Json) -> pb::Value {
    let kind = match value {
        Json::Null => None,
        Json::Bool(value) => Some(Kind::BoolValue(value)),
        Json::Number(number) => Some(match number.as_i64() {
            Some(integer) => Kind::IntValue(integer),
            None => Kind::DoubleValue(number.as_f64().unwrap_or_default()),
        }),
        Json::String(text) => Some(Kind::StringValue(text)),
        Json::Array(values) => Some(Kind::ListValue(pb::ListValue {
            values: values.into_iter().map(value_to_proto).collect(),
        })),
        Json::Object(fields) => {
            Some(Kind::StructValue(pb::StructValue { fields: properties_to_proto(fields) }))
        }
    };
    pb::Value { kind }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any value: characters of every kind, numbers of every size, and lists and maps in each other.
    fn any_value() -> impl Strategy<Value = pb::Value> {
        let leaf = prop_oneof![
            Just(None),
            any::<String>().prop_map(|text| Some(Kind::StringValue(text))),
            any::<i64>().prop_map(|integer| Some(Kind::IntValue(integer))),
            proptest::num::f64::ANY.prop_map(|double| Some(Kind::DoubleValue(double))),
            any::<bool>().prop_map(|value| Some(Kind::BoolValue(value))),
        ];
        let leaf = leaf.prop_map(|kind| pb::Value { kind });
        leaf.prop_recursive(20, 60, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|values| value(Kind::ListValue(pb::ListValue { values }))),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|fields| value(Kind::StructValue(pb::StructValue { fields }))),
            ]
        })
    }

    /// Whether a value holds what no JSON in the log may hold, or more levels than are left.
    fn forbidden(value: &pb::Value, levels: usize) -> bool {
        let nul = |text: &String| text.contains('\0');
        match &value.kind {
            Some(Kind::StringValue(text)) => nul(text),
            Some(Kind::DoubleValue(double)) => !double.is_finite(),
            Some(Kind::ListValue(list)) => {
                levels == 0 || list.values.iter().any(|value| forbidden(value, levels - 1))
            }
            Some(Kind::StructValue(object)) => {
                levels == 0
                    || object
                        .fields
                        .iter()
                        .any(|(name, value)| nul(name) || forbidden(value, levels - 1))
            }
            None | Some(Kind::IntValue(_) | Kind::BoolValue(_)) => false,
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_reads_back_the_same_or_is_refused_with_its_place(
            properties in proptest::collection::btree_map(any::<String>(), any_value(), 0..5)
        ) {
            let wrong = properties
                .iter()
                .any(|(name, value)| name.contains('\0') || forbidden(value, MAX_PROPERTIES_DEPTH));
            match written(&properties) {
                Ok(text) => {
                    prop_assert!(!wrong, "{text}");
                    let Json::Object(read) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
                    let read = properties_to_proto(read);
                    prop_assert_eq!(written(&read).unwrap(), text);
                    prop_assert_eq!(read, properties);
                }
                Err(fault) => {
                    prop_assert!(wrong, "{fault:?}");
                    prop_assert!(fault.field.starts_with("properties"), "{fault:?}");
                }
            }
        }
    }

    fn value(kind: Kind) -> pb::Value {
        pb::Value { kind: Some(kind) }
    }

    fn written(properties: &BTreeMap<String, pb::Value>) -> Result<String, Fault> {
        let mut out = Vec::new();
        write_properties(&mut out, properties)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn properties_read_back_exactly_as_they_were_sent() {
        let nested = pb::StructValue {
            fields: BTreeMap::from([("a\"\n".to_owned(), value(Kind::BoolValue(false)))]),
        };
        let properties = BTreeMap::from([
            ("big".to_owned(), value(Kind::IntValue(i64::MAX))),
            ("double".to_owned(), value(Kind::DoubleValue(2.0))),
            ("tiny".to_owned(), value(Kind::DoubleValue(5e-324))),
            ("third".to_owned(), value(Kind::DoubleValue(0.1 + 0.2))),
            ("minus zero".to_owned(), value(Kind::DoubleValue(-0.0))),
            ("null".to_owned(), pb::Value { kind: None }),
            ("nested".to_owned(), value(Kind::StructValue(nested))),
            (
                "list".to_owned(),
                value(Kind::ListValue(pb::ListValue {
                    values: vec![value(Kind::StringValue("ü".to_owned())), pb::Value::default()],
                })),
            ),
        ]);
        let text = written(&properties).unwrap();
        assert!(text.contains(r#""double":2.0"#), "{text}");
        let Json::Object(read) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        let read = properties_to_proto(read);
        assert_eq!(read, properties);
        assert_eq!(written(&read).unwrap(), text);
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_path() {
        let list = |inner| value(Kind::ListValue(pb::ListValue { values: vec![inner] }));
        let fault = |name: &str, value| {
            let fault = written(&BTreeMap::from([(name.to_owned(), value)])).unwrap_err();
            (fault.reason, fault.field.into_owned())
        };
        assert_eq!(
            fault("price", list(value(Kind::DoubleValue(f64::NAN)))),
            (Reason::InvalidNumber, "properties.price[0]".to_owned())
        );
        assert_eq!(fault("a", value(Kind::StringValue("\0".to_owned()))).0, Reason::NulCharacter);
        assert_eq!(fault("\0", value(Kind::BoolValue(true))).0, Reason::NulCharacter);
        let deep = (0..17).fold(value(Kind::BoolValue(true)), |inner, _| list(inner));
        assert_eq!(fault("a", deep).0, Reason::PropertiesTooDeep);
        let large = value(Kind::StringValue("x".repeat(MAX_PROPERTIES_BYTES)));
        assert_eq!(fault("a", large).0, Reason::PropertiesTooLarge);
    }
}
