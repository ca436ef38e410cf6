//! Ingestion as its callers meet it: over TCP, with a real Postgres.

#![expect(clippy::unwrap_used, reason = "what a helper of the tests cannot do fails the test")]

mod contracts;
mod identity;
mod ingest;
mod outage;
mod positions;
mod quarantine;
mod retention;
mod rights;
mod sources;
mod stream;
mod subscribe;
mod subscriptions;
mod suite;
