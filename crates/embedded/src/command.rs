//! Runs the programs of PostgreSQL: as the right user, in a clean environment, away from the terminal.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::Error;
use crate::user::Account;

/// A command for `program`, run in `folder` as `account` (as ourselves when `None`).
///
/// It gets a process group of its own, so that Ctrl-C in a terminal does not reach it, and none of the `PG*` variables,
/// which would change what the programs do.
pub(crate) fn command(program: &Path, folder: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    // Messages in English: the version and some failures are read from them.
    command.env("LC_ALL", "C").current_dir(folder).stdin(Stdio::null());
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt as _;
        command.process_group(0);
        if let Some(account) = account {
            // std clears the supplementary groups whenever root sets another user id.
            command.uid(account.uid).gid(account.gid);
        }
    }
    #[cfg(not(unix))]
    let _ = account;
    command
}

/// Runs to the end and returns what was written, when the program succeeds.
///
/// # Errors
/// [`Error::Run`] when it cannot start, [`Error::Failed`] when it exits with a failure.
pub(crate) async fn run(command: Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = tokio::process::Command::from(command)
        .output()
        .await
        .map_err(|source| Error::Run { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Failed { program, status: output.status.to_string(), output: said(&output) })
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    tail(&String::from_utf8_lossy(&both), 12)
}

/// The last `count` lines of a text.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn the_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a\n", 2), "a");
        assert_eq!(tail("", 2), "");
    }
}
