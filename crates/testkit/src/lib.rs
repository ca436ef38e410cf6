#![doc = include_str!("../README.md")]

mod clock;
mod cluster;
mod database;

pub use self::clock::MockClock;
pub use self::database::TestDatabase;
