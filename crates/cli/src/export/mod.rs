//! `northstar events export`: a stretch of the log as files.
//!
//! A file is written under a temporary name and renamed, or sent to its bucket, when
//! it is complete and on disk; then the manifest, which lists complete files only,
//! is replaced the same way. So whenever an export is killed, running it again removes what is
//! incomplete and goes on after the last position that the manifest has.

mod file;
mod manifest;

use std::time::Instant;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use serde::Serialize;

use crate::commands::subscription::place;
use crate::connection::Connection;
use crate::output;

pub use file::Format;
use file::Writing;
use manifest::{File, Manifest, Place};

/// Tries to reach the suite again before giving up.
const ATTEMPTS: u32 = 8;

/// Write a stretch of the log as Parquet or JSON Lines.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar events export --to archive/
  northstar events export --to march/ --since 2026-03-01 --until 2026-04-01
  northstar events export --to lines/ --format jsonl --from-position 1 --to-position 100000
  northstar events export --to s3://northstar-exports/shop
  northstar import archive/events-000000000001-000000031106.parquet

The place gets files and manifest.json, which lists each with its positions,
number of events, size and SHA-256. Credentials, region and address of a bucket are
those of the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
AWS_ENDPOINT_URL, and AWS_ALLOW_HTTP for an address without TLS. An export that was interrupted goes on when it
is run again; one that was complete adds what the log has since then.

The columns are those of a logged event: position, source, message_id, name,
user_id, anonymous_id, account_id, occurred_time, sent_time, received_time,
effective_time, correction, sequence, region, consent, properties (JSON).")]
pub struct Export {
    /// Folder to write to, made when it is not there; or the URL of a bucket of S3
    /// or of what speaks its protocol, s3://bucket/folder.
    #[arg(long, value_name = "FOLDER_OR_URL")]
    to: String,
    /// parquet or jsonl.
    #[arg(long, default_value = "parquet")]
    format: Format,
    /// First position; the beginning when absent.
    #[arg(long, conflicts_with = "since", value_parser = clap::value_parser!(i64).range(1..))]
    from_position: Option<i64>,
    /// Last position; the end of the log when absent.
    #[arg(long, conflicts_with = "until", value_parser = clap::value_parser!(i64).range(1..))]
    to_position: Option<i64>,
    /// From the events received since a time (2026-03-01, or with a time of day;
    /// UTC), to within ten seconds.
    #[arg(long)]
    since: Option<String>,
    /// Up to the events received at a time, to within ten seconds.
    #[arg(long)]
    until: Option<String>,
    /// CEL condition on events.
    #[arg(long, default_value = "")]
    filter: String,
    /// Most events in a file.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Most mebibytes of a file, about.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    mebibytes: u64,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// What an export did.
#[derive(Serialize)]
struct Summary {
    /// First and last position that are covered now.
    from_position: i64,
    to_position: i64,
    /// Events and files written by this run.
    events: u64,
    files: usize,
    /// Files and events that were there already.
    kept_files: usize,
    kept_events: u64,
    seconds: f64,
}

/// Runs the command.
pub async fn run(command: Export, connection: &Connection) -> anyhow::Result<()> {
    let clients = connection.clients()?;
    let started = Instant::now();
    let place = Place::open(&command.to)?;
    let (from, to) = stretch(&command, &clients).await?;
    let explicit = command.from_position.is_some() || command.since.is_some();
    let wanted = Manifest::new(command.format, from, &command.filter);
    let mut manifest = place.resume(wanted, explicit).await?;
    let (kept_files, kept_events) = (manifest.files.len(), manifest.events());
    let bar = progress(manifest.next_position() - 1, to);
    let written = export(&command, &clients, &place, &mut manifest, to, &bar).await;
    bar.finish_and_clear();
    written.with_context(|| {
        format!(
            "the export stopped after position {}; run it again to go on",
            manifest.next_position() - 1
        )
    })?;
    let summary = Summary {
        from_position: manifest.from_position,
        to_position: manifest.next_position() - 1,
        events: manifest.events() - kept_events,
        files: manifest.files.len() - kept_files,
        kept_files,
        kept_events,
        seconds: started.elapsed().as_secs_f64(),
    };
    if command.json {
        return output::json(&summary);
    }
    output::line(format!(
        "{} events in {} files written to {} in {:.1} s; it holds positions {} to {}",
        output::number(summary.events as f64),
        summary.files,
        place,
        summary.seconds,
        summary.from_position,
        summary.to_position,
    ))?;
    Ok(())
}

/// First and last position asked for.
async fn stretch(command: &Export, clients: &Clients) -> anyhow::Result<(i64, i64)> {
    let find = async |text: &str| -> anyhow::Result<pb::FindPositionResponse> {
        let request = pb::FindPositionRequest { place: Some(place(text)?) };
        Ok(clients.subscriptions().find_position(request).await?.into_inner())
    };
    let end = find("now").await?.position;
    let from = match (&command.since, command.from_position) {
        (Some(since), _) => find(since).await?.position + 1,
        (None, Some(from)) => from,
        (None, None) => find("beginning").await?.position + 1,
    };
    let to = match (&command.until, command.to_position) {
        (Some(until), _) => find(until).await?.position,
        (None, to) => to.unwrap_or(end),
    };
    if to > end {
        bail!("--to-position {to} lies behind the end of the log, {end}");
    }
    Ok((from, to))
}

fn progress(done: i64, to: i64) -> ProgressBar {
    use std::io::IsTerminal as _;
    let total = u64::try_from(to).unwrap_or(0);
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(total)
    } else {
        ProgressBar::hidden()
    };
    let template = "{bar:32} {percent:>3} %  position {pos} of {len}  {per_sec}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_position(u64::try_from(done).unwrap_or(0))
}

/// Reads what is missing and writes it, file by file.
async fn export(
    command: &Export,
    clients: &Clients,
    place: &Place,
    manifest: &mut Manifest,
    to: i64,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let most_bytes = command.mebibytes.saturating_mul(1 << 20);
    let mut after = manifest.next_position() - 1;
    let mut failures = 0;
    let mut writing: Option<Writing> = None;
    while after < to {
        match read(clients, after, to, &command.filter).await {
            Err(status) => wait_after(status, &mut failures).await?,
            Ok(mut stream) => loop {
                let response = match stream.message().await {
                    Ok(Some(response)) => response,
                    Ok(None) => break,
                    Err(status) => {
                        wait_after(status, &mut failures).await?;
                        break;
                    }
                };
                failures = 0;
                let first = manifest.next_position();
                let file = match &mut writing {
                    Some(file) => file,
                    None => writing.insert(Writing::begin(place, command.format, first)?),
                };
                file.write(&response.events)?;
                after = response.position;
                bar.set_position(u64::try_from(after).unwrap_or(0));
                if file.events() >= command.rows || file.bytes() >= most_bytes {
                    finish(&mut writing, place, manifest, after).await?;
                }
            },
        }
    }
    finish(&mut writing, place, manifest, to).await
}

/// Ends the file that covers the positions up to one, and notes it.
async fn finish(
    writing: &mut Option<Writing>,
    place: &Place,
    manifest: &mut Manifest,
    last_position: i64,
) -> anyhow::Result<()> {
    let Some(file) = writing.take() else { return Ok(()) };
    let file: File = file.finish(place, last_position).await?;
    manifest.files.push(file);
    place.save(manifest).await
}

async fn read(
    clients: &Clients,
    after: i64,
    to: i64,
    filter: &str,
) -> Result<tonic::Streaming<pb::ReadEventsResponse>, tonic::Status> {
    let request =
        pb::ReadEventsRequest { after_position: after, to_position: to, filter: filter.to_owned() };
    Ok(clients.subscriptions().read_events(request).await?.into_inner())
}

/// Waits before the next try, or gives up.
async fn wait_after(status: tonic::Status, failures: &mut u32) -> anyhow::Result<()> {
    use tonic::Code;
    *failures += 1;
    let passing = matches!(
        status.code(),
        Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::Unknown
    );
    if !passing || *failures >= ATTEMPTS {
        return Err(status.into());
    }
    tokio::time::sleep(std::time::Duration::from_millis(100 << (*failures).min(6))).await;
    Ok(())
}
