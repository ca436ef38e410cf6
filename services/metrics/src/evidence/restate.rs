//! The loop that looks again at values that were told, where something came that may
//! have changed them.
//!
//! What a value rests on is stored beside it, and both move in one transaction, so a
//! round that was cut short is simply done again, and two processes do not restate one
//! change twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use northstar_domain::ProjectId;
use northstar_engine::Snapshot;
use northstar_proto::metrics::v1 as pb;
use northstar_store::Error as StoreError;
use northstar_store::metrics::definition::{self, Fingerprint};
use northstar_store::metrics::log::Head;
use northstar_store::metrics::restatement::{self, Question, Restatement, Value};
use prost::Message as _;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::keep::{closed, definitions_hash};
use crate::plan;
use crate::query::{Computed, compute};
use crate::service::Metrics as Service;
use crate::worker::projects;
use crate::{Error, Result};

/// Questions of a project that are computed again in one round; the others wait for
/// the next.
const QUESTIONS_A_ROUND: usize = 50;

/// How much longer than its rounds the loop rests, so that it takes a tenth of one
/// core at most.
const REST: u32 = 9;

/// What the loop remembers of a project, to look at nothing twice. It is lost with the
/// process; then everything is looked at once more.
#[derive(Default)]
struct Seen {
    head: Head,
    definitions: Option<Fingerprint>,
    /// Positions up to which no event was late for a question.
    looked: HashMap<Vec<u8>, i64>,
}

/// Looks again until told to stop. What fails is logged and tried again in the next
/// round.
pub(crate) async fn follow(
    service: Service,
    every: Duration,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut seen: HashMap<ProjectId, Seen> = HashMap::new();
    while !shutdown.is_cancelled() {
        let round = async {
            let started = tokio::time::Instant::now();
            match projects(&service.pool).await {
                Ok(projects) => {
                    for project in projects {
                        let seen = seen.entry(project).or_default();
                        if let Err(error) = round(&service, project, seen).await {
                            warn(&error, Some(project));
                        }
                    }
                }
                Err(error) => warn(&error, None),
            }
            tokio::time::sleep(every.max(started.elapsed() * REST)).await;
        };
        shutdown.run_until_cancelled(round).await;
    }
    Ok(())
}

fn warn(error: &Error, project: Option<ProjectId>) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        project.id = project.map(|project| project.0),
        "told values could not be looked at again, trying again"
    );
}

/// Looks at the questions of a project whose values rest on less than is known now.
async fn round(service: &Service, project: ProjectId, seen: &mut Seen) -> Result<()> {
    let mut connection = service.pool.acquire().await.map_err(StoreError::from)?;
    let questions = restatement::questions(&mut connection, project).await?;
    if questions.is_empty() {
        return Ok(());
    }
    let definitions = Some(definition::fingerprint(&mut connection, project).await?);
    drop(connection);
    let view = service.datasets.view(project).await?;
    let is_known = |question: &Question| seen.looked.contains_key(&question.id);
    if seen.head == view.head && seen.definitions == definitions && questions.iter().all(is_known) {
        return Ok(());
    }
    let mut earliest = Earliest::default();
    let (mut looked, mut computed, mut is_complete) = (HashMap::new(), 0, true);
    for question in questions {
        let request = decode(&question)?;
        let known = seen.looked.get(&question.id).copied();
        let same_definitions = if seen.definitions == definitions && known.is_some() {
            true
        } else {
            match current_hash(service, project, &request).await {
                Ok(hash) => hash == question.definitions_hash,
                // The metric, or a cohort, is gone: what was told stays as it was told.
                Err(Error::NotFound { .. }) => continue,
                Err(error) => return Err(error),
            }
        };
        let after = known.unwrap_or(question.head.position);
        let earliest = earliest.after(&view.snapshot, after).await?;
        let nothing_late = earliest.is_none_or(|time| time >= plan::instant(question.as_of));
        if same_definitions && nothing_late && facts(question.head) == facts(view.head) {
            looked.insert(question.id, view.head.position);
        } else if computed == QUESTIONS_A_ROUND {
            is_complete = false;
            looked.extend(known.map(|position| (question.id, position)));
        } else {
            computed += 1;
            if look_again(service, project, &question, &request).await? {
                looked.insert(question.id, view.head.position);
            }
        }
    }
    seen.looked = looked;
    if is_complete {
        (seen.head, seen.definitions) = (view.head, definitions);
    }
    Ok(())
}

/// What is known of subjects.
fn facts(head: Head) -> [i64; 4] {
    [head.identity_version, head.consent_version, head.consent_policy_version, head.erasure_version]
}

/// The earliest events after positions, which many questions share.
#[derive(Default)]
struct Earliest(BTreeMap<i64, Option<i64>>);

impl Earliest {
    async fn after(&mut self, snapshot: &Snapshot, position: i64) -> Result<Option<i64>> {
        if let Some(known) = self.0.get(&position) {
            return Ok(*known);
        }
        let snapshot = snapshot.clone();
        let found = spawn_blocking(move || snapshot.earliest_after(position)).await?;
        self.0.insert(position, found);
        Ok(found)
    }
}

fn decode(question: &Question) -> Result<pb::QueryMetricRequest> {
    pb::QueryMetricRequest::decode(question.request.as_slice()).map_err(|error| {
        Error::from(StoreError::Corrupt {
            table: "metrics.served_questions",
            column: "request",
            row: hex::encode(&question.id),
            value: error.to_string(),
        })
    })
}

/// The hash of the definitions as they are now.
async fn current_hash(
    service: &Service,
    project: ProjectId,
    request: &pb::QueryMetricRequest,
) -> Result<Vec<u8>> {
    let (metrics, version) = crate::query::find(&service.pool, project, &request.metric).await?;
    let cohorts = crate::cohorts::used(service, project, request).await?;
    definitions_hash(&metrics, version, &cohorts)
}

/// Computes a question again, and writes down what changed and why. False when it must be
/// looked at once more: somebody else did meanwhile, or a replay is under way.
async fn look_again(
    service: &Service,
    project: ProjectId,
    question: &Question,
    request: &pb::QueryMetricRequest,
) -> Result<bool> {
    let as_of = Some(plan::instant(question.as_of));
    let computed = compute(service, project, request, as_of).await?;
    let after = Question {
        metric_version: computed.version,
        definitions_hash: definitions_hash(&computed.metrics, computed.version, &computed.cohorts)?,
        head: computed.view.head,
        ..question.clone()
    };
    let Some(causes) = causes(service, project, question, &after, &computed).await? else {
        return Ok(false);
    };
    let now = service.clock.now();
    let mut transaction = service.pool.begin().await.map_err(StoreError::from)?;
    if !restatement::advance(&mut transaction, project, question, &after).await? {
        return Ok(false);
    }
    let told = restatement::values(&mut transaction, project, &question.id).await?;
    for (old, new) in differing(&told, closed(&computed.answer, request, now)) {
        let restatement = Restatement {
            id: 0,
            metric: question.metric.clone(),
            kpi: question.kpi.clone(),
            question_id: question.id.clone(),
            request: question.request.clone(),
            bucket_start: new.bucket_start,
            dimensions: new.dimensions,
            old_value: old.and_then(|old| old.value),
            new_value: new.value,
            causes: causes.clone(),
            old_metric_version: question.metric_version,
            new_metric_version: after.metric_version,
            old_log_position: question.head.position,
            new_log_position: after.head.position,
            served_at: old.map_or(now, |old| old.served_at),
            restated_at: now,
        };
        restatement::restate(&mut transaction, project, &restatement).await?;
        tracing::info!(
            project.id = project.0,
            metric.name = restatement.metric,
            restatement.causes = restatement.causes.join(","),
            "a value that was told has changed"
        );
    }
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(true)
}

/// What changed: values that differ, values whose cell is gone, and cells in told
/// buckets that were not there.
fn differing(told: &[Value], now: Vec<Value>) -> Vec<(Option<&Value>, Value)> {
    let cell = |value: &Value| (value.bucket_start, value.dimensions.to_string());
    let buckets: HashSet<_> = told.iter().map(|value| value.bucket_start).collect();
    let mut now: BTreeMap<_, Value> = now.into_iter().map(|value| (cell(&value), value)).collect();
    let mut changed = Vec::new();
    for old in told {
        match now.remove(&cell(old)) {
            Some(new) if same(old.value, new.value) => {}
            Some(new) => changed.push((Some(old), new)),
            None if old.value.is_none() => {}
            None => changed.push((Some(old), Value { value: None, ..old.clone() })),
        }
    }
    let new =
        now.into_values().filter(|new| new.value.is_some() && buckets.contains(&new.bucket_start));
    changed.extend(new.map(|new| (None, new)));
    changed
}

/// Whether people would read the same number: sums of fractions may differ in their
/// last bits with the order of their terms.
fn same(old: Option<f64>, new: Option<f64>) -> bool {
    let shown = |value: Option<f64>| value.map(|value| format!("{value:.11e}"));
    shown(old) == shown(new)
}

/// What came between two looks that may change a number; `None` while that cannot be
/// told, because a replay is under way.
async fn causes(
    service: &Service,
    project: ProjectId,
    before: &Question,
    after: &Question,
    computed: &Computed,
) -> Result<Option<Vec<String>>> {
    let (old, new) = (before.head, after.head);
    let snapshot = computed.view.snapshot.clone();
    let as_of = plan::instant(before.as_of);
    let late = spawn_blocking(move || snapshot.late(old.position, as_of)).await?;
    let mut connection = service.pool.acquire().await.map_err(StoreError::from)?;
    // In this order: whoever has come from quarantine by now is known there, too.
    if !late.is_empty() && restatement::is_replaying(&mut connection, project).await? {
        return Ok(None);
    }
    let replayed = restatement::replayed(&mut connection, project, &late).await?;
    let mut causes = Vec::new();
    let mut note = |holds: bool, cause: &str| {
        if holds {
            causes.push(cause.to_owned());
        }
    };
    note(late.len() > replayed.len(), "late_event");
    note(!replayed.is_empty(), "replay");
    if old.identity_version != new.identity_version {
        let (from, to) = (old.identity_version, new.identity_version);
        let (together, apart) =
            restatement::identity_verbs(&mut connection, project, from, to).await?;
        note(together, "merge");
        note(apart, "unmerge");
    }
    let consent = |head: Head| (head.consent_version, head.consent_policy_version);
    note(consent(old) != consent(new), "consent");
    note(old.erasure_version != new.erasure_version, "erasure");
    note(before.definitions_hash != after.definitions_hash, "definition");
    Ok(Some(causes))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;

    fn value(day: i64, plan: &str, value: Option<f64>) -> Value {
        Value {
            bucket_start: DateTime::from_timestamp(day * 86_400, 0).unwrap(),
            dimensions: json!({ "plan": plan }),
            value,
            served_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_changed_is_what_differs_what_is_gone_and_what_is_new_in_a_told_bucket() {
        let told = [
            value(1, "pro", Some(0.3)),
            value(1, "free", Some(2.0)),
            value(2, "pro", Some(3.0)),
            value(2, "free", None),
        ];
        let now = vec![
            value(1, "pro", Some(0.1 + 0.2)),
            value(1, "free", Some(2.5)),
            value(1, "team", Some(1.0)),
            value(3, "pro", Some(9.0)),
        ];
        let changed: Vec<_> = differing(&told, now)
            .into_iter()
            .map(|(old, new)| (old.and_then(|old| old.value), new.value))
            .collect();
        assert_eq!(changed, [(Some(2.0), Some(2.5)), (Some(3.0), None), (None, Some(1.0))]);
    }
}
