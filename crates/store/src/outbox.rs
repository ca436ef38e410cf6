//! Domain events on their way to the log. A service writes them in the
//! transaction of the change they tell of; a worker sends them afterwards, at
//! least once, and the log's deduplication makes it exactly once.
//!
//! Every service has a table of its own, `<service>.outbox`, of one shape.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::erasure::{renamed, renamed_json};
use sqlx::PgConnection;

use crate::Result;
use crate::erasure::ErasedSubject;

/// Whose outbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outbox {
    /// `approvals.outbox`.
    Approvals,
    /// `experiments.outbox`.
    Experiments,
    /// `automations.outbox`.
    Automations,
    /// `ingestion.outbox`.
    Ingestion,
    /// `metrics.outbox`.
    Metrics,
}

/// An event to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    /// The project whose log takes it.
    pub project: ProjectId,
    /// Its message id: made from what it tells of, never at random, so that
    /// sending it twice makes a duplicate.
    pub message_id: String,
    /// Event name.
    pub name: String,
    /// User id of the event; empty when only an anonymous id is known.
    pub user_id: String,
    /// Anonymous id of the event; empty when there is none.
    pub anonymous_id: String,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// Its properties: an object.
    pub properties: serde_json::Value,
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its place in the outbox.
    pub id: i64,
    /// The event.
    pub event: NewMessage,
}

struct Row {
    outbox_id: i64,
    project_id: i32,
    message_id: String,
    name: String,
    user_id: String,
    anonymous_id: String,
    occurred_at: DateTime<Utc>,
    properties: serde_json::Value,
}

impl From<Row> for Message {
    fn from(row: Row) -> Self {
        Self {
            id: row.outbox_id,
            event: NewMessage {
                project: ProjectId(row.project_id),
                message_id: row.message_id,
                name: row.name,
                user_id: row.user_id,
                anonymous_id: row.anonymous_id,
                occurred_at: row.occurred_at,
                properties: row.properties,
            },
        }
    }
}

/// The statements of one table. A macro, because a checked statement names its
/// table in the source.
macro_rules! outbox {
    ($module:ident, $table:literal) => {
        mod $module {
            use super::*;

            pub(super) async fn put(connection: &mut PgConnection, new: &NewMessage) -> Result<()> {
                sqlx::query!(
                    "INSERT INTO "
                        + $table
                        + " (project_id, message_id, name, user_id, anonymous_id, occurred_at,
                            properties)
                         VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    new.project.0,
                    new.message_id,
                    new.name,
                    new.user_id,
                    new.anonymous_id,
                    new.occurred_at,
                    new.properties,
                )
                .execute(connection)
                .await?;
                Ok(())
            }

            pub(super) async fn lock_next(
                connection: &mut PgConnection,
                limit: i64,
            ) -> Result<Vec<Message>> {
                let rows = sqlx::query_as!(
                    Row,
                    "SELECT outbox_id, project_id, message_id, name, user_id, anonymous_id,
                            occurred_at, properties
                     FROM "
                        + $table
                        + " WHERE refusal IS NULL
                     ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED",
                    limit,
                )
                .fetch_all(connection)
                .await?;
                Ok(rows.into_iter().map(Message::from).collect())
            }

            pub(super) async fn remove(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
                sqlx::query!("DELETE FROM " + $table + " WHERE outbox_id = ANY($1)", ids)
                    .execute(connection)
                    .await?;
                Ok(())
            }

            pub(super) async fn all(
                connection: &mut PgConnection,
                project: ProjectId,
                naming: &[String],
            ) -> Result<Vec<Message>> {
                let rows = sqlx::query_as!(
                    Row,
                    "SELECT outbox_id, project_id, message_id, name, user_id, anonymous_id,
                            occurred_at, properties
                     FROM "
                        + $table
                        + " WHERE project_id = $1 AND EXISTS (
                         SELECT FROM unnest($2::text[]) AS one (value)
                         WHERE position(value IN message_id || ' ' || user_id || ' ' ||
                             anonymous_id || ' ' || properties::text) > 0)
                     ORDER BY outbox_id FOR UPDATE",
                    project.0,
                    naming,
                )
                .fetch_all(connection)
                .await?;
                Ok(rows.into_iter().map(Message::from).collect())
            }

            pub(super) async fn change(
                connection: &mut PgConnection,
                message: &Message,
            ) -> Result<()> {
                sqlx::query!(
                    "UPDATE "
                        + $table
                        + " SET message_id = $2, user_id = $3, anonymous_id = $4, properties = $5
                         WHERE outbox_id = $1",
                    message.id,
                    message.event.message_id,
                    message.event.user_id,
                    message.event.anonymous_id,
                    message.event.properties,
                )
                .execute(connection)
                .await?;
                Ok(())
            }

            pub(super) async fn refuse(
                connection: &mut PgConnection,
                id: i64,
                refusal: &str,
            ) -> Result<()> {
                sqlx::query!(
                    "UPDATE " + $table + " SET refusal = $2 WHERE outbox_id = $1",
                    id,
                    refusal,
                )
                .execute(connection)
                .await?;
                Ok(())
            }
        }
    };
}

outbox!(approvals, "approvals.outbox");
outbox!(experiments, "experiments.outbox");
outbox!(automations, "automations.outbox");
outbox!(ingestion, "ingestion.outbox");
outbox!(metrics, "metrics.outbox");

impl Outbox {
    /// Writes an event, in the transaction of the change it tells of.
    pub async fn put(self, connection: &mut PgConnection, new: &NewMessage) -> Result<()> {
        match self {
            Self::Approvals => approvals::put(connection, new).await,
            Self::Experiments => experiments::put(connection, new).await,
            Self::Automations => automations::put(connection, new).await,
            Self::Ingestion => ingestion::put(connection, new).await,
            Self::Metrics => metrics::put(connection, new).await,
        }
    }

    /// The oldest events that wait, locked until the transaction ends; what
    /// another replica holds is left out.
    pub async fn lock_next(
        self,
        connection: &mut PgConnection,
        limit: i64,
    ) -> Result<Vec<Message>> {
        match self {
            Self::Approvals => approvals::lock_next(connection, limit).await,
            Self::Experiments => experiments::lock_next(connection, limit).await,
            Self::Automations => automations::lock_next(connection, limit).await,
            Self::Ingestion => ingestion::lock_next(connection, limit).await,
            Self::Metrics => metrics::lock_next(connection, limit).await,
        }
    }

    /// Removes events that the log has.
    pub async fn remove(self, connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
        match self {
            Self::Approvals => approvals::remove(connection, ids).await,
            Self::Experiments => experiments::remove(connection, ids).await,
            Self::Automations => automations::remove(connection, ids).await,
            Self::Ingestion => ingestion::remove(connection, ids).await,
            Self::Metrics => metrics::remove(connection, ids).await,
        }
    }

    /// Takes a forgotten subject's identifiers out of events that wait; those of the
    /// subject keep their places under its pseudonym. Waits for a batch that is on
    /// its way. Returns how many were changed.
    pub async fn forget(
        self,
        connection: &mut PgConnection,
        subject: &ErasedSubject,
    ) -> Result<i64> {
        let (project, naming) = (subject.project, subject.values());
        let found = match self {
            Self::Approvals => approvals::all(connection, project, &naming).await?,
            Self::Experiments => experiments::all(connection, project, &naming).await?,
            Self::Automations => automations::all(connection, project, &naming).await?,
            Self::Ingestion => ingestion::all(connection, project, &naming).await?,
            Self::Metrics => metrics::all(connection, project, &naming).await?,
        };
        let mut changed = 0;
        for mut message in found {
            let event = &mut message.event;
            let mut named = false;
            for text in [&mut event.message_id, &mut event.user_id, &mut event.anonymous_id] {
                if let Some(left) = renamed(text, &subject.renamings) {
                    *text = left;
                    named = true;
                }
            }
            if let Some(left) = renamed_json(&event.properties, &subject.renamings) {
                event.properties = left;
                named = true;
            }
            if !named {
                continue;
            }
            match self {
                Self::Approvals => approvals::change(connection, &message).await?,
                Self::Experiments => experiments::change(connection, &message).await?,
                Self::Automations => automations::change(connection, &message).await?,
                Self::Ingestion => ingestion::change(connection, &message).await?,
                Self::Metrics => metrics::change(connection, &message).await?,
            }
            changed += 1;
        }
        Ok(changed)
    }

    /// Keeps an event that the log will not take, with the reason, and sends it
    /// no more.
    pub async fn refuse(self, connection: &mut PgConnection, id: i64, refusal: &str) -> Result<()> {
        match self {
            Self::Approvals => approvals::refuse(connection, id, refusal).await,
            Self::Experiments => experiments::refuse(connection, id, refusal).await,
            Self::Automations => automations::refuse(connection, id, refusal).await,
            Self::Ingestion => ingestion::refuse(connection, id, refusal).await,
            Self::Metrics => metrics::refuse(connection, id, refusal).await,
        }
    }
}
