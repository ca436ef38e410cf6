//! Metrics as its callers meet it: over gRPC, with a real Postgres and a real
//! log.

mod definitions;
mod suite;
