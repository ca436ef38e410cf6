//! The verdict matrix, case by case and at random.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::canonical_json::digest;
use crate::decision::NotWithdrawn;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

fn proposal() -> Proposal {
    Proposal {
        kind: DecisionKind::Change,
        owner: "growth".to_owned(),
        action: "experiment.ship".parse().unwrap(),
        subject: "experiments/checkout".to_owned(),
        summary: "ship treatment".to_owned(),
        diff: Diff::from(&json!({"variant": "treatment"})),
        evidence: vec![Evidence {
            title: "analysis".to_owned(),
            json: "{}".to_owned(),
            source: "experiments/checkout".to_owned(),
        }],
    }
}

fn request(quorum: u32) -> DecisionRequest {
    let terms = Terms { quorum, ..Terms::DEFAULT };
    DecisionRequest::ask(DecisionRequestId::generate(), proposal(), "ada".to_owned(), terms, now())
}

fn ballot(request: &DecisionRequest, approver: &str, opinion: Opinion) -> Ballot {
    Ballot {
        approver: approver.to_owned(),
        role: Role::Approver,
        review_cycle: request.review_cycle,
        diff_digest: request.proposal.diff.digest(),
        opinion,
        reason: "because".to_owned(),
    }
}

fn decide(
    request: DecisionRequest,
    approver: &str,
    opinion: Opinion,
) -> Result<DecisionRequest, Refusal> {
    let ballot = ballot(&request, approver, opinion);
    request.decide(ballot, now())
}

fn other_diff() -> Opinion {
    Opinion::Edit(Diff::from(&json!({"variant": "other"})))
}

#[test]
fn one_approval_is_enough_for_a_quorum_of_one() {
    let approved = decide(request(1), "bo", Opinion::Approve).unwrap();
    assert_eq!(approved.state, DecisionState::Approved);
    assert_eq!(approved.decided_at, Some(now()));
}

#[test]
fn a_quorum_of_two_needs_two_people() {
    let once = decide(request(2), "bo", Opinion::Approve).unwrap();
    assert_eq!(once.state, DecisionState::Pending);
    let again = decide(once.clone(), "bo", Opinion::Approve);
    assert!(matches!(again, Err(Refusal::AlreadyGiven { .. })), "{again:?}");
    let twice = decide(once, "cy", Opinion::Approve).unwrap();
    assert_eq!(twice.state, DecisionState::Approved);
}

#[test]
fn the_author_neither_approves_nor_rejects_nor_edits() {
    for opinion in [Opinion::Approve, Opinion::Reject, other_diff()] {
        assert_eq!(decide(request(1), "ada", opinion), Err(Refusal::Author));
    }
}

#[test]
fn a_rejection_ends_the_request_and_needs_a_reason() {
    let mut silent = ballot(&request(2), "bo", Opinion::Reject);
    silent.reason = " ".to_owned();
    assert_eq!(request(2).decide(silent, now()), Err(Refusal::ReasonMissing));
    let rejected = decide(request(2), "bo", Opinion::Reject).unwrap();
    assert_eq!(rejected.state, DecisionState::Rejected);
    assert_eq!(
        decide(rejected, "cy", Opinion::Approve),
        Err(Refusal::NotPending(DecisionState::Rejected))
    );
}

#[test]
fn an_edit_starts_a_cycle_in_which_earlier_verdicts_do_not_count() {
    let once = decide(request(2), "bo", Opinion::Approve).unwrap();
    let edited = decide(once, "cy", other_diff()).unwrap();
    assert_eq!((edited.review_cycle, edited.state), (2, DecisionState::Pending));
    assert!(edited.verdicts[0].is_stale(edited.review_cycle));
    assert!(!edited.verdicts[1].is_stale(edited.review_cycle));
    let again = decide(edited, "bo", Opinion::Approve).unwrap();
    assert_eq!(again.state, DecisionState::Pending, "bo's first approval must not count");
    let approved = decide(again, "di", Opinion::Approve).unwrap();
    assert_eq!(approved.state, DecisionState::Approved);
}

#[test]
fn who_edited_may_not_approve_their_own_diff_but_may_reject_it() {
    let edited = decide(request(1), "bo", other_diff()).unwrap();
    assert_eq!(decide(edited.clone(), "bo", Opinion::Approve), Err(Refusal::DiffAuthor));
    assert_eq!(decide(edited.clone(), "ada", Opinion::Approve), Err(Refusal::Author));
    assert!(decide(edited.clone(), "bo", Opinion::Reject).is_ok());
    assert!(decide(edited, "cy", Opinion::Approve).is_ok());
}

#[test]
fn a_verdict_for_another_cycle_or_digest_is_stale() {
    let before = request(1);
    let edited = decide(before.clone(), "bo", other_diff()).unwrap();
    let old = ballot(&before, "cy", Opinion::Approve);
    assert!(matches!(edited.clone().decide(old.clone(), now()), Err(Refusal::Stale { .. })));
    let wrong_digest = Ballot { review_cycle: 2, ..old.clone() };
    assert!(matches!(edited.clone().decide(wrong_digest, now()), Err(Refusal::Stale { .. })));
    let wrong_cycle = Ballot { diff_digest: edited.proposal.diff.digest(), ..old };
    assert!(matches!(edited.decide(wrong_cycle, now()), Err(Refusal::Stale { .. })));
}

#[test]
fn an_edit_that_changes_nothing_is_refused() {
    let same = Opinion::Edit(Diff::parse("{ \"variant\" : \"treatment\" }").unwrap());
    assert_eq!(decide(request(1), "bo", same), Err(Refusal::NothingChanged));
}

#[test]
fn a_request_expires_at_its_due_time() {
    let request = request(1);
    let due = request.due_at;
    let ballot = ballot(&request, "bo", Opinion::Approve);
    let just_before = due - TimeDelta::microseconds(1);
    assert!(request.clone().decide(ballot.clone(), just_before).is_ok());
    let late = request.clone().decide(ballot, due);
    assert_eq!(late, Err(Refusal::NotPending(DecisionState::Expired)));
    assert_eq!(request.at(due).decided_at, Some(due));
}

#[test]
fn a_policy_for_admins_refuses_approvers() {
    let terms = Terms { role: DeciderRole::Admin, ..Terms::DEFAULT };
    let id = DecisionRequestId::generate();
    let request = DecisionRequest::ask(id, proposal(), "ada".to_owned(), terms, now());
    let approver = ballot(&request, "bo", Opinion::Approve);
    let admin = Ballot { role: Role::Admin, ..approver.clone() };
    assert!(matches!(
        request.clone().decide(approver, now()),
        Err(Refusal::RoleRequired { role: Role::Approver, required: DeciderRole::Admin })
    ));
    assert!(request.decide(admin, now()).is_ok());
}

#[test]
fn a_decision_without_evidence_cannot_be_asked_for() {
    let mut bare = proposal();
    bare.evidence.clear();
    bare.subject.clear();
    let violations = bare.violations();
    let fields: Vec<_> = violations.as_slice().iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["subject", "evidence"]);
    assert!(proposal().violations().is_empty());
}

fn task() -> DecisionRequest {
    let mut task = request(2);
    task.proposal.kind = DecisionKind::Task;
    task
}

#[test]
fn a_task_is_acknowledged_with_a_note_and_never_approved() {
    for opinion in [Opinion::Approve, other_diff()] {
        assert_eq!(decide(task(), "bo", opinion), Err(Refusal::NothingToApprove));
    }
    let mut silent = ballot(&task(), "bo", Opinion::Acknowledge);
    silent.reason = " ".to_owned();
    assert_eq!(task().decide(silent, now()), Err(Refusal::ReasonMissing));
    assert_eq!(decide(task(), "ada", Opinion::Acknowledge), Err(Refusal::Author));
    // Whatever the quorum, one is enough to take it on.
    let taken = decide(task(), "bo", Opinion::Acknowledge).unwrap();
    assert_eq!((taken.state, taken.decided_at), (DecisionState::Acknowledged, Some(now())));
    assert_eq!(
        decide(taken, "cy", Opinion::Acknowledge),
        Err(Refusal::NotPending(DecisionState::Acknowledged))
    );
    assert_eq!(decide(request(1), "bo", Opinion::Acknowledge), Err(Refusal::NotATask));
}

#[test]
fn who_asked_takes_it_back_before_anybody_decided() {
    let back = |request: DecisionRequest, who| request.withdraw(who, "it recovered".into(), now());
    assert_eq!(back(request(1), "bo"), Err(NotWithdrawn::OtherAuthor));
    let withdrawn = back(request(1), "ada").unwrap();
    assert_eq!(withdrawn.state, DecisionState::Withdrawn);
    assert_eq!(withdrawn.withdraw_reason.as_deref(), Some("it recovered"));
    // A verdict that was under way counts for nothing.
    assert_eq!(
        decide(withdrawn.clone(), "bo", Opinion::Approve),
        Err(Refusal::NotPending(DecisionState::Withdrawn))
    );
    let twice = back(withdrawn, "ada");
    assert_eq!(twice, Err(NotWithdrawn::NotPending(DecisionState::Withdrawn)));
    let approved = decide(request(1), "bo", Opinion::Approve).unwrap();
    let late = back(approved, "ada");
    assert_eq!(late, Err(NotWithdrawn::NotPending(DecisionState::Approved)));
    let due = request(1).due_at;
    let expired = request(1).withdraw("ada", "late".into(), due);
    assert_eq!(expired, Err(NotWithdrawn::NotPending(DecisionState::Expired)));
}

/// One random attempt: who, with which role, about which cycle, wanting what.
fn attempts() -> impl Strategy<Value = Vec<(usize, Role, u32, u8)>> {
    let roles = prop::sample::select(Role::ALL.to_vec());
    prop::collection::vec((0..5_usize, roles, 1..4_u32, 0..6_u8), 0..40)
}

proptest! {
    #[test]
    fn what_is_approved_was_approved_by_a_quorum_of_others_who_saw_the_final_diff(
        attempts in attempts(), quorum in 1..4_u32,
    ) {
        let people = ["ada", "bo", "cy", "di", "ed"];
        let mut request = request(quorum);
        for (person, role, cycle, what) in attempts {
            let opinion = match what {
                0 => Opinion::Reject,
                1 | 2 => Opinion::Edit(Diff::from(&json!({"variant": what}))),
                _ => Opinion::Approve,
            };
            let seen = Ballot {
                role, review_cycle: cycle, ..ballot(&request, people[person], opinion)
            };
            if let Ok(next) = request.clone().decide(seen, now()) {
                request = next;
            }
        }
        if request.state == DecisionState::Approved {
            let digest = digest(&serde_json::from_str(request.proposal.diff.json()).unwrap());
            let approvers: BTreeSet<_> = request.verdicts.iter()
                .filter(|v| v.kind == VerdictKind::Approve && v.diff_digest == digest)
                .filter(|v| v.review_cycle == request.review_cycle)
                .map(|v| v.approver.as_str())
                .collect();
            prop_assert!(approvers.len() >= quorum as usize);
            prop_assert!(!approvers.contains("ada"));
            prop_assert!(!approvers.contains(request.diff_author.as_str()));
        }
    }
}
