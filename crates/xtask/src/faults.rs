//! `cargo xtask faults`: many rounds of the fault tests of ingestion, from one seed.
//!
//! The test suite plays a handful. This plays as many as it is told, builds with optimisation, and says how to play the
//! same again.

use anyhow::Result;

use crate::workspace::{self, cargo};

/// How long to make trouble.
#[derive(clap::Args)]
pub struct Args {
    /// How often the service or its database is killed under load.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rounds: u64,
    /// Where the randomness starts; the tests print theirs.
    #[arg(long)]
    seed: Option<u64>,
    /// How many distinct names and property keys are sent.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(20_000..=100_000_000))]
    names: u64,
}

/// Runs every fault test, as long as the arguments say.
pub fn run(args: &Args) -> Result<()> {
    let mut tests = cargo();
    tests
        .args(["test", "--release", "--package", "northstar-ingestion", "--test", "faults"])
        .args(["--", "--nocapture", "--test-threads", "1"])
        .env("NORTHSTAR_FAULT_ROUNDS", args.rounds.to_string())
        .env("NORTHSTAR_FAULT_NAMES", args.names.to_string());
    if let Some(seed) = args.seed {
        tests.env("NORTHSTAR_FAULT_SEED", seed.to_string());
    }
    workspace::run(&mut tests)
}
