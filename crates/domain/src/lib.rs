//! What the words mean: ids, roles, names, states and rules. This crate knows
//! nobody: no I/O, no async, no wire format.

mod api_key;
pub mod assignment;
pub mod automation;
pub mod canonical_json;
pub mod catalog;
mod clock;
pub mod consent;
pub mod contract;
pub mod decision;
pub mod duration;
pub mod event;
pub mod experiment;
pub mod expression;
pub mod holdout;
mod id;
pub mod identity;
pub mod kpi;
pub mod metric;
mod name;
pub mod pillar;
pub mod policy;
pub mod retry;
mod role;
pub mod run;
pub mod segment;
pub mod time_correction;
pub mod timestamp;
mod violation;
mod violations;
pub mod webhook;

pub use api_key::ApiKeySecret;
pub use clock::{Clock, SystemClock};
pub use id::{ApiKeyId, DecisionRequestId, ProjectId, QuarantineId, RunId};
pub use name::{InvalidName, ResourceName};
pub use policy::DeciderRole;
pub use role::{Role, UnknownRole};
pub use violation::{InvalidExpression, MissingReference, Problems, Violation};
pub use violations::Violations;
