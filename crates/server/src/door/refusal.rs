//! What a door answers when it does not let a request through.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use northstar_proto::errors::v1::ErrorReason;
use serde_json::{Value, json};
use tonic::Code;

use crate::status::{Failure, code};

/// A refused or failed request: the same reason that gRPC would give, and the
/// HTTP status. As a response it is
/// `{"error":{"code":400,"reason":"ERROR_REASON_...","message":"...","field":"..."}}`
/// with `Retry-After` where a retry makes sense; `field` only where one is at
/// fault.
#[derive(Clone, Debug)]
pub struct Refusal {
    status: StatusCode,
    failure: Box<Failure>,
    /// The methods that the route has, when it was called with another.
    methods: Option<String>,
}

impl Refusal {
    /// A refusal with a status of its own, where HTTP is finer than gRPC.
    pub fn new(status: StatusCode, failure: Failure) -> Self {
        Self { status, failure: Box::new(failure), methods: None }
    }

    /// Names the methods that the route has.
    #[must_use]
    pub(super) fn with_methods(mut self, methods: String) -> Self {
        self.methods = Some(methods);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The reason, the message and the details.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// What is wrong, as the common body has it under `error`.
    pub fn to_json(&self) -> Value {
        let mut error = json!({
            "code": self.status.as_u16(),
            "reason": self.failure.reason().as_str_name(),
            "message": self.failure.message(),
        });
        if let Some(field) = self.failure.field() {
            error["field"] = field.into();
        }
        error
    }

    /// The answer in the words of a protocol, with the headers of the common one.
    pub fn worded(
        &self,
        status: StatusCode,
        content_type: &'static str,
        body: impl Into<Body>,
    ) -> Response {
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(delay) = self.failure.retry_delay() {
            // Whole seconds, and at least one: 0 would ask for a storm.
            headers.insert(header::RETRY_AFTER, delay.as_secs().max(1).into());
        }
        if let Some(Ok(methods)) = self.methods.as_deref().map(HeaderValue::from_str) {
            headers.insert(header::ALLOW, methods);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // Not Basic, for which a browser would ask the visitor of a page.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let status = status(failure.reason());
        Self { status, failure: Box::new(failure), methods: None }
    }
}

/// The HTTP status of each reason, as `google.rpc.Code` maps its codes.
fn status(reason: ErrorReason) -> StatusCode {
    match code(reason) {
        Code::InvalidArgument if reason == ErrorReason::BatchTooLarge => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Ok | Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.to_json() }).to_string();
        let mut response = self.worded(self.status, "application/json", body);
        // For the door that words its refusals itself.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{failure, invalid_field};

    async fn answer(refusal: Refusal) -> (u16, http::HeaderMap, serde_json::Value) {
        let response = refusal.into_response();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_refusal_says_where_and_why() {
        let (status, headers, body) = answer(invalid_field("batch", "must be a list").into()).await;
        assert_eq!(status, 400);
        assert!(!headers.contains_key("retry-after"));
        assert_eq!(
            body,
            json!({"error": {
                "code": 400,
                "reason": "ERROR_REASON_INVALID_FIELD",
                "message": "batch: must be a list",
                "field": "batch",
            }})
        );
    }

    #[tokio::test]
    async fn what_may_be_retried_says_when() {
        let (status, headers, body) =
            answer(failure(ErrorReason::Overloaded, "too busy").into()).await;
        assert_eq!((status, &headers["retry-after"]), (429, &HeaderValue::from_static("1")));
        assert!(body["error"].get("field").is_none());
    }
}
