//! What can go wrong in a call, and the one place it becomes a status.

use northstar_domain::decision::{NotWithdrawn, Refusal};
use northstar_domain::{DecisionRequestId, Violations};
use northstar_proto::errors::v1::ErrorReason;
use northstar_server::Caller;
use northstar_server::status::{Failure, failure, invalid_fields};
use thiserror::Error;
use tonic::Status;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed call.
#[derive(Debug, Error)]
pub enum Error {
    /// Fields of the request break rules.
    #[error("{0}")]
    Invalid(#[from] Violations),
    /// The resource is not in this project.
    #[error("there is no {kind} {name:?} in this project")]
    NotFound {
        /// Kind of the resource.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// What only people may do was tried with a suite key.
    #[error("{0} is for people: call it with somebody's own key, not with a suite key")]
    PersonRequired(&'static str),
    /// The policy changed since its etag was read.
    #[error("policy {name} changed meanwhile: its etag is {etag}, read it again")]
    EtagMismatch {
        /// Its name.
        name: String,
        /// Its etag now; empty when there is none by this name.
        etag: String,
    },
    /// A verdict that does not count.
    #[error("{refusal}")]
    Refused {
        /// The request it was given for.
        request: DecisionRequestId,
        /// Why.
        refusal: Refusal,
    },
    /// A request that is not taken back.
    #[error("{reason}")]
    NotWithdrawn {
        /// The request.
        request: DecisionRequestId,
        /// Who asked it.
        author: String,
        /// Why.
        reason: NotWithdrawn,
    },
    /// A shared rule of all calls was broken: page size, request id.
    #[error("the request breaks a rule that all calls share")]
    Shared(Failure),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] northstar_store::Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Shared(failure)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(violations) => invalid_fields(&violations),
            Error::NotFound { kind, name } => failure(ErrorReason::NotFound, message)
                .metadata("kind", kind)
                .metadata("name", name),
            Error::PersonRequired(method) => {
                failure(ErrorReason::PersonRequired, message).metadata("method", method)
            }
            Error::EtagMismatch { name, etag } => failure(ErrorReason::EtagMismatch, message)
                .metadata("kind", "Policy")
                .metadata("name", name)
                .metadata("etag", etag),
            Error::Refused { request, refusal } => {
                refused(refusal, message).metadata("decision_request", request.to_string())
            }
            Error::NotWithdrawn { request, author, reason } => {
                not_withdrawn(reason, message, author)
                    .metadata("decision_request", request.to_string())
            }
            Error::Shared(failure) => failure,
            Error::Store(error) => Failure::from(error),
        }
        .into()
    }
}

/// Refuses what only people may do to a call that came with a suite key: every
/// service holds one, and it would decide in the name of nobody.
pub(crate) fn require_person(caller: &Caller, method: &'static str) -> Result<()> {
    if caller.is_suite { Err(Error::PersonRequired(method)) } else { Ok(()) }
}

fn not_withdrawn(reason: NotWithdrawn, message: String, author: String) -> Failure {
    match reason {
        NotWithdrawn::OtherAuthor => {
            failure(ErrorReason::AuthorRequired, message).metadata("author", author)
        }
        NotWithdrawn::NotPending(state) => failure(ErrorReason::InvalidTransition, message)
            .metadata("state", state.to_string().to_uppercase())
            .metadata("step", "withdraw"),
    }
}

fn refused(refusal: Refusal, message: String) -> Failure {
    match refusal {
        Refusal::NotPending(state) => failure(ErrorReason::InvalidTransition, message)
            .metadata("state", state.to_string().to_uppercase())
            .metadata("step", "verdict"),
        Refusal::AlreadyGiven { review_cycle, .. } => {
            failure(ErrorReason::InvalidTransition, message)
                .metadata("state", "PENDING")
                .metadata("step", "second verdict")
                .metadata("review_cycle", review_cycle.to_string())
        }
        Refusal::Author | Refusal::DiffAuthor => failure(ErrorReason::AuthorMayNotDecide, message),
        Refusal::RoleRequired { role, required } => failure(ErrorReason::RoleRequired, message)
            .metadata("role", role.as_str())
            .metadata("required_role", required.to_string()),
        Refusal::Stale { review_cycle, diff_digest } => failure(ErrorReason::StaleVerdict, message)
            .metadata("review_cycle", review_cycle.to_string())
            .metadata("diff_digest", diff_digest.to_string()),
        Refusal::NothingToApprove | Refusal::NotATask => {
            northstar_server::status::invalid_field("kind", message)
        }
        Refusal::ReasonMissing => northstar_server::status::invalid_field("reason", message),
        Refusal::NothingChanged => {
            northstar_server::status::invalid_field("edited_diff_json", message)
        }
    }
}
