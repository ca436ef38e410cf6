//! Whether a request was signed with a source's secret.
//!
//! Every comparison takes the same time wherever two signatures differ.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use northstar_domain::webhook::{Digest, Encoding, Signature};
use ring::hmac;

/// Why a request is not believed. It goes to the sender, so it says what is wrong
/// and not what would be right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Disbelief {
    /// A header is missing.
    Missing(String),
    /// A header is not what the scheme says.
    Malformed(String),
    /// The time of the signature is too far from ours.
    Stale,
    /// No signature is right.
    Wrong,
}

impl std::fmt::Display for Disbelief {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(header) => write!(f, "the header {header} is missing"),
            Self::Malformed(header) => {
                write!(f, "the header {header} is not what the signature scheme says")
            }
            Self::Stale => f.write_str("the signature is too old, or from the future"),
            Self::Wrong => f.write_str("the signature is not that of the secret"),
        }
    }
}

/// Checks a request's signature against the secrets that are accepted now.
/// Requests of a source that does not sign pass.
pub(super) fn verify(
    signature: &Signature,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[&str],
    now: DateTime<Utc>,
) -> Result<(), Disbelief> {
    let header = |name: &str| {
        let value = headers.get(name).ok_or_else(|| Disbelief::Missing(name.to_owned()))?;
        value.to_str().map_err(|_| Disbelief::Malformed(name.to_owned()))
    };
    let base64 = |text: &str| STANDARD.decode(text.trim()).ok();
    match signature {
        Signature::None {} => Ok(()),
        Signature::StandardWebhooks { tolerance } => {
            let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
            let sent = seconds(timestamp).ok_or_else(|| malformed("webhook-timestamp"))?;
            fresh(sent, now, *tolerance)?;
            let candidates: Vec<_> = header("webhook-signature")?
                .split(' ')
                .filter_map(|part| part.strip_prefix("v1,"))
                .filter_map(base64)
                .collect();
            let keys = secrets.iter().map(|secret| {
                let encoded = secret.strip_prefix("whsec_");
                encoded.and_then(base64).unwrap_or_else(|| secret.as_bytes().to_vec())
            });
            let parts: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
            any_matches(hmac::HMAC_SHA256, keys, &parts, &candidates)
        }
        Signature::Stripe { tolerance } => {
            let value = header("stripe-signature")?;
            let fields = || value.split(',').filter_map(|field| field.trim().split_once('='));
            let timestamp = fields()
                .find_map(|(name, value)| (name == "t").then_some(value))
                .ok_or_else(|| malformed("stripe-signature"))?;
            let sent = seconds(timestamp).ok_or_else(|| malformed("stripe-signature"))?;
            fresh(sent, now, *tolerance)?;
            let candidates: Vec<_> = fields()
                .filter(|(name, _)| *name == "v1")
                .filter_map(|(_, value)| hex::decode(value).ok())
                .collect();
            let parts: [&[u8]; 3] = [timestamp.as_bytes(), b".", body];
            any_matches(hmac::HMAC_SHA256, plain(secrets), &parts, &candidates)
        }
        Signature::Zendesk { tolerance } => {
            let timestamp = header("x-zendesk-webhook-signature-timestamp")?;
            let sent = DateTime::parse_from_rfc3339(timestamp)
                .map_err(|_| malformed("x-zendesk-webhook-signature-timestamp"))?;
            fresh(sent.to_utc(), now, *tolerance)?;
            let candidates: Vec<_> =
                base64(header("x-zendesk-webhook-signature")?).into_iter().collect();
            let parts = [timestamp.as_bytes(), body];
            any_matches(hmac::HMAC_SHA256, plain(secrets), &parts, &candidates)
        }
        Signature::HubspotV3 { url, tolerance } => {
            let timestamp = header("x-hubspot-request-timestamp")?;
            let sent = timestamp
                .parse()
                .ok()
                .and_then(DateTime::from_timestamp_millis)
                .ok_or_else(|| malformed("x-hubspot-request-timestamp"))?;
            fresh(sent, now, *tolerance)?;
            let candidates: Vec<_> =
                base64(header("x-hubspot-signature-v3")?).into_iter().collect();
            let parts: [&[u8]; 4] = [b"POST", url.as_bytes(), body, timestamp.as_bytes()];
            any_matches(hmac::HMAC_SHA256, plain(secrets), &parts, &candidates)
        }
        Signature::Hmac { header: name, digest, encoding, prefix } => {
            let value = header(name)?;
            let encoded = value.strip_prefix(prefix.as_str()).ok_or_else(|| malformed(name))?;
            let candidates: Vec<_> = match encoding {
                Encoding::Hex => hex::decode(encoded).ok(),
                Encoding::Base64 => base64(encoded),
            }
            .into_iter()
            .collect();
            let algorithm = match digest {
                Digest::Sha256 => hmac::HMAC_SHA256,
                Digest::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            };
            any_matches(algorithm, plain(secrets), &[body], &candidates)
        }
    }
}

fn malformed(header: &str) -> Disbelief {
    Disbelief::Malformed(header.to_owned())
}

fn seconds(text: &str) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(text.parse().ok()?, 0)
}

fn fresh(sent: DateTime<Utc>, now: DateTime<Utc>, tolerance: TimeDelta) -> Result<(), Disbelief> {
    if now.signed_duration_since(sent).abs() <= tolerance { Ok(()) } else { Err(Disbelief::Stale) }
}

fn plain<'a>(secrets: &'a [&str]) -> impl Iterator<Item = Vec<u8>> + 'a {
    secrets.iter().map(|secret| secret.as_bytes().to_vec())
}

/// Whether any of the signatures is that of any of the keys.
fn any_matches(
    algorithm: hmac::Algorithm,
    keys: impl Iterator<Item = Vec<u8>>,
    parts: &[&[u8]],
    candidates: &[Vec<u8>],
) -> Result<(), Disbelief> {
    let message = parts.concat();
    for key in keys {
        let key = hmac::Key::new(algorithm, &key);
        if candidates.iter().any(|found| hmac::verify(&key, &message, found).is_ok()) {
            return Ok(());
        }
    }
    Err(Disbelief::Wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn at(time: &str) -> DateTime<Utc> {
        time.parse().unwrap()
    }

    const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

    #[test]
    fn the_example_of_standard_webhooks_verifies() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let sent = headers(&[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            (
                "webhook-signature",
                "v2,AAAA v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ]);
        let scheme = Signature::StandardWebhooks { tolerance: TOLERANCE };
        let check = |body: &str, secret: &str, seconds: i64| {
            let now = DateTime::from_timestamp(1_614_265_330 + seconds, 0).unwrap();
            verify(&scheme, &sent, body.as_bytes(), &["whsec_AAAA", secret], now)
        };
        let body = r#"{"test": 2432232314}"#;
        assert_eq!(check(body, secret, 0), Ok(()));
        assert_eq!(check(body, secret, -300), Ok(()));
        assert_eq!(check(body, secret, 301), Err(Disbelief::Stale));
        assert_eq!(check(body, secret, -301), Err(Disbelief::Stale));
        assert_eq!(check(r#"{"test": 2432232315}"#, secret, 0), Err(Disbelief::Wrong));
        assert_eq!(check(body, "whsec_BBBB", 0), Err(Disbelief::Wrong));
        let missing = verify(&scheme, &HeaderMap::new(), b"", &[secret], Utc::now());
        assert_eq!(missing, Err(Disbelief::Missing("webhook-id".to_owned())));
    }

    #[test]
    fn the_example_of_github_verifies() {
        // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
        let scheme = Signature::Hmac {
            header: "X-Hub-Signature-256".to_owned(),
            digest: Digest::Sha256,
            encoding: Encoding::Hex,
            prefix: "sha256=".to_owned(),
        };
        let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let check = |value: &str| {
            let sent = headers(&[("x-hub-signature-256", value)]);
            let secret = "It's a Secret to Everybody";
            verify(&scheme, &sent, b"Hello, World!", &[secret], Utc::now())
        };
        assert_eq!(check(&format!("sha256={hex}")), Ok(()));
        assert_eq!(check(hex), Err(Disbelief::Malformed("X-Hub-Signature-256".to_owned())));
        for wrong in ["sha256=", "sha256=zz", &format!("sha256={}", &hex[2..])] {
            assert_eq!(check(wrong), Err(Disbelief::Wrong), "{wrong}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_told() {
        for (scheme, sent, header) in [
            (
                Signature::Stripe { tolerance: TOLERANCE },
                headers(&[("stripe-signature", "v1=00")]),
                "stripe-signature",
            ),
            (
                Signature::Stripe { tolerance: TOLERANCE },
                headers(&[("stripe-signature", "t=99999999999999999999,v1=00")]),
                "stripe-signature",
            ),
            (
                Signature::Zendesk { tolerance: TOLERANCE },
                headers(&[("x-zendesk-webhook-signature-timestamp", "noon")]),
                "x-zendesk-webhook-signature-timestamp",
            ),
            (
                Signature::HubspotV3 { url: String::new(), tolerance: TOLERANCE },
                headers(&[("x-hubspot-request-timestamp", "9223372036854775807")]),
                "x-hubspot-request-timestamp",
            ),
        ] {
            let found = verify(&scheme, &sent, b"", &["secret"], at("2026-03-02T12:00:00Z"));
            assert_eq!(found, Err(Disbelief::Malformed(header.to_owned())));
        }
    }

    #[test]
    fn without_a_secret_nothing_is_believed() {
        let scheme = Signature::Zendesk { tolerance: TOLERANCE };
        let sent = headers(&[
            ("x-zendesk-webhook-signature-timestamp", "2026-03-02T12:00:00Z"),
            ("x-zendesk-webhook-signature", ""),
        ]);
        let found = verify(&scheme, &sent, b"", &[], at("2026-03-02T12:00:00Z"));
        assert_eq!(found, Err(Disbelief::Wrong));
    }

    fn scheme() -> impl Strategy<Value = Signature> {
        let header = || "x-signature".to_owned();
        prop_oneof![
            Just(Signature::StandardWebhooks { tolerance: TOLERANCE }),
            Just(Signature::Stripe { tolerance: TOLERANCE }),
            Just(Signature::Zendesk { tolerance: TOLERANCE }),
            Just(Signature::HubspotV3 {
                url: "https://example.com/hook".to_owned(),
                tolerance: TOLERANCE
            }),
            Just(Signature::Hmac {
                header: header(),
                digest: Digest::Sha256,
                encoding: Encoding::Hex,
                prefix: "sha256=".to_owned(),
            }),
            Just(Signature::Hmac {
                header: header(),
                digest: Digest::Sha1,
                encoding: Encoding::Base64,
                prefix: String::new(),
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_nobody_signed_is_never_believed_and_never_worse(
            scheme in scheme(),
            sent in prop::collection::vec(
                (
                    prop::sample::select(vec![
                        "webhook-id", "webhook-timestamp", "webhook-signature", "stripe-signature",
                        "x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp",
                        "x-hubspot-signature-v3", "x-hubspot-request-timestamp", "x-signature",
                    ]),
                    prop_oneof![
                        Just("1772452800".to_owned()), Just("1772452800000".to_owned()),
                        Just("2026-03-02T12:00:00Z".to_owned()), Just("v1,AAAA".to_owned()),
                        Just("t=1772452800,v1=00ff".to_owned()), Just("sha256=00ff".to_owned()),
                        Just("-9223372036854775808".to_owned()), "[ -~]{0,30}",
                    ],
                ),
                0..9,
            ),
            body in prop::collection::vec(any::<u8>(), 0..30),
        ) {
            let pairs: Vec<(&'static str, &str)> =
                sent.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let now = at("2026-03-02T12:00:00Z");
            prop_assert!(verify(&scheme, &headers(&pairs), &body, &["secret"], now).is_err());
        }
    }
}
