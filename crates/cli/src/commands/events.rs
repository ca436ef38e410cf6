//! `northstar quarantine`: what waits.

use northstar_proto::ingestion::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// List events that wait in quarantine, oldest first.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar quarantine
  northstar quarantine --source billing --reason schema_violation --limit 5 --json")]
pub struct Quarantine {
    /// Only this source.
    #[arg(long, default_value = "")]
    source: String,
    /// Only this reason.
    #[arg(long, default_value = "")]
    reason: String,
    /// Most events, up to 1000.
    #[arg(long, default_value_t = 20)]
    limit: i32,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Waiting {
    id: String,
    source: String,
    message_id: String,
    event: String,
    reason: String,
    field: String,
    message: String,
    received: Option<String>,
}

/// Runs `northstar quarantine`.
pub async fn quarantine(command: Quarantine, connection: &Connection) -> anyhow::Result<()> {
    let mut ingestion = connection.clients()?.ingestion();
    let request = pb::ListQuarantinedEventsRequest {
        page_size: command.limit,
        page_token: String::new(),
        source: command.source,
        reason: command.reason,
    };
    let page = ingestion.list_quarantined_events(request).await?.into_inner();
    let events: Vec<Waiting> = page
        .events
        .into_iter()
        .map(|waiting| {
            let event = waiting.event.unwrap_or_default();
            Waiting {
                id: waiting.quarantine_id,
                source: waiting.source,
                message_id: event.message_id,
                event: event.name,
                reason: waiting.reason,
                field: waiting.field,
                message: waiting.message,
                received: time::text(waiting.received_time.as_ref()),
            }
        })
        .collect();
    if command.json {
        return output::json(&serde_json::json!({
            "events": events,
            "counts": page.counts_by_reason,
        }));
    }
    let rows = events
        .into_iter()
        .map(|event| [event.source, event.event, event.reason, event.field, event.message]);
    output::line(output::table(&["source", "event", "reason", "field", "message"], rows))?;
    let counts: Vec<_> =
        page.counts_by_reason.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    output::line(counts.join(", "))?;
    Ok(())
}
