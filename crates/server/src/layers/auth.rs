//! Lets a call through when its key's role includes the one the RPC needs.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use northstar_proto::errors::v1::ErrorReason;

use super::refuse;
use crate::access::{self, Access};
use crate::auth::Authenticator;
use crate::status::{Failure, failure};

/// Authenticates and authorises; handlers find the [`crate::Caller`] in the
/// request's extensions.
pub(super) async fn authorize(
    State(authenticator): State<Authenticator>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let access = access::required(path);
    if access == Access::Open {
        return next.run(request).await;
    }
    let caller = match authenticator.authenticate(path, request.headers()).await {
        Ok(caller) => caller,
        Err(failure) => return refuse(failure),
    };
    match access {
        Access::Role(required) => {
            if let Err(failure) = access::allow(&caller, required) {
                return refuse(failure);
            }
            let span = tracing::Span::current();
            span.record("caller.project", caller.project.0);
            span.record("caller.principal", caller.principal.as_str());
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Access::Refused | Access::Open => refuse(unlisted(path)),
    }
}

fn unlisted(path: &str) -> Failure {
    failure(ErrorReason::RoleRequired, format!("no role may call {path}")).metadata("method", path)
}
