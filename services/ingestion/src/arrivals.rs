//! Records of other people's protocols on their way in. Each is an event, or is
//! kept whole with the reason why it is none.

use std::borrow::Cow;

use northstar_domain::ProjectId;
use northstar_domain::event::{
    Event, Fault, MAX_BATCH_EVENTS, MAX_PROPERTIES_BYTES, Reason, check_message_id,
};
use northstar_proto::ingestion::v1 as pb;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::events::{Events, view};
use crate::service::Ingestion;

/// A transaction's share of a request. What a record becomes may be larger than
/// the record, because what many have in common is written into each.
const CHUNK_BYTES: usize = 2 << 20;
/// Longest message and field that quarantine keeps.
const MAX_TEXT_BYTES: usize = 1000;

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
        Self { reason: reason.into(), field: field.into(), message: message.into() }
    }
}

/// A chunk of arrivals, as the pipeline takes it.
struct Arrivals<R>(Vec<Arrival<R>>);

impl<R: Raw> Events for Arrivals<R> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn each(&self, take: &mut dyn FnMut(Result<Event<'_>, Fault>)) {
        let mut properties = Vec::with_capacity(1024);
        let mut consent = String::new();
        for arrival in &self.0 {
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
        self.0[index].event.as_ref().map(pb::Event::encode_to_vec).unwrap_or_default()
    }

    /// What breaks a rule of events is kept; what a contract refuses is not.
    fn keep(&self, index: usize, fault: &Fault) -> Option<pb::MalformedRecord> {
        let Arrival { event, raw } = &self.0[index];
        if !is_of_form(fault.reason) || raw.size() > MAX_PROPERTIES_BYTES {
            return None;
        }
        let raw = raw.bytes();
        let message_id = match event {
            Ok(event) if check_message_id(&event.message_id).is_ok() => event.message_id.clone(),
            _ => format!("sha256:{}", hex::encode(Sha256::digest(&raw))),
        };
        let (reason, field, message) = match event {
            Err(misfit) => (misfit.reason.as_ref(), &*misfit.field, &*misfit.message),
            Ok(_) => (fault.reason.as_str(), fault.field.as_ref(), &*fault.message),
        };
        Some(pb::MalformedRecord {
            message_id,
            raw,
            reason: reason.to_owned(),
            field: printable(field),
            message: printable(message),
        })
    }
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

/// A text that quarantine can hold, whatever names came from outside.
fn printable(text: &str) -> String {
    let mut printable = text.replace('\0', "\u{fffd}");
    let end = printable.floor_char_boundary(MAX_TEXT_BYTES);
    printable.truncate(end);
    printable
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
        project: ProjectId,
        source: &str,
        arrivals: impl Iterator<Item = Arrival<R>> + Send,
    ) -> Result<Vec<pb::EventResult>, Error> {
        let mut results = Vec::new();
        let mut arrivals = arrivals.peekable();
        while arrivals.peek().is_some() {
            let mut chunk = Vec::new();
            let mut bytes = 0;
            while bytes < CHUNK_BYTES && chunk.len() < MAX_BATCH_EVENTS {
                let Some(arrival) = arrivals.next() else { break };
                bytes += arrival.event.as_ref().map_or(0, pb::Event::encoded_len);
                bytes += arrival.raw.size();
                chunk.push(arrival);
            }
            // Whoever has part of a request written may wait for the rest.
            let memory = if results.is_empty() {
                self.writer.try_reserve(bytes)?
            } else {
                self.writer.reserve(bytes).await?
            };
            let answer = self.ingest(project, source, Arrivals(chunk), memory).await?;
            results.extend(answer.results);
        }
        Ok(results)
    }
}
