//! Experiments, exposures, ship requests and learnings.

pub(crate) mod erasure;
mod experiment;
mod exposure;
mod learning;
mod ship_request;

pub use experiment::{
    StoredExperiment, list_experiments, load_experiment, load_experiment_for_update, save_draft,
    save_shipped, save_step,
};
pub use exposure::{Exposure, mark_recorded, remember_exposures};
pub use learning::{Learning, insert_learning, load_learning};
pub use ship_request::{
    ShipRequest, find_ship_request_of_decision, keep_ship_request, save_decision_request_id,
};
