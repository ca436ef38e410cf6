//! Asking the approvers to ship.

use northstar_domain::experiment::{ACTION, Analysis, Experiment, Recommendation, ship_diff};
use northstar_domain::experiment::{State, TransitionError};
use northstar_domain::{DecisionRequestId, Violations};
use northstar_proto::approvals::v1::{CreateDecisionRequestRequest, DecisionRequest, Evidence};
use northstar_proto::experiments::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::experiments::{self as store, ShipRequest};
use uuid::Uuid;

use crate::convert::analysis_to_proto;
use crate::error::{Error, Result};
use crate::{Experiments, analyze, registry};

const REQUEST: &str = "/northstar.experiments.v1.ExperimentsService/RequestShipDecision";

/// Keeps the question before it is asked, so that a repeated call asks the same
/// question with the same evidence and gets the same decision request.
pub(crate) async fn request(
    service: &Experiments,
    caller: &Caller,
    request: pb::RequestShipDecisionRequest,
) -> Result<pb::RequestShipDecisionResponse> {
    let mutation = Mutation::new(caller, REQUEST, &request.request_id, &request)?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut connection).await? {
        return Ok(answer);
    }
    drop(connection);
    let stored = registry::load(service, caller, &request.name).await?;
    let experiment = stored.experiment;
    check_variant(&experiment, &request.variant)?;
    let analysis = analyze::run(service, &experiment).await?;
    check_evidence(&experiment, &analysis, &request.variant)?;

    let now = service.clock.now();
    let new = ShipRequest {
        // The mutation has read it before.
        id: request.request_id.parse().unwrap_or_else(|_| Uuid::new_v4()),
        experiment: experiment.name.to_string(),
        variant: request.variant,
        author: caller.principal.clone(),
        analysis,
        decision_request: None,
    };
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let kept = store::keep_ship_request(&mut connection, caller.project, &new, now).await?;
    drop(connection);
    let kept = kept
        .filter(|kept| {
            kept.experiment == new.experiment
                && kept.variant == new.variant
                && kept.author == new.author
        })
        .ok_or(northstar_store::Error::RequestIdReused(new.id))?;
    let decision = ask(service, &experiment, &kept).await?;

    let response = pb::RequestShipDecisionResponse {
        decision_request: decision.to_string(),
        analysis: Some(analysis_to_proto(kept.analysis)),
    };
    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    store::save_decision_request_id(&mut tx, kept.id, decision).await?;
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

fn check_variant(experiment: &Experiment, variant: &str) -> Result<()> {
    match experiment.state {
        State::Running | State::Stopped => {}
        State::Draft | State::Shipped | State::RolledBack => {
            let error = TransitionError { state: experiment.state, step: "be shipped" };
            return Err(error.into());
        }
    }
    let mut violations = Violations::new();
    if !experiment.spec.has_treatment(variant) {
        let problem = format!(
            "must be a variant other than control; to keep {}, conclude with ROLLED_BACK",
            experiment.spec.control()
        );
        violations.push("variant", problem);
    }
    Ok(violations.or(())?)
}

/// A decision rests on a result that may be read, of data that pass the checks.
/// What the ship rule recommends is part of the evidence, not a condition:
/// people may know more.
fn check_evidence(experiment: &Experiment, analysis: &Analysis, variant: &str) -> Result<()> {
    if analysis.recommendation == Recommendation::Unhealthy {
        return Err(Error::InsufficientData(analysis.explanation.clone()));
    }
    if !analysis.horizon_reached {
        return Err(Error::HorizonNotReached(experiment.name.to_string()));
    }
    let compared = analysis
        .comparisons
        .iter()
        .any(|comparison| comparison.variant == variant && comparison.absolute.is_some());
    if compared {
        return Ok(());
    }
    Err(Error::InsufficientData(format!(
        "{variant} cannot be compared with {}: too few subjects, or all alike",
        experiment.spec.control()
    )))
}

async fn ask(
    service: &Experiments,
    experiment: &Experiment,
    kept: &ShipRequest,
) -> Result<DecisionRequestId> {
    let resource = experiment.resource();
    let evidence = |title: &str, value: serde_json::Value| Evidence {
        title: title.to_owned(),
        json: value.to_string(),
        source: resource.clone(),
    };
    let request = CreateDecisionRequestRequest {
        decision_request: Some(DecisionRequest {
            action: ACTION.to_owned(),
            subject: resource.clone(),
            summary: format!(
                "ship {} of {}: {}",
                kept.variant, experiment.name, kept.analysis.explanation
            ),
            diff_json: ship_diff(experiment.name.as_str(), &kept.variant).json().to_owned(),
            evidence: vec![
                evidence("analysis", serde_json::json!(kept.analysis)),
                evidence("definition", serde_json::json!(experiment.spec)),
            ],
            ..DecisionRequest::default()
        }),
        request_id: kept.id.to_string(),
    };
    let response = service
        .clients
        .approvals()
        .create_decision_request(request)
        .await
        .map_err(Error::dependency("approvals"))?;
    let decision = response.into_inner().decision_request.unwrap_or_default();
    decision.decision_request_id.parse().map_err(|_| Error::Dependency {
        service: "approvals",
        status: Box::new(tonic::Status::unknown("it answered without a decision request")),
    })
}
