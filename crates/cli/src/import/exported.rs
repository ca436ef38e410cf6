//! Files that `northstar events export` wrote, read back. Every event keeps its
//! source and its message id, so a log that has it takes it as a duplicate.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use northstar_archive::{ArchivedEvent, ParquetEvents, from_line};
use tokio::sync::mpsc;

use super::progress::Progress;
use super::rows::{Batch, Read, WAITING};
use crate::archived::to_event;

type Events = Box<dyn Iterator<Item = anyhow::Result<ArchivedEvent>> + Send>;

/// Starts reading.
///
/// # Errors
/// When the file cannot be opened or is no exported one.
pub fn read(path: &Path, size: usize, progress: Progress) -> anyhow::Result<mpsc::Receiver<Read>> {
    let events = open(path).with_context(|| {
        format!(
            "{} is not a file that `northstar events export` wrote; for any other, say with \
             --mapping what its columns are",
            path.display()
        )
    })?;
    let place = path.display().to_string();
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
        for (index, event) in events.enumerate() {
            let line = index as u64 + 1;
            let event = event
                .and_then(|event| Ok((event.source.clone(), to_event(event)?)))
                .with_context(|| format!("{place}:{line}"));
            let (source, event) = match event {
                Ok(event) => event,
                Err(error) => {
                    // What came before is sent; the receiver may have given up.
                    for batch in batches.into_values() {
                        let _ = sender.blocking_send(Ok(batch));
                    }
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            };
            let batch = batches
                .entry(source)
                .or_insert_with_key(|source| Batch::new(source.as_str().into()));
            batch.events.push(event);
            batch.lines.push(line);
            if batch.events.len() >= size && sender.blocking_send(Ok(batch.take())).is_err() {
                return;
            }
        }
        progress.bytes(u64::MAX);
        for batch in batches.into_values() {
            if sender.blocking_send(Ok(batch)).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn open(path: &Path) -> anyhow::Result<Events> {
    let mut file = File::open(path)?;
    let mut magic = [0; 4];
    let read = file.read(&mut magic)?;
    file.rewind()?;
    if &magic[..read] == b"PAR1" {
        return Ok(Box::new(ParquetEvents::open(file)?.map(|event| Ok(event?))));
    }
    // The first line tells whether the others will do.
    let mut lines = BufReader::new(file).split(b'\n').peekable();
    match lines.peek() {
        None => bail!("the file is empty"),
        Some(Ok(line)) => {
            from_line(line)?;
        }
        Some(Err(error)) => bail!("{error}"),
    }
    Ok(Box::new(lines.map(|line| Ok(from_line(&line?)?))))
}
