//! Assignment: a hash, and an exposure in the log before the answer.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use northstar_domain::assignment::HASH_VERSION;
use northstar_domain::experiment::{Experiment, State, TransitionError};
use northstar_domain::segment::Segment;
use northstar_domain::{ResourceName, Violations};
use northstar_proto::experiments::v1 as pb;
use northstar_proto::ingestion::v1::value::Kind;
use northstar_proto::ingestion::v1::{Event, EventOutcome, IngestEventsRequest, Value};
use northstar_server::Caller;
use northstar_server::outbox::SOURCE;
use northstar_store::experiments::{self as store, Exposure};
use sha2::{Digest as _, Sha256};

use crate::Experiments;
use crate::convert::{time_from_proto, time_to_proto};
use crate::error::{Error, Result};
use crate::registry;

const EXPOSURE: &str = "northstar.experiment.exposure";
const SUBJECT_LIMIT: usize = 10_000;
/// Longest user id and longest message id of the log, in bytes.
const ID_LIMIT: usize = 200;
/// Events per call to ingestion: with the longest ids still below its 4 MiB.
const EVENTS_PER_CALL: usize = 5_000;

pub(crate) async fn assign(
    service: &Experiments,
    caller: &Caller,
    request: pb::AssignVariantsRequest,
) -> Result<pb::AssignVariantsResponse> {
    let now = service.clock.now();
    let times = check(&request.subjects, now)?;
    let stored = registry::load(service, caller, &request.experiment).await?;
    let experiment = stored.experiment;
    if experiment.state != State::Running {
        let error = TransitionError { state: experiment.state, step: "assign subjects" };
        return Err(error.into());
    }
    let assignments = decide(&experiment, &request.subjects)?;

    // Of a user named twice, the first time counts.
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, assignment) in assignments.iter().enumerate() {
        if !assignment.variant.is_empty() {
            first.entry(&assignment.user_id).or_insert(index);
        }
    }
    if !first.is_empty() {
        expose(service, caller, &experiment.name, &assignments, &times, &first).await?;
    }
    Ok(pb::AssignVariantsResponse { assignments })
}

/// Checks every subject, and gives the time each met the experiment.
fn check(subjects: &[pb::Subject], now: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>> {
    let mut violations = Violations::new();
    violations.require(subjects.len() <= SUBJECT_LIMIT, "subjects", "must be at most 10000");
    let mut times = Vec::with_capacity(subjects.len());
    for (index, subject) in subjects.iter().enumerate() {
        if subject.user_id.trim().is_empty() || subject.user_id.len() > ID_LIMIT {
            let problem = "must have 1 to 200 bytes that are not all white space";
            violations.push(format!("subjects[{index}].user_id"), problem);
        }
        let time = match &subject.occurred_time {
            Some(time) => time_from_proto(time),
            None => Some(now),
        };
        if time.is_none() {
            violations.push(format!("subjects[{index}].occurred_time"), "is not a time");
        }
        times.push(time.unwrap_or(now));
    }
    Ok(violations.or(times)?)
}

/// Pure: segment, then hash.
fn decide(experiment: &Experiment, subjects: &[pb::Subject]) -> Result<Vec<pb::Assignment>> {
    let segment = Segment::parse(&experiment.spec.segment).map_err(|error| {
        northstar_store::Error::Corrupt {
            table: "experiments.experiments",
            column: "spec",
            row: experiment.name.to_string(),
            value: error.to_string(),
        }
    })?;
    let one = |subject: &pb::Subject| {
        let (variant, reason) = if !segment.contains(&subject.attributes) {
            (String::new(), "not_in_segment")
        } else {
            match experiment.spec.assign(&experiment.name, &subject.user_id) {
                Some(variant) => (variant.name.clone(), "split"),
                None => (String::new(), "not_covered"),
            }
        };
        pb::Assignment { user_id: subject.user_id.clone(), variant, reason: reason.to_owned() }
    };
    Ok(subjects.iter().map(one).collect())
}

/// Remembers when each user met the experiment first, then tells the log, unless
/// it knows already. What was remembered but not told is told by the next call
/// for the same user, with the same time, so that it is the same event.
async fn expose(
    service: &Experiments,
    caller: &Caller,
    experiment: &ResourceName,
    assignments: &[pb::Assignment],
    times: &[DateTime<Utc>],
    first: &BTreeMap<&str, usize>,
) -> Result<()> {
    let users: Vec<String> = first.keys().map(|user| (*user).to_owned()).collect();
    let first_times: Vec<_> = first.values().map(|index| times[*index]).collect();
    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    let known =
        store::remember_exposures(&mut tx, caller.project, experiment, &users, &first_times)
            .await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;

    let untold: Vec<Exposure> = known.into_iter().filter(|exposure| !exposure.recorded).collect();
    let indexes: HashMap<&str, usize> = first.iter().map(|(user, index)| (*user, *index)).collect();
    for part in untold.chunks(EVENTS_PER_CALL) {
        let events = part.iter().map(|exposure| {
            let index = indexes[exposure.user_id.as_str()];
            event(experiment, exposure, &assignments[index].variant)
        });
        let request = IngestEventsRequest { source: SOURCE.to_owned(), events: events.collect() };
        // Only the suite may tell of itself, whoever asked for the assignment.
        let response = service
            .clients
            .for_project(caller.project.0)
            .ingestion()
            .ingest_events(request)
            .await
            .map_err(Error::dependency("ingestion"))?;
        let results = response.into_inner().results;
        if results.len() != part.len() {
            return Err(Error::ExposureDelayed);
        }
        for (exposure, result) in part.iter().zip(results) {
            match result.outcome() {
                EventOutcome::Accepted | EventOutcome::Duplicate => {}
                EventOutcome::Retry | EventOutcome::Unspecified => {
                    return Err(Error::ExposureDelayed);
                }
                EventOutcome::Quarantined | EventOutcome::Rejected => {
                    let index = indexes[exposure.user_id.as_str()];
                    let reason = format!("{}: {}", result.reason, result.message);
                    return Err(Error::ExposureRefused { index, reason });
                }
            }
        }
        note_told(service, caller, experiment, part).await;
    }
    Ok(())
}

/// Notes what the log has, so that it is not told again. Telling it again would
/// do no harm, so a failure here fails nothing.
async fn note_told(
    service: &Experiments,
    caller: &Caller,
    experiment: &ResourceName,
    told: &[Exposure],
) {
    let users: Vec<String> = told.iter().map(|exposure| exposure.user_id.clone()).collect();
    let noted = async {
        let mut connection = service.pool.acquire().await?;
        store::mark_recorded(&mut connection, caller.project, experiment, &users).await
    };
    if let Err(error) = noted.await {
        tracing::warn!(
            experiment.name = %experiment,
            error = &error as &dyn std::error::Error,
            "cannot note which exposures the log has; they will be sent again",
        );
    }
}

fn event(experiment: &ResourceName, exposure: &Exposure, variant: &str) -> Event {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let version = Value { kind: Some(Kind::IntValue(HASH_VERSION.into())) };
    Event {
        message_id: message_id(experiment, &exposure.user_id),
        name: EXPOSURE.to_owned(),
        user_id: exposure.user_id.clone(),
        occurred_time: Some(time_to_proto(exposure.occurred_at)),
        properties: [
            ("experiment".to_owned(), text(experiment.as_str())),
            ("variant".to_owned(), text(variant)),
            ("hash_version".to_owned(), version),
        ]
        .into(),
        ..Event::default()
    }
}

/// One per experiment and user. A user id that would make it longer than the log
/// takes is hashed.
fn message_id(experiment: &ResourceName, user: &str) -> String {
    let plain = format!("exposure/{experiment}/{user}");
    if plain.len() <= ID_LIMIT {
        return plain;
    }
    format!("exposure/{experiment}/sha256:{:x}", Sha256::digest(user))
}

#[cfg(test)]
mod tests {
    use super::message_id;

    #[test]
    fn a_message_id_fits_the_log_and_differs_by_user() {
        let experiment = "e".repeat(63).parse().unwrap();
        assert_eq!(message_id(&"checkout".parse().unwrap(), "u1"), "exposure/checkout/u1");
        let ids: Vec<_> = ["a", "b"].map(|user| message_id(&experiment, &user.repeat(200))).into();
        assert!(ids.iter().all(|id| id.len() <= 200), "{ids:?}");
        assert_ne!(ids[0], ids[1]);
    }
}
