//! Records of other people's protocols on their way in. Each is an event, or is
//! kept whole with the reason why it is none.

use std::borrow::Cow;
use std::time::Instant;

use northstar_domain::event::{Event, Fault, MAX_BATCH_EVENTS, Reason, check_message_id};
use northstar_proto::ingestion::v1 as pb;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::convert::time_to_proto;
use crate::error::Error;
use crate::events::{Events, view};
use crate::sender::Sender;
use crate::service::Ingestion;

/// A transaction's share of a request. What a record becomes may be larger than
/// the record, because what many have in common is written into each.
const CHUNK_BYTES: usize = 2 << 20;
/// Longest field and message that quarantine keeps.
const FIELD_BYTES: usize = 1_000;
const MESSAGE_BYTES: usize = 4_000;

/// What becomes of events that do not say when they happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Undated {
    /// They are no events, and go into quarantine.
    Kept,
    /// They happened when they were received.
    AtReceipt,
}

/// A record and the event it became.
pub(crate) struct Arrival<R> {
    /// The event, or why the record is none.
    pub(crate) event: Result<pb::Event, Misfit>,
    /// The record.
    pub(crate) raw: R,
}

/// A record as it came, for quarantine. Few are asked for their bytes.
pub(crate) trait Raw: Send + Sync {
    /// How many bytes there are.
    fn size(&self) -> usize;

    /// The bytes.
    fn bytes(&self) -> Vec<u8>;
}

impl Raw for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> Vec<u8> {
        self.clone()
    }
}

/// Why a record is no event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Misfit {
    /// The id it gave itself; empty when it has none that can be used.
    pub(crate) message_id: String,
    /// For machines, in `lower_snake_case`.
    pub(crate) reason: Cow<'static, str>,
    /// The field at fault, in the record's own words.
    pub(crate) field: String,
    /// One sentence for people.
    pub(crate) message: String,
}

impl Misfit {
    pub(crate) fn new(
        reason: &'static str,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let message_id = String::new();
        Self { message_id, reason: reason.into(), field: field.into(), message: message.into() }
    }
}

/// A chunk of arrivals, as the pipeline takes it.
struct Arrivals<R> {
    arrivals: Vec<Arrival<R>>,
    /// Which of them were given the time of receipt, in ascending order.
    undated: Vec<usize>,
}

impl<R: Raw> Events for Arrivals<R> {
    fn len(&self) -> usize {
        self.arrivals.len()
    }

    fn each(&self, take: &mut dyn FnMut(Result<Event<'_>, Fault>)) {
        let mut properties = Vec::with_capacity(1024);
        let mut consent = String::new();
        for arrival in &self.arrivals {
            properties.clear();
            take(match &arrival.event {
                Ok(event) => view(event, &mut properties, &mut consent),
                Err(misfit) => {
                    Err(Fault::new(Reason::Malformed, misfit.field.clone(), misfit.message.clone()))
                }
            });
        }
    }

    fn encode(&self, index: usize) -> Vec<u8> {
        self.arrivals[index].event.as_ref().map(pb::Event::encode_to_vec).unwrap_or_default()
    }

    fn is_undated(&self, index: usize) -> bool {
        self.undated.binary_search(&index).is_ok()
    }

    /// What breaks a rule of events is kept; what a contract refuses is not.
    fn keep(&self, index: usize, fault: &Fault) -> Option<pb::MalformedRecord> {
        let Arrival { event, raw } = &self.arrivals[index];
        let (id, reason, field, message) = match event {
            Ok(_) if !is_of_form(fault.reason) => return None,
            Ok(event) => (&event.message_id, fault.reason.as_str(), &*fault.field, &*fault.message),
            Err(misfit) => {
                (&misfit.message_id, misfit.reason.as_ref(), &*misfit.field, &*misfit.message)
            }
        };
        let raw = raw.bytes();
        Some(pb::MalformedRecord {
            message_id: match check_message_id(id) {
                Ok(()) => id.clone(),
                Err(_) => content_id(&raw),
            },
            raw,
            reason: reason.to_owned(),
            field: tidy(field, FIELD_BYTES),
            message: tidy(message, MESSAGE_BYTES),
        })
    }
}

/// An id for a record that has none: the same bytes have the same.
pub(crate) fn content_id(raw: &[u8]) -> String {
    hex::encode(&Sha256::digest(raw)[..16])
}

/// Whether the fault says that something is no event, whatever its name and
/// whoever it is about.
pub(crate) fn is_of_form(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::MissingMessageId
            | Reason::MissingName
            | Reason::MissingActor
            | Reason::MissingOccurredTime
            | Reason::InvalidTime
            | Reason::TooLong
            | Reason::NulCharacter
            | Reason::InvalidNumber
            | Reason::PropertiesTooLarge
            | Reason::PropertiesTooDeep
            | Reason::InvalidConsent
            | Reason::Malformed
    )
}

/// A text that quarantine can hold, whatever came from outside.
fn tidy(text: &str, most: usize) -> String {
    let mut tidy = text.replace('\0', "\u{fffd}");
    tidy.truncate(tidy.floor_char_boundary(most));
    tidy
}

impl Ingestion {
    /// Takes records in, in order: one result for each. They are turned into
    /// events as they are written, so that a request never takes more memory
    /// than a chunk of events beside itself.
    ///
    /// # Errors
    /// When a chunk could not be written. Those before it are; sent again, they
    /// are duplicates.
    pub(crate) async fn take_in<R: Raw + 'static>(
        &self,
        sender: Sender,
        source: &str,
        undated: Undated,
        arrivals: impl Iterator<Item = Arrival<R>> + Send,
    ) -> Result<Vec<pb::EventResult>, Error> {
        let mut results = Vec::new();
        let mut arrivals = arrivals.peekable();
        if arrivals.peek().is_none() {
            return Ok(results);
        }
        sender.check_source(source)?;
        let origin = self.origin(sender.project, source).await?;
        let receipt = time_to_proto(origin.received_at);
        while arrivals.peek().is_some() {
            let mut chunk = Arrivals { arrivals: Vec::new(), undated: Vec::new() };
            let mut bytes = 0;
            while bytes < CHUNK_BYTES && chunk.len() < MAX_BATCH_EVENTS {
                let Some(mut arrival) = arrivals.next() else { break };
                if let (Undated::AtReceipt, Ok(event)) = (undated, &mut arrival.event)
                    && event.occurred_time.is_none()
                {
                    event.occurred_time = Some(receipt);
                    chunk.undated.push(chunk.len());
                }
                bytes += arrival.event.as_ref().map_or(0, pb::Event::encoded_len);
                bytes += arrival.raw.size();
                chunk.arrivals.push(arrival);
            }
            // Whoever has part of a request written may wait for the rest.
            let now = Instant::now();
            let memory = if results.is_empty() {
                self.limits.take(sender.project, source, chunk.len(), now)?;
                self.writer.try_reserve(bytes)?
            } else {
                self.limits.owe(sender.project, source, chunk.len(), now);
                self.writer.reserve(bytes).await?
            };
            let answer = self.ingest_from(origin, chunk, memory).await?;
            results.extend(answer.results);
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_holds_no_nul() {
        assert_eq!(tidy("a\0b", 10), "a\u{fffd}b");
        assert_eq!(tidy("äöü", 3), "ä");
    }
}
