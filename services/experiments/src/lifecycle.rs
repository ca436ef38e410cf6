//! Start and stop.

use chrono::{DateTime, Utc};
use northstar_domain::Violations;
use northstar_domain::experiment::{Experiment, State};
use northstar_proto::experiments::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::experiments::{self as store, StoredExperiment};
use northstar_store::outbox::Outbox;
use northstar_store::{PgConnection, audit};
use serde_json::{Value, json};

use crate::Experiments;
use crate::convert::{stored_experiment, time_from_proto};
use crate::error::{Error, Result};
use crate::events;

const START: &str = "/northstar.experiments.v1.ExperimentsService/StartExperiment";
const STOP: &str = "/northstar.experiments.v1.ExperimentsService/StopExperiment";

pub(crate) async fn start(
    service: &Experiments,
    caller: &Caller,
    request: pb::StartExperimentRequest,
) -> Result<pb::StartExperimentResponse> {
    let mutation = Mutation::new(caller, START, &request.request_id, &request)?;
    let now = service.clock.now();
    let at = read_start_time(request.start_time.as_ref(), now)?;

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let stored = lock(&mut tx, caller, &request.name).await?;
    let started = stored.experiment.start(at)?;
    if !store::save_step(&mut tx, caller.project, State::Draft, &started, now).await? {
        return Err(changed(&started));
    }
    let detail =
        json!({"before": {"state": "draft"}, "after": {"state": "running", "start_time": at}});
    record(&mut tx, caller, &started, "started", &detail, now).await?;

    let experiment =
        stored_experiment(&StoredExperiment { experiment: started, version: stored.version + 1 });
    let response = pb::StartExperimentResponse { experiment: Some(experiment) };
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

/// Exposures may count from the past, when they are replayed, but not from the
/// future: an experiment that runs assigns.
fn read_start_time(
    time: Option<&prost_types::Timestamp>,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>> {
    let Some(time) = time else { return Ok(now) };
    match time_from_proto(time) {
        Some(at) if at <= now => Ok(at),
        _ => {
            let mut violations = Violations::new();
            violations.push("start_time", "must be a time that is not in the future");
            Err(violations.into())
        }
    }
}

pub(crate) async fn stop(
    service: &Experiments,
    caller: &Caller,
    request: pb::StopExperimentRequest,
) -> Result<pb::StopExperimentResponse> {
    let mutation = Mutation::new(caller, STOP, &request.request_id, &request)?;
    let now = service.clock.now();

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let stored = lock(&mut tx, caller, &request.name).await?;
    let stopped = stored.experiment.stop(now)?;
    if !store::save_step(&mut tx, caller.project, State::Running, &stopped, now).await? {
        return Err(changed(&stopped));
    }
    let detail = json!({"before": {"state": "running"}, "after": {"state": "stopped"}});
    record(&mut tx, caller, &stopped, "stopped", &detail, now).await?;

    let experiment =
        stored_experiment(&StoredExperiment { experiment: stopped, version: stored.version + 1 });
    let response = pb::StopExperimentResponse { experiment: Some(experiment) };
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

/// An experiment by the name a request gives, locked until the transaction ends.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    caller: &Caller,
    name: &str,
) -> Result<StoredExperiment> {
    let not_found = || Error::NotFound(name.to_owned());
    let parsed = name.parse().map_err(|_| not_found())?;
    store::load_experiment_for_update(connection, caller.project, &parsed)
        .await?
        .ok_or_else(not_found)
}

/// The row was locked, so this is a defect or a bypass; the caller reads again.
pub(crate) fn changed(experiment: &Experiment) -> Error {
    Error::EtagMismatch { name: experiment.name.to_string(), etag: String::new() }
}

/// Writes what every step leaves behind: an audit entry and an event.
pub(crate) async fn record(
    connection: &mut PgConnection,
    caller: &Caller,
    experiment: &Experiment,
    step: &str,
    detail: &Value,
    now: DateTime<Utc>,
) -> Result<()> {
    let entry = audit::NewEntry {
        project: caller.project,
        actor: &caller.principal,
        action: &format!("experiment.{step}"),
        resource: &experiment.resource(),
        detail,
        at: now,
    };
    audit::append(connection, &entry).await?;
    Outbox::Experiments.put(connection, &events::step(caller, experiment, step, now)).await?;
    Ok(())
}
