//! What becomes of every event of a transaction: a pure function of the batches
//! of a project and of the message ids that are taken there.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use northstar_domain::event::{Fault, Reason};
use northstar_store::ingestion::keys::{Key, MessageKey, short_body_hash};
use northstar_store::ingestion::quarantine::BodyKey;

use crate::batch::{Batch, Item};

/// Message ids that are taken, of those that were asked for.
pub(crate) type Taken = HashMap<MessageKey, Key>;

/// What becomes of one event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It goes into the log as this one of [`Plan::new`].
    New(usize),
    /// It is the same as this one of [`Plan::new`].
    SameAsNew(usize),
    /// It is in the log already.
    Known(i64),
    /// It goes into quarantine, unless it waits there.
    Quarantine,
    /// It is refused.
    Reject,
}

/// An event that goes into the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New {
    /// Index of its batch.
    pub(crate) batch: usize,
    /// Its index there.
    pub(crate) item: usize,
}

/// An event or record that goes into quarantine.
#[derive(Clone, Debug)]
pub(crate) struct ToQuarantine {
    pub(crate) key: BodyKey,
    /// Index of its batch.
    pub(crate) batch: usize,
    /// Its index there.
    pub(crate) item: usize,
    /// What is wrong; `None` for a record, which says so itself.
    pub(crate) fault: Option<Fault>,
}

/// What a transaction does.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Events for the log, in the order of their positions.
    pub(crate) new: Vec<New>,
    /// Bodies for quarantine, each once and sorted.
    pub(crate) quarantine: BTreeMap<BodyKey, ToQuarantine>,
    /// What becomes of each event, by batch.
    pub(crate) outcomes: Vec<Vec<Outcome>>,
}

/// Decides what becomes of every event, in the order in which they came.
pub(crate) fn decide(batches: &[Batch], taken: &Taken) -> Plan {
    let mut plan = Plan::default();
    let events = batches.iter().map(|batch| batch.items.len()).sum();
    let mut seen: HashMap<MessageKey, (usize, u64)> = HashMap::with_capacity(events);
    for (batch_index, batch) in batches.iter().enumerate() {
        let mut outcomes = Vec::with_capacity(batch.items.len());
        for (item_index, item) in batch.items.iter().enumerate() {
            let mut quarantine = |key: BodyKey, fault: Option<Fault>| {
                let entry = ToQuarantine { key, batch: batch_index, item: item_index, fault };
                plan.quarantine.entry(key).or_insert(entry);
                Outcome::Quarantine
            };
            outcomes.push(match item {
                Item::Reject { .. } => Outcome::Reject,
                Item::Keep { key, .. } => quarantine(*key, None),
                Item::Quarantine { key, fault } => {
                    match taken.get(&MessageKey::new(batch.source, key.message_hash)) {
                        Some(same) if same.body == short_body_hash(key.body_hash) => {
                            Outcome::Known(same.position)
                        }
                        _ => quarantine(*key, Some(fault.clone())),
                    }
                }
                Item::Accept { key, .. } => {
                    let message = MessageKey::new(batch.source, key.message_hash);
                    let body = short_body_hash(key.body_hash);
                    match taken.get(&message) {
                        Some(same) if same.body == body => Outcome::Known(same.position),
                        Some(_) => quarantine(*key, Some(conflict())),
                        None => match seen.entry(message) {
                            Entry::Occupied(first) => match *first.get() {
                                (new, same) if same == body => Outcome::SameAsNew(new),
                                _ => quarantine(*key, Some(conflict())),
                            },
                            Entry::Vacant(free) => {
                                let new = plan.new.len();
                                free.insert((new, body));
                                plan.new.push(New { batch: batch_index, item: item_index });
                                Outcome::New(new)
                            }
                        },
                    }
                }
            });
        }
        plan.outcomes.push(outcomes);
    }
    plan
}

fn conflict() -> Fault {
    Fault::new(
        Reason::IdConflict,
        "message_id",
        "the message id was used before for an event with another body",
    )
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use northstar_domain::ProjectId;
    use northstar_proto::ingestion::v1 as pb;
    use northstar_store::ingestion::SourceId;
    use northstar_store::ingestion::log::EncodedEvents;
    use uuid::Uuid;

    use super::*;
    use crate::batch::LinkedIds;

    fn key(message: u128, body: u128) -> BodyKey {
        BodyKey {
            source: SourceId(1),
            message_hash: Uuid::from_u128(message),
            body_hash: Uuid::from_u128(body << 64),
        }
    }

    fn accept(message: u128, body: u128) -> Item {
        Item::Accept {
            key: key(message, body),
            encoded: 0,
            effective_at: DateTime::UNIX_EPOCH,
            link: None,
            consent: None,
            notes: None,
        }
    }

    fn batch(items: Vec<Item>) -> Batch {
        Batch {
            project: ProjectId(1),
            source: SourceId(1),
            received_at: DateTime::UNIX_EPOCH,
            items,
            events: Box::new(Vec::<pb::Event>::new()),
            encoded: EncodedEvents::default(),
            ids: LinkedIds::default(),
            names: crate::accounting::Names::default(),
        }
    }

    #[test]
    fn the_second_delivery_of_an_event_is_known_wherever_the_first_is() {
        let first = batch(vec![accept(1, 1), accept(2, 1), accept(1, 1), accept(1, 2)]);
        let second = batch(vec![accept(1, 1), accept(3, 3), accept(4, 1)]);
        let taken = |message| MessageKey::new(SourceId(1), Uuid::from_u128(message));
        let log = Taken::from([
            (taken(3), Key { position: 7, body: 3 }),
            (taken(4), Key { position: 8, body: 2 }),
        ]);
        let plan = decide(&[first, second], &log);
        assert_eq!(
            plan.outcomes,
            [
                vec![Outcome::New(0), Outcome::New(1), Outcome::SameAsNew(0), Outcome::Quarantine],
                vec![Outcome::SameAsNew(0), Outcome::Known(7), Outcome::Quarantine],
            ]
        );
        let quarantined: Vec<_> = plan.quarantine.keys().copied().collect();
        assert_eq!(quarantined, [key(1, 2), key(4, 1)]);
        assert_eq!(plan.new.len(), 2);
    }

    #[test]
    fn the_same_message_id_of_another_source_is_another_event() {
        let first = batch(vec![accept(1, 1)]);
        let second = Batch { source: SourceId(2), ..batch(vec![accept(1, 2)]) };
        let plan = decide(&[first, second], &Taken::new());
        assert_eq!(plan.outcomes, [[Outcome::New(0)], [Outcome::New(1)]]);
    }

    #[test]
    fn a_body_goes_into_quarantine_once() {
        let fault = || Fault::new(Reason::SchemaViolation, "properties.a", "wrong");
        let broken = || Item::Quarantine { key: key(1, 1), fault: fault() };
        let plan = decide(&[batch(vec![broken(), broken()])], &Taken::new());
        assert_eq!(plan.outcomes, [[Outcome::Quarantine, Outcome::Quarantine]]);
        assert_eq!(plan.quarantine.len(), 1);
    }
}
