//! What the READMEs print works as printed.

mod answers;
mod events;
mod ingestion;
mod markdown;
mod metrics;
mod play;
mod root;
mod services;
mod thresholds;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::suite::{NORTHSTAR, Suite};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A README, by its path in the repository.
fn readme(path: &str) -> String {
    std::fs::read_to_string(repository().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A shell in the suite's folder that finds `northstar` and the suite.
fn shell(suite: &Suite, script: &str) -> Command {
    let (address, key) = suite.address_and_key();
    let programs = Path::new(NORTHSTAR).parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash");
    shell
        .args(["-e", "-o", "pipefail", "-c", script])
        .current_dir(suite.folder())
        .env("PATH", format!("{programs}:{path}"))
        .env("NORTHSTAR_CONTEXT", suite.context())
        .env("NORTHSTAR_ADDRESS", address)
        .env("NORTHSTAR_API_KEY", key)
        .env_remove("DATABASE_URL");
    shell
}

fn run(suite: &Suite, script: &str) -> Output {
    let output = shell(suite, script).output().expect("bash runs");
    assert!(
        output.status.success(),
        "{script}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
