//! `northstar events`: the log itself.

use northstar_proto::ingestion::v1 as pb;

use crate::archived::from_logged;
use crate::connection::Connection;
use crate::export::{self, Export};
use crate::output;

/// Read the log: print events, or write them to files.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar events list --from-position 1 --limit 10
  northstar events list --filter \"event.name == 'Order Placed'\" > orders.jsonl
  northstar events export --to archive/ --since 2026-03-01")]
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
}

/// Runs the command.
pub async fn run(command: Events, connection: &Connection) -> anyhow::Result<()> {
    match command {
        Events::Export(export) => export::run(export, connection).await,
        Events::List { from_position, to_position, filter, limit, json: _ } => {
            let request = pb::ReadEventsRequest {
                after_position: from_position - 1,
                to_position,
                filter,
            };
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

/// Prints an event as exported files have it.
pub fn print(event: &pb::LoggedEvent) -> anyhow::Result<()> {
    output::line(northstar_archive::to_line(&from_logged(event)?)?)?;
    Ok(())
}
