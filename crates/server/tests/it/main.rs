//! The server as its callers meet it: over TCP, with a real Postgres.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic, as the tests do")]

mod access;
mod auth;
mod contracts;
mod doors;
mod drain;
mod health;
mod limits;
mod metrics;
mod process;
mod support;
mod traces;
