//! What PostgreSQL itself takes in: COPY by plain clients.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use super::events::{Generator, Sample};
use super::postgres::Postgres;

/// Rows of a transaction.
const COMMIT_ROWS: usize = 10_000;
/// Numbers of clients that are tried; the best counts.
const CLIENTS: [usize; 3] = [1, 2, 4];
/// How much is handed to the socket at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// <https://www.postgresql.org/docs/15/sql-copy.html>, "Binary Format".
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Where Postgres begins to count microseconds.
pub(super) const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The columns of a log of rows.
pub(super) const COLUMNS: &str = "occurred_at timestamptz NOT NULL, sent_at timestamptz,
    received_at timestamptz NOT NULL, effective_at timestamptz NOT NULL,
    sequence bigint NOT NULL, project_id integer NOT NULL,
    source_id integer NOT NULL, correction smallint NOT NULL,
    message_id text COLLATE \"C\" NOT NULL, name text NOT NULL, user_id text,
    anonymous_id text, account_id text, properties json NOT NULL";

/// What was reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub(super) per_second: f64,
    /// An event.
    pub(super) wal_bytes: f64,
    /// An event, with the index.
    pub(super) disk_bytes: f64,
}

/// The same rows, one an event, in a table whose unique key is that of the log:
/// project, source and message id. Without duplicates, which would end a COPY.
pub(super) async fn rows(
    database: &mut Postgres,
    generator: &Generator,
    events: u64,
) -> anyhow::Result<Floor> {
    let mut best = Floor { per_second: 0.0, wal_bytes: 0.0, disk_bytes: 0.0 };
    let mut commits = vec![Vec::new()];
    for number in 0..events {
        let sample = generator.distinct(u64::MAX / 2 + number);
        if number > 0 && number.is_multiple_of(COMMIT_ROWS as u64) {
            commits.push(Vec::new());
        }
        if let Some(rows) = commits.last_mut() {
            write_row(rows, &sample);
        }
    }
    for clients in CLIENTS {
        database
            .execute(format!(
                "DROP SCHEMA IF EXISTS floor CASCADE;
                 CREATE SCHEMA floor;
                 CREATE TABLE floor.events (
                     {COLUMNS},
                     UNIQUE (project_id, source_id, message_id))"
            ))
            .await?;
        database.execute("CHECKPOINT".to_owned()).await?;
        let wal_before = database.wal_bytes().await?;
        let commits = commits.iter().map(|rows| vec![rows.clone()]).collect();
        let took = copy_all(database.url(), &["floor.events"], commits, clients).await?;
        let per_second = events as f64 / took.as_secs_f64();
        if per_second > best.per_second {
            best = Floor {
                per_second,
                wal_bytes: (database.wal_bytes().await? - wal_before) / events as f64,
                disk_bytes: database.disk_bytes("floor").await? / events as f64,
            };
        }
    }
    database.execute("DROP SCHEMA floor CASCADE".to_owned()).await?;
    Ok(best)
}

/// Blocks of a transaction, of some four thousand events each.
const COMMIT_BLOCKS: usize = 3;
/// The tables of the log as a commit fills them, and what is copied into each:
/// the blocks, and 28 bytes of key for each event.
const LOG_TABLES: [(&str, &str); 2] = [
    ("event_blocks", "content"),
    (
        "fresh_keys",
        "substring(decode(repeat(md5(last_position::text),
             ((last_position - first_position + 1) * 2)::integer), 'hex')
             FROM 1 FOR ((last_position - first_position + 1) * 28)::integer)",
    ),
];

/// What the log holds, copied into tables like its own: the first events of the
/// bench's project, by their positions, encoded already.
pub(super) async fn log_tables(database: &mut Postgres, events: u64) -> anyhow::Result<Floor> {
    let filter = format!(
        "last_position <= {events} AND project_id =
             (SELECT project_id FROM ingestion.log_heads ORDER BY position DESC LIMIT 1)"
    );
    let mut tables = Vec::new();
    for (_, value) in LOG_TABLES {
        let statement = format!(
            "COPY (SELECT project_id, first_position, last_position, {value}
                 FROM ingestion.event_blocks WHERE {filter} ORDER BY last_position)
             TO STDOUT (FORMAT binary)"
        );
        let copied = database.connection.copy_out_raw(&statement).await?;
        let dump = copied
            .try_fold(Vec::new(), async |mut dump, piece| {
                dump.extend_from_slice(&piece);
                Ok(dump)
            })
            .await?;
        tables.push(split(&dump, COMMIT_BLOCKS)?);
    }
    let commits = tables.iter().map(|table| table.commits.len()).max().unwrap_or(0);
    let commits: Vec<Vec<Vec<u8>>> = (0..commits)
        .map(|commit| {
            tables
                .iter()
                .map(|table| table.commits.get(commit).cloned().unwrap_or_default())
                .collect()
        })
        .collect();
    let count = format!(
        "SELECT sum(last_position - first_position + 1)::bigint
         FROM ingestion.event_blocks WHERE {filter}"
    );
    let held: Option<i64> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut database.connection).await?;
    let events = held.context("the log is empty")? as f64;
    let mut best = Floor { per_second: 0.0, wal_bytes: 0.0, disk_bytes: 0.0 };
    for clients in CLIENTS {
        database.execute("DROP SCHEMA IF EXISTS floor CASCADE; CREATE SCHEMA floor".into()).await?;
        for (table, _) in LOG_TABLES {
            let like = format!("(LIKE ingestion.{table} INCLUDING ALL)");
            database.execute(format!("CREATE TABLE floor.{table} {like}")).await?;
        }
        database.execute("CHECKPOINT".to_owned()).await?;
        let wal_before = database.wal_bytes().await?;
        let names = &[
            "floor.event_blocks",
            "floor.fresh_keys (project_id, first_position, last_position, keys)",
        ];
        let took = copy_all(database.url(), names, commits.clone(), clients).await?;
        let per_second = events / took.as_secs_f64();
        if per_second > best.per_second {
            best = Floor {
                per_second,
                wal_bytes: (database.wal_bytes().await? - wal_before) / events,
                disk_bytes: database.disk_bytes("floor").await? / events,
            };
        }
    }
    database.execute("DROP SCHEMA floor CASCADE".to_owned()).await?;
    Ok(best)
}

/// Rows of a table, by transaction.
struct Table {
    rows: usize,
    commits: Vec<Vec<u8>>,
}

/// Cuts what COPY wrote into the rows of transactions.
fn split(dump: &[u8], commit_rows: usize) -> anyhow::Result<Table> {
    let mut table = Table { rows: 0, commits: Vec::new() };
    let mut at = HEADER.len();
    let number = |at: usize, bytes: usize| {
        let bytes = dump.get(at..at + bytes).context("COPY ended within a row")?;
        anyhow::Ok(bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)))
    };
    loop {
        let start = at;
        let fields = number(at, 2)?;
        if fields == u32::from(u16::MAX) {
            return Ok(table);
        }
        at += 2;
        for _ in 0..fields {
            let length = number(at, 4)?.cast_signed();
            at += 4 + usize::try_from(length).unwrap_or(0);
        }
        if table.rows.is_multiple_of(commit_rows) {
            table.commits.push(Vec::new());
        }
        let row = dump.get(start..at).context("COPY ended within a row")?;
        if let Some(commit) = table.commits.last_mut() {
            commit.extend_from_slice(row);
        }
        table.rows += 1;
    }
}

/// Appends a row in COPY's binary format.
fn write_row(out: &mut Vec<u8>, sample: &Sample) {
    out.extend_from_slice(&14_i16.to_be_bytes());
    write_fields(out, sample, &sample.json());
}

/// Appends the values of [`COLUMNS`].
pub(super) fn write_fields(out: &mut Vec<u8>, sample: &Sample, json: &str) {
    let time = (sample.occurred_micros - POSTGRES_EPOCH_MICROS).to_be_bytes();
    let fields: [Option<&[u8]>; 14] = [
        Some(&time),
        None,
        Some(&time),
        Some(&time),
        Some(&[0; 8]),
        Some(&[0, 0, 0, 1]),
        Some(&[0, 0, 0, 1]),
        Some(&[0; 2]),
        Some(sample.message_id.as_bytes()),
        Some(sample.name.as_bytes()),
        Some(sample.user_id.as_bytes()),
        (!sample.anonymous_id.is_empty()).then_some(sample.anonymous_id.as_bytes()),
        None,
        Some(json.as_bytes()),
    ];
    for field in fields {
        write_field(out, field);
    }
}

/// Appends a value; `None` for NULL.
pub(super) fn write_field(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let Some(value) = value else {
        return out.extend_from_slice(&(-1_i32).to_be_bytes());
    };
    let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}

/// Copies rows in binary format, without their header and trailer, into a table.
pub(super) async fn copy(
    connection: &mut PgConnection,
    table: &str,
    rows: &[u8],
) -> anyhow::Result<()> {
    let statement = format!("COPY {table} FROM STDIN (FORMAT binary)");
    let mut copy = connection.copy_in_raw(&statement).await?;
    copy.send(HEADER).await?;
    for chunk in rows.chunks(CHUNK_BYTES) {
        copy.send(chunk).await?;
    }
    copy.send(TRAILER.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}

/// Copies every commit, which holds rows for each table, in a transaction of its
/// own, by so many clients, and returns how long it took. Everything is encoded
/// before.
async fn copy_all(
    url: &str,
    tables: &'static [&'static str],
    commits: Vec<Vec<Vec<u8>>>,
    clients: usize,
) -> anyhow::Result<Duration> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(PgConnection::connect(url).await?);
    }
    let waiting = Arc::new(Mutex::new(commits));
    let start = Instant::now();
    let mut copies = JoinSet::new();
    for mut connection in connections {
        let waiting = Arc::clone(&waiting);
        copies.spawn(async move {
            let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            while let Some(commit) = next() {
                let mut transaction = connection.begin().await?;
                for (table, rows) in tables.iter().zip(commit) {
                    copy(&mut transaction, table, &rows).await?;
                }
                transaction.commit().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(copied) = copies.join_next().await {
        copied.context("a client panicked")??;
    }
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_cut_at_rows() {
        let row = [0, 2, 0, 0, 0, 1, b'a', 255, 255, 255, 255];
        let dump = [HEADER, &row, &row, &TRAILER].concat();
        let table = split(&dump, 2).unwrap();
        assert_eq!((table.rows, table.commits.as_slice()), (2, &[[row, row].concat()][..]));
        assert!(split(&dump[..dump.len() - 3], 2).is_err());
    }
}
