//! `cargo xtask prepare`: `.sqlx`, without sqlx-cli.
//!
//! The query macros write what they learnt of each query into `SQLX_OFFLINE_DIR` when they run against a database. So
//! this makes an empty database, migrates it, and checks the store with an empty folder to write to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;
use std::{env, process};

use anyhow::{Context, Result, bail};
use northstar_embedded::{Cluster, Options};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::runtime::Runtime;
use url::Url;

use crate::workspace::{self, cargo, root};

/// The one crate that holds SQL. A checked query anywhere else would not compile from the committed `.sqlx`.
const STORE: &str = "northstar-store";

/// Prepared queries: file name to content.
type Queries = BTreeMap<String, String>;

/// Writes `.sqlx` anew, or with `check` only compares.
pub fn run(check: bool) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = scratch.path().join("sqlx");
    fs::create_dir(&folder)?;

    let runtime = Runtime::new()?;
    let database = runtime.block_on(Database::make(&scratch.path().join("postgres")))?;
    let written = write_queries(&runtime, database.url(), &folder);
    runtime.block_on(database.discard())?;
    written?;

    let fresh = read(&folder)?;
    let committed = read(&root().join(".sqlx"))?;
    let differences = differences(&committed, &fresh);
    if differences.is_empty() {
        println!("{} prepared queries, all current", fresh.len());
        return Ok(());
    }
    for difference in &differences {
        println!("{difference}");
    }
    if check {
        bail!(
            "{} prepared queries differ from .sqlx; run `cargo xtask prepare` and commit",
            differences.len()
        );
    }
    replace(&root().join(".sqlx"), &fresh)?;
    println!("{} prepared queries, {} changed; commit .sqlx", fresh.len(), differences.len());
    Ok(())
}

fn write_queries(runtime: &Runtime, database_url: &str, folder: &Path) -> Result<()> {
    runtime.block_on(migrate(database_url))?;
    touch_store()?;
    // What the environment says wins over `.cargo/config.toml`.
    workspace::run(
        cargo()
            .args(["check", "--quiet", "--package", STORE, "--all-targets"])
            .env("SQLX_OFFLINE", "false")
            .env("SQLX_OFFLINE_DIR", folder)
            .env("DATABASE_URL", database_url),
    )
}

/// Applies the migrations as they lie in the folder. Not `northstar_store::MIGRATOR`: that crate may not compile
/// before its queries are prepared.
async fn migrate(database_url: &str) -> Result<()> {
    let folder = root().join("crates/store/migrations");
    let migrator = Migrator::new(folder).await.context("cannot read crates/store/migrations")?;
    let mut connection =
        PgConnection::connect(database_url).await.context("cannot connect to the database")?;
    migrator.run(&mut connection).await.context("cannot apply the migrations")?;
    connection.close().await?;
    Ok(())
}

/// Makes cargo compile the store once more: it expands no macro of a crate that it finds unchanged.
fn touch_store() -> Result<()> {
    let metadata = workspace::metadata()?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let store = packages.iter().filter(|package| package["name"] == STORE);
    for target in store.filter_map(|package| package["targets"].as_array()).flatten() {
        let path = target["src_path"]
            .as_str()
            .context("cargo metadata names no source file of a target")?;
        let file = File::options()
            .append(true)
            .open(path)
            .with_context(|| format!("cannot touch {path}"))?;
        file.set_modified(SystemTime::now())?;
    }
    Ok(())
}

/// An empty database that lives as long as the chore.
enum Database {
    /// In a private cluster, which goes as a whole.
    Private { cluster: Cluster, url: String },
    /// On the server of `DATABASE_URL`, beside what is there.
    Lent { server: String, name: String, url: String },
}

impl Database {
    async fn make(data_dir: &Path) -> Result<Self> {
        let name = format!("northstar_prepare_{}", process::id());
        let Ok(server) = env::var("DATABASE_URL") else {
            let cluster = Cluster::start(Options::new(data_dir)).await?;
            cluster.create_database(&name).await?;
            let url = cluster.url(&name);
            return Ok(Self::Private { cluster, url });
        };
        let mut url = Url::parse(&server).context("DATABASE_URL is no URL")?;
        url.set_path(&name);
        on_server(&server, format!(r#"CREATE DATABASE "{name}""#)).await?;
        Ok(Self::Lent { server, name, url: url.into() })
    }

    fn url(&self) -> &str {
        match self {
            Self::Private { url, .. } | Self::Lent { url, .. } => url,
        }
    }

    async fn discard(self) -> Result<()> {
        match self {
            Self::Private { cluster, .. } => Ok(cluster.stop().await?),
            Self::Lent { server, name, .. } => {
                on_server(&server, format!(r#"DROP DATABASE "{name}" WITH (FORCE)"#)).await
            }
        }
    }
}

async fn on_server(url: &str, statement: String) -> Result<()> {
    let mut connection =
        PgConnection::connect(url).await.context("cannot connect to the server of DATABASE_URL")?;
    // The only thing put in is a name made of letters, digits and underscores.
    connection.execute(AssertSqlSafe(statement)).await?;
    connection.close().await?;
    Ok(())
}

/// The prepared queries of a folder; none if it does not exist.
fn read(folder: &Path) -> Result<Queries> {
    if !folder.exists() {
        return Ok(Queries::new());
    }
    let mut queries = Queries::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("query-") {
            let content =
                fs::read_to_string(entry.path()).with_context(|| format!("cannot read {name}"))?;
            queries.insert(name, content);
        }
    }
    Ok(queries)
}

fn replace(folder: &Path, queries: &Queries) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir(folder)?;
    for (name, content) in queries {
        fs::write(folder.join(name), content)?;
    }
    Ok(())
}

/// One line for each query that is new, gone or described differently.
fn differences(committed: &Queries, fresh: &Queries) -> Vec<String> {
    let gone = committed
        .iter()
        .filter(|(name, _)| !fresh.contains_key(*name))
        .map(|query| ("gone", query));
    let changed = fresh.iter().filter_map(|query| match committed.get(query.0) {
        None => Some(("new", query)),
        Some(content) if content != query.1 => Some(("changed", query)),
        Some(_) => None,
    });
    gone.chain(changed)
        .map(|(what, (name, content))| format!("{what}: {name}  {}", excerpt(content)))
        .collect()
}

/// The beginning of a prepared query's SQL, on one line.
fn excerpt(content: &str) -> String {
    let description: serde_json::Value = serde_json::from_str(content).unwrap_or_default();
    let sql = description["query"].as_str().unwrap_or_default();
    sql.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(entries: &[(&str, &str)]) -> Queries {
        let described = |sql: &str| serde_json::json!({ "query": sql }).to_string();
        entries.iter().map(|(name, sql)| ((*name).to_owned(), described(sql))).collect()
    }

    #[test]
    fn equal_folders_have_no_differences() {
        let committed = queries(&[("query-a.json", "SELECT 1")]);
        assert_eq!(differences(&committed, &committed), Vec::<String>::new());
    }

    #[test]
    fn a_query_is_gone_new_or_changed() {
        let committed = queries(&[("query-a.json", "SELECT 1"), ("query-b.json", "SELECT 2")]);
        let fresh =
            queries(&[("query-b.json", "SELECT 2 AS two"), ("query-c.json", "SELECT\n    3")]);
        assert_eq!(
            differences(&committed, &fresh),
            [
                "gone: query-a.json  SELECT 1",
                "changed: query-b.json  SELECT 2 AS two",
                "new: query-c.json  SELECT 3"
            ]
        );
    }
}
