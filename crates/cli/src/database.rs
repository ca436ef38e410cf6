//! Which Postgres: the one that is named, or a private cluster.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use northstar_embedded::{Cluster, Options};
use northstar_server::InvalidConfig;

use crate::failure::ConfigError;

/// Name of the database in a private cluster.
const DATABASE: &str = "northstar";

/// A database that is there, with its schema current.
pub struct Database {
    /// Its URL; holds a password.
    pub url: String,
    cluster: Option<Cluster>,
}

impl Database {
    /// Uses the named database, or starts the private cluster of the data
    /// folder; then brings the schema up to date.
    ///
    /// # Errors
    /// When the database cannot be reached, or when there is no PostgreSQL to be
    /// had; the message says what was looked for and what to do.
    pub async fn open(url: Option<&str>, data_dir: &Path) -> anyhow::Result<Self> {
        let database = match url {
            Some(url) => Self { url: url.to_owned(), cluster: None },
            None => {
                let cluster = Cluster::start(Options::new(data_dir)).await?;
                cluster.create_database(DATABASE).await?;
                Self { url: cluster.url(DATABASE), cluster: Some(cluster) }
            }
        };
        northstar_store::migrate(&database.url)
            .await
            .context("the database's schema could not be brought up to date")?;
        Ok(database)
    }

    /// Stops the private cluster, if it is one.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        if let Some(cluster) = self.cluster {
            cluster.stop().await?;
        }
        Ok(())
    }
}

/// The database that is named by a URL or by the file that holds it.
///
/// # Errors
/// [`InvalidConfig`] when both are given, the file cannot be read, or it is no URL
/// of a PostgreSQL database.
pub fn named(url: Option<String>, file: Option<PathBuf>) -> Result<Option<String>, InvalidConfig> {
    if url.is_none() && file.is_none() {
        return Ok(None);
    }
    let mut config = northstar_server::Config { database_url_file: file, ..Default::default() };
    config.database.database_url = url;
    Ok(Some(config.database_url()?.expose().to_owned()))
}

/// The data folder of `northstar up` unless another is named:
/// `$XDG_DATA_HOME/northstar`, else `~/.local/share/northstar`.
///
/// # Errors
/// When there is no home folder.
pub fn default_data_dir() -> anyhow::Result<PathBuf> {
    std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/share")))
        .map(|folder| folder.join("northstar"))
        .ok_or_else(|| ConfigError::new("no home folder; give --data-dir"))
}
