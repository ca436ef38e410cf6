//! Experiments as its callers meet it: over TCP, with a real Postgres, and with
//! the real services it asks.

#![expect(clippy::unwrap_used, reason = "what a helper of the tests cannot do fails the test")]

mod analysis;
mod assignment;
mod conclusion;
mod events;
mod registry;
mod suite;
