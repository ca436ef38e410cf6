//! One change of what people own: once per request id, with an audit entry, in one transaction.

use chrono::{DateTime, Utc};
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::{Error as StoreError, PgPool, audit};
use prost::Message;
use serde_json::Value;
use sqlx::{Postgres, Transaction};

use crate::error::Error;

/// A change on its way. Dropped, it changed nothing.
pub(crate) struct Change<'a> {
    /// Where it is made.
    pub(crate) transaction: Transaction<'static, Postgres>,
    /// Who makes it.
    pub(crate) caller: &'a Caller,
    /// When.
    pub(crate) now: DateTime<Utc>,
    mutation: Mutation,
}

/// How a change begins.
pub(crate) enum Begun<'a, R> {
    /// It was made before, and this was the answer.
    Answered(R),
    /// It is to be made.
    Open(Change<'a>),
}

impl<'a> Change<'a> {
    /// Begins what a call of a method asks for.
    ///
    /// # Errors
    /// When the request id is none, or was used for something else.
    pub(crate) async fn begin<R: Message + Default>(
        pool: &PgPool,
        caller: &'a Caller,
        method: &'static str,
        request_id: &str,
        request: &impl Message,
        now: DateTime<Utc>,
    ) -> Result<Begun<'a, R>, Error> {
        let mutation = Mutation::new(caller, method, request_id, request)?;
        let mut transaction = pool.begin().await.map_err(StoreError::from)?;
        Ok(match mutation.find_answer(&mut transaction).await? {
            Some(answer) => Begun::Answered(answer),
            None => Begun::Open(Self { transaction, caller, now, mutation }),
        })
    }

    /// Writes the audit entry.
    pub(crate) async fn audit(
        &mut self,
        action: &str,
        resource: &str,
        detail: &Value,
    ) -> Result<(), Error> {
        let (project, actor) = (self.caller.project, &*self.caller.principal);
        let entry = audit::NewEntry { project, actor, action, resource, detail, at: self.now };
        audit::append(&mut self.transaction, &entry).await?;
        Ok(())
    }

    /// Keeps the answer for calls to come, and commits.
    pub(crate) async fn commit<R: Message>(mut self, answer: R) -> Result<R, Error> {
        self.mutation.save_answer(&mut self.transaction, &answer, self.now).await?;
        self.transaction.commit().await.map_err(StoreError::from)?;
        Ok(answer)
    }
}

/// Checks that a document is still the one that was read, if the caller says which
/// that was.
pub(crate) fn check_etag(
    kind: &'static str,
    name: &str,
    wanted: &str,
    current: Option<&str>,
) -> Result<(), Error> {
    let current = current.unwrap_or_default();
    if wanted.is_empty() || wanted == current {
        return Ok(());
    }
    Err(Error::Changed { kind, name: name.to_owned(), etag: current.to_owned() })
}
