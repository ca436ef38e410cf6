//! The store over a real Postgres.

mod privileges;
