//! The steps of a quarantined event, a page of them at a time.
//!
//! A replay is three transactions: mark the events as on their way, write them
//! through the one writer of the log, mark them as replayed. Whoever finds an
//! event on its way, after a crash in between, sends the same body again; the
//! log's keys make it one event.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use northstar_domain::QuarantineId;
use northstar_domain::event::Reason;
use northstar_domain::failure::{self, FailureType};
use northstar_domain::quarantine::{InvalidStep, QuarantineState};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_store::ingestion::quarantine::{self as store, BodyKey, By, Content, Quarantined};
use northstar_store::ingestion::sources::{self, Counts};
use northstar_store::ingestion::{SourceId, keys, prefer_indexes};
use northstar_store::{PgConnection, audit};
use pb::EventOutcome;
use prost::Message as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::document::Patch;
use super::filter::event_of;
use crate::batch::{Batch, Item, Origin};
use crate::contract_check::judged;
use crate::contracts::ProjectContracts;
use crate::error::Error;
use crate::service::Ingestion;

/// What a step did to a page.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Events whose state changed, or would.
    pub(crate) changed: i64,
    /// Events that stay, by reason.
    pub(crate) unchanged: BTreeMap<String, i64>,
    /// What a replay of the last patched event would answer.
    pub(crate) check: Option<pb::EventResult>,
    /// Highest position of the log, after a replay.
    pub(crate) log_position: i64,
}

impl Outcome {
    fn stays(&mut self, reason: impl Into<String>) {
        *self.unchanged.entry(reason.into()).or_default() += 1;
    }
}

/// Who does what, and whether it is only tried.
pub(crate) struct Hand<'a> {
    pub(crate) service: &'a Ingestion,
    pub(crate) caller: &'a Caller,
    pub(crate) dry_run: bool,
}

/// How events are corrected.
pub(crate) enum Correction {
    /// By a patch.
    Patch(Patch),
    /// By the whole event.
    Whole(Box<pb::Event>),
    /// By a message id of its own.
    OwnMessageId,
}

fn db(error: impl Into<northstar_store::Error>) -> Error {
    Error::from(error.into())
}

fn refused(step: InvalidStep) -> String {
    match step.state {
        QuarantineState::Replaying => "replay_under_way".to_owned(),
        state => format!("already_{state}"),
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn ids(page: &[Quarantined]) -> Vec<QuarantineId> {
    page.iter().map(|row| row.id).collect()
}

/// The bytes that would be replayed.
fn body(row: &Quarantined) -> &[u8] {
    match (&row.patched, &row.content) {
        (Some(bytes), _) | (None, Content::Event(bytes) | Content::Raw(bytes)) => bytes,
    }
}

impl Hand<'_> {
    fn by(&self, at: DateTime<Utc>) -> By<'_> {
        By { who: &self.caller.principal, at }
    }

    async fn contracts(&self) -> Result<std::sync::Arc<ProjectContracts>, Error> {
        self.service.contracts.of(self.caller.project).await.map_err(Error::from)
    }

    /// One entry for the page; what was in the events is not repeated, because
    /// entries are for ever and personal data is not.
    async fn record(
        &self,
        connection: &mut PgConnection,
        action: &str,
        events: Vec<Value>,
        reason: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let resource = match events.as_slice() {
            [only] => format!("quarantine/{}", only["id"].as_str().unwrap_or_default()),
            _ => "quarantine".to_owned(),
        };
        let mut detail = json!({"events": events});
        if let (Some(reason), Some(fields)) = (reason, detail.as_object_mut()) {
            fields.insert("reason".to_owned(), json!(reason));
        }
        let entry = audit::NewEntry {
            project: self.caller.project,
            actor: &self.caller.principal,
            action,
            resource: &resource,
            detail: &detail,
            at,
        };
        audit::append(connection, &entry).await?;
        Ok(())
    }

    /// Corrects a page.
    pub(crate) async fn patch(
        &self,
        page: &[Quarantined],
        correction: &Correction,
    ) -> Result<Outcome, Error> {
        let now = self.service.clock.now();
        let contracts = self.contracts().await?;
        let project = self.caller.project;
        let mut transaction = self.service.pool.begin().await.map_err(db)?;
        let mut outcome = Outcome::default();
        let mut events = Vec::new();
        for row in store::lock(&mut transaction, project, &ids(page)).await? {
            let next = match row.state.patch() {
                Ok(next) => next,
                Err(step) => {
                    outcome.stays(refused(step));
                    continue;
                }
            };
            let before = event_of(&row).unwrap_or_default();
            let after = match correction {
                Correction::Whole(event) => (**event).clone(),
                Correction::Patch(patch) => {
                    patch.apply(&before).map_err(|bad| Error::invalid(bad.field, bad.problem))?
                }
                Correction::OwnMessageId => own_message_id(before, row.id),
            };
            let check = judged(&self.batch(&row, after.clone(), &contracts).items[0]);
            if is_no_event(&check) {
                outcome.stays(&check.reason);
                outcome.check = Some(check);
                continue;
            }
            outcome.check = Some(check);
            outcome.changed += 1;
            let bytes = after.encode_to_vec();
            events.push(json!({
                "id": row.id,
                "before": {"state": row.state.as_str(), "body_sha256": digest(body(&row))},
                "after": {"state": next.as_str(), "body_sha256": digest(&bytes)},
            }));
            if !self.dry_run {
                store::patch(&mut transaction, project, row.id, &bytes, self.by(now)).await?;
            }
        }
        if self.dry_run {
            transaction.rollback().await.map_err(db)?;
        } else {
            self.record(&mut transaction, "quarantine.patch", events, None, now).await?;
            transaction.commit().await.map_err(db)?;
        }
        Ok(outcome)
    }

    /// Gives a page up.
    pub(crate) async fn discard(
        &self,
        page: &[Quarantined],
        reason: &str,
    ) -> Result<Outcome, Error> {
        let now = self.service.clock.now();
        let project = self.caller.project;
        let mut transaction = self.service.pool.begin().await.map_err(db)?;
        let mut outcome = Outcome::default();
        let mut events = Vec::new();
        let mut given_up = Vec::new();
        for row in store::lock(&mut transaction, project, &ids(page)).await? {
            match row.state.discard() {
                Err(step) => outcome.stays(refused(step)),
                Ok(next) => {
                    outcome.changed += 1;
                    given_up.push(row.id);
                    events.push(json!({
                        "id": row.id,
                        "before": {"state": row.state.as_str()},
                        "after": {"state": next.as_str()},
                    }));
                }
            }
        }
        if self.dry_run {
            transaction.rollback().await.map_err(db)?;
        } else {
            let by = self.by(now);
            store::discard(&mut transaction, project, &given_up, reason, by).await?;
            self.record(&mut transaction, "quarantine.discard", events, Some(reason), now).await?;
            transaction.commit().await.map_err(db)?;
        }
        Ok(outcome)
    }

    /// Sends a page to the log.
    pub(crate) async fn replay(&self, page: &[Quarantined]) -> Result<Outcome, Error> {
        let contracts = self.contracts().await?;
        let project = self.caller.project;
        let mut outcome = Outcome::default();

        let mut transaction = self.service.pool.begin().await.map_err(db)?;
        let rows = store::lock(&mut transaction, project, &ids(page)).await?;
        let decided = self.decide(&mut transaction, rows, &contracts).await?;
        let mut known = Vec::new();
        let mut sent = Vec::new();
        for (row, fate) in decided {
            match fate {
                Fate::Stays(result) => outcome.stays(result.reason),
                Fate::InLog(position) => known.push((row, position)),
                Fate::Passes { batch, .. } => sent.push((row, *batch)),
            }
        }
        if self.dry_run {
            transaction.rollback().await.map_err(db)?;
            outcome.changed = i64::try_from(known.len() + sent.len()).unwrap_or(i64::MAX);
            return Ok(outcome);
        }
        let on_their_way: Vec<_> = sent.iter().map(|(row, _)| row.id).collect();
        store::begin_replay(&mut transaction, project, &on_their_way).await?;
        transaction.commit().await.map_err(db)?;

        let writer = &self.service.writer;
        let written = join_all(sent.into_iter().map(|(row, batch)| async move {
            let memory = writer.reserve(batch.bytes()).await?;
            let answer = writer.write(batch, memory).await?;
            Ok::<_, Error>((row, answer))
        }))
        .await;

        let mut failed = None;
        let mut finished: Vec<Finished> = known
            .into_iter()
            .map(|(row, position)| Finished {
                // It came by another delivery, unless it was ours before a crash.
                counts: if row.state == QuarantineState::Replaying {
                    Counts { quarantined: -1, ..Counts::default() }
                } else {
                    Counts { quarantined: -1, duplicate: 1, ..Counts::default() }
                },
                row,
                position,
            })
            .collect();
        let mut back = Vec::new();
        for result in written {
            match result {
                Err(error) => failed = Some(error),
                Ok((row, answer)) => {
                    outcome.log_position = outcome.log_position.max(answer.log_position);
                    let result = answer.results.into_iter().next().unwrap_or_default();
                    if result.position > 0 {
                        // The writer counted a delivery; it was counted before.
                        let counts = Counts { quarantined: -1, ..Counts::default() };
                        finished.push(Finished { row, position: result.position, counts });
                    } else {
                        back.push(row.id);
                        outcome.stays(match result.reason.as_str() {
                            "already_quarantined" => Reason::IdConflict.as_str(),
                            reason => reason,
                        });
                    }
                }
            }
        }
        outcome.changed = self.finish(finished, &back).await?;
        failed.map_or(Ok(outcome), Err)
    }

    /// Marks events as replayed, and takes back those that were not taken.
    async fn finish(&self, finished: Vec<Finished>, back: &[QuarantineId]) -> Result<i64, Error> {
        let now = self.service.clock.now();
        let project = self.caller.project;
        let mut finished = finished;
        finished.sort_unstable_by_key(|done| done.row.id);
        let mut transaction = self.service.pool.begin().await.map_err(db)?;
        let mut moved: BTreeMap<SourceId, Counts> = BTreeMap::new();
        let mut events = Vec::new();
        for Finished { row, position, counts } in finished {
            let by = self.by(now);
            if !store::finish_replay(&mut transaction, project, row.id, position, by).await? {
                continue;
            }
            let moved = moved.entry(row.source_id).or_default();
            moved.quarantined += counts.quarantined;
            moved.duplicate += counts.duplicate;
            let before = match (row.state, &row.patched) {
                (QuarantineState::Replaying, None) => QuarantineState::Open,
                (QuarantineState::Replaying, Some(_)) => QuarantineState::Patched,
                (state, _) => state,
            };
            events.push(json!({
                "id": row.id,
                "before": {"state": before.as_str()},
                "after": {"state": QuarantineState::Replayed.as_str(), "position": position},
            }));
        }
        let changed = i64::try_from(events.len()).unwrap_or(i64::MAX);
        store::cancel_replay(&mut transaction, project, back).await?;
        for (source, counts) in moved {
            sources::count(&mut transaction, project, source, &counts).await?;
        }
        self.record(&mut transaction, "quarantine.replay", events, None, now).await?;
        transaction.commit().await.map_err(db)?;
        Ok(changed)
    }

    /// What a replay would answer for an event that waits.
    pub(crate) async fn check(&self, row: Quarantined) -> Result<Option<pb::EventResult>, Error> {
        if !QuarantineState::WAITING.contains(&row.state) {
            return Ok(None);
        }
        let contracts = self.contracts().await?;
        let mut transaction = self.service.pool.begin().await.map_err(db)?;
        let decided = self.decide(&mut transaction, vec![row], &contracts).await?;
        transaction.rollback().await.map_err(db)?;
        Ok(decided.into_iter().next().map(|(_, fate)| match fate {
            Fate::Stays(result) => result,
            Fate::InLog(position) => pb::EventResult {
                outcome: EventOutcome::Duplicate.into(),
                position,
                ..pb::EventResult::default()
            },
            Fate::Passes { result, .. } => result,
        }))
    }

    /// What becomes of each event if it is replayed now.
    async fn decide(
        &self,
        connection: &mut PgConnection,
        rows: Vec<Quarantined>,
        contracts: &ProjectContracts,
    ) -> Result<Vec<(Quarantined, Fate)>, Error> {
        let mut decided = Vec::with_capacity(rows.len());
        let mut asked: BTreeMap<SourceId, Vec<BodyKey>> = BTreeMap::new();
        for row in rows {
            let fate = match (row.state.begin_replay(), event_of(&row)) {
                (Err(step), _) => Fate::Stays(stays(refused(step))),
                (Ok(_), None) => Fate::Stays(stays("not_an_event")),
                (Ok(_), Some(event)) => {
                    let batch = self.batch(&row, event, contracts);
                    let result = judged(&batch.items[0]);
                    match key_of(&batch.items[0]) {
                        None => Fate::Stays(result),
                        Some(key) => {
                            asked.entry(row.source_id).or_default().push(key);
                            Fate::Passes { batch: Box::new(batch), result }
                        }
                    }
                }
            };
            decided.push((row, fate));
        }
        prefer_indexes(connection).await?;
        let mut taken = HashMap::new();
        for (source, keys) in asked {
            let mut hashes: Vec<_> = keys.iter().map(|key| key.message_hash).collect();
            hashes.sort_unstable();
            hashes.dedup();
            let found = keys::find(connection, self.caller.project, source, &hashes).await?;
            taken.extend(found.into_iter().map(|(hash, key)| ((source, hash), key)));
        }
        for (row, fate) in &mut decided {
            let Fate::Passes { batch, result } = fate else { continue };
            let Some(key) = key_of(&batch.items[0]) else { continue };
            *fate = match taken.get(&(row.source_id, key.message_hash)) {
                Some(same) if same.body == keys::short_body_hash(key.body_hash) => {
                    Fate::InLog(same.position)
                }
                Some(first) => Fate::Stays(pb::EventResult {
                    field: "message_id".to_owned(),
                    message: format!("the id is that of the event at position {}", first.position),
                    ..stays(Reason::IdConflict.as_str())
                }),
                None if result.outcome() == EventOutcome::Accepted => continue,
                None => Fate::Stays(std::mem::take(result)),
            };
        }
        Ok(decided)
    }

    /// The event on its way into the log, with the time it was first received.
    fn batch(&self, row: &Quarantined, event: pb::Event, contracts: &ProjectContracts) -> Batch {
        let origin = Origin {
            project: self.caller.project,
            source: row.source_id,
            received_at: row.received_at,
        };
        Batch::of_events(origin, vec![event], contracts)
    }
}

/// What becomes of an event if it is replayed now.
enum Fate {
    /// It passes, if nothing happens in between.
    Passes { batch: Box<Batch>, result: pb::EventResult },
    /// It is in the log already.
    InLog(i64),
    /// It stays in quarantine.
    Stays(pb::EventResult),
}

struct Finished {
    row: Quarantined,
    position: i64,
    /// How the accounting of its source changes.
    counts: Counts,
}

fn stays(reason: impl Into<String>) -> pb::EventResult {
    pb::EventResult {
        outcome: EventOutcome::Quarantined.into(),
        reason: reason.into(),
        ..pb::EventResult::default()
    }
}

fn key_of(item: &Item) -> Option<BodyKey> {
    match item {
        Item::Accept { key, .. } | Item::Quarantine { key, .. } | Item::Keep { key, .. } => {
            Some(*key)
        }
        Item::Reject { .. } => None,
    }
}

/// Whether it cannot be stored as an event at all, whatever its contract says.
fn is_no_event(check: &pb::EventResult) -> bool {
    check.outcome() == EventOutcome::Rejected
        && matches!(
            failure::of(&check.reason).kind,
            FailureType::TrackerProtocolViolation | FailureType::SizeViolation
        )
}

/// The event under a message id that nobody else has.
fn own_message_id(mut event: pb::Event, id: QuarantineId) -> pb::Event {
    let ending = format!("~{id}");
    if !event.message_id.ends_with(&ending) {
        let room = northstar_domain::event::MAX_ID_BYTES - ending.len();
        let mut end = event.message_id.len().min(room);
        while !event.message_id.is_char_boundary(end) {
            end -= 1;
        }
        event.message_id.truncate(end);
        event.message_id.push_str(&ending);
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_of_its_own_fits_and_is_given_once() {
        let id = QuarantineId::generate();
        for message_id in ["m".to_owned(), "ü".repeat(100)] {
            let event = pb::Event { message_id, ..pb::Event::default() };
            let once = own_message_id(event.clone(), id);
            assert!(once.message_id.len() <= northstar_domain::event::MAX_ID_BYTES);
            assert!(once.message_id.ends_with(&id.to_string()));
            assert_eq!(own_message_id(once.clone(), id), once);
            assert_ne!(own_message_id(event, QuarantineId::generate()), once);
        }
    }
}
