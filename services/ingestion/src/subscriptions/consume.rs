//! One stay of a member: it joins, is sent events, acknowledges, and leaves.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::event::{MAX_BATCH_EVENTS, MAX_SOURCE_BYTES};
use northstar_domain::expression::Condition;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_store::ingestion::subscriptions::{self as store, NewGroup, Session};
use northstar_store::{Error as StoreError, PgConnection};
use pb::consume_request::Kind;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::member::Member;
use super::{Subscriptions, place};
use crate::error::Error;
use crate::service::check_name;

/// How soon changes of the group are noticed, and events of another process.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long a member that does not read is given to hear why it lost its place.
const LAST_WORDS: Duration = Duration::from_secs(5);
const DEFAULT_CREDITS: usize = 1_000;
const LEASE_SECONDS: std::ops::RangeInclusive<i32> = 5..=600;
const DEFAULT_LEASE: TimeDelta = TimeDelta::seconds(30);

type Responses = mpsc::Sender<Result<pb::ConsumeResponse, Status>>;

/// Serves a member until its stream ends.
pub(super) async fn run(
    service: Subscriptions,
    caller: Caller,
    mut requests: Streaming<pb::ConsumeRequest>,
    responses: Responses,
) {
    let joined = tokio::select! {
        () = responses.closed() => return,
        () = service.shutdown.cancelled() => Err(Error::Draining),
        first = requests.message() => match first {
            Ok(Some(pb::ConsumeRequest { kind: Some(Kind::Join(join)) })) => {
                Join::read(join).map(Some)
            }
            Ok(Some(_)) => Err(Error::invalid("join", "the first request of a stream must be it")),
            Ok(None) | Err(_) => Ok(None),
        },
    };
    let ended = match joined {
        Ok(None) => return,
        Err(error) => Err(error),
        Ok(Some(join)) => match join.enter(&service, &caller).await {
            Err(error) => Err(error),
            Ok(mut member) => {
                let ended = follow(&service, &mut member, requests, &responses).await;
                if let Err(error) = member.leave(service.clock.now()).await {
                    // Its lease runs out.
                    tracing::warn!(
                        group = member.group,
                        error = &error as &dyn std::error::Error,
                        "a member that is gone could not be taken out of its group"
                    );
                }
                ended
            }
        },
    };
    if let Err(error) = ended {
        let told = responses.send(Err(error.into()));
        // Who does not listen is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, told).await;
    }
}

/// Until the member leaves (`Ok`) or loses its place.
async fn follow(
    service: &Subscriptions,
    member: &mut Member,
    mut requests: Streaming<pb::ConsumeRequest>,
    responses: &Responses,
) -> Result<(), Error> {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Before reading, so that a commit in between is not missed.
        let mut written = std::pin::pin!(service.writer.written().notified());
        written.as_mut().enable();
        let has_work = member.has_something_to_tell() || member.may_read();
        tokio::select! {
            biased;
            () = responses.closed() => return Ok(()),
            () = service.shutdown.cancelled() => return Err(Error::Draining),
            _ = look.tick() => member.look(service.clock.now()).await?,
            request = requests.message() => match request {
                Ok(Some(pb::ConsumeRequest { kind })) => {
                    handle(member, kind, service.clock.now()).await?;
                }
                Ok(None) | Err(_) => return Ok(()),
            },
            permit = responses.reserve(), if has_work => {
                let Ok(permit) = permit else { return Ok(()) };
                member.read().await?;
                if let Some(response) = member.take_response() {
                    permit.send(Ok(response));
                }
            }
            () = written => member.look_for_events(),
        }
    }
}

async fn handle(member: &mut Member, kind: Option<Kind>, now: DateTime<Utc>) -> Result<(), Error> {
    member.show_life(now);
    match kind {
        Some(Kind::Acknowledge(acknowledge)) => member.acknowledge(&acknowledge, now).await,
        Some(Kind::Heartbeat(_)) => Ok(()),
        Some(Kind::SetCredits(set)) => {
            match usize::try_from(set.credits).ok().filter(|credits| *credits <= MAX_BATCH_EVENTS) {
                Some(credits) => {
                    member.set_credits(credits);
                    Ok(())
                }
                None => Err(Error::invalid(
                    "set_credits.credits",
                    format!("must lie between 0 and {MAX_BATCH_EVENTS}"),
                )),
            }
        }
        Some(Kind::Join(_)) => Err(Error::invalid("join", "a stream joins once")),
        None => Err(Error::invalid("kind", "is missing")),
    }
}

/// A checked request to join.
struct Join {
    group: String,
    member: String,
    start: Option<pb::LogPlace>,
    filter: String,
    credits: usize,
    lease: TimeDelta,
}

impl Join {
    fn read(join: pb::JoinGroup) -> Result<Self, Error> {
        check_name("join.group", &join.group, MAX_SOURCE_BYTES)?;
        check_name("join.member_id", &join.member_id, MAX_SOURCE_BYTES)?;
        let credits = match usize::try_from(join.credits) {
            Ok(0) => DEFAULT_CREDITS,
            Ok(credits) if credits <= MAX_BATCH_EVENTS => credits,
            _ => {
                let problem = format!("must lie between 0 and {MAX_BATCH_EVENTS}");
                return Err(Error::invalid("join.credits", problem));
            }
        };
        let lease = match join.lease_seconds {
            0 => DEFAULT_LEASE,
            seconds if LEASE_SECONDS.contains(&seconds) => TimeDelta::seconds(seconds.into()),
            _ => return Err(Error::invalid("join.lease_seconds", "must lie between 5 and 600")),
        };
        Ok(Self {
            group: join.group,
            member: join.member_id,
            start: join.start,
            filter: join.filter,
            credits,
            lease,
        })
    }

    async fn enter(self, service: &Subscriptions, caller: &Caller) -> Result<Member, Error> {
        let project = caller.project;
        let parse = |filter: String| {
            Condition::parse(&filter).map_err(|error| Error::InvalidFilter { filter, error })
        };
        // Before the group is made with it.
        parse(self.filter.clone())?;
        let now = service.clock.now();
        let mut transaction = service.pool.begin().await.map_err(StoreError::from)?;
        let filter = self.open(&mut transaction, caller, now).await?;
        let session = Session { project, group: &self.group, id: Uuid::now_v7() };
        store::join(&mut transaction, session, &self.member, now, now + self.lease).await?;
        store::rebalance(&mut transaction, project, &self.group, now).await?;
        let id = session.id;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(Member::new(
            service.pool.clone(),
            (project, self.group, self.member, id),
            parse(filter)?,
            (self.credits, self.lease),
            now,
        ))
    }

    /// Makes the group when it is not there, locks it, and returns its filter.
    async fn open(
        &self,
        connection: &mut PgConnection,
        caller: &Caller,
        now: DateTime<Utc>,
    ) -> Result<String, Error> {
        let project = caller.project;
        if store::is_single(connection, project, &self.group).await? {
            let problem = "names a group that follows with Subscribe; take another name";
            return Err(Error::invalid("join.group", problem));
        }
        let start = place::find(connection, project, "join.start", self.start.as_ref()).await?;
        let new = NewGroup { filter: &self.filter, start, created_by: &caller.principal };
        store::ensure(connection, project, &self.group, new, now).await?;
        let group = store::lock(connection, project, &self.group).await?.ok_or_else(|| {
            let why = "the group was removed at the same time";
            Error::LeaseLost { group: self.group.clone(), member: self.member.clone(), why }
        })?;
        if !self.filter.is_empty() && self.filter != group.filter {
            let problem = format!(
                "the group's filter is {:?}; leave it empty, use that, or take another group",
                group.filter
            );
            return Err(Error::invalid("join.filter", problem));
        }
        Ok(group.filter)
    }
}
