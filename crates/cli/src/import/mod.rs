//! `northstar import`: a file into the log, once each, whatever happens in
//! between. Every row has a message id that depends on nothing but the row, so
//! that importing again, after a crash or by mistake, adds nothing.

mod exported;
mod mapping;
mod progress;
mod rows;
mod send;

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use crate::connection::Connection;
use crate::output;

pub use mapping::{Document, Mapping};

/// Import a file of events.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar import orders.csv --mapping orders.yaml
  northstar import events.jsonl.zst --mapping events.yaml --json

  northstar import archive/events-000000000001-000000031106.parquet

The last reads back what `northstar events export` wrote. For all else, the
mapping says which column is what:
  source: shop
  event: {column: activity}
  user_id: {column: user_id}
  occurred_time: {column: timestamp, format: \"%Y-%m-%d %H:%M:%S\", zone: Europe/Berlin}
  properties:
    amount: {column: price, type: float}
    revenue: {expression: \"double(row.quantity) * double(row.price)\"}

An import that was interrupted is finished by running it again: rows that are
in the log already answer as duplicates.")]
pub struct Import {
    /// CSV, TSV, JSON Lines or Parquet; .gz and .zst too.
    file: PathBuf,
    /// YAML document that maps columns to an event. Not for files that `northstar
    /// events export` wrote.
    #[arg(long)]
    mapping: Option<PathBuf>,
    /// Rows in one batch.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// What an import did. Every row read is in exactly one of the other counts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Rows read.
    pub read: u64,
    /// New in the log.
    pub accepted: u64,
    /// In the log, or in quarantine, already.
    pub duplicate: u64,
    /// Kept in quarantine.
    pub quarantined: u64,
    /// Refused by the service.
    pub rejected: u64,
    /// What the suite told of itself, which only its own services may tell: left out.
    #[serde(skip_serializing_if = "none")]
    pub left_out: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// The first rows that did not become events.
    pub bad_rows: Vec<BadRow>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn none(count: &u64) -> bool {
    *count == 0
}

/// A row that did not become an event.
#[derive(Clone, Debug, Serialize)]
pub struct BadRow {
    /// Its line, from 1.
    pub line: u64,
    /// Machine-readable reason.
    pub reason: String,
    /// Column or field at fault.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// Most bad rows that are reported one by one.
const REPORTED: usize = 100;

impl Summary {
    fn report(&mut self, bad: BadRow) {
        if self.bad_rows.len() < REPORTED {
            self.bad_rows.push(bad);
        }
    }
}

/// Runs the command.
pub async fn run(command: Import, connection: &Connection) -> anyhow::Result<()> {
    let clients = connection.clients()?;
    let started = Instant::now();
    let progress = progress::Progress::new(&command.file);
    let size = usize::from(command.batch);
    let batches = match &command.mapping {
        Some(mapping) => {
            rows::read(&command.file, Document::read(mapping)?, size, progress.clone())?
        }
        None => exported::read(&command.file, size, progress.clone())?,
    };
    let mut summary = send::send_all(&clients, batches, &progress).await?;
    progress.finish();
    summary.seconds = started.elapsed().as_secs_f64();
    if command.json {
        return output::json(&summary);
    }
    for bad in summary.bad_rows.iter().take(20) {
        let column = if bad.field.is_empty() { String::new() } else { format!("{}: ", bad.field) };
        output::note(format!(
            "{}:{}: {column}{} ({})",
            command.file.display(),
            bad.line,
            bad.message,
            bad.reason
        ));
    }
    output::line(format!(
        "{} rows read in {:.1} s: {} accepted, {} duplicate, {} quarantined, {} rejected",
        output::number(summary.read as f64),
        summary.seconds,
        output::number(summary.accepted as f64),
        output::number(summary.duplicate as f64),
        output::number(summary.quarantined as f64),
        output::number(summary.rejected as f64),
    ))?;
    if summary.left_out > 0 {
        output::note(format!(
            "{} of them are what the suite told of itself, and left out: only its own services \
             tell it; a suite key brings it into another suite",
            output::number(summary.left_out as f64)
        ));
    }
    if summary.quarantined > 0 {
        output::note("see what waits with: northstar quarantine");
    }
    Ok(())
}
