//! A handler that panics fails its own call, not the process.

use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt as _;
use northstar_client::metadata;
use northstar_proto::errors::v1::ErrorReason;

use super::refuse;
use crate::status::{Failure, failure};

pub(super) async fn catch(request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(metadata::REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    // What a handler leaves half done is its own: it holds no state but in
    // Postgres, where the transaction is rolled back.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => refuse(panicked(&*panic, &id)),
    }
}

/// Logs the panic and makes the caller's answer.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send), request_id: &str) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(panic.message = message, "handler panicked");
    failure(ErrorReason::Internal, "the call failed; the server's log says why")
        .metadata("request_id", request_id)
}
