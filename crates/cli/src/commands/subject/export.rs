//! Everything that is held about a subject.

use anyhow::bail;
use northstar_proto::ingestion::v1 as pb;

use super::identified::{Identified, text};
use super::print::decision;
use super::shown::ShownFact;
use crate::connection::Connection;
use crate::{output, time};

/// Everything that is held about a subject, a line each.
pub(super) async fn export(
    connection: &Connection,
    identifier: Identified,
    reason: String,
) -> anyhow::Result<Option<pb::ExportSummary>> {
    use pb::export_subject_response::Item;
    let request = pb::ExportSubjectRequest { identifier: Some(identifier.into()), reason };
    let mut subjects = connection.clients()?.subjects();
    let mut pieces = subjects.export_subject(request).await?.into_inner();
    let mut summary = None;
    while let Some(piece) = pieces.message().await? {
        let line = match piece.item {
            Some(Item::Subject(subject)) => serde_json::json!({
                "kind": "subject",
                "subject": text(subject.subject.as_ref()),
                "identifiers": subject.identifiers.iter().map(|found| text(Some(found))).collect::<Vec<_>>(),
            }),
            Some(Item::Fact(fact)) => {
                serde_json::json!({ "kind": "fact", "fact": ShownFact::from(fact) })
            }
            Some(Item::Consent(state)) => serde_json::json!({
                "kind": "consent",
                "purpose": state.purpose,
                "decision": decision(&state),
                "effective": time::text(state.effective_time.as_ref()),
                "actor": state.actor,
            }),
            Some(Item::Event(logged)) => {
                let event = logged.event.unwrap_or_default();
                serde_json::json!({
                    "kind": "event",
                    "position": logged.position,
                    "source": logged.source,
                    "received": time::text(logged.received_time.as_ref()),
                    "effective": time::text(logged.effective_time.as_ref()),
                    "event": shown_event(event),
                })
            }
            Some(Item::QuarantinedEvent(waiting)) => serde_json::json!({
                "kind": "quarantined_event",
                "id": waiting.quarantine_id,
                "source": waiting.source,
                "reason": waiting.reason,
                "received": time::text(waiting.received_time.as_ref()),
                "event": waiting.event.map(shown_event),
                "raw": String::from_utf8_lossy(&waiting.raw),
            }),
            Some(Item::KeptAside(aside)) => serde_json::json!({
                "kind": "kept_aside",
                "position": aside.position,
                "name": aside.name,
                "omitted": serde_json::from_str::<serde_json::Value>(&aside.omitted_json).ok(),
            }),
            Some(Item::Summary(sent)) => {
                summary = Some(sent);
                serde_json::json!({
                    "kind": "summary",
                    "facts": sent.facts,
                    "events": sent.events,
                    "archived_events": sent.archived_events,
                    "kept_aside": sent.kept_aside,
                    "quarantined_events": sent.quarantined_events,
                    "log_position": sent.log_position,
                })
            }
            None => bail!("the server sent a piece that this version does not know"),
        };
        output::json_line(&line)?;
    }
    Ok(summary)
}

fn shown_event(event: pb::Event) -> serde_json::Value {
    let properties: serde_json::Map<_, _> =
        event.properties.into_iter().map(|(name, value)| (name, json_value(value))).collect();
    serde_json::json!({
        "message_id": event.message_id,
        "name": event.name,
        "user_id": event.user_id,
        "anonymous_id": event.anonymous_id,
        "account_id": event.account_id,
        "occurred": time::text(event.occurred_time.as_ref()),
        "properties": properties,
    })
}

fn json_value(value: pb::Value) -> serde_json::Value {
    use pb::value::Kind;
    match value.kind {
        None => serde_json::Value::Null,
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::IntValue(number)) => number.into(),
        Some(Kind::DoubleValue(number)) => number.into(),
        Some(Kind::BoolValue(truth)) => truth.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json_value).collect(),
        Some(Kind::StructValue(object)) => object
            .fields
            .into_iter()
            .map(|(name, value)| (name, json_value(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
