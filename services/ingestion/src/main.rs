//! The ingestion process.

fn main() -> std::process::ExitCode {
    northstar_server::main("northstar-ingestion", northstar_ingestion::build)
}
