//! The commands, one file per subject.

pub mod audit;
pub mod automation;
pub mod decision;
pub mod definitions;
pub mod events;
pub mod experiment;
pub mod key;
pub mod migrate;
pub mod query;
pub mod scorecard;
pub mod source;
pub mod up;
