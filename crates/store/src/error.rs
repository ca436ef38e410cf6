//! What can go wrong between a service and its tables.

use thiserror::Error;

/// The result of a store function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the store.
#[derive(Debug, Error)]
pub enum Error {
    /// Postgres cannot be reached, is starting, stopping or out of connections.
    /// Nothing was written; the call may be repeated.
    #[error("postgres is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A transaction lost against a concurrent one and may be repeated.
    #[error("the transaction conflicted with a concurrent one")]
    Conflict(#[source] sqlx::Error),
    /// A request id was used before with another body.
    #[error("request id {0} was used before with another body")]
    RequestIdReused(uuid::Uuid),
    /// A stored value is not one the program ever writes.
    #[error("impossible value in {table}.{column} of {row}: {value}")]
    Corrupt {
        /// Schema and table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// The value.
        value: String,
    },
    /// Anything else: a defect.
    #[error("a database statement failed")]
    Database(#[source] sqlx::Error),
    /// A migration failed.
    #[error("a migration failed")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// PostgreSQL error codes, <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
mod code {
    pub(super) const SERIALIZATION_FAILURE: &str = "40001";
    pub(super) const DEADLOCK_DETECTED: &str = "40P01";
    /// Connection exceptions.
    pub(super) const CLASS_CONNECTION: &str = "08";
    /// Insufficient resources: disk full, out of memory, too many connections.
    pub(super) const CLASS_RESOURCES: &str = "53";
    /// Operator intervention: shutdown, crash, cannot connect now.
    pub(super) const CLASS_OPERATOR: &str = "57";
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some(code::SERIALIZATION_FAILURE | code::DEADLOCK_DETECTED) => {
                    Self::Conflict(error)
                }
                Some(found)
                    if [code::CLASS_CONNECTION, code::CLASS_RESOURCES, code::CLASS_OPERATOR]
                        .iter()
                        .any(|class| found.starts_with(class)) =>
                {
                    Self::Unavailable(error)
                }
                _ => Self::Database(error),
            },
            _ => Self::Database(error),
        }
    }
}
