//! The log, its keys, sources, identity, contracts, quarantine and cursors.

pub mod accounting;
pub mod consent;
pub mod contracts;
mod copy;
pub mod cursors;
pub mod erasure;
pub mod heads;
pub mod identity;
pub mod keys;
pub mod log;
pub mod notes;
pub mod quarantine;
pub mod retention;
pub mod source_documents;
pub mod sources;
pub mod subject_policies;
pub mod subscriptions;
pub mod webhook_sources;

use sqlx::PgConnection;

use crate::Result;

/// Reads by index for the rest of the transaction, whatever the statistics say.
/// The tables of the log grow from nothing to millions of rows between two runs
/// of ANALYZE, and a plan made while one was empty would read all of it.
pub async fn prefer_indexes(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("SELECT set_config('enable_seqscan', 'off', true)").fetch_one(connection).await?;
    Ok(())
}

/// Makes the commit of the transaction durable, whatever the server's default.
pub async fn commit_durably(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("SELECT set_config('synchronous_commit', 'on', true)")
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// Makes a connection that of a writer, which keeps it: its commits are durable
/// whatever the server's default, and it reads by index as after
/// [`prefer_indexes`]. Statements as small as its own are not worth compiling.
pub async fn settle_writer(connection: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql("SET synchronous_commit = on; SET enable_seqscan = off; SET jit = off")
        .execute(connection)
        .await?;
    Ok(())
}

/// A source's number; unique within the database.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SourceId(pub i32);
