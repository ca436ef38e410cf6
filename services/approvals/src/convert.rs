//! From messages to the domain and back: the one place both vocabularies meet.
//! Free functions, because neither side is a type of this crate.

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::decision::{
    DecisionKind, DecisionRequest, DecisionState, Diff, Evidence, Proposal, Verdict, VerdictKind,
};
use northstar_domain::policy::{Policy, PolicySpec};
use northstar_domain::{DeciderRole, Violations};
use northstar_proto::approvals::v1 as pb;
use northstar_store::access::ApiKey;
use northstar_store::approvals::StoredPolicy;
use northstar_store::audit;

/// Reads a policy; its etag is not part of it.
///
/// # Errors
/// Every field that breaks a rule, with paths that begin with `policy.`.
pub fn policy_from_proto(policy: pb::Policy) -> Result<Policy, Violations> {
    let mut violations = Violations::new();
    let name = violations.parse("name", &policy.name);
    let action = violations.parse("action", &policy.action);
    let role: Option<DeciderRole> = violations.parse("role", &policy.role);
    let sla = policy.sla.as_ref().and_then(duration_from_proto);
    violations.require(sla.is_some(), "sla", "must be set, for example to 72 hours");
    // Rules beyond the spelling are told together with it: what could not be
    // read gets a value that breaks none.
    let spec = PolicySpec {
        action: action.unwrap_or_else(|| "not.read".parse().expect("two words")),
        role: role.unwrap_or(DeciderRole::Approver),
        quorum: u32::try_from(policy.quorum).unwrap_or(0),
        sla: sla.unwrap_or(TimeDelta::hours(1)),
        owner: policy.owner,
    };
    violations.extend(spec.violations());
    match name {
        Some(name) if violations.is_empty() => Ok(Policy { name, spec }),
        _ => Err(violations.below("policy")),
    }
}

/// Writes a policy.
pub fn policy_to_proto(policy: &Policy, etag: String) -> pb::Policy {
    pb::Policy {
        name: policy.name.to_string(),
        action: policy.spec.action.to_string(),
        role: policy.spec.role.to_string(),
        quorum: i32::try_from(policy.spec.quorum).unwrap_or(i32::MAX),
        sla: Some(duration_to_proto(policy.spec.sla)),
        owner: policy.spec.owner.clone(),
        etag,
    }
}

pub(crate) fn stored_policy(stored: &StoredPolicy) -> pb::Policy {
    policy_to_proto(&stored.policy, stored.version.to_string())
}

/// Reads what is asked; output-only fields are ignored.
///
/// # Errors
/// Every field that breaks a rule, with paths that begin with
/// `decision_request.`.
pub fn proposal_from_proto(request: pb::DecisionRequest) -> Result<Proposal, Violations> {
    let mut violations = Violations::new();
    let action = violations.parse("action", &request.action);
    let diff = Diff::parse(&request.diff_json)
        .map_err(|error| violations.push("diff_json", error.to_string()))
        .ok();
    let kind = kind_filter(request.kind)
        .map_err(|problem| violations.push("kind", problem))
        .unwrap_or_default();
    let proposal = Proposal {
        kind: kind.unwrap_or_default(),
        owner: request.owner,
        action: action.unwrap_or_else(|| "not.read".parse().expect("two words")),
        subject: request.subject,
        summary: request.summary,
        diff: diff.unwrap_or_else(|| Diff::from(&serde_json::Value::Null)),
        evidence: request.evidence.into_iter().map(evidence_from_proto).collect(),
    };
    violations.extend(proposal.violations());
    violations.or(proposal).map_err(|violations| violations.below("decision_request"))
}

fn evidence_from_proto(evidence: pb::Evidence) -> Evidence {
    Evidence { title: evidence.title, json: evidence.json, source: evidence.source }
}

/// Writes a decision request.
pub fn decision_request_to_proto(request: &DecisionRequest) -> pb::DecisionRequest {
    let proposal = &request.proposal;
    let verdict = |verdict| verdict_to_proto(verdict, request.review_cycle);
    pb::DecisionRequest {
        decision_request_id: request.id.to_string(),
        action: proposal.action.to_string(),
        subject: proposal.subject.clone(),
        summary: proposal.summary.clone(),
        diff_json: proposal.diff.json().to_owned(),
        diff_digest: proposal.diff.digest().to_string(),
        evidence: proposal
            .evidence
            .iter()
            .cloned()
            .map(|Evidence { title, json, source }| pb::Evidence { title, json, source })
            .collect(),
        author: request.author.clone(),
        state: state_to_proto(request.state).into(),
        review_cycle: i32::try_from(request.review_cycle).unwrap_or(i32::MAX),
        verdicts: request.verdicts.iter().map(verdict).collect(),
        quorum: i32::try_from(request.quorum).unwrap_or(i32::MAX),
        role: request.role.to_string(),
        create_time: Some(time_to_proto(request.created_at)),
        due_time: Some(time_to_proto(request.due_at)),
        decide_time: request.decided_at.map(time_to_proto),
        kind: kind_to_proto(proposal.kind).into(),
        owner: proposal.owner.clone(),
        withdraw_reason: request.withdraw_reason.clone().unwrap_or_default(),
    }
}

fn verdict_to_proto(verdict: &Verdict, current_cycle: u32) -> pb::Verdict {
    let kind = match verdict.kind {
        VerdictKind::Approve => pb::VerdictKind::Approve,
        VerdictKind::Reject => pb::VerdictKind::Reject,
        VerdictKind::Edit => pb::VerdictKind::Edit,
        VerdictKind::Acknowledge => pb::VerdictKind::Acknowledge,
    };
    pb::Verdict {
        approver: verdict.approver.clone(),
        kind: kind.into(),
        reason: verdict.reason.clone(),
        review_cycle: i32::try_from(verdict.review_cycle).unwrap_or(i32::MAX),
        diff_digest: verdict.diff_digest.to_string(),
        create_time: Some(time_to_proto(verdict.created_at)),
        stale: verdict.is_stale(current_cycle),
    }
}

fn state_to_proto(state: DecisionState) -> pb::DecisionState {
    match state {
        DecisionState::Pending => pb::DecisionState::Pending,
        DecisionState::Approved => pb::DecisionState::Approved,
        DecisionState::Rejected => pb::DecisionState::Rejected,
        DecisionState::Expired => pb::DecisionState::Expired,
        DecisionState::Withdrawn => pb::DecisionState::Withdrawn,
        DecisionState::Acknowledged => pb::DecisionState::Acknowledged,
    }
}

fn kind_to_proto(kind: DecisionKind) -> pb::DecisionKind {
    match kind {
        DecisionKind::Change => pb::DecisionKind::Change,
        DecisionKind::Task => pb::DecisionKind::Task,
    }
}

/// Reads a kind; `None` when it is not set.
///
/// # Errors
/// The problem, when it is none.
pub(crate) fn kind_filter(kind: i32) -> Result<Option<DecisionKind>, &'static str> {
    match pb::DecisionKind::try_from(kind) {
        Ok(pb::DecisionKind::Unspecified) => Ok(None),
        Ok(pb::DecisionKind::Change) => Ok(Some(DecisionKind::Change)),
        Ok(pb::DecisionKind::Task) => Ok(Some(DecisionKind::Task)),
        Err(_) => Err("must be CHANGE or TASK"),
    }
}

/// Reads the state a list is filtered by; `None` is every state.
pub(crate) fn state_filter(state: pb::DecisionState) -> Option<DecisionState> {
    match state {
        pb::DecisionState::Unspecified => None,
        pb::DecisionState::Pending => Some(DecisionState::Pending),
        pb::DecisionState::Approved => Some(DecisionState::Approved),
        pb::DecisionState::Rejected => Some(DecisionState::Rejected),
        pb::DecisionState::Expired => Some(DecisionState::Expired),
        pb::DecisionState::Withdrawn => Some(DecisionState::Withdrawn),
        pb::DecisionState::Acknowledged => Some(DecisionState::Acknowledged),
    }
}

pub(crate) fn audit_entry(entry: &audit::Entry) -> pb::AuditEntry {
    pb::AuditEntry {
        sequence: entry.sequence,
        actor: entry.actor.clone(),
        action: entry.action.clone(),
        resource: entry.resource.clone(),
        detail_json: entry.detail.clone(),
        create_time: Some(time_to_proto(entry.created_at)),
        previous_hash: hex::encode(&entry.previous_hash),
        hash: hex::encode(&entry.hash),
    }
}

pub(crate) fn api_key(key: &ApiKey) -> pb::ApiKey {
    pb::ApiKey {
        api_key_id: key.id.to_string(),
        principal: key.principal.clone(),
        role: key.role.as_str().to_owned(),
        create_time: Some(time_to_proto(key.created_at)),
        revoke_time: key.revoked_at.map(time_to_proto),
    }
}

fn time_to_proto(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        // Whole microseconds, so below a billion.
        nanos: time.timestamp_subsec_nanos().cast_signed(),
    }
}

fn duration_from_proto(duration: &prost_types::Duration) -> Option<TimeDelta> {
    TimeDelta::try_seconds(duration.seconds)?
        .checked_add(&TimeDelta::nanoseconds(i64::from(duration.nanos)))
}

fn duration_to_proto(duration: TimeDelta) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.num_seconds(), nanos: duration.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use northstar_proto::approvals::v1 as pb;

    use super::{policy_from_proto, policy_to_proto, proposal_from_proto};

    fn fields(violations: &northstar_domain::Violations) -> Vec<&str> {
        violations.as_slice().iter().map(|violation| violation.field.as_str()).collect()
    }

    #[test]
    fn an_empty_policy_tells_every_missing_field() {
        let violations = policy_from_proto(pb::Policy::default()).unwrap_err();
        assert_eq!(
            fields(&violations),
            [
                "policy.name",
                "policy.action",
                "policy.role",
                "policy.sla",
                "policy.quorum",
                "policy.owner"
            ]
        );
    }

    #[test]
    fn a_policy_survives_the_wire() {
        let wire = pb::Policy {
            name: "ship".to_owned(),
            action: "experiment.ship".to_owned(),
            role: "admin".to_owned(),
            quorum: 2,
            sla: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            owner: "growth".to_owned(),
            etag: "7".to_owned(),
        };
        let policy = policy_from_proto(wire.clone()).unwrap();
        assert_eq!(policy_to_proto(&policy, "7".to_owned()), wire);
    }

    #[test]
    fn an_empty_request_tells_every_missing_field() {
        let violations = proposal_from_proto(pb::DecisionRequest::default()).unwrap_err();
        assert_eq!(
            fields(&violations),
            [
                "decision_request.action",
                "decision_request.diff_json",
                "decision_request.subject",
                "decision_request.summary",
                "decision_request.evidence"
            ]
        );
    }
}
