//! The registry: apply, get, list.

use northstar_domain::Violations;
use northstar_domain::experiment::{Experiment, ExperimentSpec};
use northstar_proto::experiments::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition;
use northstar_proto::metrics::v1::{GetMetricRequest, GetPillarRequest};
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_server::page::page_size;
use northstar_store::audit;
use northstar_store::experiments::{self as store, StoredExperiment};
use serde_json::json;
use tonic::Code;

use crate::Experiments;
use crate::convert::{experiment_from_proto, stored_experiment};
use crate::error::{Error, Reference, Result};

const APPLY: &str = "/northstar.experiments.v1.ExperimentsService/ApplyExperiment";

/// Creates a draft or replaces one. Applying what is there changes nothing, the
/// etag included, also when it has been started since.
pub(crate) async fn apply(
    service: &Experiments,
    caller: &Caller,
    request: pb::ApplyExperimentRequest,
) -> Result<pb::ApplyExperimentResponse> {
    let mutation = Mutation::new(caller, APPLY, &request.request_id, &request)?;
    let wanted = request.experiment.unwrap_or_default();
    let etag = wanted.etag.clone();
    let (name, spec) = experiment_from_proto(wanted)?;
    check_references(service, &spec).await?;
    let now = service.clock.now();

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let before = store::load_experiment_for_update(&mut tx, caller.project, &name).await?;
    let found = before.as_ref().map_or_else(String::new, |before| before.version.to_string());
    let mismatch = || Error::EtagMismatch { name: name.to_string(), etag: found.clone() };
    if !etag.is_empty() && etag != found {
        return Err(mismatch());
    }
    let unchanged = before.as_ref().is_some_and(|before| before.experiment.spec == spec);
    let spec_before = before.as_ref().map(|before| before.experiment.spec.clone());
    let stored = match before {
        Some(before) if unchanged => before,
        Some(before) => StoredExperiment {
            experiment: before.experiment.edit(spec)?,
            version: before.version + 1,
        },
        None => StoredExperiment { experiment: Experiment::draft(name.clone(), spec), version: 1 },
    };
    let response = pb::ApplyExperimentResponse { experiment: Some(stored_experiment(&stored)) };
    if request.validate_only {
        return Ok(response);
    }
    if !unchanged {
        if !store::save_draft(&mut tx, caller.project, &stored, now).await? {
            return Err(mismatch());
        }
        let detail = json!({"before": spec_before, "after": stored.experiment.spec});
        let entry = audit::NewEntry {
            project: caller.project,
            actor: &caller.principal,
            action: "experiment.apply",
            resource: &stored.experiment.resource(),
            detail: &detail,
            at: now,
        };
        audit::append(&mut tx, &entry).await?;
    }
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

/// Asks metrics for everything the definition names, and tells all that is
/// missing, or all that could never be analysed.
async fn check_references(service: &Experiments, spec: &ExperimentSpec) -> Result<()> {
    let mut missing = Vec::new();
    let mut violations = Violations::new();
    let pillar = GetPillarRequest { name: spec.pillar.clone() };
    match service.clients.metrics().get_pillar(pillar).await {
        Ok(_) => {}
        Err(status) if status.code() == Code::NotFound => {
            missing.push(Reference { kind: "Pillar", name: spec.pillar.clone() });
        }
        Err(status) => return Err(Error::dependency("metrics")(status)),
    }
    for (field, name) in metrics_of(spec) {
        let metric = GetMetricRequest { name: name.to_owned() };
        match service.clients.metrics().get_metric(metric).await {
            Ok(answer) => {
                let definition = answer.into_inner().metric.and_then(|metric| metric.definition);
                if let Some(problem) = definition.and_then(|definition| unusable(&definition)) {
                    violations.push(field, problem);
                }
            }
            Err(status) if status.code() == Code::NotFound => {
                missing.push(Reference { kind: "Metric", name: name.to_owned() });
            }
            Err(status) => return Err(Error::dependency("metrics")(status)),
        }
    }
    if missing.is_empty() {
        return Ok(violations.or(())?);
    }
    Err(Error::MissingReferences(missing))
}

/// The metrics a definition names, each once, with the field that does.
fn metrics_of(spec: &ExperimentSpec) -> Vec<(String, &str)> {
    let mut metrics = vec![("experiment.primary_metric".to_owned(), spec.primary_metric.as_str())];
    for (index, guardrail) in spec.guardrails.iter().enumerate() {
        if metrics.iter().all(|(_, name)| *name != guardrail.metric) {
            let field = format!("experiment.guardrails[{index}].metric");
            metrics.push((field, &guardrail.metric));
        }
    }
    metrics
}

/// Why a metric cannot decide an experiment: better told before the start than
/// at the horizon.
fn unusable(definition: &Definition) -> Option<&'static str> {
    match definition {
        Definition::Count(_)
        | Definition::Unique(_)
        | Definition::Sum(_)
        | Definition::Mean(_)
        | Definition::Ratio(_)
        | Definition::Stickiness(_)
        | Definition::Conversion(_)
        | Definition::PerSubject(_)
        | Definition::Nps(_) => None,
        Definition::Min(_)
        | Definition::Max(_)
        | Definition::Percentile(_)
        | Definition::Lifecycle(_)
        | Definition::Cumulative(_)
        | Definition::Derived(_) => Some(
            "cannot be compared by sums over subjects: use a count, a unique, a sum, a mean, a \
             ratio, a stickiness, a conversion, a per_subject or an nps",
        ),
        Definition::Funnel(_) | Definition::Retention(_) | Definition::TimeToEvent(_) => {
            Some("is no number per subject: use a count, a unique, a sum, a mean or a ratio")
        }
    }
}

pub(crate) async fn get(
    service: &Experiments,
    caller: &Caller,
    request: pb::GetExperimentRequest,
) -> Result<pb::GetExperimentResponse> {
    let stored = load(service, caller, &request.name).await?;
    Ok(pb::GetExperimentResponse { experiment: Some(stored_experiment(&stored)) })
}

/// An experiment by the name a request gives. A name that is none is a name of
/// nothing.
pub(crate) async fn load(
    service: &Experiments,
    caller: &Caller,
    name: &str,
) -> Result<StoredExperiment> {
    let not_found = || Error::NotFound(name.to_owned());
    let parsed = name.parse().map_err(|_| not_found())?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    store::load_experiment(&mut connection, caller.project, &parsed).await?.ok_or_else(not_found)
}

pub(crate) async fn list(
    service: &Experiments,
    caller: &Caller,
    request: pb::ListExperimentsRequest,
) -> Result<pb::ListExperimentsResponse> {
    let size = page_size(request.page_size)?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let rows =
        store::list_experiments(&mut connection, caller.project, &request.page_token, size).await?;
    let (rows, more) = size.cut(rows);
    let last = rows.last().filter(|_| more);
    Ok(pb::ListExperimentsResponse {
        next_page_token: last.map_or_else(String::new, |row| row.experiment.name.to_string()),
        experiments: rows.iter().map(stored_experiment).collect(),
    })
}
