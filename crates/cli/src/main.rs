//! The `northstar` command: the whole suite in one process, and everything a
//! person or a script needs.
//!
//! Exit codes: 0 ok, 1 failure, 2 usage, 64 configuration.

mod analyze;
mod archived;
mod codegen;
mod commands;
mod connection;
mod database;
mod demo;
mod documents;
mod export;
mod failure;
mod help;
mod import;
mod output;
mod suite;
mod tabular;
mod time;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use commands::{
    audit, automation, behind, bench, cohort, contract, decision, definitions, experiment, explain,
    insights, journeys, key, kpi, lineage, log, migrate, pack, quarantine, query, report,
    restatements, scorecard, serve, source, sources, subject, subscription, threshold, up,
};
use connection::Connection;

/// From events to decisions: KPIs, automations with holdouts, experiments
/// without peeking, and people who decide.
#[derive(Parser)]
#[command(name = "northstar", version, max_term_width = 100)]
#[command(after_help = "\
Start here:
  northstar demo     watch the whole job on a simulated company
  northstar up       start the suite; other commands then find it by themselves

Services at addresses of their own, as on Kubernetes (every variable is a flag, too):
  export NORTHSTAR_INGESTION_URL=http://localhost:50051 NORTHSTAR_METRICS_URL=http://localhost:50052 \
         NORTHSTAR_EXPERIMENTS_URL=http://localhost:50053 NORTHSTAR_APPROVALS_URL=http://localhost:50054 \
         NORTHSTAR_AUTOMATIONS_URL=http://localhost:50055 NORTHSTAR_API_KEY=ns_...
  northstar scorecard

Exit codes: 0 ok, 1 failure, 2 usage, 64 configuration.")]
struct Northstar {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    program: Program,
}

#[derive(clap::Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it is taken apart at once")]
enum Program {
    #[command(flatten)]
    Command(Command),
    // Brings a runtime, telemetry and exit codes of its own.
    Serve(serve::Serve),
}

#[derive(clap::Subcommand)]
enum Command {
    Demo(demo::Demo),
    Up(up::Up),
    Migrate(migrate::Migrate),
    Apply(definitions::Apply),
    Diff(definitions::Diff),
    Validate(definitions::Validate),
    Get(definitions::Get),
    Export(definitions::Export),
    Import(import::Import),
    Query(query::Query),
    #[command(subcommand)]
    Kpi(kpi::Kpi),
    Lineage(lineage::Lineage),
    #[command(subcommand)]
    Pack(pack::Pack),
    Behind(behind::Behind),
    Explain(explain::Explain),
    Restatements(restatements::Restatements),
    #[command(subcommand)]
    Cohort(cohort::Cohort),
    Impact(insights::impact::Impact),
    Anomalies(insights::anomalies::Anomalies),
    Attribute(insights::attribute::Attribute),
    Clv(insights::clv::Clv),
    Funnel(journeys::funnel::Funnel),
    Retention(journeys::retention::Retention),
    Lifecycle(journeys::lifecycle::Lifecycle),
    Paths(journeys::paths::Paths),
    Scorecard(scorecard::Scorecard),
    #[command(subcommand)]
    Report(report::Report),
    Sources(sources::Sources),
    Quarantine(quarantine::Quarantine),
    #[command(subcommand)]
    Contract(contract::Contract),
    #[command(subcommand)]
    Bench(bench::Bench),
    #[command(subcommand)]
    Source(source::Source),
    #[command(subcommand)]
    Subject(subject::Subject),
    #[command(subcommand)]
    Events(log::Events),
    #[command(subcommand)]
    Subscription(subscription::Subscription),
    #[command(subcommand)]
    Automation(automation::Automation),
    #[command(subcommand)]
    Experiment(experiment::Experiment),
    #[command(subcommand)]
    Threshold(threshold::Threshold),
    #[command(subcommand)]
    Decision(decision::Decision),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Key(key::Key),
    /// Print a completion script for a shell.
    #[command(after_help = "\
Example:
  northstar completion bash > /etc/bash_completion.d/northstar")]
    Completion {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let command = help::with_examples(Northstar::command());
    let parsed = command
        .try_get_matches()
        .and_then(|matches| Northstar::from_arg_matches(&matches))
        .map_err(|error| error.format(&mut Northstar::command()));
    let Northstar { connection, program } = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            return failure::refuse(&error, &Northstar::command(), std::env::args_os().skip(1));
        }
    };
    let command = match program {
        Program::Command(command) => command,
        Program::Serve(command) => return serve::run(command),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&error.into()),
    };
    let result = runtime.block_on(run(command, &connection));
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = failure::report(&error);
            if failure::unreachable(&error) {
                output::note(connection.advice());
            }
            code
        }
    }
}

async fn run(command: Command, connection: &Connection) -> anyhow::Result<()> {
    match command {
        Command::Demo(command) => Box::pin(demo::run(command)).await,
        Command::Up(command) => Box::pin(up::run(command)).await,
        Command::Migrate(command) => migrate::run(command).await,
        Command::Apply(command) => definitions::apply(command, connection).await,
        Command::Diff(command) => definitions::diff(command, connection).await,
        Command::Validate(command) => definitions::validate(&command),
        Command::Get(command) => definitions::get(command, connection).await,
        Command::Export(command) => definitions::export(command, connection).await,
        Command::Import(command) => Box::pin(import::run(command, connection)).await,
        Command::Query(command) => query::run(command, connection).await,
        Command::Kpi(command) => kpi::run(command, connection).await,
        Command::Lineage(command) => lineage::run(command, connection).await,
        Command::Pack(command) => pack::run(command, connection).await,
        Command::Behind(command) => behind::run(command, connection).await,
        Command::Explain(command) => explain::run(command, connection).await,
        Command::Restatements(command) => restatements::run(command, connection).await,
        Command::Cohort(command) => cohort::run(command, connection).await,
        Command::Impact(command) => insights::impact::run(command, connection).await,
        Command::Anomalies(command) => insights::anomalies::run(command, connection).await,
        Command::Attribute(command) => insights::attribute::run(command, connection).await,
        Command::Clv(command) => insights::clv::run(command, connection).await,
        Command::Funnel(command) => Box::pin(journeys::funnel::run(command, connection)).await,
        Command::Retention(command) => {
            Box::pin(journeys::retention::run(command, connection)).await
        }
        Command::Lifecycle(command) => {
            Box::pin(journeys::lifecycle::run(command, connection)).await
        }
        Command::Paths(command) => Box::pin(journeys::paths::run(command, connection)).await,
        Command::Scorecard(command) => scorecard::run(command, connection).await,
        Command::Report(command) => report::run(command, connection).await,
        Command::Sources(command) => sources::run(command, connection).await,
        Command::Events(command) => Box::pin(log::run(command, connection)).await,
        Command::Subscription(command) => subscription::run(command, connection).await,
        Command::Quarantine(command) => quarantine::run(command, connection).await,
        Command::Contract(command) => contract::run(command, connection).await,
        Command::Bench(command) => bench::run(command).await,
        Command::Source(command) => source::run(command, connection).await,
        Command::Subject(command) => subject::run(command, connection).await,
        Command::Automation(command) => automation::run(command, connection).await,
        Command::Experiment(command) => experiment::run(command, connection).await,
        Command::Threshold(command) => threshold::run(command, connection).await,
        Command::Decision(command) => decision::run(command, connection).await,
        Command::Audit(command) => audit::run(command, connection).await,
        Command::Key(command) => key::run(command, connection).await,
        Command::Completion { shell } => {
            let mut command = Northstar::command();
            clap_complete::generate(shell, &mut command, "northstar", &mut std::io::stdout());
            Ok(())
        }
    }
}
