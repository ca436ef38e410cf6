//! What can go wrong in a call, and the one place it becomes a status.

use northstar_domain::Violations;
use northstar_domain::experiment::{NotApproved, TransitionError};
use northstar_proto::errors::v1::ErrorReason;
use northstar_server::status::{Failure, failure, invalid_fields};
use northstar_stats::InputError;
use thiserror::Error;
use tonic::{Code, Status};

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed call.
#[derive(Debug, Error)]
pub enum Error {
    /// Fields of the request break rules.
    #[error("{0}")]
    Invalid(#[from] Violations),
    /// There is no such experiment.
    #[error("there is no experiment {0:?} in this project")]
    NotFound(String),
    /// The experiment changed since its etag was read.
    #[error("experiment {name} changed meanwhile: its etag is {etag}, read it again")]
    EtagMismatch {
        /// Its name.
        name: String,
        /// Its etag now; empty when there is none by this name.
        etag: String,
    },
    /// The state does not allow the step.
    #[error("{0}")]
    Transition(#[from] TransitionError),
    /// The definition names what does not exist.
    #[error("{}; apply what is missing first", missing(.0))]
    MissingReferences(Vec<Reference>),
    /// Shipping without the approved decision.
    #[error("shipping {experiment} needs its approved decision request: {why}")]
    ApprovalRequired {
        /// The experiment.
        experiment: String,
        /// What is wrong with the decision that was named.
        why: String,
    },
    /// The horizon is not reached.
    #[error("the result of {0} is withheld until its horizon; nothing can be decided before")]
    HorizonNotReached(String),
    /// The data do not allow a decision.
    #[error("the data do not allow a decision: {0}")]
    InsufficientData(String),
    /// Another service could not be asked, or refused.
    #[error("{service} did not answer: {status}")]
    Dependency {
        /// Which.
        service: &'static str,
        /// What it said.
        status: Box<Status>,
    },
    /// The log would not take an exposure.
    #[error("the log refused the exposure of subjects[{index}]: {reason}")]
    ExposureRefused {
        /// Index of the subject in the request.
        index: usize,
        /// Why.
        reason: String,
    },
    /// The log was too busy for an exposure.
    #[error("the log is too busy for all exposures; nothing is lost, try again")]
    ExposureDelayed,
    /// Metrics handed out numbers that no sample has.
    #[error("metrics answered impossible statistics")]
    Statistics(#[from] InputError),
    /// A shared rule of all calls was broken: page size, request id.
    #[error("the request breaks a rule that all calls share")]
    Shared(Failure),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] northstar_store::Error),
}

/// A name that leads nowhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// `Pillar` or `Metric`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

fn missing(references: &[Reference]) -> String {
    let each: Vec<_> = references
        .iter()
        .map(|reference| format!("there is no {} {:?}", reference.kind, reference.name))
        .collect();
    each.join(", ")
}

impl Error {
    /// A call to another service that failed.
    pub(crate) fn dependency(service: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| Self::Dependency { service, status: Box::new(status) }
    }

    pub(crate) fn not_approved(experiment: &str, why: &NotApproved) -> Self {
        Self::ApprovalRequired { experiment: experiment.to_owned(), why: why.to_string() }
    }
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
            Error::NotFound(name) => failure(ErrorReason::NotFound, message)
                .metadata("kind", "Experiment")
                .metadata("name", name),
            Error::EtagMismatch { name, etag } => failure(ErrorReason::EtagMismatch, message)
                .metadata("kind", "Experiment")
                .metadata("name", name)
                .metadata("etag", etag),
            Error::Transition(error) => failure(ErrorReason::InvalidTransition, message)
                .metadata("state", error.state.as_str().to_uppercase())
                .metadata("step", error.step),
            Error::MissingReferences(references) => references.into_iter().rev().fold(
                failure(ErrorReason::MissingReference, message),
                |failure, reference| {
                    failure.metadata("kind", reference.kind).metadata("name", reference.name)
                },
            ),
            Error::ApprovalRequired { experiment, .. } => {
                failure(ErrorReason::ApprovalRequired, message)
                    .metadata("subject", format!("experiments/{experiment}"))
            }
            Error::HorizonNotReached(name) => {
                failure(ErrorReason::HorizonNotReached, message).metadata("experiment", name)
            }
            Error::InsufficientData(detail) => {
                failure(ErrorReason::InsufficientData, message).metadata("detail", detail)
            }
            Error::Dependency { service, status } => return dependency(service, *status, message),
            Error::ExposureRefused { index, reason } => {
                northstar_server::status::invalid_field(format!("subjects[{index}]"), reason)
            }
            Error::ExposureDelayed => failure(ErrorReason::DependencyUnavailable, message)
                .metadata("dependency", "ingestion"),
            Error::Statistics(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "impossible statistics");
                failure(ErrorReason::Internal, "the call failed; the server's log says why")
            }
            Error::Shared(failure) => failure,
            Error::Store(error) => Failure::from(error),
        }
        .into()
    }
}

/// What another service refuses, it refuses with its own reason. What it could
/// not do now may be tried again.
fn dependency(service: &'static str, status: Status, message: String) -> Status {
    match status.code() {
        Code::Unavailable
        | Code::Cancelled
        | Code::Unknown
        | Code::ResourceExhausted
        | Code::Unimplemented => {
            tracing::warn!(
                dependency = service,
                error = &status as &dyn std::error::Error,
                "dependency unavailable",
            );
            failure(ErrorReason::DependencyUnavailable, message)
                .metadata("dependency", service)
                .into()
        }
        _ => status,
    }
}
