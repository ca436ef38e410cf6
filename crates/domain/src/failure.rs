//! The one registry of what can be wrong with an event: for each reason its
//! type, how severe it is, whether the event can be mended, and what to do.
//!
//! The types are those of Snowplow
//! (<https://docs.snowplow.io/docs/fundamentals/failed-events/>), as far as they
//! can happen where events are stored without loaders and relays, and our own:
//! consent, region, identity conflict, id conflict, late, stale contract.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::event::Reason;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum FailureType {
    /// It breaks the rule that events of its name keep.
    SchemaViolation,
    /// It, or a part of it, is too large.
    SizeViolation,
    /// It is not an event as the protocol defines one.
    TrackerProtocolViolation,
    /// It could not be decoded at all.
    CollectorPayloadFormatViolation,
    /// What a tool or a webhook sent could not be turned into an event.
    AdapterFailure,
    /// What should be derived from it could not be.
    EnrichmentFailure,
    /// A consent that its storage needs is missing.
    Consent,
    /// Its region may not be stored here.
    Region,
    /// It would join subjects that must stay apart.
    IdentityConflict,
    /// Its message id belongs to another event.
    IdConflict,
    /// It arrived after the horizon of its contract.
    Late,
    /// It names a version of its contract that nobody knows.
    StaleContract,
    /// Anything else.
    GenericError,
}

/// What becomes of an event with such a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// It is not in the log.
    Error,
    /// It is in the log, changed or flagged.
    Warning,
}

/// What the registry says about a reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureType,
    /// What becomes of the event.
    pub severity: Severity,
    /// Whether a patch or a change of a rule can bring it into the log.
    pub recoverable: bool,
    /// What to do, in one sentence.
    pub advice: &'static str,
}

impl FailureType {
    /// Every type.
    pub const ALL: [Self; 13] = [
        Self::SchemaViolation,
        Self::SizeViolation,
        Self::TrackerProtocolViolation,
        Self::CollectorPayloadFormatViolation,
        Self::AdapterFailure,
        Self::EnrichmentFailure,
        Self::Consent,
        Self::Region,
        Self::IdentityConflict,
        Self::IdConflict,
        Self::Late,
        Self::StaleContract,
        Self::GenericError,
    ];

    /// The type as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SchemaViolation => "schema_violation",
            Self::SizeViolation => "size_violation",
            Self::TrackerProtocolViolation => "tracker_protocol_violation",
            Self::CollectorPayloadFormatViolation => "collector_payload_format_violation",
            Self::AdapterFailure => "adapter_failure",
            Self::EnrichmentFailure => "enrichment_failure",
            Self::Consent => "consent",
            Self::Region => "region",
            Self::IdentityConflict => "identity_conflict",
            Self::IdConflict => "id_conflict",
            Self::Late => "late",
            Self::StaleContract => "stale_contract",
            Self::GenericError => "generic_error",
        }
    }
}

impl fmt::Display for FailureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FailureType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What the registry says about a reason as it is stored and sent. Producers may
/// give reasons of their own for records that are no events
/// (`invalid_timestamp`); those are failures of whoever adapted them.
pub fn of(reason: &str) -> Failure {
    Reason::ALL.into_iter().find(|known| known.as_str() == reason).map_or(
        Failure {
            kind: FailureType::AdapterFailure,
            severity: Severity::Error,
            recoverable: true,
            advice: "patch the record into a whole event, then replay it",
        },
        Reason::failure,
    )
}
