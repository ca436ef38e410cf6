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
}

impl Default for Config {
    fn default() -> Self {
        Self { ingestion_queue_mebibytes: 64 }
    }
}
