//! What the tests share: a Postgres cluster per run, a migrated database per test, a clock in hand.
