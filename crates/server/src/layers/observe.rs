//! A span, a count and a duration for every call, refused ones too.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use opentelemetry::propagation::Extractor;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::call::{Call, Observed, code};
use super::instruments::Instruments;
use crate::method::{self, Method};

/// What calls to unknown paths go by, so that their paths fill neither metrics
/// nor traces.
const UNKNOWN: Method = Method { service: "unknown", name: "unknown", streams: false };

pub(super) async fn observe(
    State(instruments): State<Instruments>,
    request: Request,
    next: Next,
) -> Response {
    let method = method::all().get(request.uri().path()).copied().unwrap_or(UNKNOWN);
    let span = span(method, request.headers());
    let call = Call::start(method, span.clone(), instruments);
    let response = next.run(request).instrument(span).await;
    if let Some(code) = code(response.headers()) {
        call.end(code);
        return response;
    }
    response.map(|body| Body::new(Observed::new(body, call)))
}

/// The server's span, a child of the caller's when it sent a `traceparent`.
fn span(method: Method, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        "rpc",
        otel.name = format!("{}/{}", method.service, method.name),
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = method.service,
        rpc.method = method.name,
        rpc.grpc.status_code = Empty,
        request.id = Empty,
        caller.project = Empty,
        caller.principal = Empty,
    );
    // Fails where no trace layer is installed, and then there is no trace.
    let _ = span.set_parent(trace_parent(headers));
    span
}

/// The caller's trace, when it sent a `traceparent`.
pub(crate) fn trace_parent(headers: &HeaderMap) -> opentelemetry::Context {
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&Headers(headers))
    })
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
