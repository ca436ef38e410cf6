//! Metrics as its callers meet it: over gRPC, with a real Postgres and a real
//! log.

mod acknowledged;
mod answers;
mod definitions;
mod restart;
mod scorecard;
mod suite;
mod variants;
