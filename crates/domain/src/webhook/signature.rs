//! How a webhook proves where it comes from: the schemes, not the arithmetic.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// How far a signature's time may lie from ours when the source does not say:
/// five minutes, as Stripe, HubSpot and standard-webhooks recommend.
pub const DEFAULT_TOLERANCE: TimeDelta = TimeDelta::minutes(5);
/// Longest tolerance.
const MAX_TOLERANCE: TimeDelta = TimeDelta::days(1);
const MAX_TEXT_BYTES: usize = 200;

/// A signature scheme. Every scheme but `none` needs a secret, which is given
/// apart from the document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "scheme", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Signature {
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`
    /// (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
    StandardWebhooks {
        /// How far the time may lie from ours.
        #[serde(
            default = "five_minutes",
            with = "crate::duration",
            skip_serializing_if = "is_five_minutes"
        )]
        tolerance: TimeDelta,
    },
    /// `Stripe-Signature` (<https://docs.stripe.com/webhooks#verify-manually>).
    Stripe {
        /// How far the time may lie from ours.
        #[serde(
            default = "five_minutes",
            with = "crate::duration",
            skip_serializing_if = "is_five_minutes"
        )]
        tolerance: TimeDelta,
    },
    /// `X-Zendesk-Webhook-Signature` and its timestamp
    /// (<https://developer.zendesk.com/documentation/webhooks/verifying/>).
    Zendesk {
        /// How far the time may lie from ours.
        #[serde(
            default = "five_minutes",
            with = "crate::duration",
            skip_serializing_if = "is_five_minutes"
        )]
        tolerance: TimeDelta,
    },
    /// `X-HubSpot-Signature-v3`, which covers the address as HubSpot calls it
    /// (<https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation>).
    HubspotV3 {
        /// The address that HubSpot calls, as it stands in its settings.
        url: String,
        /// How far the time may lie from ours.
        #[serde(
            default = "five_minutes",
            with = "crate::duration",
            skip_serializing_if = "is_five_minutes"
        )]
        tolerance: TimeDelta,
    },
    /// An HMAC of the body in a header, as GitHub and Intercom send it. It has
    /// no time, so whoever has seen a request can send it again; the message id
    /// makes that a duplicate.
    Hmac {
        /// Name of the header.
        header: String,
        /// The hash function.
        #[serde(default)]
        digest: Digest,
        /// How the header writes the HMAC.
        #[serde(default)]
        encoding: Encoding,
        /// What stands before it, for example `sha256=`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
    /// No signature: the request needs an API key of the project.
    None {},
}

/// A hash function under an HMAC.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-1, which is broken as a hash and still holds under an HMAC; only for
    /// senders that know nothing else.
    Sha1,
}

/// How bytes are written in a header.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal digits.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

impl Signature {
    /// The scheme's name, as documents write it.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::StandardWebhooks { .. } => "standard-webhooks",
            Self::Stripe { .. } => "stripe",
            Self::Zendesk { .. } => "zendesk",
            Self::HubspotV3 { .. } => "hubspot-v3",
            Self::Hmac { .. } => "hmac",
            Self::None {} => "none",
        }
    }

    /// Whether requests are signed at all.
    pub fn needs_secret(&self) -> bool {
        *self != Self::None {}
    }

    pub(super) fn check(&self, say: &mut dyn FnMut(String, String)) {
        let tolerance = match self {
            Self::StandardWebhooks { tolerance }
            | Self::Stripe { tolerance }
            | Self::Zendesk { tolerance }
            | Self::HubspotV3 { tolerance, .. } => *tolerance,
            Self::Hmac { .. } | Self::None {} => DEFAULT_TOLERANCE,
        };
        if tolerance < TimeDelta::seconds(1) || tolerance > MAX_TOLERANCE {
            say("signature.tolerance".to_owned(), "must be 1s to 1d".to_owned());
        }
        match self {
            Self::HubspotV3 { url, .. } => {
                let ok = (url.starts_with("https://") || url.starts_with("http://"))
                    && url.len() <= 2_000
                    && url.bytes().all(|byte| byte.is_ascii_graphic());
                if !ok {
                    say(
                        "signature.url".to_owned(),
                        "must be the address that HubSpot calls, https://...".to_owned(),
                    );
                }
            }
            Self::Hmac { header, prefix, .. } => {
                let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                if !(1..=MAX_TEXT_BYTES).contains(&header.len()) || !header.bytes().all(token) {
                    say("signature.header".to_owned(), "must be the name of a header".to_owned());
                }
                if prefix.len() > MAX_TEXT_BYTES || !prefix.bytes().all(|b| b.is_ascii_graphic()) {
                    say(
                        "signature.prefix".to_owned(),
                        format!("must be at most {MAX_TEXT_BYTES} visible ASCII characters"),
                    );
                }
            }
            _ => {}
        }
    }
}

fn five_minutes() -> TimeDelta {
    DEFAULT_TOLERANCE
}

fn is_five_minutes(tolerance: &TimeDelta) -> bool {
    *tolerance == DEFAULT_TOLERANCE
}
