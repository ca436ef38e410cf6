//! A span, a count and a duration for every request at a door.

use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use tracing::Instrument as _;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::layers::path;
use crate::layers::trace_parent;
use crate::telemetry::meter;

/// Bounds of the duration histogram, in seconds: what OpenTelemetry's
/// conventions advise for HTTP.
const DURATION_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// On `/metrics`: `http_server_request_duration_seconds`, whose `_count` is the
/// number of requests.
#[derive(Clone)]
pub(super) struct Instruments {
    duration: Histogram<f64>,
}

impl Instruments {
    pub(super) fn new() -> Self {
        let duration = meter()
            .f64_histogram("http.server.request.duration")
            .with_unit("s")
            .with_description("Time from a request's headers to the head of its answer")
            .with_boundaries(DURATION_BOUNDS.to_vec())
            .build();
        Self { duration }
    }

    fn ended(&self, method: &str, route: &str, status: u16, duration: Duration) {
        let labels = [
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ];
        self.duration.record(duration.as_secs_f64(), &labels);
    }
}

pub(super) async fn observe(
    State(instruments): State<Instruments>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    // Of a route only these can be asked for, so they cannot flood the labels.
    let method = match *request.method() {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        http::Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    };
    let route = path(request.extensions()).to_owned();
    let span = tracing::info_span!(
        "http",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        request.id = Empty,
        caller.project = Empty,
        caller.principal = Empty,
    );
    // Fails where no trace layer is installed, and then there is no trace.
    let _ = span.set_parent(trace_parent(request.headers()));
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    let duration = started.elapsed();
    instruments.ended(method, &route, status.as_u16(), duration);
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let _entered = span.enter();
    if status.is_server_error() {
        span.set_status(opentelemetry::trace::Status::error(status.as_str().to_owned()));
        tracing::warn!(duration_ms, "request failed");
    } else {
        tracing::debug!(duration_ms, "request ended");
    }
    response
}
