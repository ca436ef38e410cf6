//! How a command fails: exit codes, and what a person reads.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use tonic_types::StatusExt as _;

use crate::output::note;

/// Exit code of a wrong configuration, `EX_USAGE` of `sysexits.h`.
const EXIT_CONFIG: u8 = 64;

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
    if error.downcast_ref::<ConfigError>().is_some() {
        ExitCode::from(EXIT_CONFIG)
    } else {
        ExitCode::FAILURE
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
