//! How a command fails: exit codes, and what a person reads.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use northstar_server::{EXIT_CONFIG, InvalidConfig};
use tonic_types::StatusExt as _;

use crate::output::note;

/// The configuration is wrong: exit code 64 and one sentence.
#[derive(Debug)]
pub struct ConfigError(String);

impl ConfigError {
    /// An error with this sentence.
    #[expect(clippy::new_ret_no_self, reason = "it is only ever used as an error")]
    pub fn new(sentence: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(sentence.into()))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ConfigError {}

/// Tells what went wrong and gives the exit code: 64 for configuration, 1 for
/// everything else.
pub fn report(error: &anyhow::Error) -> ExitCode {
    note(format!("error: {}", describe(error)));
    if error.chain().any(|cause| cause.is::<ConfigError>() || cause.is::<InvalidConfig>()) {
        ExitCode::from(EXIT_CONFIG)
    } else {
        ExitCode::FAILURE
    }
}

/// Whether a call came back from nowhere: no service read it.
pub fn unreachable(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<tonic::Status>()).any(|status| {
        status.code() == tonic::Code::Unavailable
            && status.get_details_error_info().is_none()
            && status.source().is_some()
    })
}

/// Tells what is wrong with a command line: exit code 2, or 64 with one sentence
/// when it is not the line but a variable of the environment.
pub fn refuse(
    error: &clap::Error,
    command: &clap::Command,
    mut given: impl Iterator<Item = OsString>,
) -> ExitCode {
    let from_line = flag(error)
        .is_some_and(|flag| given.any(|argument| argument.to_string_lossy().starts_with(flag)));
    match variable(command, error) {
        Some(variable) if !from_line => {
            let sentence = naming(Some(&variable), &northstar_server::sentence(error));
            note(format!("error: {sentence}"));
            ExitCode::from(EXIT_CONFIG)
        }
        _ => error.exit(),
    }
}

/// The variable that stands for the flag whose value is at fault.
pub fn variable(command: &clap::Command, error: &clap::Error) -> Option<String> {
    let wrong_value = matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::ArgumentConflict
    );
    let flag = flag(error).filter(|_| wrong_value)?.strip_prefix("--")?;
    in_tree(command, flag)
}

fn in_tree(command: &clap::Command, flag: &str) -> Option<String> {
    let own = command.get_arguments().find(|argument| argument.get_long() == Some(flag));
    own.and_then(clap::Arg::get_env)
        .filter(|variable| std::env::var_os(variable).is_some())
        .map(|variable| variable.to_string_lossy().into_owned())
        .or_else(|| command.get_subcommands().find_map(|inner| in_tree(inner, flag)))
}

/// A sentence about a flag, with the variable that said it.
pub fn naming(variable: Option<&str>, sentence: &str) -> String {
    match variable {
        Some(variable) => format!("{variable}: {sentence}"),
        None => sentence.to_owned(),
    }
}

fn flag(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(argument) => argument.split_whitespace().next(),
        _ => None,
    }
}

fn describe(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = match cause.downcast_ref::<tonic::Status>() {
            Some(status) => describe_status(status),
            None => cause.to_string(),
        };
        // Layers that repeat their cause say it once.
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

/// A status for people: its message, every violation on its own line, and the
/// reason a script can match.
pub fn describe_status(status: &tonic::Status) -> String {
    let details = status.get_error_details();
    let mut text = if status.message().is_empty() {
        format!("{:?}", status.code())
    } else {
        status.message().to_owned()
    };
    if let Some(bad) = details.bad_request() {
        for violation in &bad.field_violations {
            let line = format!("{}: {}", violation.field, violation.description);
            if !text.contains(&line) {
                text.push_str("\n  ");
                text.push_str(&line);
            }
        }
    }
    if let Some(info) = details.error_info() {
        text.push_str(&format!(" [{}]", info.reason));
    }
    text
}
