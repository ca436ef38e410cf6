//! What the database and its disk say about themselves.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::load::alone;

/// A connection as the owner of the database.
pub(super) struct Postgres {
    url: String,
    pub(super) connection: PgConnection,
}

/// What has been written, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Write-ahead log since the cluster was made.
    pub(super) wal_bytes: f64,
    /// Tables and indexes of ingestion.
    pub(super) disk_bytes: f64,
}

impl Postgres {
    pub(super) async fn connect(url: &str) -> anyhow::Result<Self> {
        Ok(Self { url: url.to_owned(), connection: PgConnection::connect(url).await? })
    }

    /// The address; it holds a password.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements.
    pub(super) async fn execute(&mut self, statements: String) -> anyhow::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.connection).await?;
        Ok(())
    }

    pub(super) async fn wal_bytes(&mut self) -> anyhow::Result<f64> {
        let statement = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
        Ok(sqlx::query_scalar(statement).fetch_one(&mut self.connection).await?)
    }

    /// Bytes of all tables of a schema with their indexes.
    pub(super) async fn disk_bytes(&mut self, schema: &str) -> anyhow::Result<f64> {
        let statement = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8
             FROM pg_class c WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r'";
        Ok(sqlx::query_scalar(statement).bind(schema).fetch_one(&mut self.connection).await?)
    }

    pub(super) async fn usage(&mut self) -> anyhow::Result<Usage> {
        Ok(Usage {
            wal_bytes: self.wal_bytes().await?,
            disk_bytes: self.disk_bytes("ingestion").await?,
        })
    }
}

/// Times of many of the same.
#[derive(Debug)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub(super) fn p50_micros(&self) -> f64 {
        self.quantile(0.50)
    }

    pub(super) fn p99_micros(&self) -> f64 {
        self.quantile(0.99)
    }

    /// The smallest time that is no smaller than this share of all.
    fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    }
}

/// How long the disk takes to make 8 KiB durable, which is the least that a
/// commit needs: overwriting a file that is there, as the write-ahead log does.
///
/// # Errors
/// When the folder cannot be written to.
pub(super) fn disk_commits(folder: &Path, times: usize) -> anyhow::Result<Latencies> {
    let path = folder.join("commits");
    let page = [0x5a_u8; 8192];
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    for _ in 0..64 {
        file.write_all(&page)?;
    }
    file.sync_all()?;
    let mut found = Vec::with_capacity(times);
    for number in 0..times as u64 {
        file.seek(SeekFrom::Start(number % 64 * 8192))?;
        let start = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        found.push(start.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(Latencies::new(found))
}

/// How long a plain client waits for the commit of one small row: the least that
/// whoever uses this PostgreSQL can see of it.
///
/// # Errors
/// When the database is away.
pub(super) async fn row_commits(
    database: &mut Postgres,
    times: usize,
) -> anyhow::Result<Latencies> {
    database
        .execute("CREATE SCHEMA floor; CREATE TABLE floor.rows (id bigint PRIMARY KEY, body bytea NOT NULL)".to_owned())
        .await?;
    let url = database.url.clone();
    let found = alone(async move || {
        let mut connection = PgConnection::connect(&url).await?;
        let mut found = Vec::with_capacity(times);
        // The first tenth plans and warms up.
        for number in 0..times + times / 10 {
            let start = Instant::now();
            sqlx::query("INSERT INTO floor.rows (id, body) VALUES ($1, $2)")
                .bind(number as i64)
                .bind([0x5a_u8; 200].as_slice())
                .execute(&mut connection)
                .await?;
            if number >= times / 10 {
                found.push(start.elapsed());
            }
        }
        Ok(Latencies::new(found))
    })
    .await?;
    database.execute("DROP SCHEMA floor CASCADE".to_owned()).await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let times = Latencies::new((1..=200).rev().map(Duration::from_micros).collect());
        assert_eq!(times.p50_micros().round(), 100.0);
        assert_eq!(times.p99_micros().round(), 198.0);
    }
}
