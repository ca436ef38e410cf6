//! What nobody should read who reads the database alone is sealed with a key of the
//! configuration, or kept as it is where there is none: secrets of webhook sources,
//! and values that contracts keep aside.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// First byte of what is kept as it is.
const PLAIN: u8 = 0;
/// First byte of what is sealed: then come the nonce and the sealed text with its
/// tag.
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

/// A text as it is stored. Whose it is, is sealed into it, so that the row of one
/// does not open as that of another. `None` when the system has no random numbers.
pub(crate) fn seal(key: Option<&SealingKey>, owner: &str, text: &str) -> Option<Vec<u8>> {
    let Some(SealingKey(key)) = key else {
        return Some([&[PLAIN][..], text.as_bytes()].concat());
    };
    // Random nonces of 96 bits do not meet before thousands of millions of texts.
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).ok()?;
    let mut sealed = text.as_bytes().to_vec();
    let aad = Aad::from(owner);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
    Some([&[SEALED][..], nonce.as_slice(), sealed.as_slice()].concat())
}

/// A stored text; `None` when it is sealed with another key, or not what was stored
/// for this owner.
pub(crate) fn open(key: Option<&SealingKey>, owner: &str, stored: &[u8]) -> Option<String> {
    match stored.split_first()? {
        (&PLAIN, text) => String::from_utf8(text.to_vec()).ok(),
        (&SEALED, rest) => {
            let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut sealed = sealed.to_vec();
            let opened = key?.0.open_in_place(nonce, Aad::from(owner), &mut sealed).ok()?;
            String::from_utf8(opened.to_vec()).ok()
        }
        _ => None,
    }
}
