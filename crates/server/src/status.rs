//! From a reason to a gRPC status, in one place: the code, `ErrorInfo`,
//! `BadRequest` violations and `RetryInfo`.

use std::collections::HashMap;
use std::time::Duration;

use northstar_domain::Violations;
use northstar_proto::ERROR_DOMAIN;
use northstar_proto::errors::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// A failed call on its way to becoming a [`Status`].
#[derive(Clone, Debug)]
pub struct Failure {
    reason: ErrorReason,
    message: String,
    metadata: HashMap<String, String>,
    violations: Vec<FieldViolation>,
    retry_after: Option<Duration>,
}

/// Starts a failure. The message is for the caller: what was wrong, where, and
/// what to do.
pub fn failure(reason: ErrorReason, message: impl Into<String>) -> Failure {
    Failure {
        reason,
        message: message.into(),
        metadata: HashMap::new(),
        violations: Vec::new(),
        retry_after: None,
    }
}

/// A request field is missing, malformed or out of range.
pub fn invalid_field(field: impl Into<String>, description: impl Into<String>) -> Failure {
    let (field, description) = (field.into(), description.into());
    failure(ErrorReason::InvalidField, format!("{field}: {description}"))
        .metadata("field", field.clone())
        .violation(field, description)
}

/// Several request fields are missing, malformed or out of range.
pub fn invalid_fields(violations: &Violations) -> Failure {
    let mut found = failure(ErrorReason::InvalidField, violations.to_string());
    for violation in violations.as_slice() {
        found = found.violation(&violation.field, &violation.problem);
    }
    match violations.as_slice().first() {
        Some(first) => found.metadata("field", &first.field),
        None => found,
    }
}

impl Failure {
    /// Adds a fact that a program can act on.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Adds a field violation; call it once for each.
    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push(FieldViolation::new(field, description));
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The reason.
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// The message for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The first field at fault.
    pub fn field(&self) -> Option<&str> {
        self.violations.first().map(|violation| violation.field.as_str())
    }

    /// When to try again, where that makes sense; 1 s when nothing else was said.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.retry_after.or_else(|| match code(self.reason) {
            Code::ResourceExhausted | Code::Unavailable => Some(Duration::from_secs(1)),
            _ => None,
        })
    }
}

/// The status code each reason belongs to, as `errors/v1` documents it.
pub fn code(reason: ErrorReason) -> Code {
    match reason {
        ErrorReason::InvalidField | ErrorReason::InvalidExpression | ErrorReason::BatchTooLarge => {
            Code::InvalidArgument
        }
        ErrorReason::Unauthenticated => Code::Unauthenticated,
        ErrorReason::RoleRequired
        | ErrorReason::WrongProject
        | ErrorReason::AuthorMayNotDecide
        | ErrorReason::PersonRequired
        | ErrorReason::AuthorRequired
        | ErrorReason::SourceReserved => Code::PermissionDenied,
        ErrorReason::NotFound => Code::NotFound,
        ErrorReason::RequestIdReused => Code::AlreadyExists,
        ErrorReason::EtagMismatch | ErrorReason::LeaseLost => Code::Aborted,
        ErrorReason::InvalidTransition
        | ErrorReason::MissingReference
        | ErrorReason::ApprovalRequired
        | ErrorReason::StaleVerdict
        | ErrorReason::HorizonNotReached
        | ErrorReason::InsufficientData
        | ErrorReason::IntegrityViolation => Code::FailedPrecondition,
        ErrorReason::Overloaded => Code::ResourceExhausted,
        ErrorReason::DependencyUnavailable | ErrorReason::Draining => Code::Unavailable,
        ErrorReason::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorReason::Unspecified | ErrorReason::Internal => Code::Internal,
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let retry_delay = failure.retry_delay();
        let mut details = ErrorDetails::with_error_info(
            failure.reason.as_str_name(),
            ERROR_DOMAIN,
            failure.metadata,
        );
        if !failure.violations.is_empty() {
            details.set_bad_request(failure.violations);
        }
        if retry_delay.is_some() {
            details.set_retry_info(retry_delay);
        }
        Self::with_error_details(code(failure.reason), failure.message, details)
    }
}

/// The status of a failed store call. The caller learns what to do; the log
/// learns why.
impl From<northstar_store::Error> for Failure {
    fn from(error: northstar_store::Error) -> Self {
        use northstar_store::Error;
        match &error {
            Error::Unavailable(_) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "postgres unavailable");
                failure(
                    ErrorReason::DependencyUnavailable,
                    "the database cannot be reached; nothing was written, try again",
                )
                .metadata("dependency", "postgres")
            }
            Error::Conflict(_) => failure(
                ErrorReason::DependencyUnavailable,
                "a concurrent change won; nothing was written, try again",
            )
            .metadata("dependency", "postgres"),
            Error::RequestIdReused(id) => failure(
                ErrorReason::RequestIdReused,
                "the request id was used before with another body; use a new one",
            )
            .metadata("request_id", id.to_string()),
            Error::Corrupt { .. } | Error::Database(_) | Error::Migrate(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "store call failed");
                failure(ErrorReason::Internal, "the call failed; the server's log says why")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_violation_names_its_field() {
        let status = Status::from(invalid_field("page_size", "must not be negative"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let info = details.error_info().expect("error info");
        assert_eq!(info.reason, "ERROR_REASON_INVALID_FIELD");
        assert_eq!(info.domain, "northstar");
        let violation = &details.bad_request().expect("bad request").field_violations[0];
        assert_eq!(violation.field, "page_size");
    }

    #[test]
    fn what_may_be_retried_says_when() {
        let status = Status::from(failure(ErrorReason::Overloaded, "too busy"));
        let details = status.get_error_details();
        let retry = details.retry_info().expect("retry info");
        assert_eq!(retry.retry_delay, Some(Duration::from_secs(1)));
    }
}
