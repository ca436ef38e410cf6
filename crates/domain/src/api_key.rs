//! Secrets of API keys: made from 256 random bits, shown once, kept only as a
//! hash.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::CryptoRng;
use sha2::{Digest as _, Sha256};

use crate::Role;

/// The secret of an API key: `ns_<role>_` and 43 characters of URL-safe base64
/// (256 bits). The role in it is for people and for secret scanners; what a key
/// may do is what was stored.
#[derive(Clone, Eq, PartialEq)]
pub struct ApiKeySecret(String);

impl ApiKeySecret {
    /// Makes a secret from a cryptographic random source.
    pub fn generate(role: Role, rng: &mut impl CryptoRng) -> Self {
        let mut bits = [0; 32];
        rng.fill_bytes(&mut bits);
        Self(format!("ns_{role}_{}", URL_SAFE_NO_PAD.encode(bits)))
    }

    /// The secret, to be shown to its holder once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the secret: all that is ever stored. A plain hash is enough
    /// because 256 random bits cannot be guessed.
    pub fn sha256(&self) -> [u8; 32] {
        Self::sha256_of(&self.0)
    }

    /// SHA-256 of a secret as a caller sent it.
    pub fn sha256_of(secret: &str) -> [u8; 32] {
        Sha256::digest(secret).into()
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeySecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::ApiKeySecret;
    use crate::Role;

    #[test]
    fn a_secret_names_its_role_and_holds_256_bits() {
        let secret = ApiKeySecret::generate(Role::Admin, &mut StdRng::seed_from_u64(1));
        let bits = secret.reveal().strip_prefix("ns_admin_").unwrap();
        assert_eq!(bits.len(), 43);
        assert!(bits.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    }

    #[test]
    fn two_secrets_differ_and_so_do_their_hashes() {
        let mut rng = StdRng::seed_from_u64(1);
        let one = ApiKeySecret::generate(Role::Viewer, &mut rng);
        let other = ApiKeySecret::generate(Role::Viewer, &mut rng);
        assert_ne!(one, other);
        assert_ne!(one.sha256(), other.sha256());
        assert_eq!(one.sha256(), ApiKeySecret::sha256_of(one.reveal()));
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = ApiKeySecret::generate(Role::Viewer, &mut StdRng::seed_from_u64(1));
        assert!(!format!("{secret:?}").contains("viewer"));
    }
}
