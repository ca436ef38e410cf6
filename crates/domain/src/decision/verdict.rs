//! What an approver says, and why it may not count.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use thiserror::Error;

use super::{DecisionState, Diff};
use crate::canonical_json::Digest;
use crate::{DeciderRole, Role};

/// What an approver wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Opinion {
    /// Do it.
    Approve,
    /// Do not do it.
    Reject,
    /// Do this instead.
    Edit(Diff),
    /// I take the task on; the reason is the note.
    Acknowledge,
}

/// A verdict as it is handed in: bound to what its giver looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ballot {
    /// Who.
    pub approver: String,
    /// The role of the key they came with.
    pub role: Role,
    /// The review cycle they looked at.
    pub review_cycle: u32,
    /// The digest of the diff they looked at.
    pub diff_digest: Digest,
    /// What they want.
    pub opinion: Opinion,
    /// Why.
    pub reason: String,
}

/// The kind of a verdict.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VerdictKind {
    /// Do it.
    Approve,
    /// Do not do it.
    Reject,
    /// Do it differently.
    Edit,
    /// Taken on, with a note.
    Acknowledge,
}

/// A text names no kind of verdict.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a kind of verdict: use approve, reject, edit or acknowledge")]
pub struct UnknownVerdictKind(pub String);

impl VerdictKind {
    /// The kind as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Edit => "edit",
            Self::Acknowledge => "acknowledge",
        }
    }
}

impl FromStr for VerdictKind {
    type Err = UnknownVerdictKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Approve, Self::Reject, Self::Edit, Self::Acknowledge]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownVerdictKind(text.to_owned()))
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A verdict that was recorded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Who.
    pub approver: String,
    /// What.
    pub kind: VerdictKind,
    /// Why.
    pub reason: String,
    /// The review cycle it was given for.
    pub review_cycle: u32,
    /// The digest of the diff it was given for.
    pub diff_digest: Digest,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl Verdict {
    /// Whether a later edit took its effect away, seen from the current review
    /// cycle. An edit is not made stale by the cycle it starts itself.
    pub fn is_stale(&self, current_cycle: u32) -> bool {
        match self.kind {
            VerdictKind::Approve | VerdictKind::Reject | VerdictKind::Acknowledge => {
                self.review_cycle < current_cycle
            }
            VerdictKind::Edit => self.review_cycle + 1 < current_cycle,
        }
    }
}

/// Why a verdict does not count. Nothing changes.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Refusal {
    /// The request is decided or expired.
    #[error("the decision request is {0} and takes no more verdicts")]
    NotPending(DecisionState),
    /// The author of a request never decides it.
    #[error("the author of a decision request may not decide it; ask somebody else")]
    Author,
    /// Who edited the diff is its author, and may not approve it.
    #[error("who edited the diff may not approve it in the cycle it started; ask somebody else")]
    DiffAuthor,
    /// The policy asks for a higher role.
    #[error("the policy of this decision asks for role {required}, the key has role {role}")]
    RoleRequired {
        /// The role of the key.
        role: Role,
        /// The role of the policy.
        required: DeciderRole,
    },
    /// The verdict is about another cycle or diff than the current one.
    #[error(
        "the verdict is about another diff than the current one; look at review cycle \
         {review_cycle}, diff {diff_digest}, and decide again"
    )]
    Stale {
        /// The current review cycle.
        review_cycle: u32,
        /// The current digest.
        diff_digest: Digest,
    },
    /// One verdict per approver and cycle.
    #[error("{approver} has given a verdict in review cycle {review_cycle} before")]
    AlreadyGiven {
        /// Who.
        approver: String,
        /// The cycle.
        review_cycle: u32,
    },
    /// A rejection needs a reason, an acknowledgement a note.
    #[error("a rejection needs a reason, and an acknowledgement a note of what is done about it")]
    ReasonMissing,
    /// A task holds nothing to approve or to edit.
    #[error(
        "this is a task: acknowledge it with a note, or reject it; there is nothing to approve"
    )]
    NothingToApprove,
    /// Only a task is acknowledged.
    #[error("this is a change, not a task: approve, edit or reject it")]
    NotATask,
    /// An edit must change the diff.
    #[error("the edited diff is the current one; approve it, or change it")]
    NothingChanged,
}
