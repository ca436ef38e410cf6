//! Rows or record batches: the same events written and read back in both layouts of a log, from a client's commit to
//! the columns of the engine.
//!
//! The log keeps record batches. This is the measurement behind that: rows as a log of rows would have them, in a
//! partitioned table beside a table of keys, against the log's own tables written and read by its own code.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::DateTime;
use futures::{StreamExt as _, TryStreamExt as _};
use northstar_domain::ProjectId;
use northstar_domain::event::{Event, message_hash};
use northstar_domain::time_correction::TimeCorrection;
use northstar_engine::{Actor, Coded, Dataset, EventColumns, EventRecord, Properties, Property};
use northstar_store::access;
use northstar_store::block::{Block, RowShape, TextColumn};
use northstar_store::ingestion::keys::{self, Key, MessageKey, NewKeys, Run, short_body_hash};
use northstar_store::ingestion::log::{self, Appended, Blocks, EncodedEvents, NewEvent};
use northstar_store::ingestion::{SourceId, heads, settle_writer, sources};
use northstar_store::metrics::log as blocks;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::events::{Generator, Sample};
use super::floor::{self, HEADER, copy};
use super::postgres::Postgres;
use super::report::{Measured, Report, Unit};

/// Events of a commit.
const COMMIT_EVENTS: usize = 10_000;
/// Keys of a run, as the service has by default.
const RUN_KEYS: usize = 700_000;
/// Bytes of a run's filter.
const FILTER_BYTES: usize = 2 << 20;
const SOURCE: &str = "bench-layouts";

/// An event with what both layouts need of it, made before the clock runs.
struct Made {
    sample: Sample,
    json: String,
    message_hash: Uuid,
    body_hash: Uuid,
}

impl Made {
    fn event(&self) -> Event<'_> {
        Event {
            message_id: &self.sample.message_id,
            name: self.sample.name,
            user_id: &self.sample.user_id,
            anonymous_id: &self.sample.anonymous_id,
            account_id: "",
            occurred_at: DateTime::from_timestamp_micros(self.sample.occurred_micros)
                .unwrap_or_default(),
            sent_at: None,
            sequence: 0,
            properties: &self.json,
            region: "",
            consent: "",
        }
    }
}

/// How one layout did.
struct Layout {
    written: Duration,
    read: Duration,
    /// From the columns to what a question is asked of.
    ordered: Duration,
    wal_bytes: f64,
    disk_bytes: f64,
}

/// Measures both and reports them side by side.
pub(super) async fn compare(
    database: &mut Postgres,
    generator: &Generator,
    events: u64,
    folder: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let made: Vec<Made> = (0..events)
        .map(|number| {
            let sample = generator.distinct(u64::MAX / 4 + number);
            let json = sample.json();
            let message_hash = message_hash(&sample.message_id);
            let mut made = Made { sample, json, message_hash, body_hash: Uuid::nil() };
            made.body_hash = made.event().body_hash();
            made
        })
        .collect();
    let rows = rows(database, &made, &folder.join("rows")).await.context("rows")?;
    let batches = batches(database, &made, &folder.join("batches")).await.context("batches")?;
    for (name, layout, other) in [("rows", &rows, None), ("record-batches", &batches, Some(&rows))]
    {
        let count = made.len() as f64;
        let rate = |time: Duration| count / time.as_secs_f64();
        let mut add = |what: &str, of: fn(&Layout) -> Duration| {
            let name = format!("layout/{name}/{what}");
            let measured = Measured::new(name, rate(of(layout)), Unit::EventsPerSecond);
            report.push(match other {
                Some(other) => measured.against(rate(of(other))),
                None => measured,
            });
        };
        add("committed", |layout| layout.written);
        add("read-back", |layout| layout.read);
        add("committed-to-visible", |layout| layout.written + layout.read + layout.ordered);
        for (what, value) in [("wal", layout.wal_bytes), ("disk", layout.disk_bytes)] {
            report.add(format!("layout/{name}/{what}"), value / count, Unit::BytesPerEvent);
        }
    }
    Ok(())
}

/// One row an event, and one key: what a log of rows writes and reads.
async fn rows(database: &mut Postgres, made: &[Made], folder: &Path) -> anyhow::Result<Layout> {
    let statements = format!(
        "CREATE SCHEMA layout;
         CREATE TABLE layout.events (position bigint NOT NULL, {}, PRIMARY KEY (project_id, position))
             PARTITION BY RANGE (position);
         CREATE TABLE layout.events_0 PARTITION OF layout.events FOR VALUES FROM (0) TO (20000000);
         CREATE TABLE layout.keys (
             position bigint NOT NULL, body_hash bigint NOT NULL, message_hash uuid NOT NULL,
             project_id integer NOT NULL, source_id integer NOT NULL,
             PRIMARY KEY (project_id, source_id, message_hash));
         CHECKPOINT",
        floor::COLUMNS
    );
    // CHECKPOINT may not share an implicit transaction with others.
    for statement in statements.split(";\n") {
        database.execute(statement.to_owned()).await?;
    }
    let wal_before = database.wal_bytes().await?;
    let mut connection = PgConnection::connect(database.url()).await?;
    let start = Instant::now();
    let mut position = 0_i64;
    for commit in made.chunks(COMMIT_EVENTS) {
        let (mut events, mut keys) = (Vec::new(), Vec::new());
        for made in commit {
            position += 1;
            events.extend_from_slice(&15_i16.to_be_bytes());
            floor::write_field(&mut events, Some(&position.to_be_bytes()));
            floor::write_fields(&mut events, &made.sample, &made.json);
            keys.extend_from_slice(&5_i16.to_be_bytes());
            let body = short_body_hash(made.body_hash);
            for field in [
                position.to_be_bytes().as_slice(),
                &body.to_be_bytes(),
                made.message_hash.as_bytes(),
                &1_i32.to_be_bytes(),
                &1_i32.to_be_bytes(),
            ] {
                floor::write_field(&mut keys, Some(field));
            }
        }
        let mut transaction = connection.begin().await?;
        copy(&mut transaction, "layout.events", &events).await?;
        copy(&mut transaction, "layout.keys", &keys).await?;
        transaction.commit().await?;
    }
    let written = start.elapsed();
    let wal_bytes = database.wal_bytes().await? - wal_before;
    let disk_bytes = database.disk_bytes("layout").await?;

    let start = Instant::now();
    let mut dataset = Dataset::new(folder)?;
    let statement =
        "COPY (SELECT position, name, user_id, anonymous_id, effective_at, sequence, properties
                           FROM layout.events WHERE project_id = 1 ORDER BY position)
                     TO STDOUT (FORMAT binary)";
    let mut pieces = connection.copy_out_raw(statement).await?;
    let mut pending = Vec::new();
    let mut begun = false;
    while let Some(piece) = pieces.try_next().await? {
        pending.extend_from_slice(&piece);
        let mut at = if begun { 0 } else { HEADER.len() };
        begun = true;
        while let Some((fields, next)) = split_row(&pending, at) {
            append_row(&mut dataset, &fields)?;
            at = next;
        }
        pending.drain(..at);
    }
    drop(pieces);
    let read = start.elapsed();
    let ordered = order(&dataset, made.len())?;
    database.execute("DROP SCHEMA layout CASCADE".to_owned()).await?;
    Ok(Layout { written, read, ordered, wal_bytes, disk_bytes })
}

/// The seven fields of a row in COPY's binary format, and where the next begins; `None` when it is not whole, or the
/// last.
fn split_row(bytes: &[u8], mut at: usize) -> Option<([Option<&[u8]>; 7], usize)> {
    let mut take = |count: usize| {
        let taken = bytes.get(at..at + count)?;
        at += count;
        Some(taken)
    };
    if take(2)? != 7_i16.to_be_bytes() {
        return None;
    }
    let mut fields = [None; 7];
    for field in &mut fields {
        let length = i32::from_be_bytes(*take(4)?.first_chunk()?);
        if let Ok(length) = usize::try_from(length) {
            *field = Some(take(length)?);
        }
    }
    Some((fields, at))
}

fn append_row(dataset: &mut Dataset, fields: &[Option<&[u8]>; 7]) -> anyhow::Result<()> {
    let number = |field: Option<&[u8]>| {
        field.and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| i64::from_be_bytes(*bytes))
    };
    let text = |field: Option<&'_ [u8]>| -> anyhow::Result<_> {
        Ok(match field {
            Some(bytes) => Some(std::str::from_utf8(bytes)?.to_owned()),
            None => None,
        })
    };
    let [position, name, user_id, anonymous_id, effective_at, sequence, properties] = *fields;
    let (name, user_id, anonymous_id) = (text(name)?, text(user_id)?, text(anonymous_id)?);
    let properties: serde_json::Value = serde_json::from_slice(properties.unwrap_or(b"{}"))?;
    dataset.append([EventRecord {
        position: number(position),
        name: name.as_deref().unwrap_or_default(),
        source: SOURCE,
        actor: Actor {
            user_id: user_id.as_deref().filter(|id| !id.is_empty()),
            anonymous_id: anonymous_id.as_deref().filter(|id| !id.is_empty()),
        },
        account_id: None,
        effective_micros: number(effective_at) + floor::POSTGRES_EPOCH_MICROS,
        sequence: number(sequence),
        properties: &properties,
    }])?;
    Ok(())
}

/// The log's own tables, written and read as the services do.
async fn batches(database: &mut Postgres, made: &[Made], folder: &Path) -> anyhow::Result<Layout> {
    let mut connection = PgConnection::connect(database.url()).await?;
    let project = access::ensure_project(&mut connection, SOURCE).await?;
    heads::ensure(&mut connection, project).await?;
    let source = sources::ensure(&mut connection, project, SOURCE).await?;
    heads::ensure_partition(&mut connection, made.len() as i64).await?;
    settle_writer(&mut connection).await?;
    database.execute("CHECKPOINT".to_owned()).await?;
    let before = database.usage().await?;
    let start = Instant::now();
    let mut position = 0_i64;
    for run in made.chunks(RUN_KEYS) {
        let first_position = position + 1;
        for commit in run.chunks(COMMIT_EVENTS) {
            append_batch(&mut connection, project, source, position, commit).await?;
            position += commit.len() as i64;
        }
        if run.len() == RUN_KEYS {
            seal(&mut connection, project, source, (first_position, position), run).await?;
        }
    }
    let written = start.elapsed();
    let after = database.usage().await?;

    let start = Instant::now();
    let mut dataset = Dataset::new(folder)?;
    let mut read_blocks = std::pin::pin!(blocks::events(&mut connection, project, 0, position));
    while let Some(events) = read_blocks.next().await {
        let blocks::Events { first_position, block } = events?;
        append_block(&mut dataset, first_position, &block)?;
    }
    let read = start.elapsed();
    let ordered = order(&dataset, made.len())?;
    Ok(Layout {
        written,
        read,
        ordered,
        wal_bytes: after.wal_bytes - before.wal_bytes,
        disk_bytes: after.disk_bytes - before.disk_bytes,
    })
}

async fn append_batch(
    connection: &mut PgConnection,
    project: ProjectId,
    source: SourceId,
    after: i64,
    commit: &[Made],
) -> anyhow::Result<()> {
    let mut encoded = EncodedEvents::with_capacity(commit.len(), commit.len() * 320);
    let mut new_keys = NewKeys::with_capacity(commit.len());
    for made in commit {
        let event = made.event();
        encoded.push(&NewEvent {
            project,
            source,
            event,
            received_at: event.occurred_at,
            effective_at: event.occurred_at,
            correction: TimeCorrection::None,
        });
        new_keys.push(source, made.message_hash, made.body_hash);
    }
    let blocks = Blocks::encode(after, (0..commit.len()).map(|index| (&encoded, index)));
    let mut transaction = connection.begin().await?;
    let appended = log::append(&mut transaction, project, after, &blocks, &new_keys).await?;
    anyhow::ensure!(matches!(appended, Appended::At { .. }), "somebody else writes the log");
    transaction.commit().await?;
    Ok(())
}

async fn seal(
    connection: &mut PgConnection,
    project: ProjectId,
    source: SourceId,
    (first_position, last_position): (i64, i64),
    run: &[Made],
) -> anyhow::Result<()> {
    let mut sorted: Vec<(MessageKey, Key)> = run
        .iter()
        .zip(first_position..)
        .map(|(made, position)| {
            let body = short_body_hash(made.body_hash);
            (MessageKey::new(source, made.message_hash), Key { position, body })
        })
        .collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    // What is in the filter changes nothing of what it costs to write.
    let filter =
        sorted.iter().flat_map(|(key, _)| key.0.to_le_bytes()).take(FILTER_BYTES).collect();
    let run = Run { first_position, last_position, filter };
    let mut transaction = connection.begin().await?;
    keys::seal(&mut transaction, project, &run, &sorted).await?;
    transaction.commit().await?;
    Ok(())
}

fn append_block(dataset: &mut Dataset, first_position: i64, block: &Block) -> anyhow::Result<()> {
    let facts = block.facts()?;
    let properties = block.properties()?;
    let one_source = vec![0; facts.sources.len()];
    let values = properties.columns().map(|(key, column)| Property {
        name: key.to_owned(),
        values: column.entries().map(|value| serde_json::from_str(value).ok()).collect(),
        codes: column.codes(),
    });
    let mut whole = (0..).map(|row| properties.whole().get(row));
    let rows = properties.rows().map(|shape| match shape {
        RowShape::Keys(keys) => Properties::Coded(keys),
        RowShape::Whole => {
            let text = whole.next().unwrap_or("{}");
            Properties::Own(serde_json::from_str(text).unwrap_or_default())
        }
    });
    dataset.append_columns(&EventColumns {
        first_position,
        names: coded(&facts.names),
        sources: Coded { entries: vec![SOURCE], codes: &one_source },
        user_ids: coded(&facts.user_ids),
        anonymous_ids: coded(&facts.anonymous_ids),
        account_ids: coded(&facts.account_ids),
        effective_micros: &facts.effective_micros,
        sequences: &facts.sequences,
        properties: values.collect(),
        rows: rows.collect(),
    })?;
    Ok(())
}

fn coded(column: &TextColumn) -> Coded<'_> {
    Coded { entries: column.entries().collect(), codes: column.codes() }
}

/// Makes what a question is asked of, which must hold every event.
fn order(dataset: &Dataset, events: usize) -> anyhow::Result<Duration> {
    let start = Instant::now();
    dataset.snapshot()?;
    let found = dataset.len();
    anyhow::ensure!(found == events as u64, "{found} of {events} events came back");
    Ok(start.elapsed())
}
