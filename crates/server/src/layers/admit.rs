//! Refuses at once what cannot be handled soon, so that a busy process stays
//! quick.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use northstar_proto::errors::v1::ErrorReason;
use tokio::sync::Semaphore;

use super::{is_health, refuse};
use crate::status::failure;

/// Admits a call when a place is free. A unary call keeps its place until it is
/// answered; a stream only until it is set up, because it may last for days.
/// Streams are bounded by the streams that a connection may hold open.
pub(super) async fn admit(
    State(places): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    if is_health(request.uri().path()) {
        return next.run(request).await;
    }
    let Ok(_place) = places.try_acquire() else {
        return refuse(
            failure(
                ErrorReason::Overloaded,
                "the service handles as many calls as it may; try again shortly",
            )
            .metadata("limit", "concurrency"),
        );
    };
    next.run(request).await
}
