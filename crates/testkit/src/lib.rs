#![doc = include_str!("../README.md")]

mod bucket;
mod clock;
mod cluster;
mod database;
mod otlp;

pub use self::bucket::Bucket;
pub use self::clock::MockClock;
pub use self::database::TestDatabase;
pub use self::otlp::{OtlpReceiver, ReceivedSpan};
