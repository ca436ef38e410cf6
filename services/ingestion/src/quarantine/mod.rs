//! `QuarantineService`: mend, replay and discard quarantined events.

pub(crate) mod document;
mod filter;
mod kpis;
mod steps;

use std::collections::BTreeMap;

use northstar_client::RequestContext;
use northstar_domain::QuarantineId;
use northstar_domain::event::Reason;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::caller;
use northstar_server::idempotent::Mutation;
use northstar_server::page::page_size;
use northstar_store::ingestion::quarantine as store;
use pb::quarantine_service_server::QuarantineService as Rpcs;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use self::document::Patch;
use self::filter::{Picked, Purpose};
use self::steps::{Correction, Hand, Outcome};
use crate::convert::quarantined_to_proto;
use crate::error::Error;
use crate::reads::{Shown, audited};
use crate::service::{Ingestion, unknown_page};

const PATCH: &str = "/northstar.ingestion.v1.QuarantineService/PatchQuarantinedEvents";
const REPLAY: &str = "/northstar.ingestion.v1.QuarantineService/ReplayQuarantinedEvents";
const DISCARD: &str = "/northstar.ingestion.v1.QuarantineService/DiscardQuarantinedEvents";
const RESOLVE: &str = "/northstar.ingestion.v1.QuarantineService/ResolveIdConflicts";
/// Events of one transaction.
const PAGE: i64 = 100;
/// Most pages that one search reads for a page of matches.
const MAX_PAGES_READ: usize = 20;
const MAX_REASON_BYTES: usize = 1_000;
const KEPT_FIRST: &str = "id conflict: the event that used the message id first is kept";

type Updates<R> = ReceiverStream<Result<R, Status>>;

/// The service.
pub(crate) struct QuarantineService(pub(crate) Ingestion);

/// What is done to the events that a call picks.
enum Step {
    Patch(Correction),
    Replay { skip_kpis: bool },
    Discard(String),
    KeepFirst,
    KeepBoth,
}

/// A call that works on many events.
struct Work {
    service: Ingestion,
    caller: Caller,
    picked: Picked,
    step: Step,
    dry_run: bool,
    mutation: Mutation,
}

/// What a stream tells.
#[derive(Default)]
struct Update {
    progress: pb::QuarantineProgress,
    check: Option<pb::EventResult>,
    moves: kpis::Moves,
    log_position: i64,
}

#[tonic::async_trait]
impl Rpcs for QuarantineService {
    async fn get_quarantined_event(
        &self,
        request: Request<pb::GetQuarantinedEventRequest>,
    ) -> Result<Response<pb::GetQuarantinedEventResponse>, Status> {
        let caller = caller(&request)?;
        let id = request.into_inner().quarantine_id;
        Ok(Response::new(self.get(&caller, id).await?))
    }

    async fn search_quarantined_events(
        &self,
        request: Request<pb::SearchQuarantinedEventsRequest>,
    ) -> Result<Response<pb::SearchQuarantinedEventsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(self.search(&caller, &request).await?))
    }

    type PatchQuarantinedEventsStream = Updates<pb::PatchQuarantinedEventsResponse>;

    async fn patch_quarantined_events(
        &self,
        request: Request<pb::PatchQuarantinedEventsRequest>,
    ) -> Result<Response<Self::PatchQuarantinedEventsStream>, Status> {
        use pb::patch_quarantined_events_request::Change;
        let caller = caller(&request)?;
        let request = request.into_inner();
        let mutation =
            Mutation::new(&caller, PATCH, &request.request_id, &request).map_err(Error::from)?;
        let picked = Picked::read(request.filter.as_ref(), Purpose::Change)?;
        let correction = match request.change {
            None => {
                return Err(Error::invalid("change", "give merge_patch_json or event").into());
            }
            Some(Change::MergePatchJson(text)) => Correction::Patch(
                Patch::parse(&text).map_err(|bad| Error::invalid(bad.field, bad.problem))?,
            ),
            Some(Change::Event(_)) if !picked.names_one => {
                let problem = "must name one id when the whole event is given";
                return Err(Error::invalid("filter.quarantine_ids", problem).into());
            }
            Some(Change::Event(event)) => Correction::Whole(Box::new(event)),
        };
        let (step, dry_run) = (Step::Patch(correction), request.dry_run);
        let work = self.work(caller, picked, step, dry_run, mutation);
        Ok(work.start(|update| pb::PatchQuarantinedEventsResponse {
            progress: Some(update.progress),
            check: update.check,
        }))
    }

    type ReplayQuarantinedEventsStream = Updates<pb::ReplayQuarantinedEventsResponse>;

    async fn replay_quarantined_events(
        &self,
        request: Request<pb::ReplayQuarantinedEventsRequest>,
    ) -> Result<Response<Self::ReplayQuarantinedEventsStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let mutation =
            Mutation::new(&caller, REPLAY, &request.request_id, &request).map_err(Error::from)?;
        let picked = Picked::read(request.filter.as_ref(), Purpose::Change)?;
        let step = Step::Replay { skip_kpis: request.skip_kpis };
        let work = self.work(caller, picked, step, request.dry_run, mutation);
        Ok(work.start(|update| pb::ReplayQuarantinedEventsResponse {
            progress: Some(update.progress),
            kpi_moves: update.moves.moved,
            kpis_unknown: update.moves.unknown,
            log_position: update.log_position,
        }))
    }

    type DiscardQuarantinedEventsStream = Updates<pb::DiscardQuarantinedEventsResponse>;

    async fn discard_quarantined_events(
        &self,
        request: Request<pb::DiscardQuarantinedEventsRequest>,
    ) -> Result<Response<Self::DiscardQuarantinedEventsStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let mutation =
            Mutation::new(&caller, DISCARD, &request.request_id, &request).map_err(Error::from)?;
        let picked = Picked::read(request.filter.as_ref(), Purpose::Change)?;
        let reason = request.reason;
        if reason.trim().is_empty() || reason.len() > MAX_REASON_BYTES || reason.contains('\0') {
            let problem = format!("say why, in 1 to {MAX_REASON_BYTES} bytes");
            return Err(Error::invalid("reason", problem).into());
        }
        let work = self.work(caller, picked, Step::Discard(reason), request.dry_run, mutation);
        Ok(work.start(|update| pb::DiscardQuarantinedEventsResponse {
            progress: Some(update.progress),
        }))
    }

    type ResolveIdConflictsStream = Updates<pb::ResolveIdConflictsResponse>;

    async fn resolve_id_conflicts(
        &self,
        request: Request<pb::ResolveIdConflictsRequest>,
    ) -> Result<Response<Self::ResolveIdConflictsStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let mutation =
            Mutation::new(&caller, RESOLVE, &request.request_id, &request).map_err(Error::from)?;
        let mut picked = Picked::read(request.filter.as_ref(), Purpose::Change)?;
        let conflict = Reason::IdConflict.as_str();
        if picked.search.reason.get_or_insert_with(|| conflict.to_owned()) != conflict {
            let problem = "must be id_conflict or empty";
            return Err(Error::invalid("filter.reason", problem).into());
        }
        let step = match request.resolution() {
            pb::IdConflictResolution::KeepFirst => Step::KeepFirst,
            pb::IdConflictResolution::KeepBoth => Step::KeepBoth,
            pb::IdConflictResolution::Unspecified => {
                let problem = "say KEEP_FIRST or KEEP_BOTH";
                return Err(Error::invalid("resolution", problem).into());
            }
        };
        let work = self.work(caller, picked, step, request.dry_run, mutation);
        Ok(work.start(|update| pb::ResolveIdConflictsResponse { progress: Some(update.progress) }))
    }
}

impl QuarantineService {
    fn work(
        &self,
        caller: Caller,
        picked: Picked,
        step: Step,
        dry_run: bool,
        mutation: Mutation,
    ) -> Work {
        Work { service: self.0.clone(), caller, picked, step, dry_run, mutation }
    }

    async fn get(
        &self,
        caller: &Caller,
        id: String,
    ) -> Result<pb::GetQuarantinedEventResponse, Error> {
        let none = || Error::NotQuarantined { id: id.clone() };
        let parsed: QuarantineId = id.parse().map_err(|_| none())?;
        let mut connection = self.0.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let found = store::find(&mut connection, caller.project, parsed).await?;
        drop(connection);
        let row = found.ok_or_else(none)?;
        let hand = Hand { service: &self.0, caller, dry_run: true };
        let check = hand.check(row.clone()).await?;
        let resource = format!("quarantine/{}", row.id);
        let shown = Shown {
            action: "quarantine.read",
            resource: &resource,
            detail: serde_json::json!({"events": 1}),
        };
        audited(&self.0.pool, &*self.0.clock, caller, shown).await?;
        Ok(pb::GetQuarantinedEventResponse { event: Some(quarantined_to_proto(row)), check })
    }

    async fn search(
        &self,
        caller: &Caller,
        request: &pb::SearchQuarantinedEventsRequest,
    ) -> Result<pb::SearchQuarantinedEventsResponse, Error> {
        let size = usize::try_from(page_size(request.page_size)?.limit() - 1).unwrap_or(50);
        let picked = Picked::read(request.filter.as_ref(), Purpose::Read)?;
        let mut after: Option<QuarantineId> = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| unknown_page())?),
        };
        let mut events = Vec::new();
        let mut connection = self.0.pool.acquire().await.map_err(northstar_store::Error::from)?;
        for _ in 0..MAX_PAGES_READ {
            let rows =
                store::search(&mut connection, caller.project, &picked.search, after, None, PAGE)
                    .await?;
            let last_page = i64::try_from(rows.len()).is_ok_and(|rows| rows < PAGE);
            let mut rows = rows.into_iter();
            for row in rows.by_ref() {
                after = Some(row.id);
                if picked.matches(&row) {
                    events.push(quarantined_to_proto(row));
                }
                if events.len() == size {
                    break;
                }
            }
            let read_all = rows.next().is_none() && last_page;
            if read_all {
                after = None;
            }
            if read_all || events.len() == size {
                break;
            }
        }
        drop(connection);
        let next_page_token = after.map(|id| id.to_string()).unwrap_or_default();
        if !events.is_empty() {
            let shown = Shown {
                action: "quarantine.read",
                resource: "quarantine",
                detail: serde_json::json!({"events": events.len()}),
            };
            audited(&self.0.pool, &*self.0.clock, caller, shown).await?;
        }
        Ok(pb::SearchQuarantinedEventsResponse { events, next_page_token })
    }
}

impl Work {
    /// Works on a task of its own and answers with progress. When nobody listens
    /// any more it stops after the page at hand.
    fn start<R>(self, respond: fn(Update) -> R) -> Response<Updates<R>>
    where
        R: prost::Message + Default + 'static,
    {
        let (updates, stream) = mpsc::channel(1);
        // Calls to other services go out on behalf of the caller.
        let context = RequestContext::current().unwrap_or_default();
        tokio::spawn(context.scope(async move {
            if let Err(error) = self.run(&updates, respond).await {
                let _ = updates.send(Err(error.into())).await;
            }
        }));
        Response::new(ReceiverStream::new(stream))
    }

    async fn run<R>(
        self,
        updates: &mpsc::Sender<Result<R, Status>>,
        respond: fn(Update) -> R,
    ) -> Result<(), Error>
    where
        R: prost::Message + Default,
    {
        let project = self.caller.project;
        let mut connection =
            self.service.pool.acquire().await.map_err(northstar_store::Error::from)?;
        if !self.dry_run
            && let Some(answer) = self.mutation.find_answer::<R>(&mut connection).await?
        {
            let _ = updates.send(Ok(answer)).await;
            return Ok(());
        }
        // What comes in meanwhile is left for the next call.
        let last = store::newest(&mut connection, project).await?;
        drop(connection);

        let with_kpis = matches!(self.step, Step::Replay { skip_kpis: false }) && !self.dry_run;
        let before =
            if with_kpis { Some(kpis::Scorecard::read(&self.service.clients).await) } else { None };
        let hand = Hand { service: &self.service, caller: &self.caller, dry_run: self.dry_run };
        let mut told = Told::default();
        let mut after = None;
        loop {
            let mut connection =
                self.service.pool.acquire().await.map_err(northstar_store::Error::from)?;
            let page =
                store::search(&mut connection, project, &self.picked.search, after, last, PAGE)
                    .await?;
            drop(connection);
            let Some(newest) = page.last() else { break };
            after = Some(newest.id);
            let full = i64::try_from(page.len()).is_ok_and(|rows| rows == PAGE);
            let matching: Vec<_> =
                page.into_iter().filter(|row| self.picked.matches(row)).collect();
            if !matching.is_empty() {
                told.matched += i64::try_from(matching.len()).unwrap_or(i64::MAX);
                told.add(self.step(&hand, &matching).await?);
                if updates.send(Ok(respond(told.update(false)))).await.is_err() {
                    return Ok(());
                }
            }
            if !full {
                break;
            }
        }
        let mut end = told.update(true);
        if let Some(before) = before {
            end.moves = before.compare(&self.service.clients).await;
        }
        let answer = respond(end);
        if !self.dry_run {
            let now = self.service.clock.now();
            let mut connection =
                self.service.pool.acquire().await.map_err(northstar_store::Error::from)?;
            self.mutation.save_answer(&mut connection, &answer, now).await?;
        }
        let _ = updates.send(Ok(answer)).await;
        Ok(())
    }

    async fn step(&self, hand: &Hand<'_>, page: &[store::Quarantined]) -> Result<Outcome, Error> {
        match &self.step {
            Step::Patch(correction) => hand.patch(page, correction).await,
            Step::Replay { .. } => hand.replay(page).await,
            Step::Discard(reason) => hand.discard(page, reason).await,
            Step::KeepFirst => hand.discard(page, KEPT_FIRST).await,
            Step::KeepBoth => {
                let patched = hand.patch(page, &Correction::OwnMessageId).await?;
                if hand.dry_run {
                    return Ok(patched);
                }
                hand.replay(page).await
            }
        }
    }
}

/// How far a call is.
#[derive(Default)]
struct Told {
    matched: i64,
    changed: i64,
    unchanged: BTreeMap<String, i64>,
    check: Option<pb::EventResult>,
    log_position: i64,
}

impl Told {
    fn add(&mut self, outcome: Outcome) {
        self.changed += outcome.changed;
        for (reason, count) in outcome.unchanged {
            *self.unchanged.entry(reason).or_default() += count;
        }
        self.check = outcome.check.or_else(|| self.check.take());
        self.log_position = self.log_position.max(outcome.log_position);
    }

    fn update(&self, done: bool) -> Update {
        Update {
            progress: pb::QuarantineProgress {
                matched: self.matched,
                changed: self.changed,
                unchanged_by_reason: self.unchanged.clone(),
                done,
            },
            check: self.check.clone(),
            moves: kpis::Moves::default(),
            log_position: self.log_position,
        }
    }
}
