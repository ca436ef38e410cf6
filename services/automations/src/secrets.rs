//! Signing secrets and signatures, as standard-webhooks has them
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Signing secrets by name.
#[derive(Clone, Default)]
pub(crate) struct Secrets(HashMap<String, Vec<u8>>);

impl Secrets {
    /// Reads `name=whsec_<base64>`, several separated by commas or white space.
    /// The problem, if any, names the secret and does not show it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut secrets = HashMap::new();
        for part in text.split(|c: char| c == ',' || c.is_whitespace()) {
            if part.is_empty() {
                continue;
            }
            let (name, secret) =
                part.split_once('=').ok_or("an entry has no name; write name=whsec_<base64>")?;
            let bytes = secret
                .strip_prefix("whsec_")
                .and_then(|encoded| STANDARD.decode(encoded).ok())
                .filter(|bytes| (24..=64).contains(&bytes.len()))
                .ok_or_else(|| {
                    format!(
                        "the secret {name:?} must be whsec_ followed by 24 to 64 bytes in base64"
                    )
                })?;
            if name.is_empty() || secrets.insert(name.to_owned(), bytes).is_some() {
                return Err(format!("the name {name:?} is empty or given twice"));
            }
        }
        Ok(Self(secrets))
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The `webhook-signature` of a message; `None` without such a secret.
    pub(crate) fn sign(
        &self,
        name: &str,
        id: &str,
        time: DateTime<Utc>,
        body: &str,
    ) -> Option<String> {
        let secret = self.0.get(name)?;
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of every length");
        mac.update(format!("{id}.{}.{body}", time.timestamp()).as_bytes());
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specifications_example() {
        // The example of standard-webhooks' own libraries.
        let secrets = Secrets::parse("demo=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let time = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let signature =
            secrets.sign("demo", "msg_p5jXN8AQM9LWM0D4loKWxJek", time, r#"{"test": 2432232314}"#);
        assert_eq!(signature.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert_eq!(secrets.sign("other", "id", time, "{}"), None);
    }

    #[test]
    fn names_are_told_and_secrets_are_not() {
        let secret = format!("whsec_{}", STANDARD.encode([7; 32]));
        let secrets = Secrets::parse(&format!("one={secret},two={secret}\n")).unwrap();
        assert!(secrets.knows("one") && secrets.knows("two") && !secrets.knows("three"));
        let debug = format!("{secrets:?}");
        assert!(debug.contains("one") && !debug.contains("BwcH"), "{debug}");
    }

    #[test]
    fn a_secret_that_is_short_unnamed_or_double_is_refused() {
        let good = format!("whsec_{}", STANDARD.encode([7; 32]));
        for bad in ["whsec_abc", "a=b", "a=whsec_c2hvcnQ=", &format!("a={good},a={good}")] {
            assert!(Secrets::parse(bad).is_err(), "{bad}");
        }
    }
}
