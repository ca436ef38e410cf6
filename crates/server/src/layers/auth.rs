//! Lets a call through when its key's role includes the one the RPC needs.

use std::collections::HashMap;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use northstar_proto::errors::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::refuse;
use crate::access::{self, Access};
use crate::auth::Authenticator;
use crate::method;
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
        // Who asks which protocol is spoken must hear that this one is not.
        Access::Refused if !method::all().contains_key(path) => unknown(path).into_http(),
        Access::Refused | Access::Open => refuse(unlisted(path)),
    }
}

/// The answer to a call of what is no RPC of the contracts.
fn unknown(path: &str) -> Status {
    let about = HashMap::from([("method".to_owned(), path.to_owned())]);
    let details = ErrorDetails::with_error_info(
        ErrorReason::NotFound.as_str_name(),
        northstar_proto::ERROR_DOMAIN,
        about,
    );
    let message = format!("there is no RPC {path}; reflection lists those that are");
    Status::with_error_details(Code::Unimplemented, message, details)
}

fn unlisted(path: &str) -> Failure {
    failure(ErrorReason::RoleRequired, format!("no role may call {path}")).metadata("method", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_probes_for_another_protocol_hears_that_it_is_not_spoken() {
        for path in ["/grpc.reflection.v1beta.ServerReflection/ServerReflectionInfo", "/a.B/C"] {
            assert!(!method::all().contains_key(path), "{path}");
            let status = unknown(path);
            assert_eq!(status.code(), Code::Unimplemented);
            let details = status.get_error_details();
            assert_eq!(details.error_info().map(|info| &info.metadata["method"][..]), Some(path));
        }
    }
}
