//! The same request id gets the same answer; with another body, an error.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// A mutation that carried a request id.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The project.
    pub project: ProjectId,
    /// The full gRPC method.
    pub method: &'a str,
    /// The request id.
    pub id: Uuid,
    /// The encoded request.
    pub body: &'a [u8],
}

/// Looks for the answer given before. Call it first in the mutation's
/// transaction: it takes a lock, so that two calls with one id run one after
/// the other.
///
/// # Errors
/// [`Error::RequestIdReused`] when the id was used with another body.
pub async fn find_response(
    connection: &mut PgConnection,
    request: &Request<'_>,
) -> Result<Option<Vec<u8>>> {
    let lock = i64::from_be_bytes(
        request.id.as_bytes()[8..].try_into().expect("half a UUID is eight bytes"),
    );
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", lock).execute(&mut *connection).await?;
    let found = sqlx::query!(
        "SELECT body_sha256, response FROM access.idempotency_keys
         WHERE project_id = $1 AND method = $2 AND request_id = $3",
        request.project.0,
        request.method,
        request.id,
    )
    .fetch_optional(connection)
    .await?;
    match found {
        None => Ok(None),
        Some(row) if row.body_sha256 == Sha256::digest(request.body).as_slice() => {
            Ok(Some(row.response))
        }
        Some(_) => Err(Error::RequestIdReused(request.id)),
    }
}

/// Keeps the answer, in the mutation's transaction.
pub async fn save_response(
    connection: &mut PgConnection,
    request: &Request<'_>,
    response: &[u8],
    now: DateTime<Utc>,
) -> Result<()> {
    let body_sha256 = Sha256::digest(request.body);
    sqlx::query!(
        "INSERT INTO access.idempotency_keys
             (project_id, method, request_id, body_sha256, response, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        request.project.0,
        request.method,
        request.id,
        body_sha256.as_slice(),
        response,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
