//! Archived files that hold a subject: written anew without it, and the old ones
//! deleted. One file a step, so that a kill costs one file.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use northstar_archive::{Archive, ParquetWriter};
use northstar_store::PgConnection;
use northstar_store::ingestion::erasure::{self as store, Erasure, RewrittenFile};
use northstar_store::ingestion::retention::{self, ArchivedFile};
use sha2::{Digest as _, Sha256};

use super::{Forgotten, personal_properties};
use crate::retention::{digest, read_archived, verify};

/// Looks at the next archived file, and writes it anew when it holds the subject.
/// Whether there was a file. The manifest does not change yet.
pub(super) async fn rewrite_next(
    connection: &mut PgConnection,
    erasure: &Erasure,
    subject: &Forgotten,
    now: DateTime<Utc>,
) -> anyhow::Result<bool> {
    let next =
        retention::detached_after(connection, erasure.project, erasure.archive_position).await?;
    let Some(file) = next else { return Ok(false) };
    let personal = personal_properties(connection, erasure).await?;
    let mut events = read_archived(&file).await?;
    let erased: Vec<i64> = events
        .iter_mut()
        .filter(|event| event.position <= erasure.last_position)
        .filter_map(|event| subject.erase_archived(event, &personal).then_some(event.position))
        .collect();
    if erased.is_empty() {
        store::archive_looked_at(connection, erasure.id, file.first_position, None).await?;
        return Ok(true);
    }
    ensure!(
        i64::try_from(events.len()).is_ok_and(|count| count == file.events),
        "the archived file {} holds {} events, not {}",
        file.location,
        events.len(),
        file.events
    );
    let (count, wanted) = (events.len(), digest(&events)?);
    let content = tokio::task::spawn_blocking(move || -> anyhow::Result<Bytes> {
        let mut writer = ParquetWriter::new(Vec::new())?;
        writer.write(&events)?;
        Ok(writer.finish()?.into())
    })
    .await??;
    store::found_archived(connection, erasure.id, &erased).await?;
    let erased = i64::try_from(erased.len())?;
    let written = write(erasure, &file, content, (count, &wanted), erased, now).await?;
    store::archive_looked_at(connection, erasure.id, file.first_position, Some(&written)).await?;
    tracing::info!(
        erasure.id = %erasure.id,
        location = written.location,
        events = erased,
        "an archived file was written without a subject"
    );
    Ok(true)
}

async fn write(
    erasure: &Erasure,
    file: &ArchivedFile,
    content: Bytes,
    (count, wanted): (usize, &[u8]),
    erased: i64,
    now: DateTime<Utc>,
) -> anyhow::Result<RewrittenFile> {
    let sha256 = Sha256::digest(&content).to_vec();
    let bytes = i64::try_from(content.len())?;
    // The same name at every try, so that a kill leaves nothing behind.
    let name = format!(
        "events-{:012}-{:012}-{}.parquet",
        file.first_position, file.last_position, erasure.id
    );
    let location = Archive::put_beside(&file.location, &name, content)
        .await
        .with_context(|| format!("the archive takes no file beside {}", file.location))?;
    verify(&location, &sha256, count, wanted).await?;
    Ok(RewrittenFile {
        first_position: file.first_position,
        old_location: file.location.clone(),
        old_sha256: file.sha256.clone(),
        location,
        bytes,
        sha256,
        verified_at: now,
        events: erased,
    })
}

/// Deletes the next file that was replaced. Whether there was one. The tables that
/// the archived events came from go with the last.
pub(super) async fn remove_next(
    connection: &mut PgConnection,
    erasure: &Erasure,
    now: DateTime<Utc>,
) -> anyhow::Result<bool> {
    let files = store::rewritten_files(connection, erasure.id).await?;
    let Some(file) = files.first() else { return Ok(false) };
    Archive::delete(&file.old_location)
        .await
        .with_context(|| format!("the archived file {} cannot be deleted", file.old_location))?;
    if files.len() == 1 {
        for table in retention::drop_detached(connection, now).await? {
            tracing::info!(table, "archived partition dropped");
        }
    }
    store::removed(connection, erasure.id, file.first_position).await?;
    Ok(true)
}
