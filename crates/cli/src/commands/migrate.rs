//! `northstar migrate`: the schema, up to date; what the migrate Job runs.

use std::path::PathBuf;

use crate::database::named;
use crate::failure::ConfigError;
use crate::output;

/// Bring a database's schema up to date.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  DATABASE_URL=postgres://owner@db.internal/northstar northstar migrate --json")]
pub struct Migrate {
    /// The database, as its owner.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// File that holds the URL.
    #[arg(long, env = "DATABASE_URL_FILE")]
    database_url_file: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(command: Migrate) -> anyhow::Result<()> {
    let url = named(command.database_url, command.database_url_file)?
        .ok_or_else(|| ConfigError::new("set DATABASE_URL to the database to migrate"))?;
    northstar_store::migrate(&url).await?;
    let version = northstar_store::MIGRATOR.iter().map(|migration| migration.version).max();
    if command.json {
        return output::json(&serde_json::json!({ "schema_version": version }));
    }
    output::line(format!("the schema is at version {}", version.unwrap_or_default()))?;
    Ok(())
}
