//! Evaluates thresholds that are due. Each is evaluated by one replica, which
//! holds a lease: what it found, what follows and the question are written in one
//! transaction that checks the lease, so nothing is written twice or half.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_client::Clients;
use northstar_domain::Clock;
use northstar_domain::threshold::{Effect, Phase, State, Threshold};
use northstar_proto::approvals::v1::CreateDecisionRequestRequest;
use northstar_store::metrics::definition;
use northstar_store::metrics::threshold::{self as store, Lease, Logged, NewQuestion};
use northstar_store::outbox::Outbox;
use northstar_store::{Error as StoreError, PgPool};
use tokio_util::sync::CancellationToken;

use super::evaluate::Watched;
use super::{change, events, question};
use crate::Result;
use crate::ask::ask_view;
use crate::dataset::Datasets;
use crate::provenance::Sources;

/// Between two looks for what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Thresholds taken at once; few, so that replicas share.
const BATCH: i64 = 4;
/// After which another replica takes over.
const LEASE: TimeDelta = TimeDelta::minutes(2);
/// After a failure.
const PAUSE: TimeDelta = TimeDelta::seconds(30);

/// What evaluating needs.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) datasets: Arc<Datasets>,
    pub(crate) clients: Clients,
}

/// An evaluation, and the question when people are to be asked, or why they need not
/// answer it any more.
struct Outcome {
    logged: Logged,
    question: Option<CreateDecisionRequestRequest>,
    recovery: Option<String>,
    event: Option<northstar_store::outbox::NewMessage>,
}

impl Watch {
    /// Evaluates until told to stop. What fails is logged and due again.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        while !shutdown.is_cancelled() {
            let round = async {
                match self.evaluate_due().await {
                    Ok(0) => tokio::time::sleep(LOOK).await,
                    Ok(_) => {}
                    Err(error) => {
                        warn(&error, None);
                        tokio::time::sleep(LOOK).await;
                    }
                }
            };
            shutdown.run_until_cancelled(Box::pin(round)).await;
        }
        Ok(())
    }

    async fn evaluate_due(&self) -> Result<usize> {
        let now = self.clock.now();
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let leases = store::lease(&mut connection, BATCH, now, now + LEASE).await?;
        drop(connection);
        for lease in &leases {
            if let Err(error) = self.evaluate(lease).await {
                warn(&error, Some(lease));
                let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
                let due_at = Some(self.clock.now() + PAUSE);
                store::release(&mut connection, lease, due_at).await?;
            }
        }
        Ok(leases.len())
    }

    async fn evaluate(&self, lease: &Lease) -> Result<()> {
        let Lease { project, name, .. } = lease;
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let found = definition::find::<Threshold>(&mut connection, *project, name.as_str()).await?;
        let Some(stored) = found else {
            return Ok(store::release(&mut connection, lease, None).await?);
        };
        let standing = store::standing(&mut connection, *project, name.as_str()).await?;
        drop(connection);
        let before = standing.map(|standing| standing.state).unwrap_or_default();
        let watched = Watched::load(&self.pool, *project, stored).await?;
        let now = self.clock.now();
        let at = evaluation_time(watched.rules.slot(now), &before, now);
        let view = self.datasets.view(*project).await?;
        let sources = Sources::read(&self.pool, *project, view.head, now).await?;
        let next = next_due(watched.rules.next_slot(now));
        let project = *project;
        let decision = watched.rules.decision.clone();
        let mut outcome = ask_view(view, move |view| {
            let found = watched.evaluate(view, &sources, at)?;
            let logged = watched.conclude(&found, 0, before, at, now);
            let question = match logged.effect {
                Effect::Raise { .. } => {
                    Some(question::question(&watched, view, &logged, &found.provenance)?)
                }
                _ => None,
            };
            let recovery = matches!(logged.effect, Effect::Clear { .. })
                .then(|| question::recovery(&watched, &logged));
            let event = events::step(project, &watched, &logged);
            Ok(Outcome { logged, question, recovery, event })
        })
        .await?;
        let question = match outcome.question.take() {
            None => None,
            Some(asked) => {
                let episode = outcome.logged.state_after.episode;
                let clients = self.clients.for_project(project.0);
                Some(change::complete(&clients, &decision, episode, asked).await?)
            }
        };
        let due_at = next(&outcome.logged.state_after);
        self.write(lease, outcome, question, due_at, now).await
    }

    /// Everything or, when the lease is lost, nothing.
    async fn write(
        &self,
        lease: &Lease,
        outcome: Outcome,
        question: Option<NewQuestion>,
        due_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let Outcome { mut logged, recovery, event, .. } = outcome;
        let mut tx = self.pool.begin().await.map_err(StoreError::from)?;
        let Some((sequence, state)) = store::hold(&mut tx, lease).await? else { return Ok(()) };
        // Only the holder of the lease writes the state.
        if state != logged.state_before {
            store::release(&mut tx, lease, Some(now)).await?;
            return Ok(tx.commit().await.map_err(StoreError::from)?);
        }
        logged.sequence = sequence;
        store::record(&mut tx, lease, &logged, due_at).await?;
        let Lease { project, name, .. } = lease;
        if let Some(question) = &question {
            store::put_question(&mut tx, *project, name, question, now).await?;
        }
        if let Some(reason) = &recovery {
            let episode = logged.state_after.episode;
            store::put_withdrawal(&mut tx, *project, name, episode, reason, now).await?;
        }
        if let Some(event) = &event {
            Outbox::Metrics.put(&mut tx, event).await?;
        }
        tx.commit().await.map_err(StoreError::from)?;
        tracing::debug!(
            threshold.name = %lease.name,
            project.id = lease.project.0,
            threshold.effect = ?logged.effect,
            threshold.reading = ?logged.reading,
            "evaluated a threshold",
        );
        Ok(())
    }
}

/// The last time on the schedule, or the end of a quiet since.
fn evaluation_time(slot: DateTime<Utc>, before: &State, now: DateTime<Utc>) -> DateTime<Utc> {
    match before.phase {
        Phase::Deferred { until, .. } if until <= now => slot.max(until),
        Phase::Deferred { .. } | Phase::Watching | Phase::Open { .. } => slot,
    }
}

/// The next time on the schedule, or the end of a quiet before it.
fn next_due(slot: DateTime<Utc>) -> impl Fn(&State) -> DateTime<Utc> {
    move |after| match after.phase {
        Phase::Deferred { until, .. } => slot.min(until),
        Phase::Watching | Phase::Open { .. } => slot,
    }
}

fn warn(error: &crate::Error, lease: Option<&Lease>) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        threshold.name = lease.map(|lease| lease.name.as_str()),
        project.id = lease.map(|lease| lease.project.0),
        "a threshold could not be evaluated, trying again",
    );
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn the_end_of_a_quiet_is_an_evaluation_time_of_its_own() {
        let slot = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let until = slot + TimeDelta::minutes(30);
        let deferred = State { phase: Phase::Deferred { since: slot, until }, ..State::default() };
        let minutes = |minutes| slot + TimeDelta::minutes(minutes);
        assert_eq!(evaluation_time(slot, &deferred, minutes(29)), slot);
        assert_eq!(evaluation_time(slot, &deferred, minutes(31)), until);
        assert_eq!(evaluation_time(slot, &State::default(), minutes(31)), slot);
        assert_eq!(next_due(minutes(60))(&deferred), until);
        assert_eq!(next_due(minutes(60))(&State::default()), minutes(60));
    }
}
