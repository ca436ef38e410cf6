//! The metrics service as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    northstar_server::main("northstar-metrics", northstar_metrics::build)
}
