//! Metrics as its callers meet it: over gRPC, with a real Postgres and a real
//! log.

#![expect(clippy::unwrap_used, reason = "what a helper of the tests cannot do fails the test")]

mod acknowledged;
mod answers;
mod cohorts;
mod definitions;
mod evidence;
mod insights;
mod isolation;
mod journeys;
mod limits;
mod lineage;
mod query_metrics;
mod questions;
mod reports;
mod restart;
mod restatements;
mod scorecard;
mod subjects;
mod suite;
mod thresholds;
mod variants;
mod worked;
