//! Metrics as its callers meet it: over gRPC, with a real Postgres and a real
//! log.

#![expect(clippy::unwrap_used, reason = "what a helper of the tests cannot do fails the test")]

mod acknowledged;
mod answers;
mod definitions;
mod journeys;
mod restart;
mod scorecard;
mod subjects;
mod suite;
mod variants;
