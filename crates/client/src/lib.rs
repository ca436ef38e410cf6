//! The typed Rust client that other backend services use.
//!
//! One [`Clients`] holds a connection to each of Northstar's services. It is a
//! cheap clone, connects when first used, reconnects by itself and may be shared
//! by every task of a process.
//!
//! ```no_run
//! use northstar_client::Clients;
//! use northstar_client::proto::metrics::v1::ListMetricsRequest;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let northstar = Clients::connect("http://localhost:50051", "ns_...")?;
//! let metrics = northstar.metrics().list_metrics(ListMetricsRequest::default()).await?;
//! println!("{:?}", metrics.into_inner());
//! # Ok(())
//! # }
//! ```
//!
//! Within a Northstar service, a call made while handling a request goes out
//! with that request's credentials, request id, trace and remaining deadline:
//! the server keeps them in a task-local [`RequestContext`].

mod channel;
mod clients;
pub mod columns;
mod consumer;
mod context;
mod credentials;
mod outgoing;
pub mod result_runs;

pub use channel::{Endpoints, InvalidEndpoint};
pub use clients::{Clients, Connection, MAX_RESPONSE_BYTES};
pub use consumer::{Batch, Consumer};
pub use context::RequestContext;
pub use credentials::{Credentials, InvalidCredentials};
pub use northstar_proto as proto;
pub use outgoing::Outgoing;

/// The names of the metadata Northstar reads and sends.
pub mod metadata {
    /// `Bearer <API key>`.
    pub const AUTHORIZATION: &str = "authorization";
    /// The project of the call, a positive integer; with suite keys only.
    pub const PROJECT: &str = "northstar-project";
    /// Name of the source that sends, over HTTP; without it that of the key.
    pub const SOURCE: &str = "northstar-source";
    /// Names one request in every log and span, across services.
    pub const REQUEST_ID: &str = "northstar-request-id";
}

/// What keeps [`Clients`] from being made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address is not one that can be connected to.
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    /// A key cannot be sent.
    #[error(transparent)]
    Credentials(#[from] InvalidCredentials),
}
