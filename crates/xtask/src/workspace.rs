//! Where the repository is, and how to run a program in it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The root of the repository: two folders above crates/xtask, where `cargo run` says that it is. A program that was
/// compiled in another clone, and found again in a shared target folder, must not work there.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let this =
            env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Path::new(&this)
            .join("../..")
            .canonicalize()
            .expect("the repository that cargo runs this from")
    });
    &ROOT
}

/// Cargo, the one that runs us.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command in the root of the repository.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.current_dir(root()).status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("`{}` failed: {status}", spelled(command));
    }
    Ok(())
}

/// Runs a command in the root of the repository for what it prints, without the white space around it. Its error
/// output goes to the terminal.
///
/// # Errors
/// When it cannot be started, does not succeed, or prints no UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| cannot_start(command))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", spelled(command), output.status);
    }
    let text = String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed no UTF-8", spelled(command)))?;
    Ok(text.trim().to_owned())
}

/// What `cargo metadata` says of the workspace's own packages.
///
/// # Errors
/// When a manifest is broken.
pub fn metadata() -> Result<Value> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_str(&text).context("cargo metadata printed no JSON")
}

/// The folder that cargo builds into.
///
/// # Errors
/// As [`metadata`].
pub fn target_directory() -> Result<PathBuf> {
    let metadata = metadata()?;
    let directory = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(directory.into())
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`; is it installed?", command.get_program().to_string_lossy())
}

fn spelled(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
