//! A database for one test, copied from a migrated template.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::sync::Mutex;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::cluster::Shared;

/// Serialises the making of templates and the dropping of leftovers among all processes.
const HOUSEKEEPING_LOCK: i64 = 0x6e6f_7274_6873_7461; // "northsta"

/// The templates that this process knows to exist.
static KNOWN_TEMPLATES: Mutex<Option<HashSet<String>>> = Mutex::const_new(None);

/// A fresh, migrated database; dropped with this value, whoever is still connected.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    pool: PgPool,
    shared: &'static Shared,
}

impl TestDatabase {
    /// Makes a database with the migrations of `migrator` applied. It is used by the superuser `postgres`.
    ///
    /// # Panics
    /// When there is no PostgreSQL on the machine and none can be downloaded, or a migration fails.
    pub async fn create(migrator: &Migrator) -> Self {
        match Self::try_create(migrator).await {
            Ok(database) => database,
            Err(error) => panic!("cannot make a test database: {error:#}"),
        }
    }

    async fn try_create(migrator: &Migrator) -> anyhow::Result<Self> {
        let shared = Shared::get().await?;
        let template = template(shared, migrator).await?;
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut admin = connect(shared, "postgres").await?;
        run(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log"))
            .await?;
        admin.close().await?;
        let url = shared.url(&name);
        let pool = PgPoolOptions::new().max_connections(10).connect(&url).await?;
        Ok(Self { name, url, pool, shared })
    }

    /// The address, for whatever opens its own connections.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A pool of at most ten connections.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (shared, name) = (self.shared, self.name.clone());
        let (done, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // What fails here is dropped an hour later by another run.
            let _ = drop_database(shared, &name);
            let _ = done.send(());
        });
        // Waited for, since the process may end here, but not for long: PostgreSQL drops nothing while a connection is in
        // the middle of its handshake, and the other end of that may be a task of the very runtime that waits here.
        let _ = wait.recv_timeout(Duration::from_secs(1));
    }
}

/// Drops a database on a runtime of its own, since the test's may be gone or have no thread to spare.
fn drop_database(shared: &Shared, name: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut admin = connect(shared, "postgres").await?;
        run(&mut admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        Ok(admin.close().await?)
    })
}

/// The template with the migrations applied, made by the first process that needs it.
async fn template(shared: &Shared, migrator: &Migrator) -> anyhow::Result<String> {
    let mut hash = Xxh3::new();
    for migration in migrator.iter() {
        hash.update(&migration.version.to_le_bytes());
        hash.update(&migration.checksum);
    }
    let name = format!("template_{:032x}", hash.digest128());

    let mut known = KNOWN_TEMPLATES.lock().await;
    if known.as_ref().is_some_and(|known| known.contains(&name)) {
        return Ok(name);
    }
    let mut admin = connect(shared, "postgres").await?;
    // Released with the connection, however this ends.
    sqlx::query("SELECT pg_advisory_lock($1)").bind(HOUSEKEEPING_LOCK).execute(&mut admin).await?;
    if known.is_none() {
        drop_leftovers(&mut admin, &name).await?;
    }
    let ready: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)",
    )
    .bind(&name)
    .fetch_one(&mut admin)
    .await?;
    if !ready {
        run(&mut admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?; // of a process that was killed
        run(&mut admin, format!("CREATE DATABASE {name}")).await?;
        let mut connection = connect(shared, &name).await?;
        migrator.run_direct(None, &mut connection, false).await.context("a migration failed")?;
        connection.close().await?;
        run(
            &mut admin,
            format!("ALTER DATABASE {name} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false"),
        )
        .await?;
    }
    admin.close().await?;
    known.get_or_insert_default().insert(name.clone());
    Ok(name)
}

/// Drops test databases older than an hour, and templates older than a week except `template`, unless they are in use.
async fn drop_leftovers(admin: &mut PgConnection, template: &str) -> anyhow::Result<()> {
    // The file is written when a database is made, and never again.
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT datname::text
         FROM pg_database, pg_stat_file(format('base/%s/PG_VERSION', oid), true) AS made
         WHERE datname <> $1
           AND (datname LIKE 'test\\_%' AND made.modification < now() - interval '1 hour'
                OR datname LIKE 'template\\_%' AND made.modification < now() - interval '7 days')",
    )
    .bind(template)
    .fetch_all(&mut *admin)
    .await?;
    for name in names {
        if name.starts_with("template_") {
            run(admin, format!("ALTER DATABASE {name} WITH IS_TEMPLATE false")).await?;
        }
        // Refused while somebody is connected; then it is no leftover.
        let _ = run(admin, format!("DROP DATABASE IF EXISTS {name}")).await;
    }
    Ok(())
}

async fn connect(shared: &Shared, database: &str) -> anyhow::Result<PgConnection> {
    PgConnection::connect(&shared.url(database))
        .await
        .with_context(|| format!("cannot connect to {database}"))
}

/// Runs a statement about a database. Names cannot be bound; ours are letters, digits and underscores.
async fn run(admin: &mut PgConnection, statement: String) -> anyhow::Result<()> {
    let outcome = sqlx::query(AssertSqlSafe(statement.clone())).execute(admin).await;
    outcome.map(drop).with_context(|| format!("cannot run {statement:?}"))
}
