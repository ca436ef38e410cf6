//! A service, ready to be served: what it answers, what it does meanwhile and
//! what it needs to be ready.

use std::convert::Infallible;
use std::pin::Pin;

use sqlx::PgPool;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;

use crate::door::{Door, Hung};
use crate::latch::Latch;

pub(crate) type Worker = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// One service of the suite. See [`crate::serve`].
pub struct Service {
    pub(crate) name: &'static str,
    pub(crate) grpc: Vec<Mount>,
    pub(crate) doors: Vec<Hung>,
    pub(crate) workers: Vec<(&'static str, Worker)>,
    pub(crate) pools: Vec<PgPool>,
    pub(crate) latches: Vec<Latch>,
}

/// A gRPC service and its full name, as health and reflection know it.
pub(crate) struct Mount {
    pub(crate) name: &'static str,
    pub(crate) add: Box<dyn FnOnce(Routes) -> Routes + Send>,
}

impl Service {
    /// A service by its short name, for example `metrics`.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            grpc: Vec::new(),
            doors: Vec::new(),
            workers: Vec::new(),
            pools: Vec::new(),
            latches: Vec::new(),
        }
    }

    /// Answers a gRPC service. Raise its `max_decoding_message_size` to
    /// [`crate::Context::max_message_bytes`] where requests are large.
    #[must_use]
    pub fn grpc<S>(mut self, service: S) -> Self
    where
        S: tower::Service<http::Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        let add = Box::new(move |routes: Routes| routes.add_service(service));
        self.grpc.push(Mount { name: S::NAME, add });
        self
    }

    /// Answers HTTP beside health and metrics. The paths must not collide with
    /// other doors'.
    #[must_use]
    pub fn door<S: Clone + Send + Sync + 'static>(mut self, door: Door<S>) -> Self {
        self.doors.push(door.hang());
        self
    }

    /// Runs beside the service until [`crate::Context::shutdown`] is cancelled.
    /// A worker that fails or panics stops the process, so that its supervisor
    /// starts it again; a worker that is done returns `Ok`.
    #[must_use]
    pub fn worker(
        mut self,
        name: &'static str,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> Self {
        self.workers.push((name, Box::pin(work)));
        self
    }

    /// The service is ready when this pool reaches a database whose schema is
    /// current. The first pool of a process also looks up API keys.
    #[must_use]
    pub fn pool(mut self, pool: PgPool) -> Self {
        self.pools.push(pool);
        self
    }

    /// The service is ready when this latch is released.
    #[must_use]
    pub fn latch(mut self, latch: Latch) -> Self {
        self.latches.push(latch);
        self
    }
}
