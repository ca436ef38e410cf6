//! What every call passes on its way to a handler, outermost first.

mod auth;
mod deadline;

use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use tonic::Status;
use tower::ServiceBuilder;

use crate::auth::Authenticator;
use crate::status::Failure;

/// What the layers go by.
pub(crate) struct Limits {
    pub(crate) default_deadline: Duration,
}

/// Puts the layers around the gRPC services.
pub(crate) fn around(router: Router, authenticator: Authenticator, limits: &Limits) -> Router {
    router.layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state(authenticator, auth::authorize))
            .layer(from_fn_with_state(limits.default_deadline, deadline::apply)),
    )
}

/// A failure as a gRPC response without messages.
pub(crate) fn refuse(failure: Failure) -> Response {
    Status::from(failure).into_http()
}
