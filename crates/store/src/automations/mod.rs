//! Automations: what they are, how far their triggers are handled, their runs, and
//! what was decided about them.

mod automation;
mod decision;
pub(crate) mod erasure;
mod run;
mod trigger;
mod worker;

pub use automation::{
    Activation, Stored, activate, insert, list, list_past_sunset, load, load_activation,
    load_for_update, save_state, update_definition,
};
pub use decision::{CarriedOut, DecisionRecord, carry_out, is_carried_out};
pub use run::{Counts, Run, RunFilter, count_by_state, has_unsent_events, list_runs, redrive};
pub use trigger::{
    Active, Follower, NewRun, Progress, acquire, advance, insert_runs, list_active, load_progress,
    release, renew, still_acts,
};
pub use worker::{LeasedRun, SettledRun, lease, renew_lease, settle};
