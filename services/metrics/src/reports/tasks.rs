//! What people were asked to look into, as reports tell of it.

use chrono::{DateTime, Utc};
use northstar_domain::kpi::Window;
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::metrics::v1 as pb;

use crate::convert::from_timestamp;

/// A task, and when it was asked and ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    pub(super) told: pb::ReportTask,
    created_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

/// Reads a decision request that is a task.
pub(super) fn task(request: approvals::DecisionRequest) -> Task {
    let state = request.state();
    let verdict = request.verdicts.iter().rev().find(|verdict| !verdict.stale);
    let note = match (request.withdraw_reason.as_str(), verdict) {
        ("", Some(verdict)) => verdict.reason.clone(),
        ("", None) => String::new(),
        (reason, _) => reason.to_owned(),
    };
    Task {
        created_at: request.create_time.as_ref().and_then(from_timestamp),
        ended_at: request.decide_time.as_ref().and_then(from_timestamp),
        told: pb::ReportTask {
            state: state.as_str_name().trim_start_matches("DECISION_STATE_").to_ascii_lowercase(),
            by: verdict.map(|verdict| verdict.approver.clone()).unwrap_or_default(),
            note,
            command: format!("northstar decision show {}", request.decision_request_id),
            decision_request: request.decision_request_id,
            subject: request.subject,
            summary: request.summary,
            owner: request.owner,
            create_time: request.create_time,
        },
    }
}

impl Task {
    /// Whether it waits for somebody.
    pub(super) fn waits(&self) -> bool {
        self.told.state == "pending"
    }

    /// Whether a stretch of time has to do with it: it was asked before the end, and
    /// ended after the beginning, if it did.
    pub(super) fn concerns(&self, window: Window) -> bool {
        self.created_at.is_some_and(|at| at < window.end)
            && self.ended_at.is_none_or(|at| at >= window.start)
    }
}

/// A task in one sentence.
pub(super) fn sentence(task: &pb::ReportTask) -> String {
    let owner = match task.owner.as_str() {
        "" => "somebody",
        owner => owner,
    };
    let note = match task.note.as_str() {
        "" => String::new(),
        note => format!(": {note}"),
    };
    match task.state.as_str() {
        "pending" => format!("Waits for {owner}: {}.", task.summary),
        "acknowledged" => format!("{} took it on{note} ({})", task.by, task.summary),
        "rejected" => format!("{} put it aside{note} ({})", task.by, task.summary),
        "withdrawn" => format!("Taken back{note} ({})", task.summary),
        _ => format!("Nobody took it on in time: {}.", task.summary),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::to_timestamp;

    fn at(text: &str) -> DateTime<Utc> {
        northstar_domain::timestamp::parse(text).unwrap()
    }

    fn asked(decided: Option<&str>) -> approvals::DecisionRequest {
        approvals::DecisionRequest {
            summary: "investigate kpis/activation".to_owned(),
            owner: "growth".to_owned(),
            state: approvals::DecisionState::Pending.into(),
            create_time: Some(to_timestamp(at("2026-03-25T10:00:00Z"))),
            decide_time: decided.map(|time| to_timestamp(at(time))),
            ..approvals::DecisionRequest::default()
        }
    }

    #[test]
    fn a_week_knows_what_waited_in_it_or_ended_in_it() {
        let week = |monday: &str, next: &str| Window { start: at(monday), end: at(next) };
        let before = week("2026-03-16", "2026-03-23");
        let of_asking = week("2026-03-23", "2026-03-30");
        let after = week("2026-03-30", "2026-04-06");
        let concerns = |task: Task| [before, of_asking, after].map(|window| task.concerns(window));
        assert_eq!(concerns(task(asked(None))), [false, true, true]);
        assert_eq!(concerns(task(asked(Some("2026-03-26")))), [false, true, false]);
        assert_eq!(concerns(task(asked(Some("2026-04-01")))), [false, true, true]);
    }

    #[test]
    fn a_sentence_tells_who_does_what_about_it() {
        let pending = task(asked(None));
        assert!(pending.waits());
        assert_eq!(sentence(&pending.told), "Waits for growth: investigate kpis/activation.");
        let taken = approvals::DecisionRequest {
            state: approvals::DecisionState::Acknowledged.into(),
            verdicts: vec![approvals::Verdict {
                approver: "bo".to_owned(),
                reason: "a release broke it".to_owned(),
                ..approvals::Verdict::default()
            }],
            ..asked(Some("2026-03-26"))
        };
        let taken = task(taken);
        assert!(!taken.waits());
        assert_eq!(
            sentence(&taken.told),
            "bo took it on: a release broke it (investigate kpis/activation)"
        );
        let back = approvals::DecisionRequest {
            state: approvals::DecisionState::Withdrawn.into(),
            withdraw_reason: "it recovered".to_owned(),
            ..asked(Some("2026-03-26"))
        };
        assert!(sentence(&task(back).told).starts_with("Taken back: it recovered"));
    }
}
