//! Ingestion as its callers meet it: over TCP, with a real Postgres.

#![expect(clippy::unwrap_used, reason = "what a helper of the tests cannot do fails the test")]

mod blocks;
mod columns;
mod contract_rules;
mod contracts;
mod identity;
mod ingest;
mod keys;
mod otlp;
mod outage;
mod positions;
mod quarantine;
mod quarantine_life;
mod retention;
mod rights;
mod sources;
mod stream;
mod subjects;
mod subscribe;
mod subscriptions;
mod suite;
mod webhook_sources;
