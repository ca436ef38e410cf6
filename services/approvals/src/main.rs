//! The approvals process.

fn main() -> std::process::ExitCode {
    northstar_server::main("northstar-approvals", northstar_approvals::build)
}
