//! HTTP doors: other people's protocols, behind the same keys, limits and
//! observation as gRPC.
//!
//! A service lists its routes in a [`Door`] and hands it to
//! [`crate::Service::door`]. Around every route the process puts, outermost
//! first:
//!
//! 1. a span under the caller's trace, a duration and a count by route;
//! 2. a request id, the caller's or a new one;
//! 3. a panic becomes a 500;
//! 4. CORS, where the door is open to browsers;
//! 5. an API key becomes a [`Caller`](crate::Caller), checked against
//!    [`access::DOORS`](crate::access::DOORS).
//!
//! The key is looked for in `authorization: Bearer <key>` and in
//! `authorization: Basic base64(<key>:)`. A protocol that sends it elsewhere
//! finds it itself and asks [`Keys`]. A handler reads the body with [`Body`],
//! which holds every limit. What is refused is a [`Refusal`]: one JSON body for
//! all doors, unless the protocol has its own ([`Door::refusals`]).
//!
//! ```
//! use axum::extract::State;
//! use northstar_server::Caller;
//! use northstar_server::door::{Body, Door, Limits, Refusal};
//!
//! async fn track(State(()): State<()>, caller: Caller, body: Body) -> Result<String, Refusal> {
//!     Ok(format!("{} sent {} bytes", caller.principal, body.bytes().len()))
//! }
//!
//! let door = Door::new(()).limits(Limits::default()).cors().post("/v1/track", track);
//! # let _ = door;
//! ```

mod body;
mod cors;
mod decode;
mod keys;
mod layers;
mod observe;
mod refusal;
mod room;

use axum::Router;
use axum::handler::Handler;
use http::{HeaderMap, Method};

pub use body::{Body, Limits};
pub use keys::Keys;
pub use refusal::Refusal;

pub(crate) use layers::{Shared, around, not_found};
pub(crate) use room::Room;

/// How a protocol of its own words a refusal: the answer to a request with
/// these headers.
pub type Wording = fn(&HeaderMap, &Refusal) -> axum::response::Response;

/// The HTTP routes of one protocol.
pub struct Door<S = ()> {
    router: Router<S>,
    state: S,
    routes: Vec<(Method, &'static str)>,
    settings: Settings,
}

/// What holds for every route of a door.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) cors: bool,
    pub(crate) wording: Option<Wording>,
}

/// A door whose routes have their state.
pub(crate) struct Hung {
    pub(crate) router: Router,
    pub(crate) routes: Vec<(Method, &'static str)>,
    pub(crate) settings: Settings,
}

impl<S: Clone + Send + Sync + 'static> Door<S> {
    /// A door without routes; handlers get the state.
    pub fn new(state: S) -> Self {
        Self { router: Router::new(), state, routes: Vec::new(), settings: Settings::default() }
    }

    /// What a body may take; [`Limits::default`] otherwise.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Opens the door to scripts of web pages of any origin, as an SDK in a
    /// browser needs it. The key is in the page then, so give it a key of role
    /// `ingest`, which can only add.
    #[must_use]
    pub fn cors(mut self) -> Self {
        self.settings.cors = true;
        self
    }

    /// Words refusals as the protocol does, those of the layers included.
    #[must_use]
    pub fn refusals(mut self, wording: Wording) -> Self {
        self.settings.wording = Some(wording);
        self
    }

    /// Answers GET. The route must be in [`crate::access::DOORS`]; a process
    /// with another does not start.
    #[must_use]
    pub fn get<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.router = self.router.route(path, axum::routing::get(handler));
        self.routes.push((Method::GET, path));
        self
    }

    /// Answers POST; as for [`Door::get`].
    #[must_use]
    pub fn post<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.router = self.router.route(path, axum::routing::post(handler));
        self.routes.push((Method::POST, path));
        self
    }

    pub(crate) fn hang(self) -> Hung {
        Hung {
            router: self.router.with_state(self.state),
            routes: self.routes,
            settings: self.settings,
        }
    }
}
