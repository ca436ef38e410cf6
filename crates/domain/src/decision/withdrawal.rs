//! Taking a question back: by whoever asked it, before anybody decided.

use chrono::{DateTime, Utc};
use thiserror::Error;

use super::{DecisionRequest, DecisionState};

/// Why a question is not taken back. Nothing changes.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
pub enum NotWithdrawn {
    /// Somebody else asked it.
    #[error("only who asked may withdraw a decision request; reject it instead")]
    OtherAuthor,
    /// It is decided, expired or withdrawn.
    #[error("the decision request is {0}: there is nothing to withdraw")]
    NotPending(DecisionState),
}

impl DecisionRequest {
    /// Takes the question back, with the reason. From then on it takes no verdict.
    ///
    /// # Errors
    /// The reason why it is not taken back.
    pub fn withdraw(
        self,
        who: &str,
        reason: String,
        now: DateTime<Utc>,
    ) -> Result<Self, NotWithdrawn> {
        if who != self.author {
            return Err(NotWithdrawn::OtherAuthor);
        }
        let request = self.at(now);
        if request.state != DecisionState::Pending {
            return Err(NotWithdrawn::NotPending(request.state));
        }
        Ok(Self {
            state: DecisionState::Withdrawn,
            decided_at: Some(now),
            withdraw_reason: Some(reason),
            ..request
        })
    }
}
