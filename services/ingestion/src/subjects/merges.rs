//! Asks people about a merge, and reads their decision.

use chrono::{DateTime, Utc};
use northstar_client::Clients;
use northstar_domain::identity::{
    Identifier, MERGE_ACTION, MergeLeave, Verb, merge_diff, merge_subject,
};
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::errors::v1::ErrorReason;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::status::failure;
use northstar_store::PgConnection;
use northstar_store::ingestion::identity as facts;
use tonic::Code;

use super::Subjects;
use super::convert::{identifier, reason};
use super::preview::preview_merge;
use crate::convert::time_from_proto;
use crate::error::Error;

/// Asks people to decide about a merge, with what it would bring together.
pub(super) async fn request_merge(
    service: &Subjects,
    caller: &Caller,
    request: &pb::RequestMergeRequest,
) -> Result<pb::RequestMergeResponse, Error> {
    let reason = reason(&request.reason)?;
    let (from, to) = (request.from.clone(), request.to.clone());
    let preview =
        preview_merge(service, caller.project, &pb::PreviewMergeRequest { from, to }).await?;
    if preview.already_one {
        return Err(Error::invalid("to", "is an identifier of the same subject already"));
    }
    let subject_of = |field: &'static str, side: Option<&pb::MergeSide>| {
        identifier(field, side.and_then(|side| side.subject.as_ref()))
    };
    let from = subject_of("from", preview.from.as_ref())?;
    let to = subject_of("to", preview.to.as_ref())?;
    let diff = merge_diff(&from, &to);
    let events = |side: Option<&pb::MergeSide>| side.map_or(0, |side| side.events);
    let evidence = serde_json::json!({
        "changed_identifiers": preview.changed_identifiers,
        "events": {
            "from": events(preview.from.as_ref()),
            "to": events(preview.to.as_ref()),
        },
        "kpis_known": preview.kpis_known,
        "kpis_that_may_move": preview.affected_kpis,
        "log_position": preview.log_position,
    });
    // approvals answers the same request id with the same decision request.
    let wanted = approvals::CreateDecisionRequestRequest {
        request_id: request.request_id.clone(),
        decision_request: Some(approvals::DecisionRequest {
            action: MERGE_ACTION.to_owned(),
            subject: merge_subject(&diff),
            summary: format!("make two subjects one: {reason}"),
            diff_json: diff.json().to_owned(),
            evidence: vec![approvals::Evidence {
                title: "What would come together, and the KPIs that may move".to_owned(),
                source: "SubjectsService.PreviewMerge".to_owned(),
                json: evidence.to_string(),
            }],
            ..approvals::DecisionRequest::default()
        }),
    };
    let asked = service.clients.approvals().create_decision_request(wanted).await?.into_inner();
    Ok(pb::RequestMergeResponse {
        decision_request: asked.decision_request.unwrap_or_default().decision_request_id,
        preview: Some(preview),
    })
}

/// The decision that a merge names, as approvals tells of it now.
pub(super) async fn find_leave(clients: &Clients, id: &str) -> Result<Option<MergeLeave>, Error> {
    if id.is_empty() {
        return Ok(None);
    }
    let none = || Error::invalid("decision_request", "is not the id of a decision request");
    let parsed = id.parse().map_err(|_| none())?;
    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let found = match clients.approvals().get_decision_request(request).await {
        Ok(found) => found.into_inner().decision_request.unwrap_or_default(),
        Err(status) if status.code() == Code::NotFound => return Err(none()),
        Err(status) => return Err(status.into()),
    };
    let approved = found.state() == approvals::DecisionState::Approved;
    let approved_at = found.decide_time.as_ref().and_then(time_from_proto).filter(|_| approved);
    Ok(Some(MergeLeave {
        id: parsed,
        action: found.action,
        diff_digest: found.diff_digest,
        approved_at,
    }))
}

/// Refuses a merge that people were to decide about and did not allow.
pub(super) async fn check_leave(
    connection: &mut PgConnection,
    caller: &Caller,
    (from, to): (&Identifier, &Identifier),
    leave: Option<&MergeLeave>,
) -> Result<(), Error> {
    let subject = merge_subject(&merge_diff(from, to));
    let refuse = |problem: String| -> Result<(), Error> {
        Err(failure(ErrorReason::ApprovalRequired, problem).metadata("subject", subject).into())
    };
    let Some(leave) = leave else {
        return refuse(
            "the identity policy has people decide about merges; ask with RequestMerge and name \
             the decision"
                .to_owned(),
        );
    };
    let merged_at = last_merge(connection, caller, from, to).await?;
    match leave.allows(from, to, merged_at) {
        Ok(()) => Ok(()),
        Err(why) => {
            refuse(format!("decision request {} does not allow the merge: {why}", leave.id))
        }
    }
}

/// When two subjects were merged last, taken back or not.
async fn last_merge(
    connection: &mut PgConnection,
    caller: &Caller,
    from: &Identifier,
    to: &Identifier,
) -> Result<Option<DateTime<Utc>>, Error> {
    let about = facts::facts_of(connection, caller.project, std::slice::from_ref(from)).await?;
    let merges = about.iter().filter(|stored| {
        let fact = &stored.fact;
        fact.verb == Verb::Merge && fact.from == *from && fact.to == *to
    });
    Ok(merges.map(|stored| stored.recorded_at).max())
}
