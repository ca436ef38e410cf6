//! Automations: what they are, when they may act and what is to be done about them.

mod activation;
mod change;
mod definition;
mod lifecycle;
mod recommendation;

pub use activation::{Approval, Decision, NotApproved};
pub use change::{Change, InvalidChange, Wanted, differences};
pub use definition::{
    Action, Definition, EmitEvent, Guardrail, InvalidAction, Spec, Trigger, Webhook,
};
pub use lifecycle::{AutomationState, TransitionError, UnknownAutomationState};
pub use recommendation::{LEAST_SUBJECTS, Recommendation};
