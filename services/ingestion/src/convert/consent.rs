//! Consent: purposes on the wire, a text in the log.

use northstar_domain::consent::Consent;
use northstar_domain::event::Fault;
use northstar_proto::ingestion::v1 as pb;

/// The text form of what an event says of consent.
///
/// # Errors
/// When a purpose is named wrongly, on both sides, or there are too many.
pub(crate) fn consent_text(consent: &pb::Consent) -> Result<String, Fault> {
    let granted = consent.granted_purposes.iter().map(String::as_str);
    let denied = consent.denied_purposes.iter().map(String::as_str);
    Consent::new(granted, denied).map(|consent| consent.to_text())
}

/// The consent of an event of the log. A text that this program did not write
/// says nothing rather than something wrong.
pub(crate) fn consent_to_proto(text: &str) -> Option<pb::Consent> {
    let consent = Consent::from_text(text).ok()??;
    Some(pb::Consent {
        granted_purposes: consent.granted.into_iter().collect(),
        denied_purposes: consent.denied.into_iter().collect(),
    })
}
