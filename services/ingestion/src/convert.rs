//! Between the wire and the domain: the one place where both vocabularies meet.

mod contract;
mod event;
mod json;
mod retention;
mod source;
mod time;

pub use contract::{contract_from_proto, contract_to_proto};
pub(crate) use event::{logged_to_proto, quarantined_to_proto, source_to_proto};
pub use json::{properties_from_json, properties_to_json};
pub(crate) use json::{properties_to_proto, write_properties};
pub use retention::{retention_policy_from_proto, retention_policy_to_proto};
pub(crate) use source::state_to_proto;
pub use source::{source_definition_from_proto, source_definition_to_proto};
pub(crate) use time::{time_from_proto, time_to_proto};
