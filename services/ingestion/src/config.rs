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
    /// Milliseconds between two looks at the freshness and completeness of
    /// declared sources.
    #[arg(long, env = "NORTHSTAR_INGESTION_SOURCE_CHECK_MILLISECONDS", default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub ingestion_source_check_milliseconds: u64,
    /// URL of the folder that old partitions of the log are archived to, for
    /// example file:///var/lib/northstar/archive. Nothing is archived without it,
    /// whatever the retention policies say. Metrics must reach it too.
    #[arg(long, env = "NORTHSTAR_INGESTION_ARCHIVE_URL")]
    pub ingestion_archive_url: Option<String>,
    /// Milliseconds between two looks for partitions to archive.
    #[arg(long, env = "NORTHSTAR_INGESTION_ARCHIVE_CHECK_MILLISECONDS",
          default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub ingestion_archive_check_milliseconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ingestion_queue_mebibytes: 64,
            ingestion_source_check_milliseconds: 5_000,
            ingestion_archive_url: None,
            ingestion_archive_check_milliseconds: 600_000,
        }
    }
}
