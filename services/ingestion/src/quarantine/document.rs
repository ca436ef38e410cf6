//! Events as JSON documents, which people patch.
//!
//! Only what a person can sensibly mend is in the document; the rest of the
//! event stays as it was sent.

use chrono::{DateTime, SecondsFormat, Utc};
use northstar_domain::event::Fault;
use northstar_proto::ingestion::v1 as pb;
use serde_json::{Map, Value, json};

use crate::convert::{properties_to_proto, time_from_proto, time_to_proto, write_properties};

/// Why a patch cannot be applied.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub(crate) struct BadPatch {
    pub(crate) field: String,
    pub(crate) problem: String,
}

fn bad(field: impl Into<String>, problem: impl Into<String>) -> BadPatch {
    BadPatch { field: field.into(), problem: problem.into() }
}

const TEXTS: [&str; 5] = ["message_id", "name", "user_id", "anonymous_id", "account_id"];
const TIMES: [&str; 2] = ["occurred_time", "sent_time"];

/// A patch, read once and applied to many events.
#[derive(Clone, Debug)]
pub(crate) struct Patch(Map<String, Value>);

impl Patch {
    /// Reads a JSON merge patch (RFC 7396).
    pub(crate) fn parse(text: &str) -> Result<Self, BadPatch> {
        let patch: Value = serde_json::from_str(text)
            .map_err(|error| bad("merge_patch_json", format!("is not JSON: {error}")))?;
        let Value::Object(patch) = patch else {
            return Err(bad("merge_patch_json", "must be a JSON object"));
        };
        check_fields(&patch)?;
        Ok(Self(patch))
    }

    /// The event with the patch applied.
    pub(crate) fn apply(&self, event: &pb::Event) -> Result<pb::Event, BadPatch> {
        let mut document = to_document(event)?;
        merge(&mut document, &Value::Object(self.0.clone()));
        from_document(document, event.clone())
    }
}

/// Reads an event from a JSON document. A field that is null is absent; a
/// property that is null is null.
pub(crate) fn read(text: &str) -> Result<pb::Event, BadPatch> {
    let document = serde_json::from_str(text)
        .map_err(|error| bad("event", format!("is not JSON: {error}")))?;
    let Value::Object(mut fields) = document else {
        return Err(bad("event", "must be a JSON object"));
    };
    check_fields(&fields)?;
    fields.retain(|_, value| !value.is_null());
    from_document(Value::Object(fields), pb::Event::default())
}

fn check_fields(fields: &Map<String, Value>) -> Result<(), BadPatch> {
    let known = |name: &str| {
        TEXTS.contains(&name) || TIMES.contains(&name) || ["sequence", "properties"].contains(&name)
    };
    match fields.keys().find(|name| !known(name)) {
        Some(unknown) => {
            Err(bad(unknown, "is no field of an event; properties belong under \"properties\""))
        }
        None => Ok(()),
    }
}

/// RFC 7396, part 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.shift_remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

pub(crate) fn to_document(event: &pb::Event) -> Result<Value, BadPatch> {
    let mut properties = Vec::new();
    write_properties(&mut properties, &event.properties)
        .map_err(|Fault { field, message, .. }| bad(field, message))?;
    let properties: Value = serde_json::from_slice(&properties)
        .map_err(|error| bad("properties", error.to_string()))?;
    let time = |time: &Option<prost_types::Timestamp>| {
        time.as_ref()
            .and_then(time_from_proto)
            .map(|time| json!(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
    };
    let mut document = json!({
        "message_id": event.message_id,
        "name": event.name,
        "user_id": event.user_id,
        "anonymous_id": event.anonymous_id,
        "account_id": event.account_id,
        "sequence": event.sequence,
        "properties": properties,
    });
    if let Value::Object(fields) = &mut document {
        for (name, value) in TIMES.into_iter().zip([&event.occurred_time, &event.sent_time]) {
            if let Some(value) = time(value) {
                fields.insert(name.to_owned(), value);
            }
        }
    }
    Ok(document)
}

fn from_document(document: Value, mut event: pb::Event) -> Result<pb::Event, BadPatch> {
    let Value::Object(mut fields) = document else {
        return Err(bad("merge_patch_json", "makes something that is no object"));
    };
    let mut text = |name: &str| match fields.shift_remove(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(bad(name, "must be a text")),
    };
    event.message_id = text("message_id")?;
    event.name = text("name")?;
    event.user_id = text("user_id")?;
    event.anonymous_id = text("anonymous_id")?;
    event.account_id = text("account_id")?;
    let time = |name: &str, value: Option<Value>| match value {
        None => Ok(None),
        Some(Value::String(text)) => DateTime::parse_from_rfc3339(&text)
            .map(|time| Some(time_to_proto(time.with_timezone(&Utc))))
            .map_err(|error| bad(name, format!("is no RFC 3339 time: {error}"))),
        Some(_) => Err(bad(name, "must be an RFC 3339 time")),
    };
    event.occurred_time = time("occurred_time", fields.shift_remove("occurred_time"))?;
    event.sent_time = time("sent_time", fields.shift_remove("sent_time"))?;
    event.sequence = match fields.shift_remove("sequence") {
        None => 0,
        Some(number) => {
            number.as_i64().ok_or_else(|| bad("sequence", "must be a 64-bit integer"))?
        }
    };
    event.properties = match fields.shift_remove("properties") {
        None => Default::default(),
        Some(Value::Object(properties)) => properties_to_proto(properties),
        Some(_) => return Err(bad("properties", "must be an object")),
    };
    Ok(event)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn event() -> pb::Event {
        let text =
            |text: &str| pb::Value { kind: Some(pb::value::Kind::StringValue(text.to_owned())) };
        pb::Event {
            message_id: "m".to_owned(),
            name: "Signed Up".to_owned(),
            user_id: "u".to_owned(),
            occurred_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000 }),
            sequence: 7,
            properties: BTreeMap::from([
                ("plan".to_owned(), text("pro")),
                ("seats".to_owned(), text("many")),
            ]),
            ..pb::Event::default()
        }
    }

    fn patched(patch: &str) -> Result<pb::Event, BadPatch> {
        Patch::parse(patch)?.apply(&event())
    }

    #[test]
    fn a_patch_that_says_nothing_changes_nothing() {
        assert_eq!(patched("{}").unwrap(), event());
    }

    #[test]
    fn a_patch_sets_removes_and_keeps() {
        let found = patched(
            r#"{"properties": {"seats": 3, "plan": null, "paid": 2.0},
                "occurred_time": "2026-03-01T12:00:00+01:00", "user_id": null}"#,
        )
        .unwrap();
        let kind = |name: &str| found.properties[name].kind.clone().unwrap();
        assert_eq!(kind("seats"), pb::value::Kind::IntValue(3));
        assert_eq!(kind("paid"), pb::value::Kind::DoubleValue(2.0));
        assert!(!found.properties.contains_key("plan"));
        assert_eq!(found.user_id, "");
        assert_eq!(found.occurred_time.unwrap().seconds, 1_772_362_800);
        assert_eq!((found.message_id.as_str(), found.sequence), ("m", 7));
    }

    #[test]
    fn a_document_reads_back() {
        let mut event = event();
        event.properties.insert("none".to_owned(), pb::Value { kind: None });
        event.occurred_time = Some(prost_types::Timestamp { seconds: 5, nanos: 0 });
        let text = to_document(&event).unwrap().to_string();
        assert_eq!(read(&text).unwrap(), event);
        assert_eq!(read(r#"{"user_id": null}"#).unwrap(), pb::Event::default());
        assert_eq!(read(r#"{"user": "u"}"#).unwrap_err().field, "user");
    }

    #[test]
    fn a_patch_that_makes_no_event_says_where() {
        for (patch, field) in [
            ("[]", "merge_patch_json"),
            ("{", "merge_patch_json"),
            (r#"{"plan": "pro"}"#, "plan"),
            (r#"{"name": 3}"#, "name"),
            (r#"{"occurred_time": "yesterday"}"#, "occurred_time"),
            (r#"{"properties": []}"#, "properties"),
            (r#"{"sequence": 1.5}"#, "sequence"),
        ] {
            assert_eq!(patched(patch).unwrap_err().field, field, "{patch}");
        }
    }
}
