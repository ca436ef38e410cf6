//! How secrets of webhook sources are kept: sealed with a key of the
//! configuration, or as they are where there is none.
//!
//! A secret that verifies an HMAC must be readable by the server, so it cannot be
//! a hash as API keys are. Sealed, it takes the key and the database together to
//! read it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use northstar_domain::ProjectId;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// First byte of a secret that is kept as it is.
const PLAIN: u8 = 0;
/// First byte of a secret that is sealed: then come the nonce and the sealed text
/// with its tag.
const SEALED: u8 = 1;

/// The key that secrets are sealed with: ChaCha20-Poly1305
/// ([RFC 8439](https://www.rfc-editor.org/rfc/rfc8439)).
#[derive(Clone)]
pub struct SealingKey(LessSafeKey);

impl SealingKey {
    /// Reads a key: 32 bytes in base64, as `openssl rand -base64 32` makes them.
    /// `None` when the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim()).ok().filter(|key| key.len() == KEY_BYTES)?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

/// A secret as it is stored. `None` when the system has no random numbers.
pub(super) fn seal(
    key: Option<&SealingKey>,
    project: ProjectId,
    source: &str,
    secret: &str,
) -> Option<Vec<u8>> {
    let Some(SealingKey(key)) = key else {
        return Some([&[PLAIN][..], secret.as_bytes()].concat());
    };
    // Secrets are set by people, so random nonces of 96 bits do not meet.
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).ok()?;
    let mut text = secret.as_bytes().to_vec();
    let aad = Aad::from(owner(project, source));
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text).ok()?;
    Some([&[SEALED][..], nonce.as_slice(), text.as_slice()].concat())
}

/// A stored secret; `None` when it is sealed with another key, or not what was
/// stored for this source.
pub(super) fn open(
    key: Option<&SealingKey>,
    project: ProjectId,
    source: &str,
    stored: &[u8],
) -> Option<String> {
    match stored.split_first()? {
        (&PLAIN, text) => String::from_utf8(text.to_vec()).ok(),
        (&SEALED, rest) => {
            let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut text = text.to_vec();
            let aad = Aad::from(owner(project, source));
            let opened = key?.0.open_in_place(nonce, aad, &mut text).ok()?;
            String::from_utf8(opened.to_vec()).ok()
        }
        _ => None,
    }
}

/// Whose secret it is: sealed into it, so that the row of one source does not
/// open as that of another.
fn owner(project: ProjectId, source: &str) -> String {
    format!("{}/{source}", project.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::parse(&STANDARD.encode([byte; KEY_BYTES])).unwrap()
    }

    #[test]
    fn a_sealed_secret_opens_with_its_key_and_for_its_source_only() {
        let (project, other) = (ProjectId(1), ProjectId(2));
        let sealed = seal(Some(&key(7)), project, "stripe", "whsec_1").unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"whsec_1"));
        let opened =
            |key: Option<&SealingKey>, project, source| open(key, project, source, &sealed);
        assert_eq!(opened(Some(&key(7)), project, "stripe").as_deref(), Some("whsec_1"));
        assert_eq!(opened(Some(&key(8)), project, "stripe"), None);
        assert_eq!(opened(Some(&key(7)), project, "zendesk"), None);
        assert_eq!(opened(Some(&key(7)), other, "stripe"), None);
        assert_eq!(opened(None, project, "stripe"), None);
        for cut in [0, 1, 5, 20] {
            assert_eq!(open(Some(&key(7)), project, "stripe", &sealed[..cut]), None);
        }
        let again = seal(Some(&key(7)), project, "stripe", "whsec_1").unwrap();
        assert_ne!(again, sealed, "each time another nonce");
    }

    #[test]
    fn without_a_key_a_secret_is_kept_as_it_is_and_still_opens_with_one() {
        let plain = seal(None, ProjectId(1), "stripe", "whsec_1").unwrap();
        assert_eq!(open(None, ProjectId(1), "stripe", &plain).as_deref(), Some("whsec_1"));
        let later = open(Some(&key(7)), ProjectId(1), "stripe", &plain);
        assert_eq!(later.as_deref(), Some("whsec_1"));
    }

    #[test]
    fn a_key_is_32_bytes_in_base64_and_is_not_shown() {
        assert!(SealingKey::parse("hunter2").is_none());
        assert!(SealingKey::parse(&STANDARD.encode([7; 16])).is_none());
        let shown = format!("{:?}", key(7));
        assert_eq!(shown, "SealingKey(..)");
    }
}
