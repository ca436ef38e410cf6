//! Between the wire and the domain: the one place where both vocabularies meet.

mod consent;
mod contract;
mod event;
mod json;
mod retention;
mod runs;
mod source;
mod time;
mod webhook;

pub(crate) use consent::{consent_text, consent_to_proto};
pub(crate) use contract::{bump_to_proto, mode_from_proto, mode_to_proto};
pub use contract::{contract_from_proto, contract_to_proto};
pub(crate) use event::{logged_to_proto, quarantined_to_proto, source_to_proto};
pub use json::{properties_from_json, properties_to_json};
pub(crate) use json::{
    properties_to_proto, property_fault, too_large, write_json, write_number, write_properties,
    write_text,
};
pub use retention::{retention_policy_from_proto, retention_policy_to_proto};
pub(crate) use runs::result_runs;
pub(crate) use source::{limit_from_proto, state_to_proto};
pub use source::{source_definition_from_proto, source_definition_to_proto};
pub(crate) use time::{time_from_proto, time_to_proto};
pub use webhook::{webhook_source_from_proto, webhook_source_to_proto};
