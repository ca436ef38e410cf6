//! Configuration of the service beside what every service has.

use std::num::NonZeroUsize;

/// Configuration of metrics.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Events in memory at which metrics writes them to a segment file.
    #[arg(
        long,
        env = "NORTHSTAR_METRICS_COMPACT_EVENTS",
        value_name = "EVENTS",
        default_value = "100000"
    )]
    pub metrics_compact_events: NonZeroUsize,
    /// Seconds between two looks at the log while nobody asks.
    #[arg(
        long,
        env = "NORTHSTAR_METRICS_FOLLOW_SECONDS",
        value_name = "SECONDS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub metrics_follow_seconds: u64,
    /// Most MiB that a question may use beside the events themselves: distinct values are counted in as many passes as
    /// that takes, partial results beyond it go to a file in the folder of the segments, and an answer that is larger is
    /// refused.
    #[arg(
        long,
        env = "NORTHSTAR_METRICS_QUERY_MEBIBYTES",
        value_name = "MIB",
        default_value_t = 512,
        value_parser = clap::value_parser!(u64).range(1..=1_048_576)
    )]
    pub metrics_query_mebibytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            metrics_compact_events: NonZeroUsize::new(100_000).expect("100,000 is not zero"),
            metrics_follow_seconds: 2,
            metrics_query_mebibytes: 512,
        }
    }
}
