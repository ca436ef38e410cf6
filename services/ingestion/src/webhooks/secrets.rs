//! How secrets of webhook sources are kept.
//!
//! A secret that verifies an HMAC must be readable by the server, so it cannot be
//! a hash as API keys are. Sealed, it takes the key and the database together to
//! read it.

use northstar_domain::ProjectId;

use crate::sealing::{self, SealingKey};

/// A secret as it is stored. `None` when the system has no random numbers.
pub(super) fn seal(
    key: Option<&SealingKey>,
    project: ProjectId,
    source: &str,
    secret: &str,
) -> Option<Vec<u8>> {
    sealing::seal(key, &owner(project, source), secret)
}

/// A stored secret; `None` when it is sealed with another key, or not what was
/// stored for this source.
pub(super) fn open(
    key: Option<&SealingKey>,
    project: ProjectId,
    source: &str,
    stored: &[u8],
) -> Option<String> {
    sealing::open(key, &owner(project, source), stored)
}

/// Whose secret it is.
fn owner(project: ProjectId, source: &str) -> String {
    format!("{}/{source}", project.0)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::sealing::KEY_BYTES;

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
