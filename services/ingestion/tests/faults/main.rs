//! Faults and bad input: an ingestion process and a PostgreSQL with full durability, both of which get killed, starved
//! and fed with what no honest client sends.
//!
//! `NORTHSTAR_FAULT_ROUNDS` and `NORTHSTAR_FAULT_SEED` make it longer, or the same again: `cargo xtask faults`.

mod crash;
mod disk;
mod doors;
mod hostile;
mod load;
mod midway;
mod neighbours;
mod stage;

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
