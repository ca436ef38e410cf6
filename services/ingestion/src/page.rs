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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_a_name_and_anything_else_is_refused(name in ".{0,40}", other in ".{0,40}") {
            prop_assert_eq!(read_name(&token(&name)).ok(), Some(name));
            // Either it is refused, or it is the token of the name it gives.
            if let Ok(read) = read_name(&other) {
                prop_assert_eq!(token(&read), other.to_lowercase());
            }
        }
    }
}
