//! Archives partitions of the log that every project with events in them lets go.
//!
//! For each file: read the events from the log, write them, read the file back,
//! and compare count and digest of what it holds with what was read. Only what
//! passed is recorded. When all of a partition is recorded, Postgres checks the
//! counts once more, and that nothing was erased meanwhile, and detaches it; its
//! table is dropped after a grace. A kill in between leaves files that the next
//! look writes anew.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use northstar_archive::{Archive, ArchivedEvent, ParquetEvents, ParquetWriter, to_line};
use northstar_domain::retention::RetentionSpec;
use northstar_domain::time_correction::TimeCorrection;
use northstar_domain::{Clock, ProjectId};
use northstar_store::ingestion::log::{self, LoggedEvent};
use northstar_store::ingestion::retention::{
    self as store, ArchivedFile, PARTITION_POSITIONS, Reach,
};
use northstar_store::{PgConnection, PgPool, audit};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

/// Events of a file: what is held in memory while it is written.
const FILE_EVENTS: i64 = 250_000;
const READ_EVENTS: i64 = 1_000;
/// Who the audit log says did it.
const ACTOR: &str = "northstar";

/// What the worker needs.
pub(crate) struct Archiving {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where to archive to; without it nothing is archived.
    pub(crate) archive: Option<Archive>,
    pub(crate) interval: Duration,
    pub(crate) shutdown: CancellationToken,
}

/// Archives until `shutdown`. What fails is tried again at the next look.
pub(crate) async fn archive(archiving: Archiving) -> anyhow::Result<()> {
    let Archiving { pool, clock, archive, interval, shutdown } = archiving;
    let Some(archive) = archive else { return Ok(()) };
    while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        let look = look(&pool, &archive, clock.now());
        let Some(looked) = shutdown.run_until_cancelled(look).await else { break };
        if let Err(error) = looked {
            tracing::warn!(
                error = &*error as &dyn std::error::Error,
                "the log could not be archived, trying again"
            );
        }
    }
    Ok(())
}

async fn look(pool: &PgPool, archive: &Archive, now: DateTime<Utc>) -> anyhow::Result<()> {
    // Held until the end, so that one process archives at a time.
    let mut lock = pool.begin().await?;
    if !store::try_lock_archiving(&mut lock).await? {
        return Ok(());
    }
    let mut connection = pool.acquire().await?;
    for table in store::drop_detached(&mut connection, now).await? {
        tracing::info!(table, "archived partition dropped");
    }
    let reaches = store::reaches(&mut connection).await?;
    let newest = reaches.iter().map(|reach| reach.head).max().unwrap_or(0) / PARTITION_POSITIONS;
    for partition in 0..newest {
        let Some(projects) = released(&mut connection, &reaches, partition, now).await? else {
            continue;
        };
        // What an earlier look wrote and could not detach may be out of date.
        store::forget(&mut connection, partition).await?;
        for (project, (first, last), _) in &projects {
            write(&mut connection, archive, *project, partition, (*first, *last), now).await?;
        }
        let grace = projects.iter().map(|(_, _, spec)| spec.drop_after).max();
        if let Some(grace) = grace {
            drop(connection);
            detach(pool, partition, &projects, now, grace).await?;
            connection = pool.acquire().await?;
        }
    }
    lock.rollback().await?;
    Ok(())
}

/// A project with the positions of it that a partition holds, and its policy.
type Released = (ProjectId, (i64, i64), RetentionSpec);

/// The projects with events in a partition, when all of them have left it behind
/// and let it go.
async fn released(
    connection: &mut PgConnection,
    reaches: &[Reach],
    partition: i64,
    now: DateTime<Utc>,
) -> anyhow::Result<Option<Vec<Released>>> {
    let first = partition * PARTITION_POSITIONS;
    let last = first + PARTITION_POSITIONS - 1;
    let mut projects = Vec::new();
    for reach in reaches.iter().filter(|reach| reach.head >= first && reach.head > 0) {
        let project = reach.project;
        let Some(held) = store::held(connection, project, first, last).await? else { continue };
        // A project's events leave in their order, so that what is left is its end.
        if store::held(connection, project, 0, first - 1).await?.is_some() {
            return Ok(None);
        }
        let Some(policy) = store::find(connection, project).await? else { return Ok(None) };
        let newest = log::read_after(connection, project, held.1 - 1, 1).await?;
        let old = newest
            .first()
            .is_some_and(|newest| now - newest.received_at > policy.spec.archive_after);
        let read = store::read_by_all(connection, project).await?;
        if reach.head <= last || !old || read.is_some_and(|position| position < last) {
            return Ok(None);
        }
        projects.push((project, held, policy.spec));
    }
    Ok((!projects.is_empty()).then_some(projects))
}

/// Writes a project's share of a partition.
async fn write(
    connection: &mut PgConnection,
    archive: &Archive,
    project: ProjectId,
    partition: i64,
    (first, last): (i64, i64),
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let mut after = first - 1;
    while after < last {
        let mut events: Vec<ArchivedEvent> = Vec::new();
        while after < last && (events.len() as i64) < FILE_EVENTS {
            let limit = READ_EVENTS.min(last - after);
            let read = log::read_after(connection, project, after, limit).await?;
            after = match read.last() {
                Some(newest) => newest.position,
                // A gap: on to what comes behind it.
                None => match store::held(connection, project, after + 1, last).await? {
                    Some((next, _)) => next - 1,
                    None => last,
                },
            };
            events.extend(read.into_iter().map(archived));
        }
        let (Some(from), Some(to)) = (events.first(), events.last()) else { break };
        let (from, to) = (from.position, to.position);
        let digest = digest(&events)?;
        let count = events.len();
        let content = tokio::task::spawn_blocking(move || -> anyhow::Result<Bytes> {
            let mut writer = ParquetWriter::new(Vec::new())?;
            writer.write(&events)?;
            Ok(writer.finish()?.into())
        })
        .await??;
        let sha256 = Sha256::digest(&content).to_vec();
        let bytes = content.len();
        let name = format!("project-{project}/events-{from:012}-{to:012}.parquet");
        let location = archive.put(&name, content).await?;
        verify(&location, &sha256, count, &digest).await?;
        let file = ArchivedFile {
            first_position: from,
            last_position: to,
            partition,
            events: count as i64,
            bytes: bytes as i64,
            location,
            sha256,
            verified_at: now,
            detached_at: None,
        };
        store::record(connection, project, &file).await?;
        tracing::info!(
            project.id = project.0,
            location = file.location,
            events = file.events,
            "events archived"
        );
    }
    Ok(())
}

/// Reads a file back: its bytes, and then what they hold.
pub(crate) async fn verify(
    location: &str,
    sha256: &[u8],
    count: usize,
    wanted: &[u8],
) -> anyhow::Result<()> {
    let content = Archive::get(location).await?;
    ensure!(Sha256::digest(&content).as_slice() == sha256, "{location} reads back differently");
    let events = tokio::task::spawn_blocking(move || {
        ParquetEvents::open(content)?.collect::<Result<Vec<_>, _>>()
    })
    .await??;
    ensure!(events.len() == count, "{location} holds {} events, not {count}", events.len());
    ensure!(digest(&events)? == wanted, "{location} holds other events than it should");
    Ok(())
}

/// SHA-256 over everything that the events say.
pub(crate) fn digest(events: &[ArchivedEvent]) -> anyhow::Result<Vec<u8>> {
    let mut hasher = Sha256::new();
    for event in events {
        let line = to_line(event)?;
        hasher.update((line.len() as u64).to_be_bytes());
        hasher.update(line);
    }
    Ok(hasher.finalize().to_vec())
}

async fn detach(
    pool: &PgPool,
    partition: i64,
    projects: &[Released],
    now: DateTime<Utc>,
    grace: TimeDelta,
) -> anyhow::Result<()> {
    let mut transaction = pool.begin().await?;
    let table = store::detach(&mut transaction, partition, now, now + grace).await?;
    for (project, (first, last), _) in projects {
        let entry = audit::NewEntry {
            project: *project,
            actor: ACTOR,
            action: "log.archive",
            resource: &format!("log/{first}-{last}"),
            detail: &serde_json::json!({
                "partition": partition,
                "table": table,
                "drop_time": now + grace,
            }),
            at: now,
        };
        audit::append(&mut transaction, &entry).await?;
    }
    transaction.commit().await?;
    tracing::info!(partition, table, "partition detached from the log");
    Ok(())
}

/// The events of an archived file, if it is what was archived.
pub(crate) async fn read_archived(file: &ArchivedFile) -> anyhow::Result<Vec<ArchivedEvent>> {
    let location = &file.location;
    let content = Archive::get(location)
        .await
        .with_context(|| format!("the archived file {location} cannot be read"))?;
    ensure!(
        Sha256::digest(&content).as_slice() == file.sha256,
        "the archived file {location} is not what was archived"
    );
    let read = tokio::task::spawn_blocking(move || {
        ParquetEvents::open(content)?.collect::<Result<Vec<_>, _>>()
    });
    Ok(read.await??)
}

/// A row of a file as the log held it.
pub(crate) fn logged(event: ArchivedEvent) -> LoggedEvent {
    LoggedEvent {
        position: event.position,
        source: event.source,
        message_id: event.message_id,
        name: event.name,
        user_id: event.user_id,
        anonymous_id: event.anonymous_id,
        account_id: event.account_id,
        occurred_at: event.occurred_at,
        sent_at: event.sent_at,
        received_at: event.received_at,
        effective_at: event.effective_at,
        correction: match event.correction.as_str() {
            "skew" => TimeCorrection::Skew,
            "clamped" => TimeCorrection::Clamped,
            _ => TimeCorrection::None,
        },
        sequence: event.sequence,
        region: event.region,
        consent: event
            .consent
            .and_then(|consent| serde_json::to_string(&consent).ok())
            .unwrap_or_default(),
        properties: event.properties,
    }
}

/// An event of the log as a row of a file.
pub(crate) fn archived(event: LoggedEvent) -> ArchivedEvent {
    ArchivedEvent {
        position: event.position,
        source: event.source,
        message_id: event.message_id,
        name: event.name,
        user_id: event.user_id,
        anonymous_id: event.anonymous_id,
        account_id: event.account_id,
        occurred_at: event.occurred_at,
        sent_at: event.sent_at,
        received_at: event.received_at,
        effective_at: event.effective_at,
        correction: match event.correction {
            TimeCorrection::None => "none",
            TimeCorrection::Skew => "skew",
            TimeCorrection::Clamped => "clamped",
        }
        .to_owned(),
        sequence: event.sequence,
        region: event.region,
        // The text forms are the same.
        consent: serde_json::from_str(&event.consent).ok(),
        properties: event.properties,
    }
}
