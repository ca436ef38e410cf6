//! What every process shares: configuration, listener, layers, health,
//! telemetry, shutdown, status.

mod caller;
pub mod idempotent;
pub mod outbox;
pub mod page;
pub mod status;

pub use caller::{Caller, caller};
