//! What can go wrong with a call, and the status it becomes.

use northstar_domain::Violation;
use northstar_domain::expression::InvalidCondition;
use northstar_proto::errors::v1::ErrorReason;
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
    /// A batch holds too much.
    TooLarge { what: &'static str, found: usize, limit: usize },
    /// Too many requests wait for the log.
    Overloaded,
    /// The process is stopping.
    Draining,
    /// There is no such contract.
    ContractNotFound { name: String },
    /// A contract changed since its etag was read.
    ContractChanged { name: String, etag: String },
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
            Self::Overloaded | Self::CommitUnknown => true,
            Self::Failed(failure) => failure.reason() == ErrorReason::DependencyUnavailable,
            Self::Invalid { .. }
            | Self::InvalidFields(_)
            | Self::InvalidFilter { .. }
            | Self::TooLarge { .. }
            | Self::Draining
            | Self::ContractNotFound { .. }
            | Self::ContractChanged { .. } => false,
        }
    }
}

impl From<northstar_store::Error> for Error {
    fn from(error: northstar_store::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
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
            Error::TooLarge { what, found, limit } => failure(
                ErrorReason::BatchTooLarge,
                format!("the batch holds {found} {what}, at most {limit} are allowed; split it"),
            )
            .metadata(what, found.to_string())
            .metadata("limit", limit.to_string()),
            Error::Overloaded => failure(
                ErrorReason::Overloaded,
                "too many events wait for the log; nothing was written, send the batch again",
            )
            .metadata("limit", "ingestion_queue"),
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
