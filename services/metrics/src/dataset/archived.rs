//! Events that left the log for the archive, read in its place when a data set
//! is made again from nothing.

use std::collections::HashMap;

use northstar_archive::{Archive, ArchivedEvent, ParquetEvents};
use northstar_domain::ProjectId;
use northstar_store::PgConnection;
use northstar_store::metrics::log::{self, ArchivedFile, Event};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;

use super::refresh::{CHUNK_EVENTS, Part};
use crate::{Error, Result};

/// Hands over the archived events after a position, and returns up to where the
/// archive reaches: the log has what comes behind. A file that is not there or
/// not what was archived fails the question: a number without its events would
/// be wrong.
pub(super) async fn read(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    sources: &HashMap<String, i32>,
    sender: &Sender<Part>,
) -> Result<i64> {
    let mut reached = after;
    for file in log::archived_files(connection, project, after).await? {
        let ArchivedFile { location, sha256, last_position } = file;
        let content = Archive::get(&location).await?;
        if Sha256::digest(&content).as_slice() != sha256 {
            return Err(Error::ArchiveDamaged { location });
        }
        let read = spawn_blocking(move || {
            ParquetEvents::open(content)?.collect::<std::result::Result<Vec<_>, _>>()
        });
        let events = read.await??;
        let mut chunk = Vec::with_capacity(CHUNK_EVENTS);
        for event in events.into_iter().filter(|event| event.position > after) {
            chunk.push(event_of(event, sources));
            if chunk.len() == CHUNK_EVENTS {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_EVENTS));
                if sender.send(Part::Events(full)).await.is_err() {
                    return Ok(last_position);
                }
            }
        }
        // Whoever is gone has failed and says why.
        let _ = sender.send(Part::Events(chunk)).await;
        reached = last_position;
    }
    Ok(reached)
}

fn event_of(event: ArchivedEvent, sources: &HashMap<String, i32>) -> Event {
    let some = |text: String| (!text.is_empty()).then_some(text);
    Event {
        position: event.position,
        source: sources.get(&event.source).copied().unwrap_or_default(),
        name: event.name,
        user_id: some(event.user_id),
        anonymous_id: some(event.anonymous_id),
        account_id: some(event.account_id),
        effective_at: event.effective_at,
        sequence: event.sequence,
        properties: event.properties,
    }
}
