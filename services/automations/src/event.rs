//! Events as triggers see them, and the subjects they are about.

use chrono::{DateTime, Utc};
use northstar_domain::RunId;
use northstar_domain::automation::Definition;
use northstar_domain::expression::EventFacts;
use northstar_proto::ingestion::v1 as pb;
use northstar_proto::ingestion::v1::value::Kind;
use northstar_store::automations::NewRun;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::convert::time_from_proto;

/// The run an event sets off; `None` when it does not.
///
/// The subject is the known person, else the device. Its arm is drawn here,
/// before anything else is looked at.
pub(crate) fn triggered(definition: &Definition, logged: &pb::LoggedEvent) -> Option<NewRun> {
    let event = logged.event.as_ref()?;
    if event.name != definition.spec().trigger.event {
        return None;
    }
    let properties: Map<String, Value> =
        event.properties.iter().map(|(name, value)| (name.clone(), json(value))).collect();
    let facts = EventFacts {
        name: &event.name,
        source: &logged.source,
        user_id: &event.user_id,
        anonymous_id: &event.anonymous_id,
        account_id: &event.account_id,
        properties: &properties,
    };
    if !definition.condition().matches(&facts) {
        return None;
    }
    let anonymous = event.user_id.is_empty();
    let subject = if anonymous { &event.anonymous_id } else { &event.user_id };
    let automation = definition.name().as_str();
    Some(NewRun {
        id: RunId::generate(),
        subject: subject.clone(),
        anonymous,
        arm: definition.holdout().arm(automation, subject),
        trigger_position: logged.position,
        trigger_at: effective_time(logged)?,
        trigger_properties: Value::Object(properties),
        message_id: message_id(automation, subject),
    })
}

fn effective_time(logged: &pb::LoggedEvent) -> Option<DateTime<Utc>> {
    logged.effective_time.as_ref().and_then(time_from_proto)
}

/// The id of the event that tells of a run. Made from automation and subject,
/// of which there is one run, so that telling it twice makes a duplicate; the
/// subject is hashed because an id has at most 200 bytes.
fn message_id(automation: &str, subject: &str) -> String {
    format!("run/{automation}/{}", hex(&Sha256::digest(subject)[..16]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A property as JSON: integers stay exact.
pub(crate) fn json(value: &pb::Value) -> Value {
    match &value.kind {
        None => Value::Null,
        Some(Kind::StringValue(text)) => Value::from(text.as_str()),
        Some(Kind::IntValue(integer)) => Value::from(*integer),
        Some(Kind::DoubleValue(double)) => Value::from(*double),
        Some(Kind::BoolValue(boolean)) => Value::from(*boolean),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::StructValue(object)) => Value::Object(
            object.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
        ),
    }
}
