//! Secrets in configuration: from a variable or from a file, never in a log.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

/// A secret text. Its `Debug` does not show it, and it has no `Display`.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself. Do not log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(secret: &str) -> Result<Self, Infallible> {
        Ok(Self(secret.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Configuration that cannot be used. The process exits with 64 and this one
/// sentence.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// A secret and its file were both given.
    #[error("{0} and {0}_FILE are both set; set one of them")]
    SetTwice(&'static str),
    /// A secret's file cannot be read.
    #[error("{variable} names {path:?}, which cannot be read: {source}")]
    Unreadable {
        /// The variable.
        variable: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A secret's file holds nothing.
    #[error("{variable} names {path:?}, which is empty")]
    Empty {
        /// The variable.
        variable: String,
        /// The file.
        path: PathBuf,
    },
    /// A required value is missing.
    #[error("{0} is not set; {1}")]
    Missing(&'static str, &'static str),
    /// The process would listen beyond loopback before anybody holds a key.
    #[error(
        "{0} is reachable from other machines, but there is neither a suite key nor an API key \
         that works: set NORTHSTAR_SUITE_KEY, make a key with `northstar key create`, or listen \
         on 127.0.0.1"
    )]
    Exposed(SocketAddr),
    /// A value cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// The value of `variable`, from itself or from the file its `_FILE` twin names.
/// White space around a file's content is not part of the secret.
pub(crate) fn value_or_file(
    variable: &'static str,
    value: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<Secret>, InvalidConfig> {
    let path = match (value, file) {
        (Some(_), Some(_)) => return Err(InvalidConfig::SetTwice(variable)),
        (Some(value), None) => return Ok(Some(Secret(value.to_owned()))),
        (None, None) => return Ok(None),
        (None, Some(path)) => path,
    };
    let twin = format!("{variable}_FILE");
    let content = std::fs::read_to_string(path).map_err(|source| InvalidConfig::Unreadable {
        variable: twin.clone(),
        path: path.to_owned(),
        source,
    })?;
    let secret = content.trim();
    if secret.is_empty() {
        return Err(InvalidConfig::Empty { variable: twin, path: path.to_owned() });
    }
    Ok(Some(Secret(secret.to_owned())))
}
