//! The life of a service process: configuration, telemetry, serve, drain, flush.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser};

use crate::{Config, Context, Host, InvalidConfig, Service, Signals, telemetry};

/// Exit code of a process whose configuration cannot be used (`EX_USAGE` of
/// BSD's `sysexits.h`).
pub const EXIT_CONFIG: u8 = 64;
/// Exit code of a process that failed.
const EXIT_FAILURE: u8 = 1;

#[derive(Parser)]
struct Command<C: Args> {
    #[command(flatten)]
    server: Config,
    #[command(flatten)]
    service: C,
}

/// Runs a service until SIGTERM or SIGINT: what `main` of every service calls.
///
/// ```no_run
/// # #[derive(clap::Args)] struct Config {}
/// # async fn build(_: Config, _: northstar_server::Context)
/// #     -> anyhow::Result<northstar_server::Service> { unimplemented!() }
/// fn main() -> std::process::ExitCode {
///     northstar_server::main("northstar-example", build)
/// }
/// ```
///
/// Exits with 0 after a clean stop, 1 after a failure, 64 with one sentence on
/// the standard error when the configuration cannot be used.
pub fn main<C, F>(name: &'static str, build: impl FnOnce(C, Context) -> F) -> ExitCode
where
    C: Args,
    F: Future<Output = anyhow::Result<Service>>,
{
    ExitCode::from(run(name, std::env::args_os(), build))
}

/// [`main`] with arguments handed in, the first of which is the program's name;
/// gives the exit code.
pub fn run<C, F>(
    name: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
    build: impl FnOnce(C, Context) -> F,
) -> u8
where
    C: Args,
    F: Future<Output = anyhow::Result<Service>>,
{
    let command: Command<C> = match parse(name, arguments) {
        Ok(command) => command,
        Err(exit) => return exit,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return explain(name, &error, EXIT_FAILURE),
    };
    match runtime.block_on(live(name, command, build)) {
        Ok(()) => 0,
        Err(error) if error.is::<InvalidConfig>() => explain(name, &error, EXIT_CONFIG),
        Err(error) => explain(name, &format_args!("{error:#}"), EXIT_FAILURE),
    }
}

/// Telemetry outlives everything that can fail.
async fn live<C, F>(
    name: &'static str,
    command: Command<C>,
    build: impl FnOnce(C, Context) -> F,
) -> anyhow::Result<()>
where
    C: Args,
    F: Future<Output = anyhow::Result<Service>>,
{
    let telemetry = telemetry::init(name, &command.server.telemetry)?;
    let outcome = serve(command, build).await;
    telemetry.flush().await;
    outcome
}

async fn serve<C, F>(command: Command<C>, build: impl FnOnce(C, Context) -> F) -> anyhow::Result<()>
where
    C: Args,
    F: Future<Output = anyhow::Result<Service>>,
{
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let build = async |context| Ok(vec![build(command.service, context).await?]);
    let host = tokio::select! {
        host = Host::start(command.server, build) => host?,
        signal = signals.next() => {
            tracing::info!(signal, "stopped before it was started");
            return Ok(());
        }
    };
    host.run(signals).await
}

fn parse<C: Args>(
    name: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Command<C>, u8> {
    let parsed = Command::<C>::command()
        .name(name)
        .version(env!("CARGO_PKG_VERSION"))
        .try_get_matches_from(arguments)
        .and_then(|matches| Command::from_arg_matches(&matches));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed standard output is no reason to fail.
            let _ = error.print();
            0
        }
        _ => explain(name, &sentence(&error), EXIT_CONFIG),
    })
}

/// The first paragraph of clap's explanation, on one line.
pub fn sentence(error: &clap::Error) -> String {
    let explanation = error.render().to_string();
    let paragraph = explanation.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    line.trim_start_matches("error: ").to_owned()
}

fn explain(name: &str, error: &dyn std::fmt::Display, code: u8) -> u8 {
    // Nobody is left to tell when the standard error is closed.
    let _ = writeln!(std::io::stderr(), "{name}: {error}");
    code
}
