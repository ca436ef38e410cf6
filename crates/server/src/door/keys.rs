//! Who sends a request, wherever the protocol has the key.

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::request::Parts;
use http::{HeaderMap, header};
use northstar_proto::errors::v1::ErrorReason;

use super::Refusal;
use super::body::discard;
use super::layers::{OfDoor, method_not_allowed, path, route};
use crate::access::DoorAccess;
use crate::auth::Authenticator;
use crate::status::failure;
use crate::{Caller, access};

/// Finds the caller of a request whose key is in no header.
#[derive(Clone)]
pub struct Keys {
    authenticator: Authenticator,
    route: String,
    access: DoorAccess,
    headers: HeaderMap,
}

impl Keys {
    fn of(request: &Request) -> Result<Self, Refusal> {
        let door = OfDoor::of(request.extensions())?;
        door.keys(request.method(), request.extensions(), request.headers())
    }

    /// The caller that a header names, for a handler with its own way to tell
    /// who sends and for which a key is one of them.
    ///
    /// # Errors
    /// As [`Keys::caller`].
    pub async fn caller_in_headers(&self) -> Result<Caller, Refusal> {
        self.caller(header_key(&self.headers).as_deref()).await
    }

    /// The caller who holds this key, when its role may use this route.
    ///
    /// # Errors
    /// As for a key in a header: 401 without one or with an unknown one, 403
    /// with one of another role.
    pub async fn caller(&self, key: Option<&str>) -> Result<Caller, Refusal> {
        let caller = self
            .authenticator
            .identify(&self.route, key.filter(|key| !key.is_empty()), &self.headers)
            .await?;
        match self.access {
            DoorAccess::Key(role) | DoorAccess::KeyWithin(role) => {
                access::allow(&caller, role)?;
                let span = tracing::Span::current();
                span.record("caller.project", caller.project.0);
                span.record("caller.principal", caller.principal.as_str());
                Ok(caller)
            }
            DoorAccess::Own => Ok(caller),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Keys {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        OfDoor::of(&parts.extensions)?.keys(&parts.method, &parts.extensions, &parts.headers)
    }
}

/// The caller that a header names. A route whose key may be within the request
/// takes an `Option<Caller>` and [`Keys`] instead.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| unauthenticated().into())
    }
}

impl<S: Send + Sync> axum::extract::OptionalFromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Refusal> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

fn unauthenticated() -> crate::status::Failure {
    failure(ErrorReason::Unauthenticated, "this request needs an API key")
}

/// Turns the key of a header into a [`Caller`], before the body is read. A
/// request without one goes on only where the protocol may have it elsewhere.
pub(super) async fn authorize(mut request: Request, next: Next) -> Response {
    let (keys, key) = (Keys::of(&request), header_key(request.headers()));
    let caller = match authorized(keys, key).await {
        Ok(caller) => caller,
        Err(refusal) => {
            discard(request.into_body()).await;
            return refusal.into_response();
        }
    };
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    next.run(request).await
}

async fn authorized(
    keys: Result<Keys, Refusal>,
    key: Option<String>,
) -> Result<Option<Caller>, Refusal> {
    let keys = keys?;
    match keys.access {
        DoorAccess::Own => Ok(None),
        DoorAccess::KeyWithin(_) if key.is_none() => Ok(None),
        DoorAccess::Key(_) | DoorAccess::KeyWithin(_) => {
            keys.caller(key.as_deref()).await.map(Some)
        }
    }
}

impl OfDoor {
    fn keys(
        &self,
        method: &http::Method,
        extensions: &http::Extensions,
        headers: &HeaderMap,
    ) -> Result<Keys, Refusal> {
        let route = route(method, extensions);
        let access =
            access::door(&route).ok_or_else(|| method_not_allowed(method, path(extensions)))?;
        let (authenticator, headers) = (self.authenticator.clone(), headers.clone());
        Ok(Keys { authenticator, route, access, headers })
    }
}

/// The key of `authorization: Bearer <key>` or `Basic base64(<key>:)`.
fn header_key(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let key = if scheme.eq_ignore_ascii_case("bearer") {
        credentials.trim().to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
        decoded.split_once(':').map_or_else(|| decoded.clone(), |(key, _)| key.to_owned())
    } else {
        return None;
    };
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_either_scheme() {
        let key = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            header_key(&headers)
        };
        assert_eq!(key("Bearer ns_abc").as_deref(), Some("ns_abc"));
        assert_eq!(key("basic bnNfYWJjOg==").as_deref(), Some("ns_abc"));
        assert_eq!(key("Basic bnNfYWJj").as_deref(), Some("ns_abc"), "without the colon");
        for bad in ["", "Bearer ", "Basic", "Basic %%%", "Basic Og==", "Digest abc", "ns_abc"] {
            assert_eq!(key(bad), None, "{bad:?}");
        }
    }
}
