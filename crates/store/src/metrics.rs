//! What metrics keeps: definitions, the lists of cohorts, thresholds and their
//! evaluations, values that were told, notes, and the manifest of its segments.
//! And what it may read of ingestion: the log, the identity map and their totals.

pub mod cohort;
pub mod definition;
pub(crate) mod erasure;
pub mod log;
pub mod note;
pub mod restatement;
pub mod segment;
pub mod threshold;
