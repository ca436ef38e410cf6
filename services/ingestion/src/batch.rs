//! A request made ready for the log: checked, hashed and encoded on the task
//! that received it, so that the one writer has little left to do.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::event::{
    Event, Fault, MAX_PROPERTIES_BYTES, Reason, check_message_id, check_text, message_hash,
    record_hash,
};
use northstar_domain::time_correction::effective_time;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::SourceId;
use northstar_store::ingestion::log::{EncodedEvents, NewEvent};
use northstar_store::ingestion::quarantine::BodyKey;

use crate::contracts::ProjectContracts;
use crate::convert::{time_from_proto, write_properties};
use crate::judge::{Judgement, Notes, Times, judge};

/// A request on its way into the log.
pub(crate) struct Batch {
    pub(crate) project: ProjectId,
    pub(crate) source: SourceId,
    pub(crate) received_at: DateTime<Utc>,
    /// What is to become of each event or record, in request order.
    pub(crate) items: Vec<Item>,
    /// The events as sent; empty when the batch holds records.
    pub(crate) events: Vec<pb::Event>,
    /// Those that may be accepted.
    pub(crate) encoded: EncodedEvents,
}

/// One event or record.
pub(crate) enum Item {
    /// It may go into the log, if its message id is free.
    Accept {
        key: BodyKey,
        encoded: usize,
        effective_at: DateTime<Utc>,
        /// What its contract notes about it.
        notes: Option<Box<Notes>>,
    },
    /// It goes into quarantine, if it is not known.
    Quarantine { key: BodyKey, fault: Fault },
    /// Bytes that are no event go into quarantine.
    Keep { key: BodyKey, record: pb::MalformedRecord },
    /// It is refused.
    Reject { fault: Fault },
}

/// Where a batch comes from and when.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) project: ProjectId,
    pub(crate) source: SourceId,
    pub(crate) received_at: DateTime<Utc>,
}

impl Batch {
    /// Checks, hashes and encodes events.
    pub(crate) fn of_events(
        origin: Origin,
        events: Vec<pb::Event>,
        contracts: &ProjectContracts,
    ) -> Self {
        let mut encoded = EncodedEvents::with_capacity(events.len(), events.len() * 320);
        let mut properties = Vec::with_capacity(1024);
        let items = events
            .iter()
            .map(|event| {
                properties.clear();
                prepare(origin, event, contracts, &mut properties, &mut encoded)
                    .unwrap_or_else(|fault| Item::Reject { fault })
            })
            .collect();
        let Origin { project, source, received_at } = origin;
        Self { project, source, received_at, items, events, encoded }
    }

    /// Checks and hashes records that are no events.
    pub(crate) fn of_records(origin: Origin, records: Vec<pb::MalformedRecord>) -> Self {
        let items = records
            .into_iter()
            .map(|record| match check_record(&record) {
                Err(fault) => Item::Reject { fault },
                Ok(()) => Item::Keep {
                    key: BodyKey {
                        source: origin.source,
                        message_hash: message_hash(&record.message_id),
                        body_hash: record_hash(&record.raw),
                    },
                    record,
                },
            })
            .collect();
        let Origin { project, source, received_at } = origin;
        let encoded = EncodedEvents::default();
        Self { project, source, received_at, items, events: Vec::new(), encoded }
    }

    /// Bytes that the writer will copy.
    pub(crate) fn bytes(&self) -> usize {
        self.encoded.bytes()
    }
}

fn prepare(
    origin: Origin,
    event: &pb::Event,
    contracts: &ProjectContracts,
    properties: &mut Vec<u8>,
    encoded: &mut EncodedEvents,
) -> Result<Item, Fault> {
    let time = |field: &'static str, time: &prost_types::Timestamp| {
        time_from_proto(time).ok_or_else(|| {
            Fault::new(Reason::InvalidTime, field, "lies outside of the years 1 to 9999")
        })
    };
    let occurred = event.occurred_time.as_ref().ok_or_else(|| {
        Fault::new(
            Reason::MissingOccurredTime,
            "occurred_time",
            "an event needs the time it happened",
        )
    })?;
    let occurred_at = time("occurred_time", occurred)?;
    let sent_at = event.sent_time.as_ref().map(|sent| time("sent_time", sent)).transpose()?;
    write_properties(properties, &event.properties)?;
    let checked = Event {
        message_id: &event.message_id,
        name: &event.name,
        user_id: &event.user_id,
        anonymous_id: &event.anonymous_id,
        account_id: &event.account_id,
        occurred_at,
        sent_at,
        sequence: event.sequence,
        properties: std::str::from_utf8(properties).expect("JSON made of texts is a text"),
    };
    checked.check()?;

    let key = BodyKey {
        source: origin.source,
        message_hash: message_hash(checked.message_id),
        body_hash: checked.body_hash(),
    };
    let (effective_at, correction) = effective_time(occurred_at, sent_at, origin.received_at);
    let times = Times { received_at: origin.received_at, effective_at, correction };
    let notes = match judge(contracts, &checked, times) {
        Judgement::Accept(notes) => notes,
        Judgement::Quarantine(fault) => return Ok(Item::Quarantine { key, fault }),
        Judgement::Reject(fault) => return Err(fault),
    };
    let properties = notes.as_ref().and_then(|notes| notes.properties.as_deref());
    let checked = Event { properties: properties.unwrap_or(checked.properties), ..checked };
    let encoded = encoded.push(&NewEvent {
        project: origin.project,
        source: origin.source,
        event: checked,
        received_at: origin.received_at,
        effective_at,
        correction,
    });
    Ok(Item::Accept { key, encoded, effective_at, notes })
}

fn check_record(record: &pb::MalformedRecord) -> Result<(), Fault> {
    check_message_id(&record.message_id)?;
    if record.raw.len() > MAX_PROPERTIES_BYTES {
        let message =
            format!("{} bytes long; at most {MAX_PROPERTIES_BYTES} are kept", record.raw.len());
        return Err(Fault::new(Reason::TooLong, "raw", message));
    }
    let snake_case = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !(1..=100).contains(&record.reason.len()) || !record.reason.bytes().all(snake_case) {
        return Err(Fault::new(
            Reason::InvalidReason,
            "reason",
            "say why in 1 to 100 lower-case letters, digits and underscores",
        ));
    }
    check_text("field", &record.field, 1000)?;
    check_text("message", &record.message, 4000)
}
