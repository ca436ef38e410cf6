//! One call as spans and metrics tell of it, from its start to its last byte.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use opentelemetry::trace::Status as SpanStatus;
use tonic::{Code, Status};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::instruments::Instruments;
use crate::method::Method;

/// A call in progress. It ends once: with a status, or as cancelled when it is
/// dropped before.
pub(super) struct Call {
    method: Method,
    span: Span,
    started: Instant,
    instruments: Instruments,
    ended: bool,
}

impl Call {
    pub(super) fn start(method: Method, span: Span, instruments: Instruments) -> Self {
        instruments.started(method);
        Self { method, span, started: Instant::now(), instruments, ended: false }
    }

    pub(super) fn end(mut self, code: Code) {
        self.end_once(code);
    }

    fn end_once(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let duration = self.started.elapsed();
        self.instruments.ended(self.method, code, duration);
        self.span.record("rpc.grpc.status_code", code as i32);
        let failed = is_our_failure(code);
        if failed {
            self.span.set_status(SpanStatus::error(name(code)));
        }
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let _entered = self.span.enter();
        if failed {
            tracing::warn!(rpc.code = name(code), duration_ms, "call failed");
        } else {
            tracing::debug!(rpc.code = name(code), duration_ms, "call ended");
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end_once(Code::Cancelled);
    }
}

/// Whether the failure is the server's, as OpenTelemetry's conventions count:
/// the others are the caller's.
fn is_our_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The code as gRPC writes it.
pub(super) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The code in headers or trailers, when there is one.
pub(super) fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

/// A response body that ends its call with the status in the trailers.
pub(super) struct Observed {
    body: Body,
    call: Option<Call>,
}

impl Observed {
    pub(super) fn new(body: Body, call: Call) -> Self {
        Self { body, call: Some(call) }
    }

    fn end(&mut self, code: Code) {
        if let Some(call) = self.call.take() {
            call.end(code);
        }
    }
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.end(code(trailers).unwrap_or(Code::Unknown));
                }
            }
            Some(Err(_)) => this.end(Code::Internal),
            None => this.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
