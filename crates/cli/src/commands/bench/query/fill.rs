//! Getting the events in by the front door, and waiting until the read model
//! has settled.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use northstar_client::Clients;

use super::super::child::Service;
use super::super::load;
use super::data::Events;
use super::questions::{self, Question};
use crate::output;

/// Source that sends the events.
const SOURCE: &str = "bench-query";
/// Events of a request.
const BATCH: u64 = 10_000;
/// Events that are made while the clock stands still.
const STRETCH: u64 = 1_000_000;
/// How often the folder is looked at, and for how long it must not change.
const LOOK: Duration = Duration::from_millis(250);
const QUIET: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(900);

/// How it went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filled {
    /// Time that sending took, without making the events.
    pub(super) sending: Duration,
    /// Time from the last answer to the last change of a segment.
    pub(super) catching_up: Duration,
}

/// Sends the events of these numbers, and waits for the segments.
pub(super) async fn fill(
    service: &Service,
    events: &Events,
    numbers: std::ops::Range<u64>,
    folder: &Path,
) -> anyhow::Result<Filled> {
    let mut filled = Filled::default();
    let mut start = numbers.start;
    while start < numbers.end {
        let end = (start + STRETCH).min(numbers.end);
        let mut batches = Vec::new();
        for first in (start..end).step_by(BATCH as usize) {
            let of_batch = first..(first + BATCH).min(end);
            let count = usize::try_from(of_batch.end - of_batch.start)?;
            batches.push((count, events.batch(of_batch)?));
        }
        filled.sending += load::send_columns(service, SOURCE, batches).await?.took;
        start = end;
        output::note(format!("{} events sent", output::number(end as f64)));
    }
    filled.catching_up = settle(&service.clients()?, folder).await?;
    Ok(filled)
}

/// Waits until no segment changes any more; returns when the last one did, from
/// the call on.
pub(super) async fn settle(clients: &Clients, folder: &Path) -> anyhow::Result<Duration> {
    let start = Instant::now();
    // Whoever asks makes the read model follow at once.
    questions::ask(clients, Question::Revenue).await?;
    let (mut seen, mut changed) = (segments(folder)?, Instant::now());
    while changed.elapsed() < QUIET {
        if start.elapsed() > PATIENCE {
            bail!("segments still change after {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
        let now = segments(folder)?;
        if now != seen {
            (seen, changed) = (now, Instant::now());
        }
    }
    Ok(changed - start)
}

/// The segment files of the suite in a folder, unfinished ones too, and how large they are.
pub(super) fn segments(folder: &Path) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.join("suite")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.context("a folder of segments")?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(".seg") {
                // A file that has just been replaced is no longer there.
                let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
                files.push((path, bytes));
            }
        }
    }
    files.sort();
    Ok(files)
}
