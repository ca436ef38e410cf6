//! Ends a call when its caller no longer waits, and hands what calls made on
//! its behalf need on to them.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use northstar_client::{RequestContext, metadata};
use northstar_proto::errors::v1::ErrorReason;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::stream::{Ending, Streamed};
use super::{is_health, refuse};
use crate::Caller;
use crate::method;
use crate::status::{Failure, failure};

/// How long calls may last.
#[derive(Clone)]
pub(super) struct Lifetime {
    /// Of unary calls that come without a deadline.
    pub(super) default: Duration,
    /// Ends health watches, which would otherwise last as long as their client.
    pub(super) closing: CancellationToken,
}

/// Applies the caller's `grpc-timeout`, or to unary calls the default one.
/// Streams without a timeout last until one side ends them.
pub(super) async fn apply(
    State(lifetime): State<Lifetime>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let streams = method::streams(path);
    let closing = is_health(path).then_some(lifetime.closing);
    let limit = request
        .headers()
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(timeout)
        .or_else(|| (!streams).then_some(lifetime.default));
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let context = context(&request, deadline);

    let response = context.clone().scope(next.run(request));
    let response = match (limit, deadline) {
        (Some(limit), Some(deadline)) => {
            match tokio::time::timeout_at(deadline.into(), response).await {
                Ok(response) => response,
                Err(_) => return refuse(exceeded(limit)),
            }
        }
        _ => response.await,
    };
    if !streams {
        return response;
    }
    let ending = ending(limit, deadline, closing);
    response.map(|body| {
        Body::new(Streamed { body, span: Span::current(), context, ending, ended: false })
    })
}

fn exceeded(limit: Duration) -> Failure {
    failure(
        ErrorReason::DeadlineExceeded,
        format!("the call took longer than its deadline of {} ms", limit.as_millis()),
    )
}

fn ending(
    limit: Option<Duration>,
    deadline: Option<Instant>,
    closing: Option<CancellationToken>,
) -> Option<Ending> {
    if let Some(closing) = closing {
        return Some(Box::pin(async move {
            closing.cancelled().await;
            failure(ErrorReason::Draining, "the process is stopping; ask another")
        }));
    }
    let (limit, deadline) = (limit?, deadline?);
    Some(Box::pin(async move {
        tokio::time::sleep_until(deadline.into()).await;
        exceeded(limit)
    }))
}

fn context(request: &Request, deadline: Option<Instant>) -> RequestContext {
    let copy = |name| {
        let value = request.headers().get(name)?;
        value.to_str().ok()?.parse().ok()
    };
    let mut authorization: Option<tonic::metadata::MetadataValue<_>> =
        copy(metadata::AUTHORIZATION);
    if let Some(secret) = &mut authorization {
        secret.set_sensitive(true);
    }
    RequestContext {
        authorization,
        project: request.extensions().get::<Caller>().map(|caller| caller.project.0),
        request_id: copy(metadata::REQUEST_ID),
        deadline,
        trace: Span::current().context(),
    }
}

/// A `grpc-timeout`: at most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_wire_format_writes_them() {
        assert_eq!(timeout("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(timeout("2M"), Some(Duration::from_secs(120)));
        assert_eq!(timeout("3S"), Some(Duration::from_secs(3)));
        assert_eq!(timeout("4m"), Some(Duration::from_millis(4)));
        assert_eq!(timeout("5u"), Some(Duration::from_micros(5)));
        assert_eq!(timeout("99999999n"), Some(Duration::from_nanos(99_999_999)));
    }

    #[test]
    fn a_malformed_timeout_is_no_timeout() {
        for bad in ["", "S", "1", "1x", "-1S", "+1S", "123456789S", "1é"] {
            assert_eq!(timeout(bad), None, "{bad}");
        }
    }
}
