//! What every door hands to the pipeline.

use northstar_domain::event::{Event, Fault, Reason};
use northstar_proto::ingestion::v1 as pb;
use prost::Message as _;

use crate::convert::{consent_text, time_from_proto, write_properties};

/// The events of a request in the form in which they came. Each door brings its
/// own form; nothing behind this line knows which.
pub(crate) trait Events: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Hands over every event in order, or what keeps it from being one. The
    /// views are borrowed, so that a door may build one after the other in the
    /// same memory. Properties are JSON text as [`write_properties`] writes it,
    /// with its limits: the body hash is of that text.
    fn each(&self, take: &mut dyn FnMut(Result<Event<'_>, Fault>));

    /// Whether an event did not say when it happened, and was given the time of its
    /// receipt: a second delivery is received at another, and is the same event all
    /// the same.
    fn is_undated(&self, _index: usize) -> bool {
        false
    }

    /// One event as an encoded `northstar.ingestion.v1.Event`, which is how
    /// quarantine keeps it. Few events are asked for.
    fn encode(&self, index: usize) -> Vec<u8>;

    /// What quarantine keeps when one breaks a rule that every event must keep.
    /// `None` rejects it: who speaks our own protocol is told and mends it, but
    /// what came in another protocol would be lost.
    fn keep(&self, _index: usize, _fault: &Fault) -> Option<pb::MalformedRecord> {
        None
    }
}

impl Events for Vec<pb::Event> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn each(&self, take: &mut dyn FnMut(Result<Event<'_>, Fault>)) {
        let mut properties = Vec::with_capacity(1024);
        let mut consent = String::new();
        for event in self {
            properties.clear();
            take(view(event, &mut properties, &mut consent));
        }
    }

    fn encode(&self, index: usize) -> Vec<u8> {
        self[index].encode_to_vec()
    }
}

impl Events for Box<dyn Events> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn each(&self, take: &mut dyn FnMut(Result<Event<'_>, Fault>)) {
        (**self).each(take);
    }

    fn is_undated(&self, index: usize) -> bool {
        (**self).is_undated(index)
    }

    fn encode(&self, index: usize) -> Vec<u8> {
        (**self).encode(index)
    }
}

/// An event as the domain sees it; its properties and its consent are written to
/// the memory given.
pub(crate) fn view<'a>(
    event: &'a pb::Event,
    properties: &'a mut Vec<u8>,
    consent: &'a mut String,
) -> Result<Event<'a>, Fault> {
    let occurred = event.occurred_time.as_ref().ok_or_else(missing_occurred_time)?;
    let occurred_at = time("occurred_time", occurred)?;
    let sent_at = event.sent_time.as_ref().map(|sent| time("sent_time", sent)).transpose()?;
    write_properties(properties, &event.properties)?;
    consent.clear();
    if let Some(said) = &event.consent {
        consent.push_str(&consent_text(said)?);
    }
    Ok(Event {
        message_id: &event.message_id,
        name: &event.name,
        user_id: &event.user_id,
        anonymous_id: &event.anonymous_id,
        account_id: &event.account_id,
        occurred_at,
        sent_at,
        sequence: event.sequence,
        properties: std::str::from_utf8(properties).expect("JSON made of texts is a text"),
        region: &event.region,
        consent,
    })
}

/// The fault of an event without a time.
pub(crate) fn missing_occurred_time() -> Fault {
    Fault::new(Reason::MissingOccurredTime, "occurred_time", "an event needs the time it happened")
}

/// The fault of an event with a time that is none.
pub(crate) fn invalid_time(field: &'static str) -> Fault {
    Fault::new(Reason::InvalidTime, field, "lies outside of the years 1 to 9999")
}

fn time(
    field: &'static str,
    time: &prost_types::Timestamp,
) -> Result<chrono::DateTime<chrono::Utc>, Fault> {
    time_from_proto(time).ok_or_else(|| invalid_time(field))
}
