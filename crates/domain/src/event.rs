//! What an event is, what can be wrong with one, and when two are the same.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::failure::{Failure, FailureType, Severity};

/// Most bytes of a message id, an event name and an actor's id.
pub const MAX_ID_BYTES: usize = 200;
/// Most bytes of the name of a source.
pub const MAX_SOURCE_BYTES: usize = 100;
/// Most bytes of the name of a region.
pub const MAX_REGION_BYTES: usize = 100;
/// Most bytes of the properties as JSON, and of a record that is no event.
pub const MAX_PROPERTIES_BYTES: usize = 64 * 1024;
/// Deepest nesting of lists and objects in the properties.
pub const MAX_PROPERTIES_DEPTH: usize = 16;
/// Most events of a batch.
pub const MAX_BATCH_EVENTS: usize = 10_000;
/// Most bytes of a batch, encoded.
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Why an event was not accepted: the one list of reasons.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// It has no message id, so a second delivery could not be told.
    MissingMessageId,
    /// It has no name.
    MissingName,
    /// It has neither user id nor anonymous id.
    MissingActor,
    /// It does not say when it happened.
    MissingOccurredTime,
    /// A time lies outside of the years 1 to 9999.
    InvalidTime,
    /// A text is longer than allowed.
    TooLong,
    /// A text contains U+0000, which Postgres cannot hold.
    NulCharacter,
    /// A number is NaN or infinite.
    InvalidNumber,
    /// A property that is given as JSON text is none.
    InvalidJson,
    /// The properties are larger than 64 KiB.
    PropertiesTooLarge,
    /// The properties are nested more than 16 levels deep.
    PropertiesTooDeep,
    /// It breaks the contract of its name.
    SchemaViolation,
    /// Its message id was used before with another body.
    IdConflict,
    /// It came in another protocol, and could not be read as an event.
    Malformed,
    /// The consent policy refuses events of its region.
    RegionBlocked,
    /// It lacks a consent without which nothing is kept.
    ConsentMissing,
    /// The same body already waits in quarantine.
    AlreadyQuarantined,
    /// Its consent names a purpose wrongly, twice or too many of them.
    InvalidConsent,
    /// A record that is no event does not say why in `lower_snake_case`.
    InvalidReason,
    /// It could not be stored now; it may be sent again.
    Unavailable,
    /// No contract plans an event of its name.
    UnplannedEvent,
    /// Its contract does not plan one of its properties.
    UnplannedProperty,
    /// It names a version of its contract that nobody knows.
    StaleContract,
    /// It lies more than 24 hours ahead.
    FutureTime,
    /// It happened longer ago than the horizon of its contract.
    Late,
    /// Properties that broke its contract were kept aside.
    OmittedProperties,
    /// It keeps an older version of its contract, which is still welcome.
    SupersededContract,
    /// It would join subjects that must stay apart.
    IdentityConflict,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 28] = [
        Self::MissingMessageId,
        Self::MissingName,
        Self::MissingActor,
        Self::MissingOccurredTime,
        Self::InvalidTime,
        Self::TooLong,
        Self::NulCharacter,
        Self::InvalidNumber,
        Self::PropertiesTooLarge,
        Self::PropertiesTooDeep,
        Self::SchemaViolation,
        Self::IdConflict,
        Self::AlreadyQuarantined,
        Self::InvalidReason,
        Self::Unavailable,
        Self::UnplannedEvent,
        Self::UnplannedProperty,
        Self::StaleContract,
        Self::FutureTime,
        Self::Late,
        Self::OmittedProperties,
        Self::SupersededContract,
        Self::InvalidJson,
        Self::InvalidConsent,
        Self::Malformed,
        Self::ConsentMissing,
        Self::RegionBlocked,
        Self::IdentityConflict,
    ];

    /// Whether the event must not be kept at all, not even whole in quarantine:
    /// what a consent policy refuses reaches no disk.
    pub fn forbids_keeping(self) -> bool {
        matches!(self, Self::RegionBlocked | Self::ConsentMissing)
    }

    /// What the registry of failures says about it.
    pub fn failure(self) -> Failure {
        use FailureType as Kind;
        let (kind, severity, recoverable, advice) = match self {
            Self::MissingMessageId
            | Self::MissingName
            | Self::MissingActor
            | Self::MissingOccurredTime
            | Self::InvalidTime
            | Self::NulCharacter
            | Self::InvalidNumber
            | Self::InvalidJson
            | Self::InvalidConsent
            | Self::InvalidReason => {
                (Kind::TrackerProtocolViolation, Severity::Error, true, "mend the producer")
            }
            Self::TooLong | Self::PropertiesTooLarge | Self::PropertiesTooDeep => {
                (Kind::SizeViolation, Severity::Error, false, "send less in one event")
            }
            Self::SchemaViolation | Self::UnplannedEvent | Self::UnplannedProperty => (
                Kind::SchemaViolation,
                Severity::Error,
                true,
                "patch the event or widen its contract, then replay it",
            ),
            Self::StaleContract => (
                Kind::StaleContract,
                Severity::Error,
                true,
                "publish that version of the contract or patch the event, then replay it",
            ),
            Self::IdConflict => (
                Kind::IdConflict,
                Severity::Error,
                true,
                "resolve the conflict: keep the first event, or both",
            ),
            Self::FutureTime => (
                Kind::TrackerProtocolViolation,
                Severity::Error,
                true,
                "patch its time, then replay it",
            ),
            Self::Malformed => (
                Kind::AdapterFailure,
                Severity::Error,
                true,
                "mend the producer, or patch the record into an event, then replay it",
            ),
            Self::ConsentMissing => {
                (Kind::Consent, Severity::Error, true, "ask for the consent, then replay it")
            }
            Self::RegionBlocked => {
                (Kind::Region, Severity::Error, false, "store it where it belongs")
            }
            Self::IdentityConflict => (
                Kind::IdentityConflict,
                Severity::Error,
                true,
                "patch its identifiers, then replay it",
            ),
            Self::AlreadyQuarantined => (
                Kind::GenericError,
                Severity::Warning,
                true,
                "mend the one that waits; sending it again changes nothing",
            ),
            Self::Unavailable => (Kind::GenericError, Severity::Error, true, "send it again"),
            Self::Late => (Kind::Late, Severity::Warning, true, "look at what delays it"),
            Self::OmittedProperties => (
                Kind::SchemaViolation,
                Severity::Warning,
                true,
                "mend the producer or widen the contract",
            ),
            Self::SupersededContract => {
                (Kind::StaleContract, Severity::Warning, true, "bring the producer up to date")
            }
        };
        Failure { kind, severity, recoverable, advice }
    }

    /// The reason as machines read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingMessageId => "missing_message_id",
            Self::MissingName => "missing_name",
            Self::MissingActor => "missing_actor",
            Self::MissingOccurredTime => "missing_occurred_time",
            Self::InvalidTime => "invalid_time",
            Self::TooLong => "too_long",
            Self::NulCharacter => "nul_character",
            Self::InvalidNumber => "invalid_number",
            Self::InvalidJson => "invalid_json",
            Self::PropertiesTooLarge => "properties_too_large",
            Self::PropertiesTooDeep => "properties_too_deep",
            Self::SchemaViolation => "schema_violation",
            Self::IdConflict => "id_conflict",
            Self::Malformed => "malformed",
            Self::RegionBlocked => "region_blocked",
            Self::ConsentMissing => "consent_missing",
            Self::AlreadyQuarantined => "already_quarantined",
            Self::InvalidConsent => "invalid_consent",
            Self::InvalidReason => "invalid_reason",
            Self::Unavailable => "unavailable",
            Self::UnplannedEvent => "unplanned_event",
            Self::UnplannedProperty => "unplanned_property",
            Self::StaleContract => "stale_contract",
            Self::FutureTime => "future_time",
            Self::Late => "late",
            Self::OmittedProperties => "omitted_properties",
            Self::SupersededContract => "superseded_contract",
            Self::IdentityConflict => "identity_conflict",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with an event, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Why it is not accepted.
    pub reason: Reason,
    /// Path of the field, for example `properties.amount`.
    pub field: Cow<'static, str>,
    /// One sentence for people.
    pub message: String,
}

impl Fault {
    /// A fault.
    pub fn new(
        reason: Reason,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }
}

/// An event as the log will hold it: times in whole microseconds, properties as
/// JSON text with sorted keys in which a double always has a point or an
/// exponent. An empty id is one the event does not have.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Id given by the producer, unique per source.
    pub message_id: &'a str,
    /// What happened.
    pub name: &'a str,
    /// Id of a known person.
    pub user_id: &'a str,
    /// Id of a device or session before sign-in.
    pub anonymous_id: &'a str,
    /// Id of the account the actor belongs to.
    pub account_id: &'a str,
    /// When it happened, by the producer's clock.
    pub occurred_at: DateTime<Utc>,
    /// When it was sent, by the producer's clock.
    pub sent_at: Option<DateTime<Utc>>,
    /// Orders events of the same time.
    pub sequence: i64,
    /// The properties as JSON text.
    pub properties: &'a str,
    /// Region it belongs to; empty when not said.
    pub region: &'a str,
    /// The text form of its [`Consent`](crate::consent::Consent); empty when not
    /// said.
    pub consent: &'a str,
}

impl Event<'_> {
    /// Checks what every event must have. The properties were checked when they
    /// were written as JSON.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), Fault> {
        check_message_id(self.message_id)?;
        if self.name.is_empty() {
            return Err(Fault::new(Reason::MissingName, "name", "an event needs a name"));
        }
        check_text("name", self.name, MAX_ID_BYTES)?;
        if self.user_id.is_empty() && self.anonymous_id.is_empty() {
            return Err(Fault::new(
                Reason::MissingActor,
                "user_id",
                "an event needs a user_id or an anonymous_id",
            ));
        }
        check_text("user_id", self.user_id, MAX_ID_BYTES)?;
        check_text("anonymous_id", self.anonymous_id, MAX_ID_BYTES)?;
        check_text("account_id", self.account_id, MAX_ID_BYTES)?;
        check_text("region", self.region, MAX_REGION_BYTES)
    }

    /// Whether two deliveries are the same event: a digest of the name, the ids,
    /// the time it happened, the client's sequence and the properties, each
    /// preceded by its length; then region and consent, if it says something of
    /// them. The time it was sent is left out, because a retry is sent later.
    pub fn body_hash(&self) -> Uuid {
        let mut hasher = Sha256::new();
        for part in [self.name, self.user_id, self.anonymous_id, self.account_id, self.properties] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(self.occurred_at.timestamp_micros().to_le_bytes());
        hasher.update(self.sequence.to_le_bytes());
        if !self.region.is_empty() || !self.consent.is_empty() {
            for part in [self.region, self.consent] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        truncated(hasher)
    }
}

/// Checks a message id.
///
/// # Errors
/// When it is missing, too long or holds U+0000.
pub fn check_message_id(message_id: &str) -> Result<(), Fault> {
    if message_id.is_empty() {
        return Err(Fault::new(
            Reason::MissingMessageId,
            "message_id",
            "an event needs a message_id, so that a second delivery is noticed",
        ));
    }
    check_text("message_id", message_id, MAX_ID_BYTES)
}

/// Checks the length of a text, in bytes, and that Postgres can hold it.
///
/// # Errors
/// When it is too long or holds U+0000.
pub fn check_text(field: &'static str, text: &str, most: usize) -> Result<(), Fault> {
    if text.len() > most {
        let message = format!("{} bytes long; at most {most} are allowed", text.len());
        return Err(Fault::new(Reason::TooLong, field, message));
    }
    if text.as_bytes().contains(&0) {
        return Err(Fault::new(Reason::NulCharacter, field, "contains the character U+0000"));
    }
    Ok(())
}

/// The key of a message id: SHA-256 cut to 128 bits. Message ids come from
/// outside; with a hash that is not cryptographic, two ids that collide on
/// purpose would make one event vanish as the duplicate of another.
pub fn message_hash(message_id: &str) -> Uuid {
    truncated(Sha256::new_with_prefix(message_id))
}

/// The body hash of a record that is no event. It can not equal that of an
/// event, whose digest begins with a length.
pub fn record_hash(raw: &[u8]) -> Uuid {
    truncated(Sha256::new_with_prefix([0xff; 8]).chain_update(raw))
}

fn truncated(hasher: Sha256) -> Uuid {
    let digest = hasher.finalize();
    Uuid::from_bytes(digest[..16].try_into().expect("a SHA-256 digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event<'static> {
        Event {
            message_id: "m1",
            name: "Signed Up",
            user_id: "u1",
            anonymous_id: "",
            account_id: "",
            occurred_at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            sent_at: None,
            sequence: 0,
            properties: "{}",
            region: "",
            consent: "",
        }
    }

    #[test]
    fn every_reason_is_in_the_registry_under_its_own_name() {
        let names: std::collections::BTreeSet<_> =
            Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(crate::failure::of(reason.as_str()), reason.failure());
        }
        let foreign = crate::failure::of("invalid_timestamp");
        assert_eq!(foreign.kind, FailureType::AdapterFailure);
    }

    #[test]
    fn an_event_needs_an_id_a_name_and_an_actor() {
        let reason = |event: Event<'_>| event.check().map_err(|fault| fault.reason);
        let long = "x".repeat(201);
        assert_eq!(reason(event()), Ok(()));
        assert_eq!(reason(Event { anonymous_id: "a", user_id: "", ..event() }), Ok(()));
        for (broken, expected) in [
            (Event { message_id: "", ..event() }, Reason::MissingMessageId),
            (Event { name: "", ..event() }, Reason::MissingName),
            (Event { user_id: "", ..event() }, Reason::MissingActor),
            (Event { account_id: &long, ..event() }, Reason::TooLong),
            (Event { name: "a\0b", ..event() }, Reason::NulCharacter),
            (Event { region: &long, ..event() }, Reason::TooLong),
        ] {
            assert_eq!(reason(broken), Err(expected));
        }
    }

    #[test]
    fn the_body_hash_covers_the_body_and_not_the_sending() {
        let hash = event().body_hash();
        let later = DateTime::from_timestamp(1_700_000_001, 0).unwrap();
        assert_eq!(Event { sent_at: Some(later), message_id: "m2", ..event() }.body_hash(), hash);
        for other in [
            Event { name: "Signed", ..event() },
            Event { user_id: "", anonymous_id: "u1", ..event() },
            Event { account_id: "a", ..event() },
            Event { occurred_at: later, ..event() },
            Event { sequence: 1, ..event() },
            Event { properties: "{\"a\":1}", ..event() },
            Event { region: "eu", ..event() },
            Event { consent: "eu", ..event() },
        ] {
            assert_ne!(other.body_hash(), hash, "{other:?}");
        }
        assert_ne!(
            Event { region: "eu", ..event() }.body_hash(),
            Event { consent: "eu", ..event() }.body_hash()
        );
    }
}
