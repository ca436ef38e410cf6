//! Events that left the log for the archive, read in its place when a data set
//! is made again from nothing.

use std::collections::HashMap;

use northstar_archive::{Archive, ArchivedEvent, ParquetEvents};
use northstar_domain::ProjectId;
use northstar_store::PgConnection;
use northstar_store::block::{Block, BlockWriter, Row};
use northstar_store::metrics::log::{self, ArchivedFile, Events};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;

use super::refresh::Part;
use crate::{Error, Result};

/// Events handed over at once.
const CHUNK_EVENTS: usize = 4_096;

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
        let stretches = events.chunk_by(|left, right| left.position + 1 == right.position);
        for chunk in stretches.flat_map(|stretch| stretch.chunks(CHUNK_EVENTS)) {
            let events = block_of(project, chunk, sources)?;
            // Whoever is gone has failed and says why.
            if sender.send(Part::Events(events)).await.is_err() {
                return Ok(last_position);
            }
        }
        reached = last_position;
    }
    Ok(reached)
}

/// Events that follow one another as the log held them, as far as numbers are computed from them.
fn block_of(
    project: ProjectId,
    events: &[ArchivedEvent],
    sources: &HashMap<String, i32>,
) -> Result<Events> {
    let first_position = events.first().map_or(0, |event| event.position);
    let mut writer = BlockWriter::default();
    for event in events {
        writer.push(&Row {
            source: sources.get(&event.source).copied().unwrap_or_default(),
            message_id: "",
            name: &event.name,
            user_id: &event.user_id,
            anonymous_id: &event.anonymous_id,
            account_id: &event.account_id,
            region: "",
            consent: "",
            occurred_micros: 0,
            sent_micros: None,
            received_micros: 0,
            effective_micros: event.effective_at.timestamp_micros(),
            sequence: event.sequence,
            correction: 0,
            properties: &event.properties,
        });
    }
    let block = Block::open(writer.finish())
        .map_err(|not| super::refresh::corrupt(project, first_position, not))?;
    Ok(Events { first_position, block })
}
