//! `northstar up`: the suite in one process, until it is stopped.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use northstar_domain::Role;
use northstar_server::telemetry;
use tokio::signal::unix::{SignalKind, signal};

use crate::connection::{ContextFile, write_private};
use crate::database::{default_data_dir, named};
use crate::output;
use crate::suite::{self, Settings, Suite};

/// Name of the project that commands work on.
const PROJECT: &str = "default";

/// Start the whole suite in this process.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar up
  northstar up --data-dir ./northstar-data --grpc-listen 127.0.0.1:0 --ready-json
  northstar up --database-url postgres://northstar@db.internal/northstar

The address and an admin key go to a context file, so that other commands need
no flags. Without --database-url, a private PostgreSQL runs in the data folder.
The variables of the services, which `northstar serve NAME --help` lists, hold here
too; where the services are and with which key they call each other is settled.")]
pub struct Up {
    /// Folder of the private PostgreSQL and the segments.
    #[arg(long, env = "NORTHSTAR_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Database to use instead of a private PostgreSQL.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// File that holds the URL of that database.
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
    /// Address of all gRPC services; port 0 is the system's choice.
    #[arg(long, env = "NORTHSTAR_GRPC_LISTEN", default_value = "127.0.0.1:50051")]
    grpc_listen: SocketAddr,
    /// Address of everything HTTP: the doors for events, health and metrics.
    #[arg(long, env = "NORTHSTAR_HTTP_LISTEN", default_value = "127.0.0.1:8080")]
    http_listen: SocketAddr,
    /// Print one line {"grpc":..,"http":..,"api_key":..} when ready.
    #[arg(long)]
    ready_json: bool,
    #[command(flatten)]
    telemetry: telemetry::Config,
    #[command(flatten)]
    automations: northstar_automations::Config,
}

/// Runs the command until SIGINT or SIGTERM.
pub async fn run(command: Up) -> anyhow::Result<()> {
    let telemetry = telemetry::init("northstar", &command.telemetry)?;
    let served = serve(command).await;
    // Last, after everything that may still have something to tell.
    telemetry.flush().await;
    served
}

async fn serve(command: Up) -> anyhow::Result<()> {
    let data_dir = match command.data_dir {
        Some(folder) => folder,
        None => default_data_dir()?,
    };
    // All of the configuration is read before anything is started.
    let settings = Settings::read(command.automations)?;
    let database_url = named(command.database_url, command.database_url_file)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut suite = Suite::start(suite::Options {
        data_dir: data_dir.clone(),
        database_url,
        grpc_listen: command.grpc_listen,
        http_listen: command.http_listen,
        settings,
    })
    .await?;
    let ready = ContextFile {
        grpc: suite.grpc(),
        http: suite.http(),
        api_key: admin_key(&suite, &data_dir).await?,
    };
    let path = ready.write()?;
    if command.ready_json {
        output::json_line(&ready)?;
    } else {
        output::line(format!(
            "ready\n  gRPC     {}\n  HTTP     {}/metrics\n  context  {}",
            ready.grpc,
            ready.http,
            path.display()
        ))?;
        output::note("stop with Ctrl-C");
    }
    let ended = tokio::select! {
        ended = suite.ended() => Some(ended),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    if let Some(ended) = ended {
        suite.close().await?;
        return ended;
    }
    output::note("stopping: finishing calls in flight; again to stop at once");
    tokio::select! {
        stopped = suite.stop() => stopped,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// The admin key of this data folder; a new one when the database does not know
/// it.
async fn admin_key(suite: &Suite, data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join("admin-key");
    if let Ok(key) = fs::read_to_string(&path)
        && suite.knows(key.trim()).await?
    {
        return Ok(key.trim().to_owned());
    }
    let project = suite.ensure_project(PROJECT).await?;
    let key = suite.create_api_key(project, "admin", Role::Admin).await?;
    write_private(&path, key.as_bytes()).context("the admin key cannot be kept")?;
    Ok(key)
}
