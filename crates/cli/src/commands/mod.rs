//! The commands, one file per subject.

pub mod audit;
pub mod automation;
pub mod bench;
pub mod contract;
pub mod decision;
pub mod definitions;
pub mod experiment;
pub mod journeys;
pub mod key;
pub mod log;
pub mod migrate;
pub mod quarantine;
pub mod query;
pub mod scorecard;
pub mod source;
pub mod sources;
pub mod subject;
pub mod subscription;
pub mod up;
