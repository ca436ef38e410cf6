//! Exit codes: 0 ok, 1 failure, 2 usage, 64 configuration.

use std::process::{Command, Output};

use crate::suite::NORTHSTAR;

/// Runs a command that knows no suite.
fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(NORTHSTAR);
    command
        .args(arguments)
        .env("NORTHSTAR_CONTEXT", folder.path().join("context.json"))
        .env_remove("NORTHSTAR_ADDRESS")
        .env_remove("NORTHSTAR_API_KEY")
        .env_remove("DATABASE_URL");
    command.output().expect("northstar runs")
}

#[test]
fn an_exit_code_says_what_kind_of_trouble_it_is() {
    for (arguments, code) in [
        (&["completion", "bash"][..], 0),
        (&["help", "query"][..], 0),
        (&["validate", "no-such-file.yaml"][..], 1),
        (&["scorecard", "--colour"][..], 2),
        (&["query", "visits"][..], 2),
        (&["scorecard", "--api-key", "ns_viewer_x"][..], 64),
        (&["scorecard", "--address", "nowhere", "--api-key", "ns_viewer_x"][..], 64),
        (&["migrate"][..], 64),
    ] {
        let output = run(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert_eq!(told.is_empty(), code == 0, "{arguments:?} says why: {told}");
    }
}

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completion", shell]);
        let script = String::from_utf8_lossy(&output.stdout);
        for command in ["attribute", "cohort", "northstar", "threshold"] {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
}
