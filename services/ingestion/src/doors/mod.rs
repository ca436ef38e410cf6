//! HTTP doors for protocols of other people. Each maps its messages to events,
//! which enter the pipeline as [`crate::arrivals`], each with an answer of its own.

mod cloudevents;
mod segment;
mod time;

use http::HeaderMap;
use northstar_client::metadata;
use northstar_domain::event::{MAX_ID_BYTES, MAX_PROPERTIES_BYTES};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::{Caller, Service};
use serde_json::{Value as Json, json};

use crate::arrivals::{Arrival, Misfit};
use crate::service::Ingestion;

/// A message as its protocol was read, and as it came.
type Message = Arrival<Vec<u8>>;

/// Name of the source: what a header says, else the name of the key.
fn source<'a>(caller: &'a Caller, headers: &'a HeaderMap) -> &'a str {
    // What is no text is no name, and is refused as one.
    let named = headers.get(metadata::SOURCE).map(|name| name.to_str().unwrap_or_default());
    named.unwrap_or(&caller.principal)
}

/// Hangs every door into the service.
pub(crate) fn hang(service: Service, ingestion: &Ingestion) -> Service {
    service.door(segment::door(ingestion.clone())).door(cloudevents::door(ingestion.clone()))
}

/// An outcome in JSON.
pub(crate) fn outcome_text(outcome: pb::EventOutcome) -> &'static str {
    match outcome {
        pb::EventOutcome::Accepted => "accepted",
        pb::EventOutcome::Duplicate => "duplicate",
        pb::EventOutcome::Quarantined => "quarantined",
        pb::EventOutcome::Rejected => "rejected",
        pb::EventOutcome::Retry | pb::EventOutcome::Unspecified => "retry",
    }
}

/// A result as the doors with JSON answers tell it: index, outcome and, when it
/// was not accepted, why.
pub(crate) fn result_to_json(index: usize, result: &pb::EventResult) -> Json {
    let outcome = outcome_text(result.outcome());
    let mut told = json!({ "index": index, "outcome": outcome });
    for (name, text) in
        [("reason", &result.reason), ("field", &result.field), ("message", &result.message)]
    {
        if !text.is_empty() {
            told[name] = text.as_str().into();
        }
    }
    if result.position != 0 {
        told["position"] = result.position.into();
    }
    told
}

/// An id that people write as a text or a number; `None` when there is none.
pub(crate) fn id(field: &'static str, value: Option<Json>) -> Result<String, Misfit> {
    match value {
        None | Some(Json::Null) => Ok(String::new()),
        Some(Json::String(text)) => Ok(text),
        Some(Json::Number(number)) => Ok(number.to_string()),
        Some(Json::Bool(_) | Json::Array(_) | Json::Object(_)) => {
            Err(Misfit::new("invalid_id", field, "must be a text or a number"))
        }
    }
}

// A raw message that is kept must fit where properties fit.
const _: () = assert!(MAX_PROPERTIES_BYTES >= segment::MAX_EVENT_BYTES);
const _: () = assert!(MAX_ID_BYTES >= 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_text_or_a_number() {
        assert_eq!(id("userId", None), Ok(String::new()));
        assert_eq!(id("userId", Some(json!(null))), Ok(String::new()));
        assert_eq!(id("userId", Some(json!("u1"))), Ok("u1".to_owned()));
        assert_eq!(id("userId", Some(json!(17))), Ok("17".to_owned()));
        assert_eq!(id("userId", Some(json!({}))).unwrap_err().reason, "invalid_id");
    }
}
