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
        Err(_) => refuse(panicked(&id)),
    }
}

/// The answer to a call whose handler panicked. What and where the panic hook
/// has logged.
pub(crate) fn panicked(request_id: &str) -> Failure {
    tracing::error!("handler panicked");
    failure(ErrorReason::Internal, "the call failed; the server's log says why")
        .metadata("request_id", request_id)
}
