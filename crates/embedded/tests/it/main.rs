//! Real clusters: how they start, survive, refuse and end. Needs PostgreSQL on the machine.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod helper;
mod life;
mod place;
mod refuse;
mod root;
