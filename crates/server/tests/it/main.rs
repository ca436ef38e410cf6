//! The server as its callers meet it: over TCP, with a real Postgres.

mod access;
mod auth;
mod contracts;
mod drain;
mod health;
mod limits;
mod metrics;
mod process;
mod support;
mod traces;
