//! The store over a real Postgres.

#![expect(clippy::unwrap_used, reason = "what a helper of the tests cannot do fails the test")]

mod counting;
mod old_log;
mod privileges;
