//! The end of an experiment, and the gate before shipping.

use northstar_domain::Violations;
use northstar_domain::experiment::{ApprovedDecision, DecisionFacts, Experiment, State};
use northstar_proto::approvals::v1::{DecisionState, GetDecisionRequestRequest};
use northstar_proto::experiments::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::PgConnection;
use northstar_store::experiments::{self as store, Learning, StoredExperiment};
use serde_json::json;
use tonic::Code;

use crate::Experiments;
use crate::convert::stored_experiment;
use crate::error::{Error, Result};
use crate::lifecycle::{changed, lock, record};

const CONCLUDE: &str = "/northstar.experiments.v1.ExperimentsService/ConcludeExperiment";
const LEARNING_LIMIT: usize = 10_000;

/// Concludes. The row stays locked while approvals is asked, so that what was
/// checked is what is written; approvals that does not answer ships nothing.
pub(crate) async fn conclude(
    service: &Experiments,
    caller: &Caller,
    request: pb::ConcludeExperimentRequest,
) -> Result<pb::ConcludeExperimentResponse> {
    let mutation = Mutation::new(caller, CONCLUDE, &request.request_id, &request)?;
    let ship = read_conclusion(&request)?;
    let now = service.clock.now();

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let StoredExperiment { experiment, version } = lock(&mut tx, caller, &request.name).await?;
    let ended = if ship {
        let approved =
            approved(service, caller, &mut tx, &experiment, &request.decision_request).await?;
        let shipped = experiment.ship(&approved, now)?;
        if !store::save_shipped(&mut tx, caller.project, &approved, now).await? {
            return Err(changed(&shipped));
        }
        shipped
    } else {
        let rolled_back = experiment.roll_back(now)?;
        if !store::save_step(&mut tx, caller.project, State::Stopped, &rolled_back, now).await? {
            return Err(changed(&rolled_back));
        }
        rolled_back
    };
    let learning =
        Learning { learning: request.learning, author: caller.principal.clone(), created_at: now };
    store::insert_learning(&mut tx, caller.project, &ended.name, &learning).await?;
    let detail = json!({
        "before": {"state": "stopped"},
        "after": {
            "state": ended.state.as_str(),
            "variant": ended.shipped_variant,
            "decision_request": request.decision_request,
            "learning": learning.learning,
        },
    });
    record(&mut tx, caller, &ended, "concluded", &detail, now).await?;

    let stored = StoredExperiment { experiment: ended, version: version + 1 };
    let response = pb::ConcludeExperimentResponse { experiment: Some(stored_experiment(&stored)) };
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

/// Whether to ship.
fn read_conclusion(request: &pb::ConcludeExperimentRequest) -> Result<bool> {
    let mut violations = Violations::new();
    let ship = match request.conclusion() {
        pb::ExperimentState::Shipped => true,
        pb::ExperimentState::RolledBack => false,
        pb::ExperimentState::Unspecified
        | pb::ExperimentState::Draft
        | pb::ExperimentState::Running
        | pb::ExperimentState::Stopped => {
            violations.push("conclusion", "must be SHIPPED or ROLLED_BACK");
            false
        }
    };
    violations.require_text("learning", &request.learning, LEARNING_LIMIT);
    Ok(violations.or(ship)?)
}

/// The proof that the approvers decided to ship. The decision must have been
/// asked for by this experiment, with its analysis as evidence; approvals says
/// whether it was approved.
async fn approved(
    service: &Experiments,
    caller: &Caller,
    connection: &mut PgConnection,
    experiment: &Experiment,
    decision_request: &str,
) -> Result<ApprovedDecision> {
    let required = |why: &str| Error::ApprovalRequired {
        experiment: experiment.name.to_string(),
        why: why.to_owned(),
    };
    if decision_request.is_empty() {
        return Err(required("none was named; ask for one with RequestShipDecision"));
    }
    let id =
        decision_request.parse().map_err(|_| required("what was named is not the id of one"))?;
    let asked = store::find_ship_request_of_decision(connection, caller.project, id).await?;
    if asked.is_none_or(|asked| asked.experiment != experiment.name.as_str()) {
        return Err(required("the one named was not asked for by RequestShipDecision for it"));
    }

    let request = GetDecisionRequestRequest { decision_request_id: id.to_string() };
    let answer = match service.clients.approvals().get_decision_request(request).await {
        Ok(answer) => answer.into_inner().decision_request.unwrap_or_default(),
        Err(status) if status.code() == Code::NotFound => {
            return Err(required("approvals does not know the one named"));
        }
        Err(status) => return Err(Error::dependency("approvals")(status)),
    };
    let facts = DecisionFacts {
        id,
        approved: answer.state() == DecisionState::Approved
            && answer.decision_request_id == id.to_string(),
        action: &answer.action,
        subject: &answer.subject,
        diff_json: &answer.diff_json,
        diff_digest: &answer.diff_digest,
    };
    ApprovedDecision::verify(&facts, experiment)
        .map_err(|why| Error::not_approved(experiment.name.as_str(), &why))
}
