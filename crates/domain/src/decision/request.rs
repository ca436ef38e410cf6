//! The decision request and its transitions.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Ballot, DecisionKind, Diff, Opinion, Refusal, Verdict, VerdictKind};
use crate::policy::{ActionName, DeciderRole, Terms};
use crate::{DecisionRequestId, Role, Violations};

/// Longest subject and summary, in bytes.
const SUBJECT_LIMIT: usize = 200;
const SUMMARY_LIMIT: usize = 1000;
/// Longest owner, in bytes.
const OWNER_LIMIT: usize = 200;
/// Most pieces of evidence, and the largest, in bytes.
const EVIDENCE_COUNT_LIMIT: usize = 32;
const EVIDENCE_LIMIT: usize = 256 * 1024;
const TITLE_LIMIT: usize = 200;

/// Where a decision request is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DecisionState {
    /// Waits for verdicts.
    Pending,
    /// The quorum approved the current diff.
    Approved,
    /// One approver rejected it.
    Rejected,
    /// Nobody decided in time; nothing happens.
    Expired,
    /// Who asked took it back before anybody decided; nothing happens.
    Withdrawn,
    /// Somebody took the task on. It lets nothing happen.
    Acknowledged,
}

/// A text names no state.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "{0:?} is not a state: use pending, approved, rejected, expired, withdrawn or acknowledged"
)]
pub struct UnknownDecisionState(pub String);

impl DecisionState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Approved,
        Self::Rejected,
        Self::Expired,
        Self::Withdrawn,
        Self::Acknowledged,
    ];

    /// The state as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Acknowledged => "acknowledged",
        }
    }
}

impl FromStr for DecisionState {
    type Err = UnknownDecisionState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownDecisionState(text.to_owned()))
    }
}

impl fmt::Display for DecisionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One fact the decision rests on, as it was when asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Evidence {
    /// What it is.
    pub title: String,
    /// The snapshot, as the JSON text it was given as.
    pub json: String,
    /// Where it comes from.
    pub source: String,
}

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proposal {
    /// What is asked of people.
    pub kind: DecisionKind,
    /// Who answers for what is asked about; empty when nobody was named.
    pub owner: String,
    /// What will happen.
    pub action: ActionName,
    /// What it happens to, for example `automations/nudge`.
    pub subject: String,
    /// One sentence for people.
    pub summary: String,
    /// The change.
    pub diff: Diff,
    /// What the decision rests on. At least one.
    pub evidence: Vec<Evidence>,
}

impl Proposal {
    /// Everything that is wrong with it; field paths begin at the proposal.
    pub fn violations(&self) -> Violations {
        let mut violations = Violations::new();
        violations.require_text("subject", &self.subject, SUBJECT_LIMIT);
        violations.require_text("summary", &self.summary, SUMMARY_LIMIT);
        violations.require(self.owner.len() <= OWNER_LIMIT, "owner", "must have at most 200 bytes");
        if self.evidence.is_empty() {
            violations.push(
                "evidence",
                "must hold at least one fact: a decision without evidence cannot be asked for",
            );
        }
        violations.require(
            self.evidence.len() <= EVIDENCE_COUNT_LIMIT,
            "evidence",
            "must hold at most 32 facts",
        );
        for (index, evidence) in self.evidence.iter().enumerate() {
            let field = |name| format!("evidence[{index}].{name}");
            violations.require_text(&field("title"), &evidence.title, TITLE_LIMIT);
            violations.require_text(&field("source"), &evidence.source, SUBJECT_LIMIT);
            violations.require_text(&field("json"), &evidence.json, EVIDENCE_LIMIT);
            if let Err(error) = serde_json::from_str::<serde_json::Value>(&evidence.json) {
                violations.push(field("json"), format!("must be JSON: {error}"));
            }
        }
        violations
    }
}

/// Something people must decide.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DecisionRequest {
    /// Its id.
    pub id: DecisionRequestId,
    /// What is asked; its diff is the current one.
    pub proposal: Proposal,
    /// Who asked.
    pub author: String,
    /// Who wrote the current diff: the author, or who edited it last.
    pub diff_author: String,
    /// Role needed to decide.
    pub role: DeciderRole,
    /// Approvals needed.
    pub quorum: u32,
    /// Where it is in its life.
    pub state: DecisionState,
    /// Grows by one with every edit, from 1.
    pub review_cycle: u32,
    /// Every verdict given, oldest first.
    pub verdicts: Vec<Verdict>,
    /// When it was asked.
    pub created_at: DateTime<Utc>,
    /// When it expires. An edit does not move it.
    pub due_at: DateTime<Utc>,
    /// When it was decided, withdrawn or expired.
    pub decided_at: Option<DateTime<Utc>>,
    /// Why it was withdrawn, when it was.
    pub withdraw_reason: Option<String>,
}

impl DecisionRequest {
    /// Asks.
    pub fn ask(
        id: DecisionRequestId,
        proposal: Proposal,
        author: String,
        terms: Terms,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            proposal,
            diff_author: author.clone(),
            author,
            role: terms.role,
            quorum: terms.quorum,
            state: DecisionState::Pending,
            review_cycle: 1,
            verdicts: Vec::new(),
            created_at: now,
            due_at: now + terms.sla,
            decided_at: None,
            withdraw_reason: None,
        }
    }

    /// The request as it stands now: what still waits at its due time has
    /// expired.
    #[must_use]
    pub fn at(self, now: DateTime<Utc>) -> Self {
        if self.state == DecisionState::Pending && now >= self.due_at {
            let decided_at = Some(self.due_at);
            return Self { state: DecisionState::Expired, decided_at, ..self };
        }
        self
    }

    /// Takes a verdict.
    ///
    /// A rejection by one approver ends the request; approvals of the current
    /// cycle end it when they reach the quorum; an edit starts a new cycle. A task
    /// ends when one acknowledges it.
    ///
    /// # Errors
    /// The reason why the verdict does not count.
    pub fn decide(self, ballot: Ballot, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let mut request = self.at(now);
        request.admit(&ballot)?;
        let kind = match &ballot.opinion {
            Opinion::Approve => VerdictKind::Approve,
            Opinion::Reject => VerdictKind::Reject,
            Opinion::Edit(_) => VerdictKind::Edit,
            Opinion::Acknowledge => VerdictKind::Acknowledge,
        };
        request.verdicts.push(Verdict {
            approver: ballot.approver.clone(),
            kind,
            reason: ballot.reason,
            review_cycle: ballot.review_cycle,
            diff_digest: ballot.diff_digest,
            created_at: now,
        });
        match ballot.opinion {
            Opinion::Approve if request.approvals() >= request.quorum as usize => {
                request.state = DecisionState::Approved;
                request.decided_at = Some(now);
            }
            Opinion::Approve => {}
            Opinion::Reject => {
                request.state = DecisionState::Rejected;
                request.decided_at = Some(now);
            }
            Opinion::Acknowledge => {
                request.state = DecisionState::Acknowledged;
                request.decided_at = Some(now);
            }
            Opinion::Edit(diff) => {
                request.proposal.diff = diff;
                request.diff_author = ballot.approver;
                request.review_cycle += 1;
            }
        }
        Ok(request)
    }

    /// Whether a ballot may be cast. What the voter is comes before what they
    /// looked at, so that an author learns that they never decide, whatever
    /// they send.
    fn admit(&self, ballot: &Ballot) -> Result<(), Refusal> {
        if self.state != DecisionState::Pending {
            return Err(Refusal::NotPending(self.state));
        }
        if ballot.approver == self.author {
            return Err(Refusal::Author);
        }
        if !ballot.role.allows(Role::from(self.role)) {
            return Err(Refusal::RoleRequired { role: ballot.role, required: self.role });
        }
        let diff_digest = self.proposal.diff.digest();
        if ballot.review_cycle != self.review_cycle || ballot.diff_digest != diff_digest {
            return Err(Refusal::Stale { review_cycle: self.review_cycle, diff_digest });
        }
        if ballot.opinion == Opinion::Approve && ballot.approver == self.diff_author {
            return Err(Refusal::DiffAuthor);
        }
        if self.of_this_cycle().any(|verdict| verdict.approver == ballot.approver) {
            return Err(Refusal::AlreadyGiven {
                approver: ballot.approver.clone(),
                review_cycle: self.review_cycle,
            });
        }
        match (self.proposal.kind, &ballot.opinion) {
            (DecisionKind::Task, Opinion::Approve | Opinion::Edit(_)) => {
                Err(Refusal::NothingToApprove)
            }
            (DecisionKind::Change, Opinion::Acknowledge) => Err(Refusal::NotATask),
            (_, Opinion::Reject | Opinion::Acknowledge) if ballot.reason.trim().is_empty() => {
                Err(Refusal::ReasonMissing)
            }
            (_, Opinion::Edit(diff)) if diff.digest() == diff_digest => {
                Err(Refusal::NothingChanged)
            }
            _ => Ok(()),
        }
    }

    fn of_this_cycle(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.review_cycle == self.review_cycle)
    }

    /// Distinct approvers of the current cycle.
    fn approvals(&self) -> usize {
        self.of_this_cycle()
            .filter(|verdict| verdict.kind == VerdictKind::Approve)
            .map(|verdict| verdict.approver.as_str())
            .collect::<BTreeSet<_>>()
            .len()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
