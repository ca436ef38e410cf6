//! The experiments process.

fn main() -> std::process::ExitCode {
    northstar_server::main("northstar-experiments", northstar_experiments::build)
}
