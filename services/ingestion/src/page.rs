//! Page tokens of lists by name: the last name, in hex.

use crate::error::Error;

/// The token of the page after a name.
pub(crate) fn token(name: &str) -> String {
    hex::encode(name)
}

/// The name that a token holds; empty for the first page.
pub(crate) fn read_name(token: &str) -> Result<String, Error> {
    hex::decode(token)
        .ok()
        .and_then(|name| String::from_utf8(name).ok())
        .ok_or_else(|| Error::invalid("page_token", "is not one that this call returned"))
}
