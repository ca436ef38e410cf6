//! The accounting equation by source and event name, and accepted and failed
//! events by hour.
//!
//! An append leaves what it counts beside its keys, see
//! [`append_and_count`](super::log::append_and_count). Whoever reads counts adds
//! what lies there, and [`count_appended`] does so for good, once for many appends.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use sqlx::{Connection as _, PgConnection};

use super::SourceId;
use super::sources::Counts;
use crate::Result;

/// What became of events of one name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EventCounts {
    /// The equation.
    pub counts: Counts,
    /// When the newest accepted one was received.
    pub last_accepted_at: Option<DateTime<Utc>>,
}

/// What is to be added, a row for each source, name and hour.
#[derive(Debug, Default)]
pub struct Additions {
    pub(super) projects: Vec<i32>,
    pub(super) sources: Vec<i32>,
    pub(super) names: Vec<String>,
    pub(super) hours: Vec<DateTime<Utc>>,
    pub(super) accepted: Vec<i64>,
    pub(super) duplicate: Vec<i64>,
    pub(super) quarantined: Vec<i64>,
    pub(super) rejected: Vec<i64>,
    pub(super) last_received: Vec<Option<DateTime<Utc>>>,
    pub(super) last_accepted: Vec<Option<DateTime<Utc>>>,
    pub(super) last_effective: Vec<Option<DateTime<Utc>>>,
}

impl Additions {
    /// Adds a row. Push rows in ascending order of (project, source, name), so
    /// that concurrent writers lock in one order; an empty name is "other".
    pub fn push(
        &mut self,
        project: ProjectId,
        source: SourceId,
        name: &str,
        hour: DateTime<Utc>,
        added: &EventCounts,
    ) {
        self.projects.push(project.0);
        self.sources.push(source.0);
        self.names.push(name.to_owned());
        self.hours.push(hour);
        self.accepted.push(added.counts.accepted);
        self.duplicate.push(added.counts.duplicate);
        self.quarantined.push(added.counts.quarantined);
        self.rejected.push(added.counts.rejected);
        self.last_received.push(added.counts.last_received_at);
        self.last_accepted.push(added.last_accepted_at);
        self.last_effective.push(added.counts.last_effective_at);
    }

    /// Whether there is nothing to add.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// What an append of one source counts, a row for each name and hour: three numbers
/// (accepted, duplicate, rejected) and four times (hour, newest received, newest
/// accepted, greatest effective time). An append quarantines nothing.
#[derive(Debug, Default)]
pub struct Appendix {
    pub(super) names: Vec<String>,
    pub(super) counts: Vec<i64>,
    pub(super) times: Vec<Option<DateTime<Utc>>>,
}

impl Appendix {
    /// Adds a row; an empty name is "other".
    pub fn push(&mut self, name: &str, hour: DateTime<Utc>, added: &EventCounts) {
        let EventCounts { counts, last_accepted_at } = added;
        debug_assert_eq!(counts.quarantined, 0, "quarantine takes more than a round trip");
        self.names.push(name.to_owned());
        self.counts.extend([counts.accepted, counts.duplicate, counts.rejected]);
        self.times.extend([
            Some(hour),
            counts.last_received_at,
            *last_accepted_at,
            counts.last_effective_at,
        ]);
    }
}

/// Projects with appends whose counts were not added up.
pub async fn uncounted(connection: &mut PgConnection) -> Result<Vec<ProjectId>> {
    let projects = sqlx::query_scalar!(
        "SELECT project_id FROM ingestion.counted
         JOIN ingestion.log_heads head USING (project_id)
         WHERE head.position > counted.position
         ORDER BY project_id",
    )
    .fetch_all(connection)
    .await?;
    Ok(projects.into_iter().map(ProjectId).collect())
}

/// Adds up what appends of a project left, in a transaction of its own. What a crash
/// takes back of it is added again, so it waits for no disk.
pub async fn count_appended(connection: &mut PgConnection, project: ProjectId) -> Result<()> {
    let mut transaction = connection.begin().await?;
    super::prefer_indexes(&mut transaction).await?;
    sqlx::query!("SELECT set_config('synchronous_commit', 'off', true)")
        .fetch_one(&mut *transaction)
        .await?;
    sqlx::query!("SELECT ingestion.count_appended($1)", project.0)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// Adds to the counts, the last thing that a transaction locks.
pub async fn add(connection: &mut PgConnection, added: &Additions) -> Result<()> {
    sqlx::query!(
        r#"WITH added AS (
               SELECT * FROM unnest($1::int[], $2::int[], $3::text[], $4::timestamptz[],
                   $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
                   $9::timestamptz[], $10::timestamptz[], $11::timestamptz[])
               AS a (project_id, source_id, name, hour, accepted, duplicate, quarantined,
                   rejected, last_received_at, last_accepted_at, last_effective_at)
           ), totals AS (
               INSERT INTO ingestion.event_totals AS known
                   (project_id, source_id, name, received, accepted, duplicate, quarantined,
                    rejected, last_received_at, last_accepted_at, last_effective_at)
               SELECT project_id, source_id, name,
                   sum(accepted + duplicate + quarantined + rejected), sum(accepted),
                   sum(duplicate), sum(quarantined), sum(rejected), max(last_received_at),
                   max(last_accepted_at), max(last_effective_at)
               FROM added GROUP BY project_id, source_id, name
               ORDER BY project_id, source_id, name COLLATE "C"
               ON CONFLICT (project_id, source_id, name) DO UPDATE SET
                   received = known.received + excluded.received,
                   accepted = known.accepted + excluded.accepted,
                   duplicate = known.duplicate + excluded.duplicate,
                   quarantined = known.quarantined + excluded.quarantined,
                   rejected = known.rejected + excluded.rejected,
                   last_received_at = greatest(known.last_received_at, excluded.last_received_at),
                   last_accepted_at = greatest(known.last_accepted_at, excluded.last_accepted_at),
                   last_effective_at =
                       greatest(known.last_effective_at, excluded.last_effective_at)
           )
           INSERT INTO ingestion.event_hours AS known
               (project_id, source_id, name, hour, accepted, failed)
           SELECT project_id, source_id, name, hour, sum(accepted),
               sum(greatest(quarantined, 0) + rejected)
           FROM added WHERE accepted > 0 OR quarantined > 0 OR rejected > 0
           GROUP BY project_id, source_id, name, hour
           ORDER BY project_id, source_id, hour, name COLLATE "C"
           ON CONFLICT (project_id, source_id, hour, name) DO UPDATE SET
               accepted = known.accepted + excluded.accepted,
               failed = known.failed + excluded.failed"#,
        &added.projects,
        &added.sources,
        &added.names,
        &added.hours,
        &added.accepted,
        &added.duplicate,
        &added.quarantined,
        &added.rejected,
        &added.last_received as &[Option<DateTime<Utc>>],
        &added.last_accepted as &[Option<DateTime<Utc>>],
        &added.last_effective as &[Option<DateTime<Utc>>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The names that a source is known to send, "other" among them.
pub async fn names(
    connection: &mut PgConnection,
    project: ProjectId,
    source: SourceId,
) -> Result<Vec<String>> {
    let names = sqlx::query_scalar!(
        "SELECT name FROM ingestion.event_totals WHERE project_id = $1 AND source_id = $2",
        project.0,
        source.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(names)
}

/// What became of the events of a source, by name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Totals {
    /// Name of the source.
    pub source: String,
    /// Event name; empty for those beyond the known names.
    pub name: String,
    /// The counts.
    pub counts: EventCounts,
}

/// The counts of every source of a project, or of one, by source and name.
pub async fn totals(
    connection: &mut PgConnection,
    project: ProjectId,
    source: Option<&str>,
) -> Result<Vec<Totals>> {
    let rows = sqlx::query!(
        r#"SELECT s.name AS source, t.name AS "name!", sum(accepted)::bigint AS "accepted!",
               sum(duplicate)::bigint AS "duplicate!", sum(quarantined)::bigint AS "quarantined!",
               sum(rejected)::bigint AS "rejected!", max(last_received_at) AS last_received_at,
               max(last_accepted_at) AS last_accepted_at,
               max(last_effective_at) AS last_effective_at
           FROM ingestion.sources s JOIN (
               SELECT project_id, source_id, name, accepted, duplicate, quarantined, rejected,
                   last_received_at, last_accepted_at, last_effective_at
               FROM ingestion.event_totals
               UNION ALL
               SELECT project_id, source_id, name, accepted, duplicate, 0, rejected,
                   last_received_at, last_accepted_at, last_effective_at
               FROM ingestion.uncounted
           ) t USING (project_id, source_id)
           WHERE project_id = $1 AND ($2::text IS NULL OR s.name = $2)
           GROUP BY s.name, t.name ORDER BY s.name COLLATE "C", t.name COLLATE "C""#,
        project.0,
        source,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Totals {
            source: row.source,
            name: row.name,
            counts: EventCounts {
                counts: Counts {
                    accepted: row.accepted,
                    duplicate: row.duplicate,
                    quarantined: row.quarantined,
                    rejected: row.rejected,
                    last_received_at: row.last_received_at,
                    last_effective_at: row.last_effective_at,
                },
                last_accepted_at: row.last_accepted_at,
            },
        })
        .collect())
}

/// What became of events of one name within some hours.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Received {
    /// Event name; empty for those beyond the known names.
    pub name: String,
    /// Accepted ones.
    pub accepted: i64,
    /// Quarantined and rejected ones.
    pub failed: i64,
}

/// Events of a source by name, received from one full hour up to, but not
/// including, another.
pub async fn received_between(
    connection: &mut PgConnection,
    project: ProjectId,
    source: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Received>> {
    let rows = sqlx::query_as!(
        Received,
        r#"SELECT h.name AS "name!", sum(accepted)::bigint AS "accepted!",
               sum(failed)::bigint AS "failed!"
           FROM ingestion.sources s JOIN (
               SELECT project_id, source_id, name, hour, accepted, failed
               FROM ingestion.event_hours
               UNION ALL
               SELECT project_id, source_id, name, hour, accepted, 0 FROM ingestion.uncounted
               WHERE accepted > 0
           ) h USING (project_id, source_id)
           WHERE project_id = $1 AND s.name = $2 AND hour >= $3 AND hour < $4
           GROUP BY h.name"#,
        project.0,
        source,
        from,
        to,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Forgets the hours before a time.
pub async fn forget_hours(connection: &mut PgConnection, before: DateTime<Utc>) -> Result<u64> {
    let done = sqlx::query!("DELETE FROM ingestion.event_hours WHERE hour < $1", before)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
