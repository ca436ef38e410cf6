//! The HTTP routes every process has: health and metrics. They tell nothing of
//! any project, so they ask for no key.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;

use crate::health::{Readiness, Status};
use crate::telemetry;

/// `/health/livez`, `/health/readyz` and `/metrics`.
pub(crate) fn always(readiness: watch::Receiver<Readiness>) -> Router {
    Router::new()
        .route("/health/livez", get(async || axum::Json(serde_json::json!({"status": "live"}))))
        .route("/health/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", get(metrics))
}

/// 200 when every service is ready, 503 otherwise; the body says which is not
/// and why.
async fn readyz(State(readiness): State<watch::Receiver<Readiness>>) -> Response {
    let readiness = readiness.borrow().clone();
    let status = match readiness.status {
        Status::Ready => StatusCode::OK,
        Status::NotReady | Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, axum::Json(readiness)).into_response()
}

/// Every instrument in Prometheus' text format.
async fn metrics() -> Response {
    match telemetry::exposition() {
        Ok((content_type, text)) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "metrics not encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
