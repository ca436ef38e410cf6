//! The secret that calls carry, kept out of logs.

use std::fmt;

use thiserror::Error;
use tonic::metadata::{Ascii, MetadataValue};

/// What calls made outside a request carry.
#[derive(Clone, Default)]
pub struct Credentials {
    authorization: Option<MetadataValue<Ascii>>,
}

/// An API key holds characters that cannot be sent.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("the API key is empty or holds characters other than visible ASCII; copy it again")]
pub struct InvalidCredentials;

impl Credentials {
    /// An API key: that of a project, or the suite's key with which services
    /// call each other for any project.
    ///
    /// # Errors
    /// [`InvalidCredentials`] when the key is empty or not visible ASCII.
    pub fn api_key(secret: &str) -> Result<Self, InvalidCredentials> {
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidCredentials);
        }
        let mut authorization: MetadataValue<Ascii> =
            format!("Bearer {secret}").parse().map_err(|_| InvalidCredentials)?;
        authorization.set_sensitive(true);
        Ok(Self { authorization: Some(authorization) })
    }

    /// No key: calls made outside a request are refused by the server, calls
    /// made within one still carry that request's key.
    pub fn none() -> Self {
        Self::default()
    }

    pub(crate) fn authorization(&self) -> Option<&MetadataValue<Ascii>> {
        self.authorization.as_ref()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.authorization.is_some() { "api key" } else { "none" };
        f.debug_tuple("Credentials").field(&kind).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_line_break_is_refused() {
        assert_eq!(Credentials::api_key("ns_abc\n").unwrap_err(), InvalidCredentials);
        assert_eq!(Credentials::api_key("").unwrap_err(), InvalidCredentials);
    }

    #[test]
    fn the_debug_text_does_not_show_the_secret() {
        let credentials = Credentials::api_key("ns_secret").unwrap();
        assert!(!format!("{credentials:?}").contains("ns_secret"));
        assert!(!format!("{:?}", credentials.authorization()).contains("ns_secret"));
    }
}
