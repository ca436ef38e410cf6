//! The `northstar` command.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

mod analyze;
mod tabular;

#[derive(Debug, Parser)]
#[command(name = "northstar", version)]
struct Northstar {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Design and read experiments.
    #[command(subcommand)]
    Experiment(Experiment),
}

#[derive(Debug, Subcommand)]
enum Experiment {
    AnalyzeFile(Box<analyze::AnalyzeFile>),
}

fn main() -> ExitCode {
    let Command::Experiment(Experiment::AnalyzeFile(args)) = Northstar::parse().command;
    let printed = analyze::run(&args).and_then(|report| {
        let text =
            if args.json { serde_json::to_string_pretty(&report)? } else { report.to_string() };
        Ok(writeln!(io::stdout(), "{text}")?)
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
