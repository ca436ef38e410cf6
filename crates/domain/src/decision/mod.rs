//! Decision requests: something people must judge before it happens.
//!
//! Life: `Pending -> Approved | Rejected | Expired | Withdrawn`, and of a task
//! `Acknowledged` in place of `Approved`. An edit replaces the proposed diff and
//! starts a new review cycle; what was said before no longer counts.

mod diff;
mod kind;
mod request;
mod verdict;
mod withdrawal;

pub use diff::{Diff, InvalidDiff};
pub use kind::{DecisionKind, UnknownDecisionKind};
pub use request::{DecisionRequest, DecisionState, Evidence, Proposal, UnknownDecisionState};
pub use verdict::{Ballot, Opinion, Refusal, UnknownVerdictKind, Verdict, VerdictKind};
pub use withdrawal::NotWithdrawn;
