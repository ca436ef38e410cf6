//! Approvals as its callers meet it: over TCP, with a real Postgres.

#![expect(clippy::unwrap_used, reason = "what a helper of the tests cannot do fails the test")]

mod access;
mod audit;
mod decisions;
mod expiry;
mod idempotency;
mod policies;
mod suite;
mod withdrawal;
