//! What can go wrong with a call, by what the caller can do about it.

use northstar_domain::{Problems, Violations};
use northstar_engine as engine;
use northstar_proto::errors::v1::ErrorReason;
use northstar_server::status::{Failure, failure};
use northstar_store as store;
use thiserror::Error;
use tonic::Status;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed call.
#[derive(Debug, Error)]
pub enum Error {
    /// The request breaks rules; all of them are listed.
    #[error("the request breaks {} rules", .0.violations().as_slice().len())]
    Refused(Problems),
    /// The named document does not exist.
    #[error("there is no {kind} named {name:?}")]
    NotFound {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The document changed since the given etag was read.
    #[error("the {kind} {name:?} changed since its etag was read")]
    EtagMismatch {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its present etag; `None` when it does not exist.
        current: Option<String>,
    },
    /// The data do not allow the number that was asked for.
    #[error("the data do not allow this number: {0}")]
    InsufficientData(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The read model failed: a defect, or a disk that is full or broken.
    #[error("the read model failed")]
    Engine(#[source] engine::Error),
    /// Events that left the log cannot be read from the archive.
    #[error("the archive of the log cannot be read")]
    Archive(#[from] northstar_archive::Error),
    /// A file of the archive is not what was archived.
    #[error("{location} is not what was archived")]
    ArchiveDamaged {
        /// Its URL.
        location: String,
    },
    /// The log could not be read to its end. The reader's own error says why; this
    /// one is only seen when there is none.
    #[error("reading the log was interrupted")]
    Interrupted,
    /// Another service of the suite could not be asked.
    #[error("{service} could not be asked: {}", .status.message())]
    Unanswered {
        /// Which one.
        service: &'static str,
        /// What came instead of an answer.
        status: Box<Status>,
    },
    /// A shared rule of all calls was broken: the request id.
    #[error("the request breaks a rule that all calls share")]
    Shared(Failure),
    /// A task of this process ended before its work was done.
    #[error("a task ended before its work was done")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// One field of the request is wrong.
    pub fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        let mut fields = Violations::new();
        fields.push(field, problem);
        Self::Refused(Problems { fields, ..Problems::default() })
    }

    /// Fails when there is a problem.
    pub fn check(problems: Problems) -> Result<()> {
        if problems.is_empty() { Ok(()) } else { Err(Self::Refused(problems)) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Shared(failure)
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        match error {
            // The range has two fields; that it ends so late is what can be changed.
            engine::Error::InvalidQuery { field: "from_micros..to_micros", problem } => {
                Self::field("end_time", problem)
            }
            engine::Error::InvalidQuery { field, problem } => Self::field(field, problem),
            engine::Error::AnswerTooLarge { .. } => Self::field("breakdowns", error.to_string()),
            other => Self::Engine(other),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Refused(problems) => refused(problems),
            Error::NotFound { kind, name } => failure(ErrorReason::NotFound, error.to_string())
                .metadata("kind", *kind)
                .metadata("name", name),
            Error::EtagMismatch { kind, name, current } => {
                let mismatch = failure(
                    ErrorReason::EtagMismatch,
                    format!("{error}; read it again and repeat the change"),
                )
                .metadata("kind", *kind)
                .metadata("name", name);
                match current {
                    Some(etag) => mismatch.metadata("etag", etag),
                    None => mismatch,
                }
            }
            Error::InsufficientData(detail) => {
                failure(ErrorReason::InsufficientData, error.to_string()).metadata("detail", detail)
            }
            Error::Archive(_) | Error::ArchiveDamaged { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "the archive is gone");
                failure(
                    ErrorReason::DependencyUnavailable,
                    "events that left the log cannot be read from the archive; numbers without \
                     them would be wrong",
                )
                .metadata("dependency", "archive")
            }
            Error::Unanswered { service, .. } => {
                failure(ErrorReason::DependencyUnavailable, error.to_string())
                    .metadata("dependency", *service)
            }
            Error::Store(_)
            | Error::Engine(_)
            | Error::Interrupted
            | Error::Task(_)
            | Error::Shared(_) => internal(error),
        }
    }
}

fn internal(error: Error) -> Failure {
    match error {
        Error::Store(error) => error.into(),
        Error::Shared(failure) => failure,
        other => {
            tracing::error!(error = &other as &dyn std::error::Error, "metrics call failed");
            failure(ErrorReason::Internal, "the call failed; the server's log says why")
        }
    }
}

/// One status carries every violation. Its reason is the first that applies of
/// invalid field, invalid expression, missing reference: a caller mends the
/// document before looking for what it names.
fn refused(problems: &Problems) -> Failure {
    let violations = problems.violations();
    let message = violations.to_string();
    let refusal = match (
        problems.fields.as_slice().first(),
        problems.expressions.first(),
        problems.missing.first(),
    ) {
        (Some(violation), _, _) => {
            failure(ErrorReason::InvalidField, message).metadata("field", &violation.field)
        }
        (None, Some(invalid), _) => failure(ErrorReason::InvalidExpression, message)
            .metadata("field", &invalid.field)
            .metadata("expression", &invalid.expression),
        (None, None, Some(reference)) => failure(ErrorReason::MissingReference, message)
            .metadata("kind", reference.kind)
            .metadata("name", &reference.name),
        (None, None, None) => failure(ErrorReason::InvalidField, message),
    };
    violations
        .into_iter()
        .fold(refusal, |refusal, violation| refusal.violation(violation.field, violation.problem))
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}
