//! Mutations that carry a request id: the same request gets the same answer.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_store::{PgConnection, idempotency};
use prost::Message;
use uuid::Uuid;

use crate::Caller;
use crate::status::{Failure, invalid_field};

/// A mutation and the request id it came with, if any. In the mutation's
/// transaction, ask [`Mutation::find_answer`] first and call
/// [`Mutation::save_answer`] last.
#[derive(Clone, Debug)]
pub struct Mutation {
    project: ProjectId,
    method: &'static str,
    id: Option<Uuid>,
    body: Vec<u8>,
}

impl Mutation {
    /// A call of a method. The caller belongs to the body: somebody else's call
    /// with the same request id is another call.
    ///
    /// # Errors
    /// INVALID_FIELD when the request id is neither empty nor a UUID.
    pub fn new(
        caller: &Caller,
        method: &'static str,
        request_id: &str,
        request: &impl Message,
    ) -> Result<Self, Failure> {
        let id = match request_id {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                invalid_field(
                    "request_id",
                    "must be a UUID, or empty for a call that is not retried",
                )
            })?),
        };
        let mut body = request.encode_to_vec();
        body.extend_from_slice(caller.principal.as_bytes());
        Ok(Self { project: caller.project, method, id, body })
    }

    /// The answer given before.
    ///
    /// # Errors
    /// When the id was used with another body, or the stored answer cannot be
    /// read.
    pub async fn find_answer<R: Message + Default>(
        &self,
        connection: &mut PgConnection,
    ) -> northstar_store::Result<Option<R>> {
        let Some(request) = self.request() else { return Ok(None) };
        let Some(bytes) = idempotency::find_response(connection, &request).await? else {
            return Ok(None);
        };
        R::decode(bytes.as_slice()).map(Some).map_err(|error| northstar_store::Error::Corrupt {
            table: "access.idempotency_keys",
            column: "response",
            row: request.id.to_string(),
            value: error.to_string(),
        })
    }

    /// Keeps the answer for calls to come.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn save_answer(
        &self,
        connection: &mut PgConnection,
        response: &impl Message,
        now: DateTime<Utc>,
    ) -> northstar_store::Result<()> {
        match self.request() {
            Some(request) => {
                let response = response.encode_to_vec();
                idempotency::save_response(connection, &request, &response, now).await
            }
            None => Ok(()),
        }
    }

    fn request(&self) -> Option<idempotency::Request<'_>> {
        self.id.map(|id| idempotency::Request {
            project: self.project,
            method: self.method,
            id,
            body: &self.body,
        })
    }
}
