//! The life of an experiment: `Draft -> Running -> Stopped -> Shipped |
//! RolledBack`.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use thiserror::Error;

use super::{ApprovedDecision, ExperimentSpec};
use crate::ResourceName;

/// Where an experiment is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// May be edited; assigns nobody.
    Draft,
    /// Assigns subjects; frozen.
    Running,
    /// Assigns nobody; waits for its conclusion.
    Stopped,
    /// A variant was shipped by an approved decision.
    Shipped,
    /// Control stays.
    RolledBack,
}

/// A text names no state.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a state of an experiment")]
pub struct UnknownState(pub String);

impl State {
    /// The state as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Shipped => "shipped",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Draft, Self::Running, Self::Stopped, Self::Shipped, Self::RolledBack]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of an experiment does not allow a step. Nothing changes.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("an experiment that is {state} cannot {step}")]
pub struct TransitionError {
    /// Where it is.
    pub state: State,
    /// What was asked for.
    pub step: &'static str,
}

/// An experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Its name.
    pub name: ResourceName,
    /// What it asks and how it will be answered.
    pub spec: ExperimentSpec,
    /// Where it is in its life.
    pub state: State,
    /// From when exposures count.
    pub started_at: Option<DateTime<Utc>>,
    /// Until when exposures count.
    pub stopped_at: Option<DateTime<Utc>>,
    /// When it was concluded.
    pub concluded_at: Option<DateTime<Utc>>,
    /// The variant that was shipped.
    pub shipped_variant: Option<String>,
}

impl Experiment {
    /// A new draft.
    pub fn draft(name: ResourceName, spec: ExperimentSpec) -> Self {
        Self {
            name,
            spec,
            state: State::Draft,
            started_at: None,
            stopped_at: None,
            concluded_at: None,
            shipped_variant: None,
        }
    }

    /// Its name as others refer to it, for example `experiments/checkout`.
    pub fn resource(&self) -> String {
        format!("experiments/{}", self.name)
    }

    fn refuse(&self, step: &'static str) -> TransitionError {
        TransitionError { state: self.state, step }
    }

    /// Replaces the definition of a draft.
    ///
    /// # Errors
    /// When it has been started: what is measured must not move.
    pub fn edit(self, spec: ExperimentSpec) -> Result<Self, TransitionError> {
        match self.state {
            State::Draft => Ok(Self { spec, ..self }),
            State::Running | State::Stopped | State::Shipped | State::RolledBack => {
                Err(self.refuse("be edited"))
            }
        }
    }

    /// Starts; exposures count from `at`, which may lie in the past.
    ///
    /// # Errors
    /// When it is not a draft.
    pub fn start(self, at: DateTime<Utc>) -> Result<Self, TransitionError> {
        match self.state {
            State::Draft => Ok(Self { state: State::Running, started_at: Some(at), ..self }),
            State::Running | State::Stopped | State::Shipped | State::RolledBack => {
                Err(self.refuse("be started"))
            }
        }
    }

    /// Stops.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(self, now: DateTime<Utc>) -> Result<Self, TransitionError> {
        match self.state {
            State::Running => Ok(Self { state: State::Stopped, stopped_at: Some(now), ..self }),
            State::Draft | State::Stopped | State::Shipped | State::RolledBack => {
                Err(self.refuse("be stopped"))
            }
        }
    }

    /// Ships the variant that the approvers decided on.
    ///
    /// # Errors
    /// When it is not stopped.
    pub fn ship(
        self,
        approved: &ApprovedDecision,
        now: DateTime<Utc>,
    ) -> Result<Self, TransitionError> {
        let shipped_variant = Some(approved.variant().to_owned());
        Ok(Self { state: State::Shipped, shipped_variant, ..self.conclude("be shipped", now)? })
    }

    /// Keeps control.
    ///
    /// # Errors
    /// When it is not stopped.
    pub fn roll_back(self, now: DateTime<Utc>) -> Result<Self, TransitionError> {
        Ok(Self { state: State::RolledBack, ..self.conclude("be rolled back", now)? })
    }

    fn conclude(self, step: &'static str, now: DateTime<Utc>) -> Result<Self, TransitionError> {
        match self.state {
            State::Stopped => Ok(Self { concluded_at: Some(now), ..self }),
            State::Draft | State::Running | State::Shipped | State::RolledBack => {
                Err(self.refuse(step))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::{Experiment, State};
    use crate::experiment::ExperimentSpec;

    #[test]
    fn every_step_is_taken_once_and_in_order() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let draft = Experiment::draft("checkout".parse().unwrap(), ExperimentSpec::default());
        assert!(draft.clone().stop(now).is_err());
        assert!(draft.clone().roll_back(now).is_err());
        let running = draft.start(now).unwrap();
        assert!(running.clone().start(now).is_err());
        assert!(running.clone().edit(ExperimentSpec::default()).is_err());
        assert!(running.clone().roll_back(now).is_err());
        let stopped = running.stop(now).unwrap();
        assert!(stopped.clone().stop(now).is_err());
        let ended = stopped.roll_back(now).unwrap();
        assert_eq!((ended.state, ended.concluded_at), (State::RolledBack, Some(now)));
        let error = ended.roll_back(now).unwrap_err();
        assert_eq!(error.to_string(), "an experiment that is rolled_back cannot be rolled back");
    }
}
