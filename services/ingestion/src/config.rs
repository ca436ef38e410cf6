//! What can be configured.

use clap::Args;

/// Configuration of ingestion.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Most mebibytes of requests that wait for the log; more are refused with
    /// OVERLOADED until some are written.
    #[arg(long, env = "NORTHSTAR_INGESTION_QUEUE_MEBIBYTES", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(8..=65536))]
    pub ingestion_queue_mebibytes: u32,
    /// Newest message ids of a project that are held in memory, 50 bytes each,
    /// before they are sealed: sorted into pages on disk, with a filter in memory
    /// of 2 MiB for so many. More of them make fewer filters to ask.
    #[arg(long, env = "NORTHSTAR_INGESTION_FRESH_KEYS", default_value_t = 700_000,
          value_parser = clap::value_parser!(u32).range(100..=2_000_000))]
    pub ingestion_fresh_keys: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { ingestion_queue_mebibytes: 64, ingestion_fresh_keys: 700_000 }
    }
}
