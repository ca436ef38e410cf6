//! Consumer groups with members: cursors by partition, leases and owners.
//!
//! A partition has an owner, the one session that may acknowledge, and an heir,
//! the session that is to own it. They differ while the owner finishes what it
//! was sent. Every change of owner and every seek raises the partition's fence,
//! and an acknowledgement names the fence it was sent under, so that whoever
//! lost a partition without knowing changes nothing.
//!
//! Every change of a group locks its row first ([`lock`]), so changes run one
//! after the other, in whatever process; acknowledgements lock only the
//! partitions they move.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::subscription::{PARTITIONS, assign};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// A group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// CEL condition of the events it wants; empty for all.
    pub filter: String,
    /// Grows with every change of members, owners or seeks.
    pub generation: i64,
}

/// A group that is to be made when it is not there.
#[derive(Clone, Copy, Debug)]
pub struct NewGroup<'a> {
    /// CEL condition of the events it wants.
    pub filter: &'a str,
    /// It starts after this position.
    pub start: i64,
    /// Who made it.
    pub created_by: &'a str,
}

/// Makes a group, unless it is there, and locks it until the transaction ends.
/// Tells whether it was made.
pub async fn ensure(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    new: NewGroup<'_>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let made = sqlx::query!(
        "INSERT INTO ingestion.subscriptions
             (project_id, group_name, filter, generation, created_at, created_by)
         VALUES ($1, $2, $3, 0, $4, $5) ON CONFLICT DO NOTHING",
        project.0,
        name,
        new.filter,
        now,
        new.created_by,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected()
        > 0;
    if made {
        sqlx::query!(
            "INSERT INTO ingestion.subscription_partitions
                 (project_id, group_name, partition, position, fence, updated_at)
             SELECT $1, $2, partition::smallint, $3, 0, $4
             FROM generate_series(0, $5::int - 1) AS partition",
            project.0,
            name,
            new.start,
            now,
            i32::from(PARTITIONS),
        )
        .execute(connection)
        .await?;
    }
    Ok(made)
}

/// Whether a group by this name follows the log with one cursor.
pub async fn is_single(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM ingestion.cursors
                          WHERE project_id = $1 AND group_name = $2) AS "found!""#,
        project.0,
        name,
    )
    .fetch_one(connection)
    .await?;
    Ok(found)
}

/// Locks a group until the transaction ends.
pub async fn lock(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<Option<Group>> {
    let group = sqlx::query_as!(
        Group,
        "SELECT filter, generation FROM ingestion.subscriptions
         WHERE project_id = $1 AND group_name = $2 FOR UPDATE",
        project.0,
        name,
    )
    .fetch_optional(connection)
    .await?;
    Ok(group)
}

/// The generation of a group; `None` when there is no such group (any more).
pub async fn generation(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<Option<i64>> {
    let generation = sqlx::query_scalar!(
        "SELECT generation FROM ingestion.subscriptions
         WHERE project_id = $1 AND group_name = $2",
        project.0,
        name,
    )
    .fetch_optional(connection)
    .await?;
    Ok(generation)
}

/// One stay of a member in a group.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The project.
    pub project: ProjectId,
    /// The group.
    pub group: &'a str,
    /// The session.
    pub id: Uuid,
}

/// Adds a member to a locked group; a session that the member had is over.
/// Follow with [`rebalance`].
pub async fn join(
    connection: &mut PgConnection,
    session: Session<'_>,
    member: &str,
    now: DateTime<Utc>,
    lease_expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO ingestion.subscription_members
             (project_id, group_name, member_id, session_id, joined_at, lease_expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (project_id, group_name, member_id) DO UPDATE SET
             session_id = excluded.session_id,
             joined_at = excluded.joined_at,
             lease_expires_at = excluded.lease_expires_at",
        session.project.0,
        session.group,
        member,
        session.id,
        now,
        lease_expires_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a session from a locked group. Follow with [`rebalance`].
pub async fn leave(connection: &mut PgConnection, session: Session<'_>) -> Result<()> {
    sqlx::query!(
        "DELETE FROM ingestion.subscription_members
         WHERE project_id = $1 AND group_name = $2 AND session_id = $3",
        session.project.0,
        session.group,
        session.id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Renews the lease of a session; `false` when the group goes on without it.
pub async fn renew(
    connection: &mut PgConnection,
    session: Session<'_>,
    lease_expires_at: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE ingestion.subscription_members SET lease_expires_at = $4
         WHERE project_id = $1 AND group_name = $2 AND session_id = $3",
        session.project.0,
        session.group,
        session.id,
        lease_expires_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Groups that have a member whose lease is over.
pub async fn with_expired_members(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Vec<(ProjectId, String)>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT project_id, group_name FROM ingestion.subscription_members
         WHERE lease_expires_at < $1",
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (ProjectId(row.project_id), row.group_name)).collect())
}

/// Divides the partitions of a locked group anew among the members whose lease
/// holds. A partition whose owner is gone changes hands at once; one whose owner
/// is there goes when the owner lets it go.
pub async fn rebalance(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM ingestion.subscription_members
         WHERE project_id = $1 AND group_name = $2 AND lease_expires_at < $3",
        project.0,
        name,
        now,
    )
    .execute(&mut *connection)
    .await?;
    let sessions = sqlx::query_scalar!(
        "SELECT session_id FROM ingestion.subscription_members
         WHERE project_id = $1 AND group_name = $2 ORDER BY joined_at, session_id",
        project.0,
        name,
    )
    .fetch_all(&mut *connection)
    .await?;
    let heirs = sqlx::query_scalar!(
        "SELECT heir FROM ingestion.subscription_partitions
         WHERE project_id = $1 AND group_name = $2 ORDER BY partition FOR UPDATE",
        project.0,
        name,
    )
    .fetch_all(&mut *connection)
    .await?;
    let heirs = assign(&sessions, &heirs);
    sqlx::query!(
        "UPDATE ingestion.subscription_partitions p SET
             heir = n.heir,
             owner = CASE WHEN p.owner = ANY($4) THEN p.owner ELSE n.heir END,
             fence = CASE WHEN p.owner = ANY($4) THEN p.fence ELSE p.fence + 1 END
         FROM unnest($3::uuid[]) WITH ORDINALITY AS n (heir, number)
         WHERE project_id = $1 AND group_name = $2 AND partition = n.number - 1
             AND (p.heir IS DISTINCT FROM n.heir OR (p.owner = ANY($4)) IS NOT TRUE)",
        project.0,
        name,
        &heirs as &[Option<Uuid>],
        &sessions,
    )
    .execute(&mut *connection)
    .await?;
    raise_generation(connection, project, name).await
}

async fn raise_generation(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.subscriptions SET generation = generation + 1
         WHERE project_id = $1 AND group_name = $2",
        project.0,
        name,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A partition of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owned {
    /// Which.
    pub partition: i16,
    /// Every event of it up to here is acknowledged.
    pub position: i64,
    /// Names this stretch of ownership.
    pub fence: i64,
    /// Whether another session waits for it.
    pub wanted: bool,
}

/// The partitions that a session owns.
pub async fn owned(connection: &mut PgConnection, session: Session<'_>) -> Result<Vec<Owned>> {
    let owned = sqlx::query_as!(
        Owned,
        r#"SELECT partition, position, fence, heir IS DISTINCT FROM owner AS "wanted!"
           FROM ingestion.subscription_partitions
           WHERE project_id = $1 AND group_name = $2 AND owner = $3 ORDER BY partition"#,
        session.project.0,
        session.group,
        session.id,
    )
    .fetch_all(connection)
    .await?;
    Ok(owned)
}

/// Cursors to be moved: partition, position and fence, column by column.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    /// Partitions, each once, in ascending order.
    pub partitions: Vec<i16>,
    /// Positions.
    pub positions: Vec<i64>,
    /// Fences.
    pub fences: Vec<i64>,
}

impl Moves {
    /// Adds a move.
    pub fn push(&mut self, partition: i16, position: i64, fence: i64) {
        self.partitions.push(partition);
        self.positions.push(position);
        self.fences.push(fence);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}

/// Moves cursors forward, never back, and returns the partitions that the
/// session still owns under the fences it named; the others are unchanged.
pub async fn acknowledge(
    connection: &mut PgConnection,
    session: Session<'_>,
    moves: &Moves,
    now: DateTime<Utc>,
) -> Result<Vec<i16>> {
    let moved = sqlx::query_scalar!(
        "WITH mine AS (
             SELECT p.partition, m.position
             FROM ingestion.subscription_partitions p
             JOIN unnest($4::smallint[], $5::bigint[], $6::bigint[])
                 AS m (partition, position, fence) USING (partition)
             WHERE p.project_id = $1 AND p.group_name = $2 AND p.owner = $3
                 AND p.fence = m.fence
             ORDER BY p.partition FOR UPDATE OF p
         )
         UPDATE ingestion.subscription_partitions p
         SET position = greatest(p.position, mine.position), updated_at = $7
         FROM mine
         WHERE p.project_id = $1 AND p.group_name = $2 AND p.partition = mine.partition
         RETURNING p.partition",
        session.project.0,
        session.group,
        session.id,
        &moves.partitions,
        &moves.positions,
        &moves.fences,
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(moved)
}

/// Hands partitions of a locked group over to their heirs.
pub async fn release(
    connection: &mut PgConnection,
    session: Session<'_>,
    partitions: &[i16],
) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.subscription_partitions SET owner = heir, fence = fence + 1
         WHERE project_id = $1 AND group_name = $2 AND owner = $3 AND partition = ANY($4)",
        session.project.0,
        session.group,
        session.id,
        partitions,
    )
    .execute(&mut *connection)
    .await?;
    raise_generation(connection, session.project, session.group).await
}

/// A group as lists show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// The project.
    pub project: ProjectId,
    /// Its name.
    pub group: String,
    /// CEL condition of the events it wants.
    pub filter: String,
    /// Every event of every partition up to here is acknowledged.
    pub position: i64,
    /// Its members, by id; none for a group that follows with `Subscribe`.
    pub members: Vec<String>,
    /// Whether it has members at all, or one cursor.
    pub partitioned: bool,
    /// When a cursor last moved.
    pub updated_at: DateTime<Utc>,
}

/// Groups of either kind by project and name, after the given one; those of one
/// project, or of all.
pub async fn list(
    connection: &mut PgConnection,
    project: Option<ProjectId>,
    after: &str,
    limit: i64,
) -> Result<Vec<Summary>> {
    let rows = sqlx::query!(
        r#"SELECT project_id AS "project_id!", group_name AS "group_name!", filter AS "filter!",
               position AS "position!", members AS "members!", partitioned AS "partitioned!",
               updated_at AS "updated_at!"
           FROM (
               SELECT project_id, group_name, filter,
                   (SELECT min(p.position) FROM ingestion.subscription_partitions p
                    WHERE (p.project_id, p.group_name) = (s.project_id, s.group_name)) AS position,
                   ARRAY(SELECT m.member_id FROM ingestion.subscription_members m
                         WHERE (m.project_id, m.group_name) = (s.project_id, s.group_name)
                         ORDER BY m.member_id) AS members,
                   true AS partitioned,
                   (SELECT max(p.updated_at) FROM ingestion.subscription_partitions p
                    WHERE (p.project_id, p.group_name) = (s.project_id, s.group_name))
                       AS updated_at
               FROM ingestion.subscriptions s
               UNION ALL
               SELECT project_id, group_name COLLATE "C", '', position, ARRAY[]::text[], false,
                   updated_at
               FROM ingestion.cursors
           ) AS either
           WHERE ($1::int IS NULL OR project_id = $1) AND group_name > $2
           ORDER BY project_id, group_name, partitioned LIMIT $3"#,
        project.map(|project| project.0),
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Summary {
            project: ProjectId(row.project_id),
            group: row.group_name,
            filter: row.filter,
            position: row.position,
            members: row.members,
            partitioned: row.partitioned,
            updated_at: row.updated_at,
        })
        .collect())
}

/// Removes a group of either kind with its cursors; `false` when there is none.
pub async fn delete(connection: &mut PgConnection, project: ProjectId, name: &str) -> Result<bool> {
    let single = sqlx::query!(
        "DELETE FROM ingestion.cursors WHERE project_id = $1 AND group_name = $2",
        project.0,
        name,
    )
    .execute(&mut *connection)
    .await?;
    let partitioned = sqlx::query!(
        "DELETE FROM ingestion.subscriptions WHERE project_id = $1 AND group_name = $2",
        project.0,
        name,
    )
    .execute(connection)
    .await?;
    Ok(single.rows_affected() + partitioned.rows_affected() > 0)
}

/// Sets every cursor of a group of either kind, back or forward. What members
/// hold is no longer theirs to acknowledge; they are sent what follows the new
/// position. Returns the lowest position before, `None` when there is no group.
pub async fn seek(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    position: i64,
    now: DateTime<Utc>,
) -> Result<Option<i64>> {
    let single = sqlx::query_scalar!(
        r#"WITH before AS (
               SELECT position FROM ingestion.cursors
               WHERE project_id = $1 AND group_name = $2 FOR UPDATE
           )
           UPDATE ingestion.cursors SET position = $3, updated_at = $4
           FROM before WHERE project_id = $1 AND group_name = $2
           RETURNING before.position AS "position!""#,
        project.0,
        name,
        position,
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if lock(connection, project, name).await?.is_none() {
        return Ok(single);
    }
    let before = sqlx::query_scalar!(
        r#"WITH before AS (
               SELECT partition, position FROM ingestion.subscription_partitions
               WHERE project_id = $1 AND group_name = $2 ORDER BY partition FOR UPDATE
           ), moved AS (
               UPDATE ingestion.subscription_partitions
               SET position = $3, fence = fence + 1, updated_at = $4
               WHERE project_id = $1 AND group_name = $2
           )
           SELECT min(position) FROM before"#,
        project.0,
        name,
        position,
        now,
    )
    .fetch_one(&mut *connection)
    .await?;
    raise_generation(connection, project, name).await?;
    Ok(before)
}
