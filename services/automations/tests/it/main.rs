//! Automations as its callers meet it: over TCP, with a real Postgres, beside
//! the services it works with, and with receivers that check signatures.

#![expect(clippy::unwrap_used, reason = "what a helper of the tests cannot do fails the test")]

mod activation;
mod delivery;
mod lift;
mod preview;
mod receiver;
mod registration;
mod suite;
mod triggers;
