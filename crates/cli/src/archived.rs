//! Between events on the wire and events in exported files.

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use northstar_archive::{ArchivedEvent, Consent};
use northstar_ingestion::convert::{properties_from_json, properties_to_json};
use northstar_proto::ingestion::v1 as pb;

use crate::time;

/// An event of the log as a row of a file.
///
/// # Errors
/// When the service sent no event, or a time that is none.
pub fn from_logged(logged: &pb::LoggedEvent) -> anyhow::Result<ArchivedEvent> {
    let event = logged.event.as_ref().context("a logged event without its event")?;
    let correction = match logged.correction() {
        pb::TimeCorrection::Skew => "skew",
        pb::TimeCorrection::Clamped => "clamped",
        pb::TimeCorrection::None | pb::TimeCorrection::Unspecified => "none",
    };
    Ok(ArchivedEvent {
        position: logged.position,
        source: logged.source.clone(),
        message_id: event.message_id.clone(),
        name: event.name.clone(),
        user_id: event.user_id.clone(),
        anonymous_id: event.anonymous_id.clone(),
        account_id: event.account_id.clone(),
        occurred_at: required(event.occurred_time.as_ref())?,
        sent_at: event.sent_time.as_ref().map(|time| required(Some(time))).transpose()?,
        received_at: required(logged.received_time.as_ref())?,
        effective_at: required(logged.effective_time.as_ref())?,
        correction: correction.to_owned(),
        sequence: event.sequence,
        region: event.region.clone(),
        consent: event.consent.as_ref().map(|consent| Consent {
            granted: consent.granted_purposes.clone(),
            denied: consent.denied_purposes.clone(),
        }),
        properties: properties_to_json(&event.properties)
            .map_err(|fault| anyhow::anyhow!("{}: {}", fault.field, fault.message))?,
    })
}

fn required(time: Option<&prost_types::Timestamp>) -> anyhow::Result<DateTime<Utc>> {
    time.and_then(|time| DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?))
        .context("a logged event without a time")
}

/// The event of a row, to be sent again.
///
/// # Errors
/// When its properties are no JSON object.
pub fn to_event(archived: ArchivedEvent) -> anyhow::Result<pb::Event> {
    Ok(pb::Event {
        message_id: archived.message_id,
        name: archived.name,
        user_id: archived.user_id,
        anonymous_id: archived.anonymous_id,
        account_id: archived.account_id,
        occurred_time: Some(time::timestamp(archived.occurred_at)),
        sent_time: archived.sent_at.map(time::timestamp),
        sequence: archived.sequence,
        properties: properties_from_json(&archived.properties)?,
        region: archived.region,
        consent: archived.consent.map(|consent| pb::Consent {
            granted_purposes: consent.granted,
            denied_purposes: consent.denied,
        }),
    })
}
