//! Stretches of the log as files: one event a row, in Parquet or as JSON Lines.
//! `northstar events export` writes them, `northstar import` reads them back.
//!
//! | column | Parquet type | |
//! |---|---|---|
//! | `position` | INT64 | position in the log, ascending |
//! | `source` | BYTE_ARRAY, String | name of the producing system |
//! | `message_id` | BYTE_ARRAY, String | unique within the source |
//! | `name` | BYTE_ARRAY, String | what happened |
//! | `user_id`, `anonymous_id`, `account_id` | BYTE_ARRAY, String, optional | who |
//! | `occurred_time` | INT64, Timestamp(µs, UTC) | by the producer's clock |
//! | `sent_time` | INT64, Timestamp(µs, UTC), optional | by the producer's clock |
//! | `received_time` | INT64, Timestamp(µs, UTC) | by the service's clock |
//! | `effective_time` | INT64, Timestamp(µs, UTC) | the time every KPI uses |
//! | `correction` | BYTE_ARRAY, String | `none`, `skew` or `clamped` |
//! | `sequence` | INT64 | orders events of the same time |
//! | `region` | BYTE_ARRAY, String, optional | where the data may lie |
//! | `consent` | BYTE_ARRAY, String, optional | `{"granted": [..], "denied": [..]}` |
//! | `properties` | BYTE_ARRAY, String | a JSON object, exactly as in the log |
//!
//! A line of JSON Lines has the same names; times are RFC 3339 in UTC,
//! `properties` and `consent` are objects, and what is absent is left out. The
//! row holds everything that makes an event the same event, so a stretch that is
//! read back adds nothing to a log that has it.

mod batches;
mod columns;
mod lines;
mod object;
mod read;
mod write;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use batches::Batches;
pub use lines::{from_line, to_line};
pub use object::Archive;
pub use read::ParquetEvents;
pub use write::ParquetWriter;

/// Consent as it was sent.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// Purposes that were granted.
    #[serde(default)]
    pub granted: Vec<String>,
    /// Purposes that were denied.
    #[serde(default)]
    pub denied: Vec<String>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedEvent {
    /// Position in the log.
    pub position: i64,
    /// Name of the producing system.
    pub source: String,
    /// Id given by the producer.
    pub message_id: String,
    /// What happened.
    pub name: String,
    /// Id of a known person; empty when unknown, like the other ids.
    pub user_id: String,
    /// Id of a device or session.
    pub anonymous_id: String,
    /// Id of the account.
    pub account_id: String,
    /// When it happened, by the producer's clock.
    pub occurred_at: DateTime<Utc>,
    /// When it was sent, by the producer's clock.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// The time every KPI uses.
    pub effective_at: DateTime<Utc>,
    /// How that was derived: `none`, `skew` or `clamped`.
    pub correction: String,
    /// Orders events of the same time.
    pub sequence: i64,
    /// Where the data may lie; empty when not said.
    pub region: String,
    /// What the person agreed to, when it was said.
    pub consent: Option<Consent>,
    /// The properties as JSON text.
    pub properties: String,
}

/// What can go wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is not Parquet, or damaged.
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Its columns cannot be read.
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
    /// The place of the archive cannot be reached or does not have it.
    #[error(transparent)]
    Object(#[from] object_store::Error),
    /// It is Parquet or JSON, but no stretch of a log.
    #[error("{0}")]
    Shape(String),
}
