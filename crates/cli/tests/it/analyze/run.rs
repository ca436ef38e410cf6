//! Runs the command.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// A file or folder of the public data, or `None` with a message when it is not there.
#[expect(clippy::print_stderr, reason = "a skipped test must say that it was skipped")]
pub fn data(relative: &str) -> Option<PathBuf> {
    let folder = env::var_os("NORTHSTAR_TEST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    if !folder.is_dir() {
        eprintln!(
            "skipped: no test data in {}; set NORTHSTAR_TEST_DATA to run this test",
            folder.display()
        );
        return None;
    }
    Some(folder.join(relative))
}

/// Runs `northstar experiment analyze-file` on a file.
pub fn analyze(file: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_northstar"))
        .args(["experiment", "analyze-file"])
        .arg(file)
        .args(arguments)
        .output()
        .expect("the binary of this package")
}

/// The JSON report of a comparison that must succeed.
#[track_caller]
pub fn report(file: &Path, variant: &str, control: &str, metric: &str, more: &[&str]) -> Value {
    let mut arguments =
        vec!["--variant", variant, "--control", control, "--metric", metric, "--json"];
    arguments.extend_from_slice(more);
    let output = analyze(file, &arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", file.display());
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}
