//! One group commit: the batches of one project.
//!
//! Everything that is locked is locked in one order: the head, quarantined
//! bodies, links, contracts, counts, each in ascending order. So concurrent
//! writers wait for one another and do not deadlock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use northstar_domain::event::{Fault, Reason};
use northstar_domain::{ProjectId, QuarantineId};
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::heads::Head;
use northstar_store::ingestion::identity::ShownLink;
use northstar_store::ingestion::keys::{MessageKey, NewKeys, short_body_hash};
use northstar_store::ingestion::log::{Appended, Blocks};
use northstar_store::ingestion::quarantine::{BodyKey, Content, NewQuarantined};
use northstar_store::ingestion::sources::Counts;
use northstar_store::ingestion::{SourceId, heads, log, quarantine, sources};
use northstar_store::{PgConnection, Result};
use pb::EventOutcome;
use prost::Message as _;

use crate::accounting::{KnownNames, Tally};
use crate::batch::{Batch, Item};
use crate::consent;
use crate::convert::properties_to_proto;
use crate::identity;
use crate::keys::ProjectKeys;
use crate::links::{KnownLinks, NewLinks};
use crate::notes::{flagged, note};
use crate::plan::{Outcome, Plan, Taken, ToQuarantine, decide};
use crate::retold;

/// Fewer events are encoded at once; it takes less than handing them over.
pub(crate) const FEW_EVENTS: usize = 256;

/// The answer to one batch.
#[derive(Debug)]
pub(crate) struct Answer {
    /// One result per event, in request order.
    pub(crate) results: Vec<pb::EventResult>,
    /// Highest position of the project.
    pub(crate) log_position: i64,
}

/// What a transaction wrote.
pub(crate) struct Written {
    /// The answers, by batch; to be given after the commit.
    pub(crate) answers: Vec<Answer>,
    /// Links that are recorded once it is committed.
    pub(crate) links: Vec<ShownLink>,
    /// Erasures before it.
    pub(crate) erasures: i64,
    /// Keys that are taken once it is committed, in the order of their positions.
    pub(crate) keys: Vec<(MessageKey, u64)>,
}

/// How an attempt ended without an error.
pub(crate) enum Attempt {
    /// All is written; commit.
    Done(Written),
    /// Another process wrote events that were not known yet: roll back, learn
    /// them, and try again.
    HeadMoved,
}

/// What becomes of the events, by every key that is known.
pub(crate) async fn plan(
    connection: &mut PgConnection,
    batches: &[Batch],
    keys: &mut ProjectKeys,
) -> Result<Plan> {
    let taken = find_taken(connection, batches, keys).await?;
    let mut plan = decide(batches, &taken);
    retold::recognise(connection, batches, &taken, &mut plan).await?;
    Ok(plan)
}

/// Writes the batches of a project as planned, its new events after a position.
/// The caller commits.
pub(crate) async fn write(
    connection: &mut PgConnection,
    project: ProjectId,
    batches: &Arc<Vec<Batch>>,
    plan: &Plan,
    after: i64,
    known_links: &KnownLinks,
    known_names: &KnownNames,
) -> Result<Attempt> {
    let head = if plan.new.is_empty() {
        heads::read(connection, project).await?
    } else {
        match append(connection, project, batches, plan, after).await? {
            None => return Ok(Attempt::HeadMoved),
            Some(head) => head,
        }
    };
    let positions = positions(plan, head.position);

    let mut quarantined = HashMap::new();
    if !plan.quarantine.is_empty() {
        // Ids in the order of arrival, rows in the order of their keys.
        let mut arrived: Vec<_> = plan.quarantine.values().collect();
        arrived.sort_unstable_by_key(|body| (body.batch, body.item));
        let mut events: Vec<_> =
            arrived.iter().map(|body| new_quarantined(&batches[body.batch], body)).collect();
        events.sort_unstable_by_key(|event| event.key);
        let new = quarantine::insert(connection, project, &events).await?;
        for body in plan.quarantine.values() {
            let is_new = new.contains(&body.key);
            quarantined.insert(body.key, (body.batch, body.item, is_new));
        }
    }
    let links = link(connection, project, batches, plan, &positions, known_links, head).await?;
    consent::add_said(connection, batches, plan, &positions).await?;
    note(connection, batches, plan, &positions).await?;

    let answers = answers(batches, plan, &positions, &quarantined, head.position);
    let (counts, tally) = count(batches, &answers);
    for (source, counts) in counts {
        sources::count(connection, project, source, &counts).await?;
    }
    tally.save(connection, known_names).await?;
    consent::count_refusals(connection, batches).await?;
    let keys = remembered_keys(batches, plan);
    Ok(Attempt::Done(Written { answers, links, erasures: head.erasure_version, keys }))
}

/// The positions of the new events, which are those up to the end of the log.
pub(crate) fn positions(plan: &Plan, end: i64) -> Vec<i64> {
    let first = end - plan.new.len() as i64 + 1;
    (first..).take(plan.new.len()).collect()
}

async fn find_taken(
    connection: &mut PgConnection,
    batches: &[Batch],
    keys: &mut ProjectKeys,
) -> Result<Taken> {
    let wanted: Vec<MessageKey> = batches
        .iter()
        .flat_map(|batch| {
            batch.items.iter().filter_map(|item| match item {
                Item::Accept { key, .. } | Item::Quarantine { key, .. } => {
                    Some(MessageKey::new(batch.source, key.message_hash))
                }
                Item::Keep { .. } | Item::Reject { .. } => None,
            })
        })
        .collect();
    keys.find(connection, &wanted).await
}

/// The keys of the new events, in the order of their positions.
fn new_keys<'a>(
    batches: &'a [Batch],
    plan: &'a Plan,
) -> impl Iterator<Item = (SourceId, &'a BodyKey)> {
    plan.new.iter().filter_map(|new| {
        let batch = &batches[new.batch];
        match &batch.items[new.item] {
            Item::Accept { key, .. } => Some((batch.source, key)),
            Item::Quarantine { .. } | Item::Keep { .. } | Item::Reject { .. } => None,
        }
    })
}

/// The new keys as this process remembers them.
pub(crate) fn remembered_keys(batches: &[Batch], plan: &Plan) -> Vec<(MessageKey, u64)> {
    let keys = new_keys(batches, plan);
    keys.map(|(source, key)| {
        (MessageKey::new(source, key.message_hash), short_body_hash(key.body_hash))
    })
    .collect()
}

/// The new events and their keys as the log takes them.
pub(crate) async fn encode(
    batches: &Arc<Vec<Batch>>,
    plan: &Plan,
    after: i64,
) -> (Blocks, NewKeys) {
    let picked: Vec<(usize, usize)> = plan
        .new
        .iter()
        .filter_map(|new| match &batches[new.batch].items[new.item] {
            Item::Accept { encoded, .. } => Some((new.batch, *encoded)),
            Item::Quarantine { .. } | Item::Keep { .. } | Item::Reject { .. } => None,
        })
        .collect();
    let encode = {
        let batches = Arc::clone(batches);
        move || {
            let events = picked.iter().map(|(batch, index)| (&batches[*batch].encoded, *index));
            Blocks::encode(after, events)
        }
    };
    let blocks = if plan.new.len() < FEW_EVENTS {
        encode()
    } else {
        let encoding = tokio::task::spawn_blocking(encode).await;
        encoding.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    };
    let mut keys = NewKeys::with_capacity(plan.new.len());
    for (source, key) in new_keys(batches, plan) {
        keys.push(source, key.message_hash, key.body_hash);
    }
    (blocks, keys)
}

/// Appends the new events after a position; `None` when the head is not there.
async fn append(
    connection: &mut PgConnection,
    project: ProjectId,
    batches: &Arc<Vec<Batch>>,
    plan: &Plan,
    after: i64,
) -> Result<Option<Head>> {
    let (blocks, keys) = encode(batches, plan, after).await;
    let position = after + plan.new.len() as i64;
    Ok(match log::append(connection, project, after, &blocks, &keys).await? {
        Appended::HeadMoved => None,
        Appended::At { identity_version, erasure_version } => {
            Some(Head { position, identity_version, erasure_version })
        }
    })
}

fn new_quarantined(batch: &Batch, body: &ToQuarantine) -> NewQuarantined {
    let received_at = batch.received_at;
    let id = QuarantineId::generate();
    match (&batch.items[body.item], &body.fault) {
        (Item::Keep { record, .. }, _) => NewQuarantined {
            id,
            key: body.key,
            content: Content::Raw(record.raw.clone()),
            reason: record.reason.clone(),
            field: record.field.clone(),
            message: record.message.clone(),
            received_at,
        },
        (_, fault) => {
            let (reason, field, message) = match fault {
                Some(fault) => (fault.reason.as_str(), fault.field.as_ref(), &*fault.message),
                None => ("", "", ""),
            };
            NewQuarantined {
                id,
                key: body.key,
                content: Content::Event(keepable(batch, body.item)),
                reason: reason.to_owned(),
                field: field.to_owned(),
                message: message.to_owned(),
                received_at,
            }
        }
    }
}

/// An event as quarantine keeps it: whole, but for values that may be kept nowhere.
fn keepable(batch: &Batch, item: usize) -> Vec<u8> {
    let sent = batch.events.encode(item);
    let Item::Accept { notes: Some(notes), .. } = &batch.items[item] else { return sent };
    if notes.withheld.is_empty() && !notes.concealed {
        return sent;
    }
    let kept = notes.properties.as_deref().map(serde_json::from_str);
    match (pb::Event::decode(sent.as_slice()), kept) {
        (Ok(event), Some(Ok(kept))) => {
            pb::Event { properties: properties_to_proto(kept), ..event }.encode_to_vec()
        }
        // Neither happens: both were written here. Nothing is kept rather than too much.
        _ => Vec::new(),
    }
}

/// Adds the facts that may change the identity map. Most events of a known
/// person say what is known, and are left out without asking.
async fn link(
    connection: &mut PgConnection,
    project: ProjectId,
    batches: &[Batch],
    plan: &Plan,
    positions: &[i64],
    known: &KnownLinks,
    head: Head,
) -> Result<Vec<ShownLink>> {
    let mut shown = NewLinks::default();
    let mut received_at = DateTime::UNIX_EPOCH;
    for (new, position) in plan.new.iter().zip(positions) {
        let batch = &batches[new.batch];
        let Item::Accept { effective_at, link: Some(link), .. } = &batch.items[new.item] else {
            continue;
        };
        let (anonymous_id, user_id) = batch.ids.get(*link);
        let erasures = head.erasure_version;
        if known.has(project, erasures, anonymous_id, user_id, *effective_at) {
            continue;
        }
        received_at = batch.received_at.max(received_at);
        shown.add(anonymous_id, user_id, *effective_at, *position);
    }
    let links = shown.into_links();
    if !links.is_empty() {
        identity::add_shown(connection, project, head.identity_version, &links, received_at)
            .await?;
    }
    Ok(links)
}

/// For each body that was to be quarantined its batch, its item, and whether it is
/// new there.
pub(crate) type Quarantined = HashMap<BodyKey, (usize, usize, bool)>;

/// What is answered when the log ends at a position.
pub(crate) fn answers(
    batches: &[Batch],
    plan: &Plan,
    positions: &[i64],
    quarantined: &Quarantined,
    log_position: i64,
) -> Vec<Answer> {
    let result = |batch_index: usize, item_index: usize, outcome: Outcome| {
        let batch = &batches[batch_index];
        let at = |outcome: EventOutcome, position: i64| pb::EventResult {
            outcome: outcome.into(),
            position,
            ..pb::EventResult::default()
        };
        match (outcome, &batch.items[item_index]) {
            (Outcome::New(new), item) => flagged(item, at(EventOutcome::Accepted, positions[new])),
            (Outcome::SameAsNew(new), _) => at(EventOutcome::Duplicate, positions[new]),
            (Outcome::Known(position), _) => at(EventOutcome::Duplicate, position),
            (_, Item::Reject { fault }) => faulty(EventOutcome::Rejected, fault),
            (
                _,
                item @ (Item::Accept { key, .. }
                | Item::Quarantine { key, .. }
                | Item::Keep { key, .. }),
            ) => match quarantined.get(key) {
                Some((first_batch, first_item, true))
                    if (*first_batch, *first_item) == (batch_index, item_index) =>
                {
                    match (item, plan.quarantine[key].fault.as_ref()) {
                        (Item::Keep { record, .. }, _) => pb::EventResult {
                            outcome: EventOutcome::Quarantined.into(),
                            position: 0,
                            reason: record.reason.clone(),
                            field: record.field.clone(),
                            message: record.message.clone(),
                        },
                        (_, Some(fault)) => faulty(EventOutcome::Quarantined, fault),
                        (_, None) => at(EventOutcome::Quarantined, 0),
                    }
                }
                _ => faulty(
                    EventOutcome::Duplicate,
                    &Fault::new(
                        Reason::AlreadyQuarantined,
                        "",
                        "the same event waits in quarantine already",
                    ),
                ),
            },
        }
    };
    plan.outcomes
        .iter()
        .enumerate()
        .map(|(batch_index, outcomes)| Answer {
            results: outcomes
                .iter()
                .enumerate()
                .map(|(item_index, outcome)| result(batch_index, item_index, *outcome))
                .collect(),
            log_position,
        })
        .collect()
}

pub(crate) fn faulty(outcome: EventOutcome, fault: &Fault) -> pb::EventResult {
    pb::EventResult {
        outcome: outcome.into(),
        position: 0,
        reason: fault.reason.as_str().to_owned(),
        field: fault.field.clone().into_owned(),
        message: fault.message.clone(),
    }
}

/// Counts what is answered, by source and by name, so that the accounting equation
/// holds by construction.
pub(crate) fn count<'a>(
    batches: &'a [Batch],
    answers: &[Answer],
) -> (BTreeMap<SourceId, Counts>, Tally<'a>) {
    let mut tally = Tally::default();
    let mut counts: BTreeMap<SourceId, Counts> = BTreeMap::new();
    for (batch, answer) in batches.iter().zip(answers) {
        let counts = counts.entry(batch.source).or_default();
        if !batch.items.is_empty() {
            counts.last_received_at = counts.last_received_at.max(Some(batch.received_at));
        }
        for (index, (item, result)) in batch.items.iter().zip(&answer.results).enumerate() {
            let name = batch.names.get(index);
            let effective_at = effective_time_of(item);
            let origin = (batch.project, batch.source);
            tally.count(origin, name, result.outcome(), batch.received_at, effective_at);
            match result.outcome() {
                EventOutcome::Accepted => {
                    counts.accepted += 1;
                    counts.last_effective_at = counts.last_effective_at.max(effective_at);
                }
                EventOutcome::Duplicate => counts.duplicate += 1,
                EventOutcome::Quarantined => counts.quarantined += 1,
                EventOutcome::Rejected => counts.rejected += 1,
                EventOutcome::Unspecified | EventOutcome::Retry => {}
            }
        }
    }
    (counts, tally)
}

fn effective_time_of(item: &Item) -> Option<DateTime<Utc>> {
    match item {
        Item::Accept { effective_at, .. } => Some(*effective_at),
        Item::Quarantine { .. } | Item::Keep { .. } | Item::Reject { .. } => None,
    }
}
