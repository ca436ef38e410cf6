//! What the words mean: ids, roles, names, states and rules. This crate knows
//! nobody: no I/O, no async, no wire format.

mod api_key;
pub mod assignment;
pub mod automation;
pub mod canonical_json;
pub mod catalog;
mod clock;
pub mod consent;
pub mod consent_policy;
pub mod contract;
pub mod decision;
pub mod duration;
pub mod erasure;
pub mod event;
pub mod experiment;
pub mod expression;
pub mod failure;
pub mod holdout;
mod id;
pub mod identity;
pub mod kpi;
pub mod metric;
mod name;
pub mod pillar;
pub mod policy;
pub mod quarantine;
pub mod retention;
pub mod retry;
mod role;
pub mod run;
pub mod segment;
pub mod source;
pub mod subscription;
pub mod time_correction;
pub mod timestamp;
mod violation;
mod violations;
pub mod webhook;

pub use api_key::ApiKeySecret;
pub use clock::{Clock, SystemClock};
pub use id::{ApiKeyId, DecisionRequestId, ErasureId, ProjectId, QuarantineId, RunId};
pub use name::{InvalidName, ResourceName};
pub use policy::DeciderRole;
pub use role::{Role, UnknownRole};
pub use violation::{InvalidExpression, MissingReference, Problems, Violation};
pub use violations::Violations;
