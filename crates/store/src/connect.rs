//! Pools: one per service, each under its own Postgres role.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};

use crate::{Error, MIGRATOR, Result};

/// How long a database that does not answer yet is waited for.
const CONNECT: Duration = Duration::from_secs(10);

/// How to reach Postgres.
#[derive(Clone, clap::Args)]
#[group(skip)]
pub struct Config {
    /// Connection URL of the database, for example
    /// `postgres://northstar@localhost/northstar`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Most connections of this process to Postgres, per service.
    #[arg(long, env = "NORTHSTAR_DATABASE_CONNECTIONS", default_value_t = 8,
          value_parser = clap::value_parser!(u32).range(1..=500))]
    pub database_connections: u32,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds a password.
        f.debug_struct("Config")
            .field("database_connections", &self.database_connections)
            .finish_non_exhaustive()
    }
}

/// A service and so a schema and a role. A service's tables are read by that
/// service alone; metrics also reads the log and the identity map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Service {
    /// Owns the log.
    Ingestion,
    /// Owns metric definitions and the segment manifest.
    Metrics,
    /// Owns the experiment registry.
    Experiments,
    /// Owns decision requests.
    Approvals,
    /// Owns automations and their runs.
    Automations,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 5] =
        [Self::Ingestion, Self::Metrics, Self::Experiments, Self::Approvals, Self::Automations];

    /// The service's name, which is its schema's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingestion => "ingestion",
            Self::Metrics => "metrics",
            Self::Experiments => "experiments",
            Self::Approvals => "approvals",
            Self::Automations => "automations",
        }
    }

    /// The Postgres role it works under.
    pub fn role(self) -> String {
        format!("northstar_{}", self.as_str())
    }
}

/// Opens a pool for a service. Every connection works under the service's role,
/// whoever it logged in as, so that Postgres refuses what the service may not
/// do.
///
/// # Errors
/// [`Error::Unavailable`] when Postgres cannot be reached within ten seconds;
/// [`Error::Database`] when the login may not take the role.
pub async fn connect(url: &str, connections: u32, service: Service) -> Result<PgPool> {
    let options: PgConnectOptions = url.parse()?;
    let options = options.application_name(&format!("northstar-{}", service.as_str()));
    let set_role = format!("SET ROLE {}", service.role());
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT)
        .after_connect(move |connection, _| {
            let set_role = AssertSqlSafe(set_role.clone());
            Box::pin(async move { connection.execute(set_role).await.map(|_| ()) })
        })
        .connect_with(options.clone())
        .await;
    match pool {
        Ok(pool) => Ok(pool),
        Err(error) => Err(cause(error, &options).await.into()),
    }
}

/// What keeps a pool from connecting: it tries again and again, and then knows only
/// that its time was over.
async fn cause(error: sqlx::Error, options: &PgConnectOptions) -> sqlx::Error {
    if !matches!(error, sqlx::Error::PoolTimedOut) {
        return error;
    }
    match PgConnection::connect_with(options).await {
        Ok(_) => error,
        Err(cause) => cause,
    }
}

/// Checks that a text is the URL of a PostgreSQL database, without connecting.
///
/// # Errors
/// What is wrong with it; never what it holds, for that may be a password.
pub fn check_url(url: &str) -> std::result::Result<(), String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("does not begin with postgres://".to_owned());
    }
    let parsed: std::result::Result<PgConnectOptions, _> = url.parse();
    parsed.map(|_| ()).map_err(|error| match error {
        sqlx::Error::Configuration(problem) => problem.to_string(),
        other => other.to_string(),
    })
}

/// Brings the schema to this program's version.
///
/// # Errors
/// [`Error::Unavailable`] when Postgres cannot be reached, [`Error::Migrate`]
/// when a migration fails; a failed migration changes nothing.
pub async fn migrate(url: &str) -> Result<()> {
    let options: PgConnectOptions = url.parse()?;
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT);
    let pool = match pool.connect_with(options.clone()).await {
        Ok(pool) => pool,
        Err(error) => return Err(cause(error, &options).await.into()),
    };
    MIGRATOR.run(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Whether the schema has every migration this program knows. A program ahead
/// of its schema must not serve; a schema ahead of the program is fine, because
/// migrations expand before they contract.
///
/// # Errors
/// [`Error::Unavailable`] when Postgres cannot be reached.
pub async fn schema_is_current(pool: &PgPool) -> Result<bool> {
    let wanted = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    let found: Result<Option<i64>, sqlx::Error> =
        sqlx::query_scalar("SELECT max(version) FROM public._sqlx_migrations WHERE success")
            .fetch_one(pool)
            .await;
    match found {
        Ok(version) => Ok(version.unwrap_or(0) >= wanted),
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(error) => Err(Error::from(error)),
    }
}
