//! What an operator may set.

use std::time::Duration;

/// Configuration of approvals.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Seconds between two looks for decision requests whose time has passed.
    /// Readers see them expired at once; this is how soon it is written down.
    #[arg(long, env = "NORTHSTAR_APPROVALS_EXPIRY_INTERVAL_SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub approvals_expiry_interval_seconds: u64,
}

impl Config {
    pub(crate) fn expiry_interval(&self) -> Duration {
        Duration::from_secs(self.approvals_expiry_interval_seconds)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { approvals_expiry_interval_seconds: 10 }
    }
}
