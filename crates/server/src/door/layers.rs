//! What every request at a door passes on its way to a handler.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::{Extensions, Method};
use northstar_client::metadata;
use northstar_proto::errors::v1::ErrorReason;
use tower::ServiceBuilder;
use tower::util::option_layer;

use super::observe::{self, Instruments};
use super::{Hung, Limits, Refusal, Room, Settings, cors, keys};
use crate::auth::Authenticator;
use crate::layers::{assign_request_id, panicked};
use crate::status::failure;
use crate::{InvalidConfig, access};

/// What all doors of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) authenticator: Authenticator,
    pub(crate) room: Room,
}

/// What extractors need to know about the door that a request came to.
#[derive(Clone)]
pub(super) struct OfDoor {
    pub(super) authenticator: Authenticator,
    pub(super) room: Room,
    pub(super) limits: Limits,
}

impl OfDoor {
    pub(super) fn of(extensions: &Extensions) -> Result<&Self, Refusal> {
        extensions.get().ok_or_else(|| {
            failure(ErrorReason::Internal, "this route is not behind a door of the process").into()
        })
    }
}

/// Puts the layers around a door.
///
/// # Errors
/// When a route is not in [`access::DOORS`].
pub(crate) fn around(door: Hung, shared: &Shared) -> Result<Router, InvalidConfig> {
    for (method, path) in &door.routes {
        let route = format!("{method} {path}");
        if access::door(&route).is_none() {
            let problem = format!("{route} has no line in access::DOORS, so nobody may use it");
            return Err(InvalidConfig::Unusable(problem));
        }
    }
    let Settings { limits, cors, wording } = door.settings;
    let of_door =
        OfDoor { authenticator: shared.authenticator.clone(), room: shared.room.clone(), limits };
    let word = move |request: Request, next: Next| async move {
        let Some(wording) = wording else { return next.run(request).await };
        let headers = request.headers().clone();
        let response = next.run(request).await;
        match response.extensions().get::<Refusal>() {
            Some(refusal) => wording(&headers, refusal),
            None => response,
        }
    };
    Ok(door.router.layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state(Instruments::new(), observe::observe))
            .layer(from_fn(assign_request_id))
            .layer(from_fn(catch))
            .layer(option_layer(cors.then(cors::layer)))
            .layer(from_fn(word))
            .layer(from_fn_with_state(of_door, introduce))
            .layer(from_fn(keys::authorize)),
    ))
}

/// The answer at paths that lead nowhere.
pub(crate) async fn not_found(request: Request) -> Refusal {
    let path = request.uri().path();
    failure(ErrorReason::NotFound, format!("there is nothing at {path}"))
        .metadata("path", path)
        .into()
}

/// The answer to a method that the route does not have. Every one it has is in
/// the table, or the process would not have started.
pub(super) fn method_not_allowed(method: &Method, path: &str) -> Refusal {
    let routes = access::DOORS.iter().filter_map(|(route, _)| route.split_once(' '));
    let methods: Vec<&str> =
        routes.filter(|(_, of)| *of == path).map(|(method, _)| method).collect();
    let methods = methods.join(", ");
    let message = format!("{path} answers {methods}, not {method}");
    Refusal::new(
        http::StatusCode::METHOD_NOT_ALLOWED,
        failure(ErrorReason::NotFound, message).metadata("path", path),
    )
    .with_methods(methods)
}

/// The path of the route, with its parameters' names instead of their values.
pub(super) fn path(extensions: &Extensions) -> &str {
    extensions.get::<MatchedPath>().map_or("unknown", MatchedPath::as_str)
}

/// The route as [`access::DOORS`] names it.
pub(super) fn route(method: &Method, extensions: &Extensions) -> String {
    // A HEAD is answered as the GET would be, without its body.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    format!("{method} {}", path(extensions))
}

async fn introduce(State(door): State<OfDoor>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(door);
    next.run(request).await
}

/// A handler that panics fails its own request, not the process.
async fn catch(request: Request, next: Next) -> Response {
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
        Err(_) => Refusal::from(panicked(&id)).into_response(),
    }
}
