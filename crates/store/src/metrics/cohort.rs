//! The members of cohorts by list.

use northstar_domain::ProjectId;
use sqlx::PgConnection;

use crate::Result;

/// A member of a list.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Member {
    /// Kind of the identifier, for example `user_id`.
    pub kind: String,
    /// The identifier.
    pub value: String,
}

/// The members of a cohort, by kind and value.
pub async fn members(
    connection: &mut PgConnection,
    project: ProjectId,
    cohort: &str,
) -> Result<Vec<Member>> {
    let members = sqlx::query_as!(
        Member,
        "SELECT kind, value FROM metrics.cohort_members
         WHERE project_id = $1 AND cohort = $2 ORDER BY kind, value",
        project.0,
        cohort,
    )
    .fetch_all(connection)
    .await?;
    Ok(members)
}

/// How many members a cohort's list has.
pub async fn count(connection: &mut PgConnection, project: ProjectId, cohort: &str) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM metrics.cohort_members
           WHERE project_id = $1 AND cohort = $2"#,
        project.0,
        cohort,
    )
    .fetch_one(connection)
    .await?;
    Ok(count)
}

/// Adds members; those that are in the list already are ignored.
pub async fn add(
    connection: &mut PgConnection,
    project: ProjectId,
    cohort: &str,
    members: &[Member],
) -> Result<()> {
    let (kinds, values) = columns(members);
    sqlx::query!(
        "INSERT INTO metrics.cohort_members (project_id, cohort, kind, value)
         SELECT $1, $2, kind, value FROM unnest($3::text[], $4::text[]) AS member (kind, value)
         ON CONFLICT DO NOTHING",
        project.0,
        cohort,
        &kinds,
        &values,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes members out; those that are not in the list are ignored.
pub async fn remove(
    connection: &mut PgConnection,
    project: ProjectId,
    cohort: &str,
    members: &[Member],
) -> Result<()> {
    let (kinds, values) = columns(members);
    sqlx::query!(
        "DELETE FROM metrics.cohort_members member
         USING unnest($3::text[], $4::text[]) AS gone (kind, value)
         WHERE member.project_id = $1 AND member.cohort = $2
             AND member.kind = gone.kind AND member.value = gone.value",
        project.0,
        cohort,
        &kinds,
        &values,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Empties a list.
pub async fn clear(connection: &mut PgConnection, project: ProjectId, cohort: &str) -> Result<()> {
    sqlx::query!(
        "DELETE FROM metrics.cohort_members WHERE project_id = $1 AND cohort = $2",
        project.0,
        cohort,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn columns(members: &[Member]) -> (Vec<String>, Vec<String>) {
    members.iter().map(|member| (member.kind.clone(), member.value.clone())).unzip()
}
