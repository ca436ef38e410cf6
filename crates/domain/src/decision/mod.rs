//! Decision requests: something people must judge before it happens.
//!
//! Life: `Pending -> Approved | Rejected | Expired`. An edit replaces the
//! proposed diff and starts a new review cycle; what was said before no longer
//! counts.

mod diff;
mod request;
mod verdict;

pub use diff::{Diff, InvalidDiff};
pub use request::{DecisionRequest, DecisionState, Evidence, Proposal, UnknownDecisionState};
pub use verdict::{Ballot, Opinion, Refusal, UnknownVerdictKind, Verdict, VerdictKind};
