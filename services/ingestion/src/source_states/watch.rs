//! Judges declared sources every few seconds and tells the log of every change.
//!
//! The new state and the event that announces it are written in one
//! transaction; the outbox sends the event at least once under an id made from
//! the change, so the log has it once, however many processes watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::source::{Judgement, State};
use northstar_domain::{Clock, ProjectId};
use northstar_store::ingestion::accounting::{self, EventCounts};
use northstar_store::ingestion::source_documents::{self as store, JudgedState};
use northstar_store::outbox::{NewMessage, Outbox};
use northstar_store::{PgPool, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::judge::{counts, judge};
use crate::instruments::Standings;

/// Name of the event that tells of a change.
const CHANGED: &str = "Source State Changed";
/// Hours are kept for the longest period of a rule and some more.
const KEPT: TimeDelta = TimeDelta::days(100);

/// Watches until `shutdown`. A database that is away is waited for.
pub(crate) async fn watch(
    pool: PgPool,
    clock: Arc<dyn Clock>,
    interval: Duration,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let standings = Standings::new();
    while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        if let Err(error) = look(&pool, &standings, clock.now()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "sources could not be judged, trying again"
            );
        }
    }
    Ok(())
}

async fn look(pool: &PgPool, standings: &Standings, now: DateTime<Utc>) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let projects = store::projects(&mut connection).await?;
    if !projects.is_empty() {
        accounting::forget_hours(&mut connection, now - KEPT).await?;
    }
    drop(connection);
    for project in projects {
        look_at(pool, standings, project, now).await?;
    }
    Ok(())
}

async fn look_at(
    pool: &PgPool,
    standings: &Standings,
    project: ProjectId,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let mut known: BTreeMap<(String, String), JudgedState> =
        store::states(&mut connection, project)
            .await?
            .into_iter()
            .map(|state| ((state.source.clone(), state.event.clone()), state))
            .collect();
    let counts = counts(&mut connection, project, None).await?;
    let nothing = BTreeMap::new();
    let mut judgements = Vec::new();
    for document in store::all(&mut connection, project).await? {
        let source = &document.name;
        let counts = counts.get(source).unwrap_or(&nothing);
        let judged = judge(&mut connection, project, &document, counts, now).await?;
        let mut total = EventCounts::default();
        counts.values().for_each(|counts| crate::accounting::merge(&mut total, counts));
        // A clock that was set back makes nothing younger than now.
        let age = total.last_accepted_at.map(|at| (now - at).to_std().unwrap_or_default());
        standings.judged(project, source, judged.state(), age, &total);
        let events = judged.events.into_iter();
        for (event, judgement) in std::iter::once((String::new(), judged.whole)).chain(events) {
            let before = known.remove(&(source.clone(), event.clone()));
            judgements.push((source.clone(), event, judgement, before));
        }
    }
    // What is left is judged no more.
    for (source, event) in known.into_keys() {
        store::forget_state(&mut connection, project, &source, &event).await?;
    }
    drop(connection);
    for (source, event, judgement, before) in judgements {
        announce(pool, project, before, (&source, &event), judgement, now).await?;
    }
    Ok(())
}

/// Writes a state that differs from the one before, with the event that tells
/// of it. The first state of a source that is well is no news.
async fn announce(
    pool: &PgPool,
    project: ProjectId,
    before: Option<JudgedState>,
    (source, event): (&str, &str),
    judgement: Judgement,
    now: DateTime<Utc>,
) -> Result<()> {
    let previous = before.as_ref().map_or(State::Off, |before| before.state);
    // Another process that judged at a later time knows better.
    let known = |before: &JudgedState| before.state == judgement.state || before.changed_at > now;
    if before.as_ref().is_some_and(known) {
        return Ok(());
    }
    let news = before.is_some() || judgement.state > State::Fresh;
    let new = JudgedState {
        source: source.to_owned(),
        event: event.to_owned(),
        state: judgement.state,
        reason: judgement.reason,
        changes: before.map_or(1, |before| before.changes + 1),
        changed_at: now,
    };
    let mut transaction = pool.begin().await?;
    if !store::change_state(&mut transaction, project, &new).await? {
        // Another process saw it first.
        return Ok(());
    }
    if news {
        Outbox::Ingestion.put(&mut transaction, &message(project, &new, previous)).await?;
    }
    transaction.commit().await?;
    tracing::info!(
        project.id = project.0,
        source.name = new.source,
        event.name = new.event,
        source.state = new.state.as_str(),
        reason = new.reason,
        "state of a source changed"
    );
    Ok(())
}

fn message(project: ProjectId, new: &JudgedState, previous: State) -> NewMessage {
    let mut hasher = Sha256::new();
    hasher.update((new.source.len() as u64).to_be_bytes());
    hasher.update(&new.source);
    hasher.update(&new.event);
    let which = hex::encode(&hasher.finalize()[..16]);
    NewMessage {
        project,
        message_id: format!(
            "source-state/{which}/{}/{}",
            new.changed_at.timestamp_micros(),
            new.changes
        ),
        name: CHANGED.to_owned(),
        user_id: String::new(),
        anonymous_id: format!("source:{}", new.source),
        occurred_at: new.changed_at,
        properties: json!({
            "source": new.source,
            "event": new.event,
            "state": new.state.as_str(),
            "previous_state": previous.as_str(),
            "reason": new.reason,
        }),
    }
}
