//! Reads rows on a thread of its own and hands them over in batches.

use std::path::Path;
use std::sync::Arc;

use northstar_proto::ingestion::v1::{Event, MalformedRecord};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::progress::Progress;
use super::{BadRow, Document, Mapping};
use crate::tabular::{self, Row, RowError};

/// Batches that wait to be sent.
pub const WAITING: usize = 4;
/// Longest raw row that quarantine keeps.
const RAW_LIMIT: usize = 64 * 1024;

/// Rows on their way into the log.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Name of the source of all of them.
    pub source: Arc<str>,
    /// Rows that are events.
    pub events: Vec<Event>,
    /// The line of each.
    pub lines: Vec<u64>,
    /// Rows that are not, whole.
    pub malformed: Vec<MalformedRecord>,
    /// What is wrong with them, for the report.
    pub bad: Vec<BadRow>,
}

impl Batch {
    /// An empty batch of a source.
    pub fn new(source: Arc<str>) -> Self {
        Self {
            source,
            events: Vec::new(),
            lines: Vec::new(),
            malformed: Vec::new(),
            bad: Vec::new(),
        }
    }

    /// Hands over what there is and begins anew.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(Arc::clone(&self.source)))
    }

    fn len(&self) -> usize {
        self.events.len() + self.malformed.len()
    }
}

/// A batch, or why the file cannot be read on.
pub type Read = anyhow::Result<Batch>;

/// Starts reading.
///
/// # Errors
/// When the file cannot be opened or the mapping does not fit its columns.
pub fn read(
    file: &Path,
    document: Document,
    size: usize,
    progress: Progress,
) -> anyhow::Result<mpsc::Receiver<Read>> {
    let mut reader = tabular::open(file, tabular::Options::default())?;
    let mapping = document.bind(reader.headers())?;
    let source: Arc<str> = mapping.source.as_str().into();
    let file = file.display().to_string();
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut batch = Batch::new(source);
        while let Some(row) = reader.next() {
            match row {
                Ok(row) => add(&mut batch, &mapping, &file, &row),
                Err(error) if error.fatal => {
                    let sent = sender.blocking_send(Ok(batch.take()));
                    if sent.is_ok() {
                        // The receiver may have given up meanwhile.
                        let _ = sender.blocking_send(Err(error.into()));
                    }
                    return;
                }
                Err(error) => add_unreadable(&mut batch, &file, error),
            }
            if batch.len() >= size {
                progress.bytes(reader.progress().bytes_read);
                if sender.blocking_send(Ok(batch.take())).is_err() {
                    return;
                }
            }
        }
        // The receiver may have given up; then nobody is left to tell.
        let _ = sender.blocking_send(Ok(batch));
    });
    Ok(receiver)
}

fn add(batch: &mut Batch, mapping: &Mapping, file: &str, row: &Row) {
    match mapping.event(row.line, &row.values) {
        Ok(event) => {
            batch.events.push(event);
            batch.lines.push(row.line);
        }
        Err(bad) => {
            let raw: Vec<&str> =
                row.values.iter().map(|cell| cell.as_deref().unwrap_or_default()).collect();
            batch.malformed.push(MalformedRecord {
                message_id: mapping.message_id(row.line, &row.values),
                raw: cut(raw.join("\t")),
                reason: bad.reason.to_owned(),
                field: bad.field.clone(),
                message: format!("{file}:{}: {}", row.line, bad.message),
            });
            batch.bad.push(BadRow {
                line: row.line,
                reason: bad.reason.to_owned(),
                field: bad.field,
                message: bad.message,
            });
        }
    }
}

fn add_unreadable(batch: &mut Batch, file: &str, error: RowError) {
    let digest = hex::encode(&Sha256::digest(error.raw.as_bytes())[..12]);
    batch.malformed.push(MalformedRecord {
        message_id: format!("{}/{digest}", error.line),
        raw: cut(error.raw),
        reason: "unreadable_row".to_owned(),
        field: String::new(),
        message: format!("{file}:{}: {}", error.line, error.reason),
    });
    batch.bad.push(BadRow {
        line: error.line,
        reason: "unreadable_row".to_owned(),
        field: String::new(),
        message: error.reason,
    });
}

fn cut(text: String) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    bytes.truncate(RAW_LIMIT);
    bytes
}
