//! The server as its callers meet it: over TCP, with a real Postgres.

mod auth;
mod support;
