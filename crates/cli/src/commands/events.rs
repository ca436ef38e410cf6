<<<<<<< HEAD
//! `northstar sources`: what came in.
=======
//! `northstar quarantine`: what waits.
>>>>>>> sources

use northstar_proto::ingestion::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

<<<<<<< HEAD
/// Show the accounting equation of every source.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  northstar sources --json")]
pub struct Sources {
=======
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
>>>>>>> sources
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
<<<<<<< HEAD
struct Source {
    name: String,
    received: i64,
    accepted: i64,
    duplicate: i64,
    quarantined: i64,
    rejected: i64,
    last_received: Option<String>,
    last_effective: Option<String>,
}

/// Runs `northstar sources`.
pub async fn sources(command: Sources, connection: &Connection) -> anyhow::Result<()> {
    let mut ingestion = connection.clients()?.ingestion();
    let found = ingestion.list_sources(pb::ListSourcesRequest {}).await?.into_inner();
    let sources: Vec<Source> = found
        .sources
        .into_iter()
        .map(|source| Source {
            last_received: time::text(source.last_received_time.as_ref()),
            last_effective: time::text(source.last_effective_time.as_ref()),
            name: source.name,
            received: source.received,
            accepted: source.accepted,
            duplicate: source.duplicate,
            quarantined: source.quarantined,
            rejected: source.rejected,
=======
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
>>>>>>> sources
        })
        .collect();
    if command.json {
        return output::json(&serde_json::json!({
<<<<<<< HEAD
            "sources": sources,
            "log_position": found.log_position,
        }));
    }
    let rows = sources.into_iter().map(|source| {
        let mut row = vec![source.name];
        row.extend(
            [
                source.received,
                source.accepted,
                source.duplicate,
                source.quarantined,
                source.rejected,
            ]
            .map(|count| output::number(count as f64)),
        );
        row
    });
    let header = ["source", "received", "accepted", "duplicate", "quarantined", "rejected"];
    output::line(output::table(&header, rows))?;
=======
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
>>>>>>> sources
    Ok(())
}
