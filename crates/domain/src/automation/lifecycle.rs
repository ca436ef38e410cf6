//! The life of an automation: DRAFT -> ACTIVE <-> PAUSED -> RETIRED.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Where an automation is in its life.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AutomationState {
    /// May be edited; acts on nothing.
    Draft,
    /// Acts.
    Active,
    /// Acts on nothing for now; may be edited.
    Paused,
    /// Ended for good.
    Retired,
}

/// The state does not allow a step.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("an automation that is {state} cannot {step}")]
pub struct TransitionError {
    /// Where it is.
    pub state: AutomationState,
    /// What was asked of it, for example `be edited`.
    pub step: &'static str,
}

/// A text is not a state of an automation.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0:?} is not a state of an automation")]
pub struct UnknownAutomationState(pub String);

impl AutomationState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Draft, Self::Active, Self::Paused, Self::Retired];

    /// Its name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Retired => "retired",
        }
    }

    /// Takes another definition. What acts is never changed under way.
    ///
    /// # Errors
    /// [`TransitionError`] when it is active or retired.
    pub fn edit(self) -> Result<Self, TransitionError> {
        match self {
            Self::Draft | Self::Paused => Ok(self),
            Self::Active | Self::Retired => Err(TransitionError { state: self, step: "be edited" }),
        }
    }

    /// Begins to act, for the first time or again.
    ///
    /// # Errors
    /// [`TransitionError`] when it acts already or is retired.
    pub fn activate(self) -> Result<Self, TransitionError> {
        match self {
            Self::Draft | Self::Paused => Ok(Self::Active),
            Self::Active | Self::Retired => {
                Err(TransitionError { state: self, step: "be activated" })
            }
        }
    }

    /// Stops acting on new events.
    ///
    /// # Errors
    /// [`TransitionError`] unless it is active.
    pub fn pause(self) -> Result<Self, TransitionError> {
        match self {
            Self::Active => Ok(Self::Paused),
            Self::Draft | Self::Paused | Self::Retired => {
                Err(TransitionError { state: self, step: "be paused" })
            }
        }
    }

    /// Ends for good. What acts must be paused first, so that ending it is
    /// never the first anybody hears of it.
    ///
    /// # Errors
    /// [`TransitionError`] when it is active or retired.
    pub fn retire(self) -> Result<Self, TransitionError> {
        match self {
            Self::Draft | Self::Paused => Ok(Self::Retired),
            Self::Active | Self::Retired => {
                Err(TransitionError { state: self, step: "be retired" })
            }
        }
    }
}

impl fmt::Display for AutomationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AutomationState {
    type Err = UnknownAutomationState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownAutomationState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::AutomationState::{self, Active, Draft, Paused, Retired};

    #[test]
    fn only_the_documented_transitions_are_allowed() {
        let from_each =
            |step: fn(AutomationState) -> Option<AutomationState>| AutomationState::ALL.map(step);
        assert_eq!(from_each(|s| s.edit().ok()), [Some(Draft), None, Some(Paused), None]);
        assert_eq!(from_each(|s| s.activate().ok()), [Some(Active), None, Some(Active), None]);
        assert_eq!(from_each(|s| s.pause().ok()), [None, Some(Paused), None, None]);
        assert_eq!(from_each(|s| s.retire().ok()), [Some(Retired), None, Some(Retired), None]);
    }

    #[test]
    fn a_refused_step_says_what_stands_in_its_way() {
        let error = Active.edit().unwrap_err();
        assert_eq!(error.to_string(), "an automation that is active cannot be edited");
        assert_eq!("paused".parse(), Ok(Paused));
        assert!("ended".parse::<AutomationState>().is_err());
        assert!(Retired.activate().is_err());
    }
}
