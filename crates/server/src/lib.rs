//! What every process shares: configuration, listener, layers, health,
//! telemetry, shutdown, status.

pub mod access;
mod auth;
mod caller;
mod config;
mod context;
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
pub use process::{EXIT_CONFIG, main, run};
pub use secret::{InvalidConfig, Secret};
pub use serve::serve;
pub use service::Service;
pub use signals::Signals;
