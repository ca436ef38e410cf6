//! The chores of this repository, in Rust so that they need no further tool: `cargo xtask --help`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to whoever started it"
)]

mod coverage;
mod faults;
mod prepare;
mod proto;
mod workspace;

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Parser;

/// The chores of this repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Chore {
    /// Writes `.sqlx`, from which checked queries compile without a database.
    ///
    /// Run it after changing a query or a migration and commit the result. Uses the server of `DATABASE_URL` (in a
    /// database of its own, dropped afterwards), or else a private PostgreSQL.
    Prepare {
        /// Write nothing; fail if `.sqlx` is not what it would write.
        #[arg(long)]
        check: bool,
    },
    /// Runs everything that CI runs (`.ci/run`).
    Ci,
    /// Lints the contracts in `proto/` and looks for breaking changes.
    ///
    /// Compares with the branch's base on main; on main, with the newest commit at least four hours older than the
    /// last one. `NORTHSTAR_PROTO_BASE` names another commit.
    LintProto,
    /// Plays the demo once for each of many seeds and counts how often the reported 95 % intervals hold the truth.
    ///
    /// Fails when all intervals hold for fewer than nine seeds in ten. Takes up to a minute a seed.
    Coverage(coverage::Args),
    /// Kills the ingestion process and its PostgreSQL under load, many times, and feeds it what no honest client sends.
    ///
    /// What was acknowledged must be in the log once. Takes some seconds a round.
    Faults(faults::Args),
}

impl Chore {
    fn run(self) -> Result<()> {
        match self {
            Self::Prepare { check } => prepare::run(check),
            Self::Ci => workspace::run(Command::new("bash").arg(".ci/run")),
            Self::LintProto => proto::lint(),
            Self::Coverage(args) => coverage::run(&args),
            Self::Faults(args) => faults::run(&args),
        }
    }
}

fn main() -> ExitCode {
    match Chore::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
