//! What a threshold would make of an automation's definition. Automations knows: it
//! makes the diff that people approve, and carries it out.

use northstar_client::Clients;
use northstar_domain::automation::Wanted;
use northstar_domain::threshold::Decision;
use northstar_proto::approvals::v1::{CreateDecisionRequestRequest, DecisionRequest};
use northstar_proto::automations::v1 as automations;
use northstar_store::metrics::threshold::NewQuestion;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use super::ask::TIMEOUT;
use super::question::{SUMMARY_LIMIT, fact};
use crate::{Error, Result};

/// Longest part of a summary that tells what changes, in bytes.
const DIFFERENCES_LIMIT: usize = 300;

/// Whether the same call would be refused again.
pub(super) fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition)
}

/// Asks automations whether what would be decided can be done.
///
/// # Errors
/// The answer of automations.
pub(super) async fn check(clients: &Clients, decision: &Decision) -> Result<(), Status> {
    let name = decision.automation.clone();
    match decision.wanted() {
        Some(wanted) => preview(clients, &name, wanted).await.map(drop),
        None => {
            let request = automations::GetAutomationRequest { name };
            clients.automations().get_automation(request).await.map(drop)
        }
    }
}

/// The question with the change that it asks about. Where that cannot be made, the
/// question tells why it is not asked.
///
/// # Errors
/// When automations cannot be asked now.
pub(super) async fn complete(
    clients: &Clients,
    decision: &Decision,
    episode: u64,
    mut asked: CreateDecisionRequestRequest,
) -> Result<NewQuestion> {
    let request_id = Uuid::new_v4();
    asked.request_id = request_id.to_string();
    let mut refusal = None;
    if let (Some(wanted), Some(request)) = (decision.wanted(), &mut asked.decision_request) {
        match preview(clients, &decision.automation, wanted).await {
            Ok(preview) => add(request, decision, &preview),
            Err(status) if is_final(&status) => {
                refusal = Some(format!(
                    "{} of automation {} cannot be asked for: {}",
                    decision.action.as_str(),
                    decision.automation,
                    status.message(),
                ));
            }
            Err(status) => {
                let status = Box::new(status);
                return Err(Error::Unanswered { service: "automations", status });
            }
        }
    }
    Ok(NewQuestion { episode, request_id, request: asked.encode_to_vec(), refusal })
}

async fn preview(
    clients: &Clients,
    name: &str,
    wanted: Wanted,
) -> Result<automations::PreviewChangeResponse, Status> {
    use automations::preview_change_request::Change;
    let change = match wanted {
        Wanted::HoldoutBy(by) => Change::HoldoutBy(by),
        Wanted::Patch(patch) => Change::PatchJson(patch.to_string()),
    };
    let mut request = Request::new(automations::PreviewChangeRequest {
        name: name.to_owned(),
        change: Some(change),
    });
    request.set_timeout(TIMEOUT);
    Ok(clients.automations().preview_change(request).await?.into_inner())
}

/// Puts the change into the question: as the diff that is approved, as evidence of
/// what is and what would be, and in the sentence for people.
fn add(
    request: &mut DecisionRequest,
    decision: &Decision,
    preview: &automations::PreviewChangeResponse,
) {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let mut diff = read(&preview.diff_json);
    if let (Value::Object(diff), Value::Object(asked_by)) = (&mut diff, read(&request.diff_json)) {
        for name in ["threshold", "episode"] {
            let value = asked_by.get(name).cloned().unwrap_or_default();
            diff.insert(name.to_owned(), value);
        }
    }
    request.diff_json = diff.to_string();
    let source = format!("automations/{}", decision.automation);
    request.evidence.extend([
        fact("automation now", read(&preview.before_json), &source),
        fact("automation then", read(&preview.after_json), &source),
        fact("what changes", json!(preview.differences), &source),
    ]);
    let mut differences = preview.differences.join("; ");
    differences.truncate(differences.floor_char_boundary(DIFFERENCES_LIMIT));
    let what = format!("{} automation {}", decision.action.as_str(), decision.automation);
    let told = format!("{what} ({differences})");
    request.summary = request.summary.replacen(&what, &told, 1);
    request.summary.truncate(request.summary.floor_char_boundary(SUMMARY_LIMIT));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_holds_the_change_that_is_approved() {
        let decision: Decision = serde_json::from_value(json!({
            "action": "scale", "automation": "nudge", "holdout_by": -0.1,
        }))
        .unwrap();
        let mut request = DecisionRequest {
            summary: "scale automation nudge: signups 3 is below 5".to_owned(),
            diff_json:
                json!({"action": "scale", "automation": "nudge", "threshold": "few", "episode": 2})
                    .to_string(),
            ..DecisionRequest::default()
        };
        let preview = automations::PreviewChangeResponse {
            diff_json: json!({"action": "scale", "before_digest": "00", "definition": {}})
                .to_string(),
            before_json: json!({"holdout": 0.3}).to_string(),
            after_json: json!({"holdout": 0.2}).to_string(),
            differences: vec!["holdout: 0.3 -> 0.2".to_owned()],
        };
        add(&mut request, &decision, &preview);
        assert_eq!(
            request.summary,
            "scale automation nudge (holdout: 0.3 -> 0.2): signups 3 is below 5"
        );
        let diff: Value = serde_json::from_str(&request.diff_json).unwrap();
        assert_eq!((&diff["threshold"], &diff["episode"]), (&json!("few"), &json!(2)));
        assert_eq!((&diff["before_digest"], &diff["definition"]), (&json!("00"), &json!({})));
        let titles: Vec<_> = request.evidence.iter().map(|fact| fact.title.as_str()).collect();
        assert_eq!(titles, ["automation now", "automation then", "what changes"]);
    }
}
