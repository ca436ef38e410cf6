//! `northstar bench`: what this machine can do, and what Northstar makes of it.

mod child;
mod events;
mod floor;
mod ingest;
mod layouts;
mod load;
mod postgres;
mod query;
mod report;

use crate::failure::ConfigError;
use crate::output;

/// Measure Northstar on this machine.
#[derive(clap::Subcommand)]
pub enum Bench {
    Ingest(ingest::Ingest),
    Query(query::Query),
}

/// Refuses to measure a debug build, unless that is asked for.
fn refuse_debug(allowed: bool) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        let problem = "this is a debug build: its numbers mean nothing. Build with --release";
        if !allowed {
            return Err(ConfigError::new(format!("{problem}, or say --allow-debug")));
        }
        output::note(format!("WARNING: {problem}."));
    }
    Ok(())
}

/// Runs a bench.
pub async fn run(command: Bench) -> anyhow::Result<()> {
    match command {
        Bench::Ingest(command) => Box::pin(ingest::run(command)).await,
        Bench::Query(command) => Box::pin(query::run(command)).await,
    }
}
