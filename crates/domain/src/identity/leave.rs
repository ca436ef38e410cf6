//! Leave for a merge, where a project's policy has people decide about merges: they
//! change every number that counts subjects.

use chrono::{DateTime, Utc};
use serde_json::json;
use thiserror::Error;

use super::Identifier;
use crate::DecisionRequestId;
use crate::decision::Diff;

/// The action that approvers decide about.
pub const MERGE_ACTION: &str = "subject.merge";

/// The merge as approvers see it and as their verdicts name it: the names of both
/// subjects, so that leave for it is none once either is another.
pub fn merge_diff(from: &Identifier, to: &Identifier) -> Diff {
    let side = |of: &Identifier| json!({"kind": of.kind.as_str(), "value": of.value});
    Diff::from(&json!({"from": side(from), "to": side(to)}))
}

/// What decision requests about a merge are about. It names nobody: lists of
/// decisions are read by many.
pub fn merge_subject(diff: &Diff) -> String {
    let digest = diff.digest().to_string();
    format!("subject-merges/{}", digest.get(..16).unwrap_or(&digest))
}

/// A decision request as approvals tells of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MergeLeave {
    /// Its id.
    pub id: DecisionRequestId,
    /// What it lets happen.
    pub action: String,
    /// The digest of what was looked at, in hex.
    pub diff_digest: String,
    /// When it was approved; `None` unless it is.
    pub approved_at: Option<DateTime<Utc>>,
}

/// Why a decision is no leave for a merge.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum NoLeave {
    /// It is about something else.
    #[error("it is about something else")]
    Other,
    /// Nobody approved it.
    #[error("it is not approved")]
    Undecided,
    /// The subjects are not those that were approved.
    #[error("the subjects are not those that were approved; ask again")]
    Changed,
    /// They were merged by it before.
    #[error("it was used before; ask again")]
    Spent,
}

impl MergeLeave {
    /// Reads the decision as leave for exactly this merge, once. `merged_at` is when
    /// the two were merged before, if they were.
    ///
    /// # Errors
    /// Why it is none.
    pub fn allows(
        &self,
        from: &Identifier,
        to: &Identifier,
        merged_at: Option<DateTime<Utc>>,
    ) -> Result<(), NoLeave> {
        if self.action != MERGE_ACTION {
            return Err(NoLeave::Other);
        }
        let approved_at = self.approved_at.ok_or(NoLeave::Undecided)?;
        if self.diff_digest != merge_diff(from, to).digest().to_string() {
            return Err(NoLeave::Changed);
        }
        if merged_at.is_some_and(|merged_at| merged_at >= approved_at) {
            return Err(NoLeave::Spent);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leave_is_for_one_merge_of_two_subjects_once() {
        let (ada, bob) = (Identifier::user("ada"), Identifier::user("bob"));
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let leave = MergeLeave {
            id: DecisionRequestId::generate(),
            action: MERGE_ACTION.to_owned(),
            diff_digest: merge_diff(&ada, &bob).digest().to_string(),
            approved_at: Some(at(100)),
        };
        assert_eq!(leave.allows(&ada, &bob, None), Ok(()));
        assert_eq!(leave.allows(&ada, &bob, Some(at(99))), Ok(()), "that was before");
        assert_eq!(leave.allows(&ada, &bob, Some(at(100))), Err(NoLeave::Spent));
        assert_eq!(leave.allows(&bob, &ada, None), Err(NoLeave::Changed));
        let undecided = MergeLeave { approved_at: None, ..leave.clone() };
        assert_eq!(undecided.allows(&ada, &bob, None), Err(NoLeave::Undecided));
        let other = MergeLeave { action: "contract.change".to_owned(), ..leave };
        assert_eq!(other.allows(&ada, &bob, None), Err(NoLeave::Other));
        let subject = merge_subject(&merge_diff(&ada, &bob));
        assert!(!subject.contains("ada") && subject.len() == 31, "{subject}");
    }
}
