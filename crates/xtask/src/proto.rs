//! `cargo xtask lint-proto`: buf's lint and format, and its search for breaking changes since what was published.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::workspace::{output, root, run};

/// A contract that has been on main this long counts as published.
const PUBLISHED_AFTER_HOURS: i64 = 4;

/// Checks the contracts as they lie in the working tree.
pub fn lint() -> Result<()> {
    let tools = output(Command::new("bash").args([".ci/tools", "buf"]))?;
    let path = format!("{tools}:{}", env::var("PATH").unwrap_or_default());
    let buf = || {
        let mut command = Command::new("buf");
        command.env("PATH", &path);
        command
    };
    run(buf().args(["lint", "proto"]))?;
    run(buf().args(["format", "--diff", "--exit-code", "proto"]))?;
    println!("lint and format: no violations");

    let Some(base) = base() else {
        println!("breaking changes: skipped, this history has no earlier contracts");
        return Ok(());
    };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let archive = folder.path().join("proto.tar");
    run(Command::new("git").args(["archive", &base, "--output"]).arg(&archive).arg("proto"))?;
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder.path()))?;
    run(buf().args(["breaking", "proto", "--against"]).arg(folder.path().join("proto")))?;
    println!("breaking changes: none since {base}");
    Ok(())
}

/// The commit whose contracts ours must not break; `None` when it has none.
fn base() -> Option<String> {
    let commit = env::var("NORTHSTAR_PROTO_BASE").ok().or_else(branched_from).or_else(published)?;
    ask(&["ls-tree", "--name-only", &commit, "proto/buf.yaml"]).map(|_| commit)
}

/// Where this branch left main; `None` on main itself.
fn branched_from() -> Option<String> {
    let head = ask(&["rev-parse", "HEAD"])?;
    let main =
        ["origin/main", "main"].into_iter().find_map(|main| ask(&["merge-base", "HEAD", main]))?;
    (main != head).then_some(main)
}

/// The newest commit of main that counts as published, by the clock of the last commit, so that the answer for a
/// commit never changes.
fn published() -> Option<String> {
    let last: i64 = ask(&["log", "-1", "--format=%ct"])?.parse().ok()?;
    let until = last - PUBLISHED_AFTER_HOURS * 3600;
    ask(&["rev-list", "-1", "--first-parent", &format!("--min-age={until}"), "HEAD"])
}

/// What git answers, if it has an answer.
fn ask(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let answer = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !answer.is_empty()).then_some(answer)
}
