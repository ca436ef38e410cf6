//! What can go wrong in a call, and the one place it becomes a status.

use northstar_domain::Violations;
use northstar_domain::automation::{NotApproved, TransitionError};
use northstar_proto::errors::v1::ErrorReason;
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
    /// The trigger's condition, and nothing else, is not valid.
    #[error("{field}: {problem}")]
    InvalidExpression {
        /// The field.
        field: String,
        /// The expression.
        expression: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The resource is not in this project.
    #[error("there is no {kind} {name:?} in this project")]
    NotFound {
        /// Kind of the resource.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// Resources that the automation names do not exist.
    #[error("the automation names what does not exist in this project: {}", list(.0))]
    MissingReferences(Vec<(&'static str, String)>),
    /// The automation changed since its etag was read.
    #[error("automation {name} changed meanwhile: its etag is {etag:?}, read it again")]
    EtagMismatch {
        /// Its name.
        name: String,
        /// Its etag now; empty when there is none by this name.
        etag: String,
    },
    /// The state does not allow the step.
    #[error("{0}")]
    Transition(#[from] TransitionError),
    /// The automation's time is over.
    #[error("the sunset time {sunset} has passed; apply a later one and ask again")]
    Sunset {
        /// When it ended.
        sunset: String,
    },
    /// There is no decision by this id.
    #[error(
        "activating needs an approved decision request, and there is none with the id {0:?}: ask \
         for one with RequestActivation"
    )]
    NoDecision(String),
    /// The decision does not allow it.
    #[error("{source}")]
    NotApproved {
        /// Subject of the decision that is needed.
        subject: String,
        /// Why.
        source: NotApproved,
    },
    /// The numbers do not allow a lift.
    #[error("the lift cannot be computed: {0}")]
    InsufficientData(String),
    /// A shared rule of all calls was broken: page size, request id.
    #[error("the request breaks a rule that all calls share")]
    Shared(Failure),
    /// Another service refused a call made on behalf of this one.
    #[error("another service refused: {0}")]
    Upstream(#[from] Status),
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
            Error::InvalidExpression { field, expression, problem } => {
                failure(ErrorReason::InvalidExpression, message)
                    .metadata("field", field.clone())
                    .metadata("expression", expression)
                    .violation(field, problem)
            }
            Error::NotFound { kind, name } => failure(ErrorReason::NotFound, message)
                .metadata("kind", kind)
                .metadata("name", name),
            Error::MissingReferences(missing) => {
                let failure = failure(ErrorReason::MissingReference, message);
                match missing.into_iter().next() {
                    Some((kind, name)) => failure.metadata("kind", kind).metadata("name", name),
                    None => failure,
                }
            }
            Error::EtagMismatch { name, etag } => failure(ErrorReason::EtagMismatch, message)
                .metadata("kind", "Automation")
                .metadata("name", name)
                .metadata("etag", etag),
            Error::Transition(refused) => failure(ErrorReason::InvalidTransition, message)
                .metadata("state", refused.state.as_str().to_uppercase())
                .metadata("step", refused.step),
            Error::Sunset { sunset } => failure(ErrorReason::InvalidTransition, message)
                .metadata("step", "be activated")
                .metadata("sunset_time", sunset),
            Error::NoDecision(id) => {
                failure(ErrorReason::ApprovalRequired, message).metadata("decision_request", id)
            }
            Error::NotApproved { subject, .. } => {
                failure(ErrorReason::ApprovalRequired, message).metadata("subject", subject)
            }
            Error::InsufficientData(detail) => {
                failure(ErrorReason::InsufficientData, message).metadata("detail", detail)
            }
            Error::Shared(failure) => failure,
            // It says already what was wrong, in the words of the same errors.
            Error::Upstream(status) => return status,
            Error::Store(error) => Failure::from(error),
        }
        .into()
    }
}

fn list(missing: &[(&'static str, String)]) -> String {
    let names: Vec<_> = missing.iter().map(|(kind, name)| format!("{kind} {name:?}")).collect();
    names.join(", ")
}
