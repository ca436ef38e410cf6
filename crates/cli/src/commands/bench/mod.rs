//! `northstar bench`: what this machine can do, and what Northstar makes of it.

mod child;
mod events;
mod floor;
mod ingest;
mod layouts;
mod load;
mod postgres;
mod report;

/// Measure Northstar on this machine.
#[derive(clap::Subcommand)]
pub enum Bench {
    Ingest(ingest::Ingest),
}

/// Runs a bench.
pub async fn run(command: Bench) -> anyhow::Result<()> {
    match command {
        Bench::Ingest(command) => Box::pin(ingest::run(command)).await,
    }
}
