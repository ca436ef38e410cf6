//! What metrics keeps: definitions and the manifest of its segments. And what
//! it may read of ingestion: the log, the identity map and their totals.

pub mod cohort;
pub mod definition;
pub mod log;
pub mod restatement;
pub mod segment;
