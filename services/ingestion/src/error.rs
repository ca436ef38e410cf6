//! What can go wrong with a call, and the status it becomes.

use std::time::Duration;

use northstar_domain::Violation;
use northstar_domain::contract::subject;
use northstar_domain::expression::InvalidCondition;
use northstar_proto::errors::v1::ErrorReason;
use northstar_server::outbox::SOURCE;
use northstar_server::status::{Failure, failure, invalid_field};
use tonic::Status;

/// A failed call.
#[derive(Clone, Debug)]
pub(crate) enum Error {
    /// A field is missing, malformed or out of range.
    Invalid { field: String, problem: String },
    /// Several fields are.
    InvalidFields(Vec<Violation>),
    /// A filter is not a condition.
    InvalidFilter { filter: String, error: InvalidCondition },
    /// The bytes are no message.
    Undecodable(prost::DecodeError),
    /// A batch holds too much.
    TooLarge { what: &'static str, found: usize, limit: usize },
    /// The source is the suite's own.
    ReservedSource,
    /// Too many requests wait for the log.
    Overloaded,
    /// A source sends more than its document lets in.
    Limited { source: String, events_per_second: u32, after: Duration },
    /// The process is stopping.
    Draining,
    /// There is no such contract.
    ContractNotFound { name: String },
    /// A contract changed since its etag was read.
    ContractChanged { name: String, etag: String },
    /// A change of a contract breaks metrics and needs a decision.
    NeedsDecision { name: String, metrics: Vec<String> },
    /// A decision does not allow a change of a contract.
    NotApproved { name: String, problem: String },
    /// The log holds no events of this name.
    NoSuchEvents { name: String },
    /// There is no such quarantined event.
    NotQuarantined { id: String },
    /// A call to another service failed; it says why.
    Called(Box<Status>),
    /// A document breaks rules.
    InvalidDocument { field: &'static str, violations: Vec<Violation> },
    /// There is no such document or consumer group.
    NotFound { kind: &'static str, name: String },
    /// A document changed since its etag was read.
    Changed { kind: &'static str, name: String, etag: String },
    /// A member lost its place in a consumer group.
    LeaseLost { group: String, member: String, why: &'static str },
    /// Whether the events were committed is not known.
    CommitUnknown,
    /// A statement failed, or a rule that every service shares.
    Failed(Failure),
}

impl Error {
    pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), problem: problem.into() }
    }

    pub(crate) fn violations(violations: Vec<Violation>) -> Self {
        Self::InvalidFields(violations)
    }

    /// Whether the same request may succeed later.
    pub(crate) fn may_be_retried(&self) -> bool {
        match self {
            Self::Overloaded | Self::Limited { .. } | Self::CommitUnknown => true,
            Self::Failed(failure) => failure.reason() == ErrorReason::DependencyUnavailable,
            Self::Invalid { .. }
            | Self::InvalidFields(_)
            | Self::InvalidFilter { .. }
            | Self::Undecodable(_)
            | Self::TooLarge { .. }
            | Self::ReservedSource
            | Self::Draining
            | Self::ContractNotFound { .. }
            | Self::ContractChanged { .. }
            | Self::NeedsDecision { .. }
            | Self::NotApproved { .. }
            | Self::NoSuchEvents { .. }
            | Self::NotQuarantined { .. }
            | Self::Called(_)
            | Self::InvalidDocument { .. }
            | Self::NotFound { .. }
            | Self::Changed { .. }
            | Self::LeaseLost { .. } => false,
        }
    }
}

impl From<northstar_store::Error> for Error {
    fn from(error: northstar_store::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Called(Box::new(status))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            // It says why in its own words.
            Error::Called(status) => *status,
            error => Failure::from(error).into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid { field, problem } => invalid_field(field, problem),
            Error::InvalidFields(violations) => violations.into_iter().fold(
                failure(ErrorReason::InvalidField, "the contract breaks rules; see the violations"),
                |failure, violation| {
                    failure.violation(format!("contract.{}", violation.field), violation.problem)
                },
            ),
            Error::InvalidFilter { filter, error } => {
                failure(ErrorReason::InvalidExpression, format!("filter: {error}"))
                    .metadata("field", "filter")
                    .metadata("expression", filter)
                    .violation("filter", error.to_string())
            }
            // The code and the words that every other RPC answers with:
            // <https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>.
            Error::Undecodable(error) => failure(ErrorReason::Internal, error.to_string()),
            Error::TooLarge { what, found, limit } => failure(
                ErrorReason::BatchTooLarge,
                format!("the batch holds {found} {what}, at most {limit} are allowed; split it"),
            )
            .metadata(what, found.to_string())
            .metadata("limit", limit.to_string()),
            Error::ReservedSource => failure(
                ErrorReason::SourceReserved,
                format!(
                    "the source {SOURCE:?} is the suite's own, what it tells of itself; send \
                     from a source with another name"
                ),
            )
            .metadata("source", SOURCE),
            Error::Overloaded => failure(
                ErrorReason::Overloaded,
                "too many events wait for the log; nothing was written, send the batch again",
            )
            .metadata("limit", "ingestion_queue"),
            Error::Limited { source, events_per_second, after } => failure(
                ErrorReason::Overloaded,
                format!(
                    "the source {source:?} may send {events_per_second} events a second; nothing \
                     was written, send the batch again later"
                ),
            )
            .metadata("limit", "source")
            .metadata("source", source)
            .metadata("events_per_second", events_per_second.to_string())
            .retry_after(after),
            Error::Draining => {
                failure(ErrorReason::Draining, "the process is stopping; try again elsewhere")
            }
            Error::ContractNotFound { name } => failure(
                ErrorReason::NotFound,
                format!("there is no contract for events named {name:?}"),
            )
            .metadata("kind", "Contract")
            .metadata("name", name),
            Error::ContractChanged { name, etag } => failure(
                ErrorReason::EtagMismatch,
                format!("the contract {name:?} has changed since it was read; read it again"),
            )
            .metadata("kind", "Contract")
            .metadata("name", name)
            .metadata("etag", etag),
            Error::NeedsDecision { name, metrics } => failure(
                ErrorReason::ApprovalRequired,
                format!(
                    "the change of the contract {name:?} breaks {}; ask for a decision with \
                     RequestContractChange",
                    metrics.join(", ")
                ),
            )
            .metadata("subject", subject(&name))
            .metadata("metrics", metrics.join(",")),
            Error::NotApproved { name, problem } => {
                failure(ErrorReason::ApprovalRequired, problem).metadata("subject", subject(&name))
            }
            Error::NoSuchEvents { name } => failure(
                ErrorReason::NotFound,
                format!("the log holds no events named {name:?} as far as it was read"),
            )
            .metadata("kind", "Event")
            .metadata("name", name),
            Error::NotQuarantined { id } => {
                failure(ErrorReason::NotFound, format!("there is no quarantined event {id:?}"))
                    .metadata("kind", "QuarantinedEvent")
                    .metadata("name", id)
            }
            Error::Called(status) => failure(
                ErrorReason::DependencyUnavailable,
                format!("another service of the suite refused: {}", status.message()),
            )
            .metadata("dependency", "suite"),
            Error::InvalidDocument { field, violations } => violations.into_iter().fold(
                failure(
                    ErrorReason::InvalidField,
                    format!("the {field} breaks rules; see the violations"),
                ),
                |failure, violation| {
                    failure.violation(format!("{field}.{}", violation.field), violation.problem)
                },
            ),
            Error::NotFound { kind, name } => {
                failure(ErrorReason::NotFound, format!("there is no {kind} named {name:?}"))
                    .metadata("kind", kind)
                    .metadata("name", name)
            }
            Error::Changed { kind, name, etag } => failure(
                ErrorReason::EtagMismatch,
                format!("the {kind} {name:?} has changed since it was read; read it again"),
            )
            .metadata("kind", kind)
            .metadata("name", name)
            .metadata("etag", etag),
            Error::LeaseLost { group, member, why } => failure(
                ErrorReason::LeaseLost,
                format!("{member:?} lost its place in the group {group:?}: {why}; join again"),
            )
            .metadata("group", group)
            .metadata("member_id", member),
            Error::CommitUnknown => failure(
                ErrorReason::DependencyUnavailable,
                "the database was lost while the batch was written; send it again, and what was \
                 stored answers as a duplicate",
            )
            .metadata("dependency", "postgres"),
            Error::Failed(failure) => failure,
        }
    }
}
