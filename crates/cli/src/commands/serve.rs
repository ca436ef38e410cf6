//! `northstar serve`: one service as a process of its own.

use std::ffi::OsString;
use std::process::ExitCode;

/// Run one service in this process, as its own program does.
///
/// The arguments and variables are those of the service's program; `--help` after
/// its name lists them.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
#[command(after_help = "\
Examples:
  northstar serve ingestion --database-url postgres://localhost/northstar
  northstar serve metrics --help")]
pub struct Serve {
    /// Which service.
    #[arg(value_enum)]
    service: Service,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Service {
    Ingestion,
    Metrics,
    Experiments,
    Approvals,
    Automations,
}

/// Runs the service until SIGTERM or SIGINT, in a runtime of its own.
pub fn run(Serve { service, arguments }: Serve) -> ExitCode {
    let name = match service {
        Service::Ingestion => "northstar-ingestion",
        Service::Metrics => "northstar-metrics",
        Service::Experiments => "northstar-experiments",
        Service::Approvals => "northstar-approvals",
        Service::Automations => "northstar-automations",
    };
    let arguments = std::iter::once(OsString::from(name)).chain(arguments);
    ExitCode::from(match service {
        Service::Ingestion => northstar_server::run(name, arguments, northstar_ingestion::build),
        Service::Metrics => northstar_server::run(name, arguments, northstar_metrics::build),
        Service::Experiments => {
            northstar_server::run(name, arguments, northstar_experiments::build)
        }
        Service::Approvals => northstar_server::run(name, arguments, northstar_approvals::build),
        Service::Automations => {
            northstar_server::run(name, arguments, northstar_automations::build)
        }
    })
}
