//! `northstar sources`: what came in.

use northstar_proto::ingestion::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// Show the accounting equation of every source.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  northstar sources --json")]
pub struct Sources {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
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
        })
        .collect();
    if command.json {
        return output::json(&serde_json::json!({
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
    Ok(())
}
