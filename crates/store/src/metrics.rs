//! What metrics keeps: definitions, thresholds and their evaluations, and the
//! manifest of its segments. And what it may read of ingestion: the log, the
//! identity map and their totals.

pub mod definition;
pub mod log;
pub mod note;
pub mod segment;
pub mod threshold;
