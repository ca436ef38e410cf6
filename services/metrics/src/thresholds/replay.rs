//! Evaluates again what the log of evaluations holds.
//!
//! From the logged values the outcome must be the same: that is a check of the
//! program and of the log. From values computed again it may be another one,
//! because the log of events knows more by now; that tells what late events,
//! merges and withdrawn consent would have changed.

use std::pin::Pin;

use chrono::{DateTime, Utc};
use futures::Stream;
use northstar_domain::threshold::{Evaluation, State};
use northstar_domain::{ProjectId, timestamp};
use northstar_proto::metrics::v1 as pb;
use northstar_store::Error as StoreError;
use northstar_store::metrics::definition::{self, Stored};
use northstar_store::metrics::threshold::{self as store, Logged};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Thresholds;
use super::evaluate::Watched;
use crate::ask::ask_view;
use crate::convert::evaluation::evaluation_to_proto;
use crate::convert::from_timestamp;
use crate::provenance::Sources;
use crate::{Error, Result};

/// Evaluations read at once, and sent before the reader waits.
const BATCH: i64 = 100;

pub(super) type Replayed =
    Pin<Box<dyn Stream<Item = Result<pb::ReplayEvaluationsResponse, Status>> + Send>>;

struct Question {
    project: ProjectId,
    name: String,
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
    recompute: bool,
}

/// Answers the question, as far as the caller reads.
pub(super) fn replay(
    service: &Thresholds,
    project: ProjectId,
    request: &pb::ReplayEvaluationsRequest,
) -> Result<Replayed> {
    let question = read(project, request)?;
    let (sender, receiver) = mpsc::channel(BATCH as usize);
    let service = service.clone();
    tokio::spawn(async move {
        if let Err(error) = send(&service, &question, &sender).await {
            // Whoever is gone needs no reason.
            let _ = sender.send(Err(error.into())).await;
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

fn read(project: ProjectId, request: &pb::ReplayEvaluationsRequest) -> Result<Question> {
    if request.threshold.is_empty() {
        return Err(Error::field("threshold", "is required"));
    }
    let time = |field: &str, time: Option<&prost_types::Timestamp>| match time {
        None => Ok(None),
        Some(time) => from_timestamp(time)
            .map(Some)
            .ok_or_else(|| Error::field(field, "is not a time: seconds or nanos are out of range")),
    };
    let recompute = match pb::ReplayInput::try_from(request.input) {
        Ok(pb::ReplayInput::Unspecified | pb::ReplayInput::Logged) => false,
        Ok(pb::ReplayInput::Recomputed) => true,
        Err(_) => return Err(Error::field("input", "must be logged or recomputed")),
    };
    Ok(Question {
        project,
        name: request.threshold.clone(),
        start: time("start_time", request.start_time.as_ref())?,
        end: time("end_time", request.end_time.as_ref())?,
        recompute,
    })
}

type Sender = mpsc::Sender<Result<pb::ReplayEvaluationsResponse, Status>>;

async fn send(service: &Thresholds, question: &Question, sender: &Sender) -> Result<()> {
    let mut after = 0;
    // What the replay remembers; the first evaluation begins where the log did.
    let mut remembered: Option<Memory> = None;
    loop {
        let mut connection = service.pool.acquire().await.map_err(StoreError::from)?;
        let batch = store::next_evaluations(
            &mut connection,
            question.project,
            &question.name,
            after,
            question.start,
            question.end,
            BATCH,
        )
        .await?;
        drop(connection);
        let Some(last) = batch.last() else { return Ok(()) };
        after = last.sequence;
        for logged in batch {
            let answer = tokio::select! {
                answer = replay_one(service, question, logged, &mut remembered) => answer?,
                // Nobody waits for it any more.
                () = sender.closed() => return Ok(()),
            };
            if sender.send(Ok(answer)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// The state after the evaluation before, as logged and as replayed.
struct Memory {
    logged: State,
    replayed: State,
}

/// What a replayed evaluation begins with: what the replay remembers, unless
/// something happened in between that began anew, as a change of the rules does.
fn state_before(logged: &Logged, remembered: Option<&Memory>) -> State {
    match remembered {
        Some(memory) if memory.logged == logged.state_before => memory.replayed,
        _ => logged.state_before,
    }
}

async fn replay_one(
    service: &Thresholds,
    question: &Question,
    logged: Logged,
    remembered: &mut Option<Memory>,
) -> Result<pb::ReplayEvaluationsResponse> {
    let before = state_before(&logged, remembered.as_ref());
    let rules = logged.document.rules().map_err(|violations| StoreError::Corrupt {
        table: "metrics.threshold_evaluations",
        column: "document",
        row: format!("{}/{}", logged.name, logged.sequence),
        value: violations.to_string(),
    })?;
    let replayed = if question.recompute {
        recompute(service, question.project, &logged, before).await?
    } else {
        let evaluation =
            Evaluation { observations: logged.observations.clone(), freshness: logged.freshness };
        let step = before.step(&rules, &evaluation, logged.evaluated_at);
        Logged {
            reading: step.reading,
            breaches: step.breaches,
            gates: step.gates,
            state_before: before,
            state_after: step.state,
            effect: step.effect,
            ..logged.clone()
        }
    };
    *remembered = Some(Memory { logged: logged.state_after, replayed: replayed.state_after });
    let differences = differences(&logged, &replayed);
    Ok(pb::ReplayEvaluationsResponse {
        logged: Some(evaluation_to_proto(&logged, &rules)?),
        replayed: Some(evaluation_to_proto(&replayed, &rules)?),
        same: differences.is_empty(),
        differences,
    })
}

/// The values as the log of events has them now, by the document that was in
/// force. Whether the sources delivered then is taken from the log: nothing else
/// remembers it.
async fn recompute(
    service: &Thresholds,
    project: ProjectId,
    logged: &Logged,
    before: State,
) -> Result<Logged> {
    let name = logged
        .name
        .parse()
        .map_err(|_| Error::NotFound { kind: "Threshold", name: logged.name.clone() })?;
    let stored = Stored {
        name,
        version: logged.version,
        etag: definition::etag(&logged.document),
        document: logged.document.clone(),
    };
    let watched = Watched::load(&service.pool, project, stored).await?;
    let view = service.datasets.view(project).await?;
    let now = service.clock.now();
    let sources = Sources::read(&service.pool, project, view.head, now).await?;
    let (at, freshness, sequence) = (logged.evaluated_at, logged.freshness, logged.sequence);
    ask_view(view, move |view| {
        let mut found = watched.evaluate(view, &sources, at)?;
        found.evaluation.freshness = freshness;
        Ok(watched.conclude(&found, sequence, before, at, now))
    })
    .await
}

fn differences(logged: &Logged, replayed: &Logged) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: &str, was: String, is: String| {
        if was != is {
            found.push(format!("{what} was {was} and is {is}"));
        }
    };
    for (was, is) in logged.observations.iter().zip(&replayed.observations) {
        let what = format!("value of {}", timestamp::format(was.start));
        differ(&what, number(was.value), number(is.value));
        let what = format!("reference of {}", timestamp::format(was.start));
        differ(&what, number(was.reference), number(is.reference));
        let what = format!("spread of {}", timestamp::format(was.start));
        differ(&what, number(was.spread), number(is.spread));
    }
    let word = |debug: &dyn std::fmt::Debug| format!("{debug:?}");
    differ("reading", word(&logged.reading), word(&replayed.reading));
    differ("gates", word(&logged.gates), word(&replayed.gates));
    differ("effect", word(&logged.effect), word(&replayed.effect));
    differ("state before", word(&logged.state_before), word(&replayed.state_before));
    differ("state after", word(&logged.state_after), word(&replayed.state_after));
    found
}

/// A sum of fractions may differ in its last bits with the order of its terms.
fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("{:.11e}", value))
}
