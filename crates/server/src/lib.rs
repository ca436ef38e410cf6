//! What every process shares: configuration, listener, layers, health,
//! telemetry, shutdown, status.
//!
//! A service is built from a [`Context`] into a [`Service`]: gRPC services,
//! workers, pools and latches. [`main`] runs one in a process of its own, a
//! [`Host`] runs any number in this process. Health, reflection, `/metrics` and
//! the layers around every call are added here, once:
//!
//! 1. a span under the caller's trace, a count and a duration;
//! 2. a request id, the caller's or a new one;
//! 3. a panic becomes INTERNAL;
//! 4. too many calls at once become RESOURCE_EXHAUSTED with `RetryInfo`;
//! 5. an API key becomes a [`Caller`], checked against [`access::TABLE`];
//! 6. too large a message becomes INVALID_ARGUMENT;
//! 7. too long a call becomes DEADLINE_EXCEEDED.
//!
//! HTTP [doors](door) for protocols that are not gRPC have layers of their own, to the
//! same ends.
//!
//! Refusals carry `google.rpc.ErrorInfo`, as all of Northstar's do
//! ([`status`]).

pub mod access;
mod auth;
mod caller;
mod config;
mod context;
pub mod door;
pub mod erasure;
mod exposure;
mod health;
mod host;
mod http;
pub mod idempotent;
mod latch;
mod layers;
mod listen;
pub mod method;
pub mod outbox;
pub mod page;
mod process;
mod secret;
mod serve;
mod service;
mod signals;
pub mod status;
pub mod telemetry;
mod workers;

pub use auth::KEY_LIFETIME;
pub use caller::{Caller, caller};
pub use config::Config;
pub use context::Context;
pub use host::Host;
pub use latch::Latch;
pub use process::{EXIT_CONFIG, main, run, sentence};
pub use secret::{InvalidConfig, Secret};
pub use serve::serve;
pub use service::Service;
pub use signals::Signals;
