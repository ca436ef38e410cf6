//! A request made ready for the log: checked, hashed and encoded on the task
//! that received it, so that the one writer has little left to do.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::event::{
    Event, Fault, MAX_PROPERTIES_BYTES, Reason, check_message_id, check_text, message_hash,
    record_hash,
};
use northstar_domain::identity::linked_user;
use northstar_domain::time_correction::effective_time;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::SourceId;
use northstar_store::ingestion::log::{EncodedEvents, NewEvent};
use northstar_store::ingestion::quarantine::BodyKey;

use crate::accounting::Names;
use crate::consent::{self, Said};
use crate::contracts::ProjectContracts;
use crate::events::Events;
use crate::judge::{Judgement, Notes, Times, judge};

/// A request on its way into the log.
pub(crate) struct Batch {
    pub(crate) project: ProjectId,
    pub(crate) source: SourceId,
    pub(crate) received_at: DateTime<Utc>,
    /// What is to become of each event or record, in request order.
    pub(crate) items: Vec<Item>,
    /// The events as they came; empty when the batch holds records.
    pub(crate) events: Box<dyn Events>,
    /// Those that may be accepted.
    pub(crate) encoded: EncodedEvents,
    /// The ids that [`Item::Accept`] links.
    pub(crate) ids: LinkedIds,
    /// The name of each event.
    pub(crate) names: Names,
}

/// One event or record.
pub(crate) enum Item {
    /// It may go into the log, if its message id is free.
    Accept {
        key: BodyKey,
        encoded: usize,
        effective_at: DateTime<Utc>,
        /// The user that it links its anonymous id to, in [`Batch::ids`].
        link: Option<Link>,
        /// What its actor said about purposes.
        consent: Option<Box<Said>>,
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

/// Pairs of ids, one text after the other: an allocation a batch, not an event.
#[derive(Debug, Default)]
pub(crate) struct LinkedIds(String);

/// Where an anonymous id and its user lie in [`LinkedIds`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    start: usize,
    middle: usize,
    end: usize,
}

impl LinkedIds {
    fn push(&mut self, anonymous_id: &str, user_id: &str) -> Link {
        let start = self.0.len();
        self.0.push_str(anonymous_id);
        let middle = self.0.len();
        self.0.push_str(user_id);
        Link { start, middle, end: self.0.len() }
    }

    /// The anonymous id and the user.
    pub(crate) fn get(&self, Link { start, middle, end }: Link) -> (&str, &str) {
        (&self.0[start..middle], &self.0[middle..end])
    }
}

/// Where a batch comes from and when.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) project: ProjectId,
    pub(crate) source: SourceId,
    pub(crate) received_at: DateTime<Utc>,
}

impl Batch {
    /// Checks, hashes and encodes events, whatever door they came by.
    pub(crate) fn of_events(
        origin: Origin,
        events: impl Events + 'static,
        contracts: &ProjectContracts,
    ) -> Self {
        let mut encoded = EncodedEvents::with_capacity(events.len(), events.len() * 320);
        let mut items = Vec::with_capacity(events.len());
        let mut ids = LinkedIds::default();
        let mut names = Names::default();
        events.each(&mut |event| {
            names.push(event.as_ref().map_or("", |event| event.name));
            let undated = events.is_undated(items.len());
            let item = event
                .and_then(|event| {
                    prepare(origin, &event, undated, contracts, &mut encoded, &mut ids)
                })
                .unwrap_or_else(|fault| match events.keep(items.len(), &fault) {
                    Some(record) if !fault.reason.forbids_keeping() => {
                        keep(origin, record, contracts)
                    }
                    _ => Item::Reject { fault },
                });
            items.push(item);
        });
        let Origin { project, source, received_at } = origin;
        Self { project, source, received_at, items, events: Box::new(events), encoded, ids, names }
    }

    /// Checks and hashes records that are no events.
    pub(crate) fn of_records(
        origin: Origin,
        records: Vec<pb::MalformedRecord>,
        contracts: &ProjectContracts,
    ) -> Self {
        let items = records.into_iter().map(|record| keep(origin, record, contracts)).collect();
        let Origin { project, source, received_at } = origin;
        let none: Vec<pb::Event> = Vec::new();
        Self {
            project,
            source,
            received_at,
            items,
            events: Box::new(none),
            encoded: EncodedEvents::default(),
            ids: LinkedIds::default(),
            names: Names::default(),
        }
    }

    /// Bytes that the writer will copy.
    pub(crate) fn bytes(&self) -> usize {
        self.encoded.bytes()
    }
}

fn prepare(
    origin: Origin,
    event: &Event<'_>,
    undated: bool,
    contracts: &ProjectContracts,
    encoded: &mut EncodedEvents,
    ids: &mut LinkedIds,
) -> Result<Item, Fault> {
    event.check()?;
    let said = consent::judge(&contracts.consent, event)?;
    // A time that we made up says nothing about the body.
    let occurred_at = if undated { DateTime::UNIX_EPOCH } else { event.occurred_at };
    let key = BodyKey {
        source: origin.source,
        message_hash: message_hash(event.message_id),
        body_hash: Event { occurred_at, ..*event }.body_hash(),
    };
    let (effective_at, correction) =
        effective_time(event.occurred_at, event.sent_at, origin.received_at);
    let times = Times { received_at: origin.received_at, effective_at, correction };
    let notes = match judge(contracts, event, times) {
        Judgement::Accept(mut notes) => {
            if let Some(notes) = &mut notes {
                notes.seal(origin.project, contracts.sealing.as_ref());
            }
            notes
        }
        Judgement::Quarantine(fault) => return Ok(Item::Quarantine { key, fault }),
        Judgement::Reject(fault) => return Err(fault),
    };
    let kept = notes.as_ref().and_then(|notes| notes.properties.as_deref());
    let encoded = encoded.push(&NewEvent {
        project: origin.project,
        source: origin.source,
        event: Event { properties: kept.unwrap_or(event.properties), ..*event },
        received_at: origin.received_at,
        effective_at,
        correction,
    });
    let link = linked_user(event.anonymous_id, event.user_id)
        .map(|user_id| ids.push(event.anonymous_id, user_id));
    Ok(Item::Accept { key, encoded, effective_at, link, consent: said, notes })
}

/// A record for quarantine. It says neither region nor consent.
fn keep(origin: Origin, record: pb::MalformedRecord, contracts: &ProjectContracts) -> Item {
    match check_record(&record).and_then(|()| contracts.consent.may_store("", None)) {
        Err(fault) => Item::Reject { fault },
        Ok(()) => Item::Keep {
            key: BodyKey {
                source: origin.source,
                message_hash: message_hash(&record.message_id),
                body_hash: record_hash(&record.raw),
            },
            record,
        },
    }
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
