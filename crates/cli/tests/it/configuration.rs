//! What cannot be used is told before anything is started: exit code 64 and one
//! sentence.

use std::path::Path;
use std::process::{Command, Output};

use crate::suite::{NORTHSTAR, text};

/// `northstar` with nothing from outside but one variable.
fn with(folder: &Path, variable: &str, value: &str, arguments: &[&str]) -> Output {
    Command::new(NORTHSTAR)
        .args(arguments)
        .env_clear()
        .env("NORTHSTAR_CONTEXT", folder.join("context.json"))
        .env("NORTHSTAR_DATA_DIR", folder.join("data"))
        .env(variable, value)
        .output()
        .expect("northstar runs")
}

fn told(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("errors are UTF-8").trim_end()
}

#[test]
fn a_variable_that_cannot_be_used_is_named_before_anything_is_started() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cases = [
        ("NORTHSTAR_GRPC_LISTEN", "foo"),
        ("NORTHSTAR_LOG", "a=b=c"),
        ("NORTHSTAR_MAX_CONCURRENT_REQUESTS", "0"),
        ("NORTHSTAR_HTTP_BODIES_MEBIBYTES", "many"),
        ("NORTHSTAR_INGESTION_QUEUE_MEBIBYTES", "abc"),
        ("NORTHSTAR_INGESTION_ARCHIVE_URL", "ftp://host/log"),
        ("NORTHSTAR_METRICS_QUERY_MEBIBYTES", "0"),
        ("NORTHSTAR_WEBHOOK_SEALING_KEY", "hunter2"),
        ("NORTHSTAR_WEBHOOK_SECRETS_FILE", "/nowhere/secrets"),
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL_FILE", "/nowhere/url"),
    ];
    for (variable, value) in cases {
        let output = with(folder.path(), variable, value, &["up"]);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(64), "{variable}: {told}");
        assert!(told.contains(variable) && told.lines().count() == 1, "{variable}: {told}");
        assert!(!told.contains("hunter2"), "{variable}: {told}");
    }
    assert!(!folder.path().join("data").exists(), "something was started");
}

#[test]
fn a_wrong_flag_is_usage_and_a_wrong_variable_is_configuration() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let flag = with(folder.path(), "NORTHSTAR_PROJECT", "1", &["sources", "--project", "none"]);
    assert_eq!(flag.status.code(), Some(2), "{}", told(&flag));
    let variable = with(folder.path(), "NORTHSTAR_PROJECT", "none", &["sources"]);
    assert_eq!(variable.status.code(), Some(64), "{}", told(&variable));
    assert!(told(&variable).contains("NORTHSTAR_PROJECT"), "{}", told(&variable));
}

#[test]
fn who_does_not_answer_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Nobody listens at port 1.
    let arguments = ["sources", "--address", "http://127.0.0.1:1"];
    let output = with(folder.path(), "NORTHSTAR_API_KEY", "ns_viewer_nobody", &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let told = told(&output);
    assert!(told.contains("http://127.0.0.1:1") && told.contains("northstar up"), "{told}");
}

#[test]
fn a_file_of_a_secret_may_hold_white_space_and_not_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("url");
    std::fs::write(&file, " \n").expect("a file");
    let output = with(folder.path(), "DATABASE_URL_FILE", text(&file), &["migrate"]);
    assert_eq!(output.status.code(), Some(64), "{}", told(&output));
    assert!(told(&output).contains("empty"), "{}", told(&output));
}
