//! What a member owns, was sent and has acknowledged.
//!
//! All that must outlast the process is in Postgres; this holds what was sent
//! and not acknowledged. Acknowledgements are by partition and position: every
//! event of the partition up to there is handled. That keeps a cursor one number,
//! and an actor's events in order whatever happens.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::ProjectId;
use northstar_domain::expression::Condition;
use northstar_domain::subscription::{PARTITIONS, partition_of};
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::subscriptions::{self as store, Moves, Session};
use northstar_store::ingestion::{heads, log};
use northstar_store::{Error as StoreError, PgPool};
use uuid::Uuid;

use crate::error::Error;
use crate::subscribe::{READ_EVENTS, RESPONSE_BYTES, select};

/// Fewest events that are read at once.
const LEAST_READ: i64 = 100;
/// How often cursors of partitions without events for the group are stored.
const PROGRESS_INTERVAL: TimeDelta = TimeDelta::seconds(2);
/// Longest wait for acknowledgements of a partition that another member is to
/// have.
const HANDOVER: TimeDelta = TimeDelta::seconds(10);

/// A partition that the member owns.
struct Partition {
    fence: i64,
    /// The stored cursor.
    stored: i64,
    /// Every event up to here was sent or is not for the group.
    sent: i64,
    /// Positions sent and not acknowledged, in order.
    open: VecDeque<i64>,
    /// Since when another member waits for it; nothing more is sent.
    wanted: Option<DateTime<Utc>>,
}

impl Partition {
    /// Where the cursor may be: no event at or below is open.
    fn cursor(&self) -> i64 {
        if self.open.is_empty() { self.sent } else { self.stored }
    }
}

/// One stay of a member in a group.
pub(super) struct Member {
    pool: PgPool,
    project: ProjectId,
    pub(super) group: String,
    id: String,
    session: Uuid,
    filter: Condition,
    credits: usize,
    lease: TimeDelta,
    partitions: BTreeMap<i16, Partition>,
    generation: i64,
    /// Events sent and not acknowledged.
    open: usize,
    last_sign: DateTime<Utc>,
    renewed_at: DateTime<Utc>,
    progress_at: DateTime<Utc>,
    /// Nothing is left to read until somebody writes.
    caught_up: bool,
    response: pb::ConsumeResponse,
}

impl Member {
    pub(super) fn new(
        pool: PgPool,
        (project, group, id, session): (ProjectId, String, String, Uuid),
        filter: Condition,
        (credits, lease): (usize, TimeDelta),
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            pool,
            project,
            group,
            id,
            session,
            filter,
            credits,
            lease,
            partitions: BTreeMap::new(),
            // Differs from every stored one, so the first look is an assignment.
            generation: -1,
            open: 0,
            last_sign: now,
            renewed_at: now,
            progress_at: now,
            caught_up: false,
            response: pb::ConsumeResponse::default(),
        }
    }

    fn session(&self) -> Session<'_> {
        Session { project: self.project, group: &self.group, id: self.session }
    }

    fn lost(&self, why: &'static str) -> Error {
        Error::LeaseLost { group: self.group.clone(), member: self.id.clone(), why }
    }

    pub(super) fn show_life(&mut self, now: DateTime<Utc>) {
        self.last_sign = now;
    }

    pub(super) fn set_credits(&mut self, credits: usize) {
        self.credits = credits;
    }

    pub(super) fn look_for_events(&mut self) {
        self.caught_up = false;
    }

    pub(super) fn may_read(&self) -> bool {
        !self.caught_up
            && self.open < self.credits
            && self.partitions.values().any(|partition| partition.wanted.is_none())
    }

    pub(super) fn has_something_to_tell(&self) -> bool {
        let pb::ConsumeResponse { assignment, acknowledged, fenced, events } = &self.response;
        assignment.is_some() || !acknowledged.is_empty() || !fenced.is_empty() || !events.is_empty()
    }

    pub(super) fn take_response(&mut self) -> Option<pb::ConsumeResponse> {
        self.has_something_to_tell().then(|| std::mem::take(&mut self.response))
    }

    /// Looks after the lease, the group and the cursors. To be called every
    /// moment.
    pub(super) async fn look(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        if self.open == 0 {
            // Who holds nothing keeps nobody waiting.
            self.last_sign = now;
        } else if now - self.last_sign > self.lease {
            return Err(
                self.lost("it held events for longer than its lease without a sign of life")
            );
        }
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        if now - self.renewed_at >= self.lease / 3 {
            if !store::renew(&mut connection, self.session(), now + self.lease).await? {
                return Err(self.lost("its lease ran out, or it joined again elsewhere"));
            }
            self.renewed_at = now;
        }
        match store::generation(&mut connection, self.project, &self.group).await? {
            None => return Err(self.lost("the group was removed")),
            Some(generation) if generation != self.generation => {
                let owned = store::owned(&mut connection, self.session()).await?;
                self.take_over(owned, generation, now);
                // Whoever joined again elsewhere owns nothing here and must know.
                if !store::renew(&mut connection, self.session(), now + self.lease).await? {
                    return Err(self.lost("its lease ran out, or it joined again elsewhere"));
                }
            }
            Some(_) => {}
        }
        drop(connection);
        if now - self.progress_at >= PROGRESS_INTERVAL || now < self.progress_at {
            self.progress_at = now;
            self.store_progress(now).await?;
        }
        self.hand_over(now).await?;
        self.caught_up = false;
        Ok(())
    }

    fn take_over(&mut self, owned: Vec<store::Owned>, generation: i64, now: DateTime<Utc>) {
        let before: Vec<(i16, i64)> =
            self.partitions.iter().map(|(number, held)| (*number, held.fence)).collect();
        let mut held = std::mem::take(&mut self.partitions);
        for store::Owned { partition, position, fence, wanted } in owned {
            let mut partition_held =
                held.remove(&partition).filter(|held| held.fence == fence).unwrap_or_else(|| {
                    let open = VecDeque::new();
                    Partition { fence, stored: position, sent: position, open, wanted: None }
                });
            partition_held.wanted = wanted.then(|| partition_held.wanted.unwrap_or(now));
            self.partitions.insert(partition, partition_held);
        }
        self.open = self.partitions.values().map(|held| held.open.len()).sum();
        let after: Vec<(i16, i64)> =
            self.partitions.iter().map(|(number, held)| (*number, held.fence)).collect();
        if before != after || self.generation < 0 {
            self.response.assignment = Some(pb::Assignment {
                partitions: self.partitions.keys().map(|number| i32::from(*number)).collect(),
                generation,
            });
        }
        self.generation = generation;
    }

    /// Stores cursors of partitions of which nothing is open.
    async fn store_progress(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        let mut moves = Moves::default();
        for (number, held) in &self.partitions {
            if held.cursor() > held.stored {
                moves.push(*number, held.cursor(), held.fence);
            }
        }
        self.store(&moves, now).await?;
        Ok(())
    }

    /// Moves cursors; those of partitions that are not ours any more are dropped
    /// here too. Returns the partitions that are.
    async fn store(&mut self, moves: &Moves, now: DateTime<Utc>) -> Result<Vec<i16>, Error> {
        if moves.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let ours = store::acknowledge(&mut connection, self.session(), moves, now).await?;
        drop(connection);
        for (number, position) in moves.partitions.iter().zip(&moves.positions) {
            if ours.contains(number) {
                if let Some(held) = self.partitions.get_mut(number) {
                    held.stored = held.stored.max(*position);
                }
            } else if let Some(lost) = self.partitions.remove(number) {
                self.open -= lost.open.len();
                // The next look learns what is ours.
                self.generation = -1;
            }
        }
        Ok(ours)
    }

    /// Lets go of partitions that another member waits for, once nothing of them
    /// is open or it has waited long enough.
    async fn hand_over(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        let ready: Vec<i16> = self
            .partitions
            .iter()
            .filter(|(_, held)| {
                held.wanted.is_some_and(|since| {
                    held.open.is_empty() || now - since >= HANDOVER.min(self.lease)
                })
            })
            .map(|(number, _)| *number)
            .collect();
        if ready.is_empty() {
            return Ok(());
        }
        self.store_progress(now).await?;
        let mut transaction = self.pool.begin().await.map_err(StoreError::from)?;
        if store::lock(&mut transaction, self.project, &self.group).await?.is_some() {
            store::release(&mut transaction, self.session(), &ready).await?;
        }
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(())
    }

    /// Events are handled. Answers in the next response.
    pub(super) async fn acknowledge(
        &mut self,
        acknowledge: &pb::Acknowledge,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let mut named: BTreeMap<i16, i64> = BTreeMap::new();
        for (index, at) in acknowledge.positions.iter().enumerate() {
            let partition = i16::try_from(at.partition)
                .ok()
                .filter(|number| (0..i16::from(PARTITIONS)).contains(number))
                .ok_or_else(|| {
                    let field = format!("acknowledge.positions[{index}].partition");
                    Error::invalid(field, format!("must lie between 0 and {}", PARTITIONS - 1))
                })?;
            let sent = self.partitions.get(&partition).map(|held| held.sent);
            if at.position < 0 || sent.is_some_and(|sent| at.position > sent) {
                let field = format!("acknowledge.positions[{index}].position");
                return Err(Error::invalid(field, "was not sent yet"));
            }
            let position = named.entry(partition).or_insert(at.position);
            *position = (*position).max(at.position);
        }
        let mut moves = Moves::default();
        for (partition, position) in &named {
            if let Some(held) = self.partitions.get(partition) {
                // Behind the last open event nothing is for the group.
                let all = held.open.back().is_none_or(|last| last <= position);
                moves.push(*partition, if all { held.sent } else { *position }, held.fence);
            }
        }
        let ours = self.store(&moves, now).await?;
        for (partition, position) in named {
            let at = pb::PartitionPosition { partition: partition.into(), position };
            match self.partitions.get_mut(&partition).filter(|_| ours.contains(&partition)) {
                None => self.response.fenced.push(at),
                Some(held) => {
                    while held.open.front().is_some_and(|open| *open <= position) {
                        held.open.pop_front();
                        self.open -= 1;
                    }
                    self.response.acknowledged.push(at);
                }
            }
        }
        self.hand_over(now).await
    }

    /// Reads the next events for the partitions that the member may be sent, as
    /// far as its credits go. Partitions that are behind the others, because they
    /// just came, are read up first.
    pub(super) async fn read(&mut self) -> Result<(), Error> {
        if !self.may_read() {
            return Ok(());
        }
        let mine = self.partitions.values().filter(|held| held.wanted.is_none());
        let (count, Some(after)) = (mine.clone().count(), mine.map(|held| held.sent).min()) else {
            return Ok(());
        };
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let head = heads::read(&mut connection, self.project).await?.position;
        if head <= after {
            self.caught_up = true;
            return Ok(());
        }
        // So many positions hold about so many events of these partitions.
        let room = self.credits.saturating_sub(self.open) * usize::from(PARTITIONS) / count;
        let limit = i64::try_from(room).unwrap_or(READ_EVENTS).clamp(LEAST_READ, READ_EVENTS);
        let mut end = head.min(after + limit);
        let events = log::read_after(&mut connection, self.project, after, end - after).await?;
        drop(connection);
        let mut bytes = 0;
        for event in events {
            let position = event.position;
            let number = i16::from(partition_of(&event.user_id, &event.anonymous_id));
            let Some(held) = self
                .partitions
                .get_mut(&number)
                .filter(|held| held.wanted.is_none() && held.sent < position)
            else {
                continue;
            };
            let size = event.properties.len();
            let Some(event) = select(&self.filter, event) else { continue };
            if self.open >= self.credits || bytes >= RESPONSE_BYTES {
                end = position - 1;
                break;
            }
            bytes += size;
            held.open.push_back(position);
            self.open += 1;
            let event = Some(event);
            self.response.events.push(pb::DeliveredEvent { partition: number.into(), event });
        }
        for held in self.partitions.values_mut().filter(|held| held.wanted.is_none()) {
            held.sent = held.sent.max(end);
        }
        Ok(())
    }

    /// Takes the member out of its group; what was not acknowledged is sent to
    /// others at once.
    pub(super) async fn leave(&mut self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut moves = Moves::default();
        for (number, held) in &self.partitions {
            if held.cursor() > held.stored {
                moves.push(*number, held.cursor(), held.fence);
            }
        }
        let mut transaction = self.pool.begin().await?;
        if store::lock(&mut transaction, self.project, &self.group).await?.is_none() {
            return Ok(());
        }
        if !moves.is_empty() {
            store::acknowledge(&mut transaction, self.session(), &moves, now).await?;
        }
        store::leave(&mut transaction, self.session()).await?;
        store::rebalance(&mut transaction, self.project, &self.group, now).await?;
        transaction.commit().await?;
        Ok(())
    }
}
