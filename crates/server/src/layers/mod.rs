//! What every call passes on its way to a handler, outermost first: it is
//! observed (span, metrics), gets a request id, is guarded against panics,
//! admitted or shed, authorised, measured against the message limit, blamed for
//! what cannot be read, and given a deadline.

mod admit;
mod auth;
mod call;
mod deadline;
mod instruments;
mod message_size;
mod observe;
mod panic;
mod request_id;
mod stream;
mod unreadable;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tower::ServiceBuilder;

pub(crate) use self::observe::trace_parent;
pub(crate) use self::panic::panicked;
pub(crate) use self::request_id::assign as assign_request_id;

use self::deadline::Lifetime;
use self::instruments::Instruments;
use crate::auth::Authenticator;
use crate::status::Failure;

/// What the layers go by.
pub(crate) struct Limits {
    pub(crate) concurrent_requests: NonZeroUsize,
    pub(crate) message_bytes: usize,
    pub(crate) default_deadline: Duration,
    /// Cancelled when open health watches must end.
    pub(crate) closing: CancellationToken,
}

/// Puts the layers around the gRPC services.
pub(crate) fn around(router: Router, authenticator: Authenticator, limits: Limits) -> Router {
    let admission = Arc::new(Semaphore::new(limits.concurrent_requests.get()));
    let lifetime = Lifetime { default: limits.default_deadline, closing: limits.closing };
    router.layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state(Instruments::new(), observe::observe))
            .layer(from_fn(request_id::assign))
            .layer(from_fn(panic::catch))
            .layer(from_fn_with_state(admission, admit::admit))
            .layer(from_fn_with_state(authenticator, auth::authorize))
            .layer(from_fn_with_state(limits.message_bytes, message_size::limit))
            .layer(from_fn(unreadable::blame))
            .layer(from_fn_with_state(lifetime, deadline::apply)),
    )
}

/// A failure as a gRPC response without messages.
fn refuse(failure: Failure) -> Response {
    Status::from(failure).into_http()
}

/// Whether a path is that of the health service, which probes ask without a key
/// and however busy the process is.
fn is_health(path: &str) -> bool {
    crate::access::required(path) == crate::access::Access::Open
}
