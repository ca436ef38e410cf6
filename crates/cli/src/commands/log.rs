//! `northstar events`: the log itself.

use northstar_proto::ingestion::v1 as pb;
use serde::Serialize;

use crate::archived::from_logged;
use crate::connection::Connection;
use crate::export::{self, Export};
use crate::{output, time};

/// Read the log: print events, or write them to files.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar events list --from-position 1 --limit 10
  northstar events list --filter \"event.name == 'Order Placed'\" > orders.jsonl
  northstar events export --to archive/ --since 2026-03-01
  northstar events archive --json")]
pub enum Events {
    /// Print events as JSON Lines, in the order of their positions.
    List {
        /// First position.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
        from_position: i64,
        /// Last position; the end of the log when absent.
        #[arg(long, default_value_t = 0)]
        to_position: i64,
        /// CEL condition on events.
        #[arg(long, default_value = "")]
        filter: String,
        /// Stop after so many events.
        #[arg(long)]
        limit: Option<u64>,
        /// JSON Lines, which is what it prints anyhow.
        #[arg(long)]
        json: bool,
    },
    Export(Export),
    /// List the files that old events were archived to.
    Archive {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub async fn run(command: Events, connection: &Connection) -> anyhow::Result<()> {
    match command {
        Events::Archive { json } => archive(json, connection).await,
        Events::Export(export) => export::run(export, connection).await,
        Events::List { from_position, to_position, filter, limit, json: _ } => {
            let request =
                pb::ReadEventsRequest { after_position: from_position - 1, to_position, filter };
            list(request, limit, connection).await
        }
    }
}

async fn list(
    request: pb::ReadEventsRequest,
    limit: Option<u64>,
    connection: &Connection,
) -> anyhow::Result<()> {
    let mut events = connection.clients()?.subscriptions().read_events(request).await?.into_inner();
    let mut left = limit.unwrap_or(u64::MAX);
    while let Some(response) = events.message().await? {
        for event in &response.events {
            if left == 0 {
                return Ok(());
            }
            print(event)?;
            left -= 1;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct File {
    first_position: i64,
    last_position: i64,
    events: i64,
    bytes: i64,
    location: String,
    sha256: String,
    verified: Option<String>,
    /// When its events left the log; null while they are in both places.
    detached: Option<String>,
}

async fn archive(json: bool, connection: &Connection) -> anyhow::Result<()> {
    let clients = connection.clients()?;
    let (mut files, mut page_token) = (Vec::new(), String::new());
    let through = loop {
        let request = pb::ListArchivedFilesRequest { page_size: 1000, page_token };
        let page = clients.retention().list_archived_files(request).await?.into_inner();
        files.extend(page.files.into_iter().map(|file| File {
            verified: time::text(file.verify_time.as_ref()),
            detached: time::text(file.detach_time.as_ref()),
            first_position: file.first_position,
            last_position: file.last_position,
            events: file.events,
            bytes: file.bytes,
            location: file.location,
            sha256: file.sha256,
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break page.archived_through_position;
        }
    };
    if json {
        return output::json(&serde_json::json!({
            "files": files,
            "archived_through_position": through,
        }));
    }
    let rows = files.into_iter().map(|file| {
        [
            format!("{} - {}", file.first_position, file.last_position),
            output::number(file.events as f64),
            output::number(file.bytes as f64),
            file.detached.unwrap_or_else(|| "also in the log".to_owned()),
            file.location,
        ]
    });
    let header = ["positions", "events", "bytes", "left the log", "location"];
    output::line(output::table(&header, rows))?;
    Ok(())
}

/// Prints an event as exported files have it.
pub fn print(event: &pb::LoggedEvent) -> anyhow::Result<()> {
    output::line(northstar_archive::to_line(&from_logged(event)?)?)?;
    Ok(())
}
