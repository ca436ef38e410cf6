//! Events as JSON Lines.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ArchivedEvent, Consent, Error};

/// A line. Keys keep their order and numbers their digits, so the text of the
/// properties survives.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    position: i64,
    source: String,
    message_id: String,
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    user_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    anonymous_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    account_id: String,
    occurred_time: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent_time: Option<DateTime<Utc>>,
    received_time: DateTime<Utc>,
    effective_time: DateTime<Utc>,
    correction: String,
    sequence: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    region: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consent: Option<Consent>,
    properties: Map<String, Value>,
}

/// The line of an event, without its end.
///
/// # Errors
/// When the properties are no JSON object.
pub fn to_line(event: &ArchivedEvent) -> Result<String, Error> {
    let shape = |error: serde_json::Error| {
        Error::Shape(format!("the event at position {}: {error}", event.position))
    };
    let event = event.clone();
    let line = Line {
        position: event.position,
        source: event.source,
        message_id: event.message_id,
        name: event.name,
        user_id: event.user_id,
        anonymous_id: event.anonymous_id,
        account_id: event.account_id,
        occurred_time: event.occurred_at,
        sent_time: event.sent_at,
        received_time: event.received_at,
        effective_time: event.effective_at,
        correction: event.correction,
        sequence: event.sequence,
        region: event.region,
        consent: event.consent,
        properties: serde_json::from_str(&event.properties).map_err(shape)?,
    };
    serde_json::to_string(&line).map_err(shape)
}

/// The event of a line.
///
/// # Errors
/// When the line is none that [`to_line`] writes.
pub fn from_line(line: &[u8]) -> Result<ArchivedEvent, Error> {
    let line: Line = serde_json::from_slice(line)
        .map_err(|error| Error::Shape(format!("no exported event: {error}")))?;
    let properties = serde_json::to_string(&line.properties)
        .map_err(|error| Error::Shape(format!("properties: {error}")))?;
    Ok(ArchivedEvent {
        position: line.position,
        source: line.source,
        message_id: line.message_id,
        name: line.name,
        user_id: line.user_id,
        anonymous_id: line.anonymous_id,
        account_id: line.account_id,
        occurred_at: line.occurred_time,
        sent_at: line.sent_time,
        received_at: line.received_time,
        effective_at: line.effective_time,
        correction: line.correction,
        sequence: line.sequence,
        region: line.region,
        consent: line.consent,
        properties,
    })
}
