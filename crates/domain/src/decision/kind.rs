//! What is asked of people: to allow a change, or to look into something.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What is asked of people.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DecisionKind {
    /// To allow a change or to refuse it. Without an approval nothing happens.
    #[default]
    Change,
    /// To look into something. Whoever takes it on acknowledges it with a note;
    /// there is nothing to approve.
    Task,
}

/// A text names no kind of decision request.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a kind of decision request: use change or task")]
pub struct UnknownDecisionKind(pub String);

impl DecisionKind {
    /// The kind as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Task => "task",
        }
    }
}

impl FromStr for DecisionKind {
    type Err = UnknownDecisionKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Change, Self::Task]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownDecisionKind(text.to_owned()))
    }
}

impl fmt::Display for DecisionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
