//! What the words mean: ids, roles, names, states and rules. This crate knows
//! nobody: no I/O, no async, no wire format.

mod clock;
pub mod duration;
pub mod expression;
mod id;
mod name;
mod role;
pub mod timestamp;
mod violation;

pub use clock::{Clock, SystemClock};
pub use id::{ApiKeyId, DecisionRequestId, ProjectId, QuarantineId, RunId};
pub use name::{InvalidName, ResourceName};
pub use role::{Role, UnknownRole};
pub use violation::Violation;
