//! Between the wire and the domain: the one place where both vocabularies meet.

mod consent;
mod contract;
mod event;
mod json;
mod time;
mod webhook;

pub(crate) use consent::{consent_text, consent_to_proto};
pub use contract::{contract_from_proto, contract_to_proto};
pub(crate) use event::{logged_to_proto, quarantined_to_proto, source_to_proto};
pub(crate) use json::{properties_to_proto, write_properties};
pub(crate) use time::{time_from_proto, time_to_proto};
pub use webhook::{webhook_source_from_proto, webhook_source_to_proto};
