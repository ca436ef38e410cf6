//! Experiments: a registered question, how it will be answered, and its life.

mod analysis;
mod lifecycle;
mod ship;
mod spec;

pub use analysis::{
    Analysis, Comparison, Estimate, GuardrailResult, Recommendation, SampleRatio, VariantSummary,
};
pub use lifecycle::{Experiment, State, TransitionError, UnknownState};
pub use ship::{ACTION, ApprovedDecision, DecisionFacts, NotApproved, ship_diff};
pub use spec::{ExperimentSpec, StoppingPlan, Variant};
