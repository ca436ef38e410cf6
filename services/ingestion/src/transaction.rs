//! One group commit.
//!
//! Everything that is locked is locked in one order: heads, quarantined bodies,
//! message ids, links, contracts, counts, each in ascending order. So concurrent
//! writers wait for one another and do not deadlock.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use northstar_domain::event::{Fault, Reason};
use northstar_domain::{ProjectId, QuarantineId};
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::heads::Head;
use northstar_store::ingestion::identity::ShownLink;
use northstar_store::ingestion::keys::NewKey;
use northstar_store::ingestion::quarantine::{BodyKey, Content, NewQuarantined};
use northstar_store::ingestion::sources::Counts;
use northstar_store::ingestion::{SourceId, heads, keys, log, quarantine, sources};
use northstar_store::{PgConnection, Result};
use pb::EventOutcome;
use uuid::Uuid;

use crate::accounting::{KnownNames, Tally};
use crate::batch::{Batch, Item};
use crate::identity;
use crate::links::{KnownLinks, NewLinks};
use crate::notes::{flagged, note};
use crate::plan::{Outcome, Plan, Taken, ToQuarantine, decide};

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
    /// Links that are recorded once it is committed, with the erasures before.
    pub(crate) links: Vec<(ProjectId, i64, Vec<ShownLink>)>,
}

/// How an attempt ended without an error.
pub(crate) enum Attempt {
    /// All is written; commit.
    Done(Written),
    /// The log has no partition for this position yet: roll back, make it, and
    /// try again.
    NeedsPartition(i64),
}

/// Writes batches. The caller commits.
///
/// # Errors
/// [`northstar_store::Error::Conflict`] when another process took one of the
/// message ids meanwhile: roll back and try again.
pub(crate) async fn write(
    connection: &mut PgConnection,
    batches: &[&Batch],
    known_links: &KnownLinks,
    known_names: &KnownNames,
    partition_end: i64,
) -> Result<Attempt> {
    let taken = find_taken(connection, batches).await?;
    let plan = decide(batches, &taken);

    let mut project_heads = BTreeMap::new();
    for batch in batches {
        project_heads.entry(batch.project).or_insert_with(Head::default);
    }
    for (project, head) in &mut project_heads {
        *head = match plan.new_by_project.get(project) {
            Some(new) => heads::advance(connection, *project, *new).await?,
            None => heads::read(connection, *project).await?,
        };
        if head.position > partition_end && plan.new_by_project.contains_key(project) {
            return Ok(Attempt::NeedsPartition(head.position));
        }
    }
    let positions = positions(batches, &plan, &project_heads);

    let mut quarantined = HashMap::new();
    for (project, bodies) in &plan.quarantine {
        // Ids in the order of arrival, rows in the order of their keys.
        let mut arrived: Vec<_> = bodies.values().collect();
        arrived.sort_unstable_by_key(|body| (body.batch, body.item));
        let mut events: Vec<_> =
            arrived.iter().map(|body| new_quarantined(batches[body.batch], body)).collect();
        events.sort_unstable_by_key(|event| event.key);
        let new = quarantine::insert(connection, *project, &events).await?;
        for body in bodies.values() {
            let is_new = new.contains(&body.key);
            quarantined.insert((*project, body.key), (body.batch, body.item, is_new));
        }
    }
    append(connection, batches, &plan, &positions).await?;
    let links = link(connection, batches, &plan, &positions, known_links, &project_heads).await?;
    note(connection, batches, &plan, &positions).await?;

    let answers = answers(batches, &plan, &positions, &quarantined, &project_heads);
    count(connection, batches, &answers, known_names).await?;
    Ok(Attempt::Done(Written { answers, links }))
}

async fn find_taken(connection: &mut PgConnection, batches: &[&Batch]) -> Result<Taken> {
    let mut asked: BTreeMap<(ProjectId, SourceId), Vec<Uuid>> = BTreeMap::new();
    for batch in batches {
        let hashes = asked.entry((batch.project, batch.source)).or_default();
        hashes.extend(batch.items.iter().filter_map(|item| match item {
            Item::Accept { key, .. } | Item::Quarantine { key, .. } => Some(key.message_hash),
            Item::Keep { .. } | Item::Reject { .. } => None,
        }));
    }
    let mut taken = Taken::new();
    for ((project, source), mut hashes) in asked {
        if hashes.is_empty() {
            continue;
        }
        // In the order of the index, whose pages are then read once each.
        hashes.sort_unstable();
        let found = keys::find(connection, project, source, &hashes).await?;
        taken.insert((project, source), found);
    }
    Ok(taken)
}

/// The position of every new event: each project's run ends at its head.
fn positions(batches: &[&Batch], plan: &Plan, heads: &BTreeMap<ProjectId, Head>) -> Vec<i64> {
    let mut next: BTreeMap<ProjectId, i64> = plan
        .new_by_project
        .iter()
        .map(|(project, new)| (*project, heads[project].position - new))
        .collect();
    plan.new
        .iter()
        .map(|new| {
            let position =
                next.get_mut(&batches[new.batch].project).expect("its project was counted");
            *position += 1;
            *position
        })
        .collect()
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
                content: Content::Event(batch.events.encode(body.item)),
                reason: reason.to_owned(),
                field: field.to_owned(),
                message: message.to_owned(),
                received_at,
            }
        }
    }
}

async fn append(
    connection: &mut PgConnection,
    batches: &[&Batch],
    plan: &Plan,
    positions: &[i64],
) -> Result<()> {
    if plan.new.is_empty() {
        return Ok(());
    }
    let mut new_keys = Vec::with_capacity(plan.new.len());
    let mut events = Vec::with_capacity(plan.new.len());
    for (new, position) in plan.new.iter().zip(positions) {
        let batch = batches[new.batch];
        if let Item::Accept { key, encoded, .. } = &batch.items[new.item] {
            events.push((&batch.encoded, *encoded, *position));
            new_keys.push(NewKey {
                project: batch.project,
                source: batch.source,
                message_hash: key.message_hash,
                body_hash: key.body_hash,
                position: *position,
            });
        }
    }
    new_keys.sort_unstable();
    keys::insert(connection, &new_keys).await?;
    log::append(connection, events).await?;
    Ok(())
}

/// Adds the facts that may change the identity map. Most events of a known
/// person say what is known, and are left out without asking.
async fn link(
    connection: &mut PgConnection,
    batches: &[&Batch],
    plan: &Plan,
    positions: &[i64],
    known: &KnownLinks,
    heads: &BTreeMap<ProjectId, Head>,
) -> Result<Vec<(ProjectId, i64, Vec<ShownLink>)>> {
    let mut shown: BTreeMap<ProjectId, NewLinks<'_>> = BTreeMap::new();
    let mut received_at = DateTime::UNIX_EPOCH;
    for (new, position) in plan.new.iter().zip(positions) {
        let batch = batches[new.batch];
        let Item::Accept { effective_at, link: Some(link), .. } = &batch.items[new.item] else {
            continue;
        };
        let (anonymous_id, user_id) = batch.ids.get(*link);
        let erasures = heads[&batch.project].erasure_version;
        if known.has(batch.project, erasures, anonymous_id, user_id, *effective_at) {
            continue;
        }
        received_at = batch.received_at.max(received_at);
        let links = shown.entry(batch.project).or_default();
        links.add(anonymous_id, user_id, *effective_at, *position);
    }
    let mut added = Vec::with_capacity(shown.len());
    for (project, links) in shown {
        let (head, links) = (heads[&project], links.into_links());
        let version = head.identity_version;
        identity::add_shown(connection, project, version, &links, received_at).await?;
        added.push((project, head.erasure_version, links));
    }
    Ok(added)
}

type Quarantined = HashMap<(ProjectId, BodyKey), (usize, usize, bool)>;

fn answers(
    batches: &[&Batch],
    plan: &Plan,
    positions: &[i64],
    quarantined: &Quarantined,
    heads: &BTreeMap<ProjectId, Head>,
) -> Vec<Answer> {
    let result = |batch_index: usize, item_index: usize, outcome: Outcome| {
        let batch = batches[batch_index];
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
            ) => match quarantined.get(&(batch.project, *key)) {
                Some((first_batch, first_item, true))
                    if (*first_batch, *first_item) == (batch_index, item_index) =>
                {
                    match (item, plan.quarantine[&batch.project][key].fault.as_ref()) {
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
            log_position: heads[&batches[batch_index].project].position,
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

/// Counts what is answered, so that the accounting equation holds by
/// construction.
async fn count(
    connection: &mut PgConnection,
    batches: &[&Batch],
    answers: &[Answer],
    known_names: &KnownNames,
) -> Result<()> {
    let mut tally = Tally::default();
    let mut counts: BTreeMap<(ProjectId, SourceId), Counts> = BTreeMap::new();
    for (batch, answer) in batches.iter().zip(answers) {
        let counts = counts.entry((batch.project, batch.source)).or_default();
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
    for ((project, source), counts) in counts {
        sources::count(connection, project, source, &counts).await?;
    }
    tally.save(connection, known_names).await
}

fn effective_time_of(item: &Item) -> Option<DateTime<Utc>> {
    match item {
        Item::Accept { effective_at, .. } => Some(*effective_at),
        Item::Quarantine { .. } | Item::Keep { .. } | Item::Reject { .. } => None,
    }
}
