//! Every SQL statement and every migration, one module per context. Functions
//! take `&mut PgConnection`, so that a handler composes them in its
//! transaction; look-ups return `Option`.

pub mod access;
pub mod approvals;
pub mod audit;
pub mod automations;
pub mod block;
mod connect;
pub mod erasure;
mod error;
pub mod experiments;
pub mod idempotency;
pub mod ingestion;
pub mod metrics;
pub mod outbox;
pub mod page;

pub use connect::{Config, Service, check_url, connect, migrate, schema_is_current};
pub use error::{Error, Result};
pub use sqlx::{PgConnection, PgPool};

/// The one linear migration history.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
