//! Thresholds: when a number asks people for a decision.
//!
//! A threshold reads a KPI or a metric on a schedule, judges it against a
//! condition, and asks for a decision when the condition holds for long enough.
//! Its memory is a [`State`]; [`State::step`] is the whole rule of what follows
//! from an evaluation, so that a log of evaluations can be replayed.

mod condition;
mod decision;
mod machine;
mod quiet;
mod spec;

pub use condition::{Condition, Reading, Reference, Scale, Stray, USUAL_DEVIATIONS, Versus};
pub use decision::{Action, Decision};
pub use machine::{Effect, Evaluation, Gate, Observation, Phase, State, Step};
pub use quiet::{InvalidTimeOfDay, Quiet, QuietHours, TimeOfDay};
pub use spec::{Breaches, Breakdown, Grain, MAX_OBSERVATIONS, Rules, Subject, Threshold};
