//! Approvals as its callers meet it: over TCP, with a real Postgres.

mod access;
mod audit;
mod decisions;
mod expiry;
mod idempotency;
mod policies;
mod suite;
