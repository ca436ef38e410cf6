//! Ingestion as its callers meet it: over TCP, with a real Postgres.

#![expect(clippy::unwrap_used, reason = "what a helper of the tests cannot do fails the test")]

mod blocks;
mod contracts;
mod identity;
mod ingest;
mod keys;
mod otlp;
mod outage;
mod positions;
mod quarantine;
mod rights;
mod stream;
mod subscribe;
mod suite;
mod webhook_sources;
