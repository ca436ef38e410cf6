//! What a process tells of itself, and whom.

use std::time::Duration;

use url::Url;

/// What to tell, and whom.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Config {
    /// How log lines look.
    #[arg(long, env = "NORTHSTAR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which log lines appear, as `tracing-subscriber`'s `EnvFilter` reads it.
    #[arg(long, env = "NORTHSTAR_LOG", default_value = LOG_FILTER, value_name = "FILTER")]
    pub log_filter: String,
    /// Collector that gets traces and metrics over OTLP, for example
    /// `http://localhost:4317`; none when not set.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<Url>,
    /// Seconds between two exports of metrics.
    #[arg(long, env = "NORTHSTAR_METRICS_INTERVAL_SECONDS", default_value_t = METRICS_INTERVAL_SECONDS,
          value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS")]
    pub metrics_interval_seconds: u64,
}

const LOG_FILTER: &str = "info";
const METRICS_INTERVAL_SECONDS: u64 = 30;

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_filter: LOG_FILTER.to_owned(),
            otlp_endpoint: None,
            metrics_interval_seconds: METRICS_INTERVAL_SECONDS,
        }
    }
}

impl Config {
    /// Time between two exports of metrics.
    pub fn metrics_interval(&self) -> Duration {
        Duration::from_secs(self.metrics_interval_seconds)
    }
}
