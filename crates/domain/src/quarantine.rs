//! The life of a quarantined event: open -> patched -> replayed | discarded.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Where a quarantined event is in its life.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum QuarantineState {
    /// It waits as it was sent.
    Open,
    /// It was corrected and waits.
    Patched,
    /// It is on its way into the log and may be there already. Its body is
    /// fixed, so that whoever finishes the work sends the same one.
    Replaying,
    /// It is in the log.
    Replayed,
    /// It was given up.
    Discarded,
}

/// A step that the state does not allow.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a quarantined event that is {state} cannot be {step}")]
pub struct InvalidStep {
    /// The state.
    pub state: QuarantineState,
    /// What was to be done.
    pub step: &'static str,
}

/// A text names no state.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0:?} is not a state: use open, patched, replaying, replayed or discarded")]
pub struct UnknownState(pub String);

impl QuarantineState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Patched, Self::Replaying, Self::Replayed, Self::Discarded];
    /// Those of an event that waits.
    pub const WAITING: [Self; 3] = [Self::Open, Self::Patched, Self::Replaying];

    /// The state as text, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Patched => "patched",
            Self::Replaying => "replaying",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }

    /// The event is corrected.
    ///
    /// # Errors
    /// Unless it waits and is not on its way into the log.
    pub fn patch(self) -> Result<Self, InvalidStep> {
        match self {
            Self::Open | Self::Patched => Ok(Self::Patched),
            state => Err(InvalidStep { state, step: "patched" }),
        }
    }

    /// The event is sent to the log.
    ///
    /// # Errors
    /// Unless it waits.
    pub fn begin_replay(self) -> Result<Self, InvalidStep> {
        match self {
            Self::Open | Self::Patched | Self::Replaying => Ok(Self::Replaying),
            state => Err(InvalidStep { state, step: "replayed" }),
        }
    }

    /// The event is given up.
    ///
    /// # Errors
    /// Unless it waits and is not on its way into the log.
    pub fn discard(self) -> Result<Self, InvalidStep> {
        match self {
            Self::Open | Self::Patched => Ok(Self::Discarded),
            state => Err(InvalidStep { state, step: "discarded" }),
        }
    }
}

impl fmt::Display for QuarantineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for QuarantineState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replayed_or_discarded_stays_so() {
        for state in [QuarantineState::Replayed, QuarantineState::Discarded] {
            assert!(state.patch().is_err() && state.begin_replay().is_err());
            assert!(state.discard().is_err());
        }
    }

    #[test]
    fn what_is_on_its_way_is_only_sent_again() {
        let state = QuarantineState::Replaying;
        assert_eq!(state.begin_replay(), Ok(state));
        assert_eq!(state.patch().unwrap_err().step, "patched");
        assert!(state.discard().is_err());
    }

    #[test]
    fn a_state_reads_back() {
        for state in QuarantineState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("done".parse::<QuarantineState>().is_err());
    }
}
