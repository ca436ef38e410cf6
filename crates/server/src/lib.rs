//! What every process shares: configuration, listener, layers, health,
//! telemetry, shutdown, status.

pub mod access;
mod auth;
mod caller;
mod config;
mod context;
mod host;
pub mod idempotent;
mod layers;
mod listen;
pub mod method;
pub mod outbox;
pub mod page;
mod process;
mod secret;
mod service;
pub mod status;
pub mod telemetry;

pub use auth::KEY_LIFETIME;
pub use caller::{Caller, caller};
pub use config::Config;
pub use context::Context;
pub use host::{Host, serve};
pub use process::{EXIT_CONFIG, main};
pub use secret::{InvalidConfig, Secret};
pub use service::Service;
