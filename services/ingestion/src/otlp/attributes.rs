//! Attributes: values, properties, and who they speak of.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use northstar_proto::ingestion::v1 as pb;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use pb::value::Kind;

/// Attributes that name a known person, the first that is set.
const USER_IDS: &[&str] = &["user.id", "enduser.id"];
/// Attributes that name a device or a session.
const ANONYMOUS_IDS: &[&str] = &["enduser.pseudo.id", "app.installation.id", "session.id"];
/// Attributes that name an account.
const ACCOUNT_IDS: &[&str] = &["account.id", "tenant.id"];
/// Where attributes stand whose names are taken.
const OVERFLOW: &str = "attributes";

pub(super) fn text(text: impl Into<String>) -> pb::Value {
    pb::Value { kind: Some(Kind::StringValue(text.into())) }
}

pub(super) fn integer(integer: i64) -> pb::Value {
    pb::Value { kind: Some(Kind::IntValue(integer)) }
}

/// A count: exact up to 2^63, beyond that a double.
pub(super) fn unsigned(count: u64) -> pb::Value {
    match i64::try_from(count) {
        Ok(count) => integer(count),
        Err(_) => double(count as f64),
    }
}

pub(super) fn double(double: f64) -> pb::Value {
    pb::Value { kind: Some(Kind::DoubleValue(double)) }
}

pub(super) fn boolean(boolean: bool) -> pb::Value {
    pb::Value { kind: Some(Kind::BoolValue(boolean)) }
}

pub(super) fn list(values: impl IntoIterator<Item = pb::Value>) -> pb::Value {
    let list = pb::ListValue { values: values.into_iter().collect() };
    pb::Value { kind: Some(Kind::ListValue(list)) }
}

pub(super) fn object(fields: BTreeMap<String, pb::Value>) -> pb::Value {
    pb::Value { kind: Some(Kind::StructValue(pb::StructValue { fields })) }
}

/// An attribute's value. Bytes are base64, as in OTLP's JSON. What nothing is
/// known of, such as a reference into the table of a profile, is null.
pub(super) fn any(value: &AnyValue) -> pb::Value {
    match &value.value {
        None | Some(Value::StringValueStrindex(_)) => pb::Value::default(),
        Some(Value::StringValue(value)) => text(value),
        Some(Value::BoolValue(value)) => boolean(*value),
        Some(Value::IntValue(value)) => integer(*value),
        Some(Value::DoubleValue(value)) => double(*value),
        Some(Value::BytesValue(bytes)) => text(STANDARD.encode(bytes)),
        Some(Value::ArrayValue(values)) => list(values.values.iter().map(any)),
        Some(Value::KvlistValue(fields)) => object(fields_of(&fields.values)),
    }
}

/// Attributes as the fields of an object; of two of one name the last.
pub(super) fn fields_of(attributes: &[KeyValue]) -> BTreeMap<String, pb::Value> {
    attributes.iter().map(|attribute| (attribute.key.clone(), value_of(attribute))).collect()
}

fn value_of(attribute: &KeyValue) -> pb::Value {
    attribute.value.as_ref().map(any).unwrap_or_default()
}

/// The text of an attribute, if it is one and not empty.
pub(super) fn find_text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.key == name).and_then(|attribute| match attribute
        .value
        .as_ref()?
        .value
        .as_ref()?
    {
        Value::StringValue(text) if !text.is_empty() => Some(text.as_str()),
        _ => None,
    })
}

/// Who attributes speak of. An empty id is one they do not name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ids {
    pub(super) user: String,
    pub(super) anonymous: String,
    pub(super) account: String,
}

impl Ids {
    /// The ids in attributes.
    pub(super) fn of(attributes: &[KeyValue]) -> Self {
        Self {
            user: first_id(attributes, USER_IDS),
            anonymous: first_id(attributes, ANONYMOUS_IDS),
            account: first_id(attributes, ACCOUNT_IDS),
        }
    }

    /// These ids, and of those that are missing the others.
    pub(super) fn or(self, other: &Self) -> Self {
        let or = |own: String, other: &String| if own.is_empty() { other.clone() } else { own };
        Self {
            user: or(self.user, &other.user),
            anonymous: or(self.anonymous, &other.anonymous),
            account: or(self.account, &other.account),
        }
    }
}

/// Numbers are ids too; anything else is a property.
fn first_id(attributes: &[KeyValue], names: &[&str]) -> String {
    let id = |name: &&str| {
        let attribute = attributes.iter().find(|attribute| attribute.key == *name)?;
        match attribute.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) if !text.is_empty() => Some(text.clone()),
            Value::IntValue(integer) => Some(integer.to_string()),
            _ => None,
        }
    };
    names.iter().find_map(id).unwrap_or_default()
}

/// The properties of an event in the making.
#[derive(Debug, Default)]
pub(super) struct Properties(BTreeMap<String, pb::Value>);

impl Properties {
    /// Sets one of our own properties.
    pub(super) fn set(&mut self, name: &str, value: pb::Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// Sets one of our own properties unless the text is empty.
    pub(super) fn set_text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.set(name, text(value));
        }
    }

    /// Sets one of our own properties to an id in hexadecimal digits, unless it
    /// is empty.
    pub(super) fn set_hex(&mut self, name: &str, id: &[u8]) {
        if !id.is_empty() {
            self.set(name, text(hex::encode(id)));
        }
    }

    /// Adds the record's attributes; call it last. An id that the event has as
    /// its own is not repeated.
    pub(super) fn with_attributes(
        mut self,
        attributes: &[KeyValue],
        ids: &Ids,
    ) -> BTreeMap<String, pb::Value> {
        let mut overflow = BTreeMap::new();
        for attribute in attributes {
            let value = value_of(attribute);
            if is_id(&attribute.key, &value, ids) {
                continue;
            }
            if self.0.contains_key(&attribute.key) || attribute.key == OVERFLOW {
                overflow.insert(attribute.key.clone(), value);
            } else {
                self.0.insert(attribute.key.clone(), value);
            }
        }
        if !overflow.is_empty() {
            self.0.insert(OVERFLOW.to_owned(), object(overflow));
        }
        self.0
    }
}

fn is_id(name: &str, value: &pb::Value, ids: &Ids) -> bool {
    let id = match &value.kind {
        Some(Kind::StringValue(text)) => text.clone(),
        Some(Kind::IntValue(integer)) => integer.to_string(),
        _ => return false,
    };
    [(USER_IDS, &ids.user), (ANONYMOUS_IDS, &ids.anonymous), (ACCOUNT_IDS, &ids.account)]
        .iter()
        .any(|(names, own)| names.contains(&name) && **own == id)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};

    use super::*;

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    }

    fn string(key: &str, text: &str) -> KeyValue {
        attribute(key, Value::StringValue(text.to_owned()))
    }

    #[test]
    fn every_kind_of_value_is_kept() {
        let nested = KeyValueList { values: vec![attribute("b", Value::BoolValue(true))] };
        let array = ArrayValue {
            values: vec![AnyValue { value: Some(Value::IntValue(-1)) }, AnyValue::default()],
        };
        let found = fields_of(&[
            attribute("bytes", Value::BytesValue(vec![0, 255])),
            attribute("double", Value::DoubleValue(0.5)),
            attribute("nested", Value::KvlistValue(nested)),
            attribute("array", Value::ArrayValue(array)),
            KeyValue { key: "nothing".to_owned(), ..KeyValue::default() },
        ]);
        assert_eq!(found["bytes"], text("AP8="));
        assert_eq!(found["double"], double(0.5));
        assert_eq!(found["nested"], object(BTreeMap::from([("b".to_owned(), boolean(true))])));
        assert_eq!(found["array"], list([integer(-1), pb::Value::default()]));
        assert_eq!(found["nothing"], pb::Value::default());
        assert_eq!(unsigned(u64::MAX), double(18_446_744_073_709_551_615.0));
    }

    #[test]
    fn ids_come_from_the_first_attribute_that_names_one() {
        let own = Ids::of(&[
            string("enduser.id", "old"),
            attribute("user.id", Value::IntValue(42)),
            string("session.id", "s1"),
            string("account.id", ""),
        ]);
        let resource = Ids::of(&[string("user.id", "other"), string("tenant.id", "acme")]);
        let ids = own.or(&resource);
        assert_eq!(
            ids,
            Ids { user: "42".to_owned(), anonymous: "s1".to_owned(), account: "acme".to_owned() }
        );
    }

    #[test]
    fn an_attribute_whose_name_is_taken_is_kept_aside_and_an_id_is_not_repeated() {
        let attributes = [
            string("status", "mine"),
            string("attributes", "odd"),
            string("http.route", "/orders"),
            string("user.id", "u1"),
            string("enduser.id", "somebody else"),
        ];
        let ids = Ids::of(&attributes);
        let mut properties = Properties::default();
        properties.set("status", text("ok"));
        let properties = properties.with_attributes(&attributes, &ids);
        assert_eq!(properties["status"], text("ok"));
        assert_eq!(properties["http.route"], text("/orders"));
        assert_eq!(properties["enduser.id"], text("somebody else"));
        assert!(!properties.contains_key("user.id"));
        let aside = BTreeMap::from([
            ("attributes".to_owned(), text("odd")),
            ("status".to_owned(), text("mine")),
        ]);
        assert_eq!(properties["attributes"], object(aside));
    }
}
