#![doc = include_str!("../README.md")]

mod clock;
mod cluster;
mod database;
mod otlp;

pub use self::clock::MockClock;
pub use self::database::TestDatabase;
pub use self::otlp::{OtlpReceiver, ReceivedSpan};
