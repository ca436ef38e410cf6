//! HTTP doors for protocols of other people. Each maps its messages to events;
//! here they enter the one pipeline, each with an answer of its own.

mod cloudevents;
mod segment;
mod time;

use std::borrow::Cow;

use northstar_domain::event::{
    Fault, MAX_BATCH_EVENTS, MAX_ID_BYTES, MAX_PROPERTIES_BYTES, check_message_id,
};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::{Caller, Service};
use prost_types::Timestamp;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::arrivals::is_of_form;
use crate::batch::{Batch, Item, Origin};
use crate::error::Error;
use crate::service::Ingestion;

/// Longest field and message of a record in quarantine, in bytes.
const FIELD_BYTES: usize = 1_000;
const MESSAGE_BYTES: usize = 4_000;

/// Hangs every door into the service.
pub(crate) fn hang(service: Service, ingestion: &Ingestion) -> Service {
    service.door(segment::door(ingestion.clone())).door(cloudevents::door(ingestion.clone()))
}

/// One message of a request, as its protocol was read.
pub(crate) struct Message<'a> {
    /// As it came: what quarantine keeps when it is no event.
    pub(crate) raw: Cow<'a, [u8]>,
    /// The event, or why it is none.
    pub(crate) event: Result<Mapped, Unreadable>,
}

/// An event as mapped.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    /// The event. Without an occurred time, it happened when it was received.
    pub(crate) event: pb::Event,
}

/// Why a message is no event.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Unreadable {
    /// The id it gave itself; empty when it has none that can be used.
    pub(crate) message_id: String,
    /// Machine-readable, in `lower_snake_case`.
    pub(crate) reason: &'static str,
    /// The field at fault, in the words of the protocol.
    pub(crate) field: String,
    /// One sentence for people.
    pub(crate) message: String,
}

impl Unreadable {
    pub(crate) fn new(
        reason: &'static str,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { message_id: String::new(), reason, field: field.into(), message: message.into() }
    }
}

impl Ingestion {
    /// Puts messages into the log, and what is no event into quarantine, whole.
    /// The source is the principal of the caller's key. One result for each
    /// message, in their order, once all of it is durable.
    ///
    /// A message is rejected only when a contract refuses its event, or when it
    /// is larger than quarantine keeps.
    pub(crate) async fn deliver(
        &self,
        caller: &Caller,
        messages: Vec<Message<'_>>,
    ) -> Result<Vec<pb::EventResult>, Error> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        if messages.len() > MAX_BATCH_EVENTS {
            let (found, limit) = (messages.len(), MAX_BATCH_EVENTS);
            return Err(Error::TooLarge { what: "events", found, limit });
        }
        let bytes = messages.iter().map(|message| message.raw.len()).sum();
        let memory = self.writer.try_reserve(bytes)?;
        let contracts = self.contracts.of(caller.project).await?;
        let origin = self.origin(caller.project, &caller.principal).await?;

        let mut events = Vec::with_capacity(messages.len());
        let mut timeless = Vec::new();
        let mut others = Vec::with_capacity(messages.len());
        for (index, Message { raw, event }) in messages.into_iter().enumerate() {
            // What is no event leaves a gap that is filled below.
            let (event, id) = match event {
                Ok(Mapped { event }) => {
                    let id = event.message_id.clone();
                    (event, Ok(id))
                }
                Err(unreadable) => (pb::Event::default(), Err(unreadable)),
            };
            if id.is_ok() && event.occurred_time.is_none() {
                timeless.push(index);
            }
            events.push(event);
            others.push((raw, id));
        }
        let timeless = give_times(&mut events, &timeless, origin);

        let mut batch = Batch::of_events(origin, events, &contracts);
        let undated = Batch::of_events(origin, timeless.events, &contracts);
        for (index, item) in timeless.indexes.into_iter().zip(undated.items) {
            forget_time(&mut batch.items[index], &item);
        }
        for (item, (raw, id)) in batch.items.iter_mut().zip(others) {
            if let Item::Reject { fault } = &*item
                && !fault.reason.forbids_keeping()
                && let Some(record) = record(fault, &raw, id)
            {
                let kept = Batch::of_records(origin, vec![record], &contracts).items;
                *item = kept.into_iter().next().expect("a record is an item");
            }
        }
        drop(contracts);
        Ok(self.writer.write(batch, memory).await?.results)
    }
}

/// Events that do not say when they happened, with a time that is always the
/// same.
struct Timeless {
    indexes: Vec<usize>,
    events: Vec<pb::Event>,
}

/// Gives events without a time the time of receipt.
fn give_times(events: &mut [pb::Event], indexes: &[usize], origin: Origin) -> Timeless {
    let mut timeless = Vec::with_capacity(indexes.len());
    for index in indexes {
        let event = &mut events[*index];
        event.occurred_time = Some(Timestamp::default());
        timeless.push(event.clone());
        event.occurred_time = Some(crate::convert::time_to_proto(origin.received_at));
    }
    Timeless { indexes: indexes.to_vec(), events: timeless }
}

/// A second delivery of an event without a time is received at another, and is
/// the same event all the same: its body hash must not depend on it.
fn forget_time(item: &mut Item, undated: &Item) {
    if let (
        Item::Accept { key, .. } | Item::Quarantine { key, .. },
        Item::Accept { key: undated, .. } | Item::Quarantine { key: undated, .. },
    ) = (item, undated)
    {
        key.body_hash = undated.body_hash;
    }
}

/// What quarantine keeps of a message that is no event; `None` when a contract
/// says that it is not kept.
fn record(
    fault: &Fault,
    raw: &[u8],
    id: Result<String, Unreadable>,
) -> Option<pb::MalformedRecord> {
    let unreadable = match id {
        Err(unreadable) => unreadable,
        Ok(_) if !is_of_form(fault.reason) => return None,
        Ok(message_id) => Unreadable {
            message_id,
            reason: fault.reason.as_str(),
            field: fault.field.clone().into_owned(),
            message: fault.message.clone(),
        },
    };
    let Unreadable { message_id, reason, field, message } = unreadable;
    Some(pb::MalformedRecord {
        message_id: match check_message_id(&message_id) {
            Ok(()) => message_id,
            Err(_) => content_id(raw),
        },
        raw: raw.to_vec(),
        reason: reason.to_owned(),
        field: tidy(field, FIELD_BYTES),
        message: tidy(message, MESSAGE_BYTES),
    })
}

/// An id for a message that has none: the same bytes have the same.
pub(crate) fn content_id(raw: &[u8]) -> String {
    hex::encode(&Sha256::digest(raw)[..16])
}

/// A text that quarantine can hold.
fn tidy(text: String, most: usize) -> String {
    let mut text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
    text.truncate(text.floor_char_boundary(most));
    text
}

/// A result as the doors with JSON answers tell it: index, outcome and, when it
/// was not accepted, why.
pub(crate) fn result_to_json(index: usize, result: &pb::EventResult) -> Json {
    let outcome = match result.outcome() {
        pb::EventOutcome::Accepted => "accepted",
        pb::EventOutcome::Duplicate => "duplicate",
        pb::EventOutcome::Quarantined => "quarantined",
        pb::EventOutcome::Rejected => "rejected",
        pb::EventOutcome::Retry | pb::EventOutcome::Unspecified => "retry",
    };
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
pub(crate) fn id(field: &'static str, value: Option<Json>) -> Result<String, Unreadable> {
    match value {
        None | Some(Json::Null) => Ok(String::new()),
        Some(Json::String(text)) => Ok(text),
        Some(Json::Number(number)) => Ok(number.to_string()),
        Some(Json::Bool(_) | Json::Array(_) | Json::Object(_)) => {
            Err(Unreadable::new("invalid_id", field, "must be a text or a number"))
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
    fn a_text_is_cut_between_characters_and_holds_no_nul() {
        assert_eq!(tidy("a\0b".to_owned(), 10), "a\u{fffd}b");
        assert_eq!(tidy("äöü".to_owned(), 3), "ä");
    }

    #[test]
    fn an_id_is_a_text_or_a_number() {
        assert_eq!(id("userId", None), Ok(String::new()));
        assert_eq!(id("userId", Some(json!(null))), Ok(String::new()));
        assert_eq!(id("userId", Some(json!("u1"))), Ok("u1".to_owned()));
        assert_eq!(id("userId", Some(json!(17))), Ok("17".to_owned()));
        assert_eq!(id("userId", Some(json!({}))).unwrap_err().reason, "invalid_id");
    }
}
