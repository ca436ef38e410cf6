//! The automations process.

fn main() -> std::process::ExitCode {
    northstar_server::main("northstar-automations", northstar_automations::build)
}
