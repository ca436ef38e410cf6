//! What an operator may set.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use clap::builder::BoolishValueParser;
use northstar_server::{InvalidConfig, Secret};

use crate::secrets::Secrets;

const CONCURRENCY: u16 = 32;
const LEASE_SECONDS: u16 = 60;
const TIMEOUT_SECONDS: u16 = 15;

/// Configuration of automations.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Let webhooks reach loopback addresses, and these over plain http. For
    /// trying things out on one machine.
    #[arg(long, env = "NORTHSTAR_ALLOW_LOOPBACK_WEBHOOKS", value_parser = BoolishValueParser::new())]
    pub allow_loopback_webhooks: bool,
    /// Signing secrets of webhooks: `name=whsec_...`, several joined by commas.
    #[arg(long, env = "NORTHSTAR_WEBHOOK_SECRETS", hide_env_values = true, value_name = "SECRETS")]
    pub webhook_secrets: Option<Secret>,
    /// File that holds the signing secrets, instead of
    /// `NORTHSTAR_WEBHOOK_SECRETS`; line breaks separate as commas do.
    #[arg(long, env = "NORTHSTAR_WEBHOOK_SECRETS_FILE", value_name = "FILE")]
    pub webhook_secrets_file: Option<PathBuf>,
    /// Most deliveries under way at once.
    #[arg(long, env = "NORTHSTAR_DELIVERY_CONCURRENCY", default_value_t = CONCURRENCY,
          value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "N")]
    pub delivery_concurrency: u16,
    /// Seconds after which the work of a replica that went silent is taken over.
    #[arg(long, env = "NORTHSTAR_AUTOMATIONS_LEASE_SECONDS", default_value_t = LEASE_SECONDS,
          value_parser = clap::value_parser!(u16).range(30..=3600), value_name = "SECONDS")]
    pub automations_lease_seconds: u16,
    /// Seconds a webhook's receiver may take to answer; less than the lease.
    #[arg(long, env = "NORTHSTAR_WEBHOOK_TIMEOUT_SECONDS", default_value_t = TIMEOUT_SECONDS,
          value_parser = clap::value_parser!(u16).range(1..=25), value_name = "SECONDS")]
    pub webhook_timeout_seconds: u16,
}

impl Default for Config {
    /// The defaults of the command line, whatever the environment says.
    fn default() -> Self {
        Self {
            allow_loopback_webhooks: false,
            webhook_secrets: None,
            webhook_secrets_file: None,
            delivery_concurrency: CONCURRENCY,
            automations_lease_seconds: LEASE_SECONDS,
            webhook_timeout_seconds: TIMEOUT_SECONDS,
        }
    }
}

impl Config {
    pub(crate) fn lease(&self) -> TimeDelta {
        TimeDelta::seconds(self.automations_lease_seconds.into())
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.webhook_timeout_seconds.into())
    }

    /// Checks what only the service itself can judge.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        self.secrets().map(|_| ())
    }

    /// The signing secrets.
    pub(crate) fn secrets(&self) -> Result<Secrets, InvalidConfig> {
        let unusable = |problem: String| InvalidConfig::Unusable(problem);
        let text = match (&self.webhook_secrets, &self.webhook_secrets_file) {
            (Some(_), Some(_)) => {
                return Err(InvalidConfig::SetTwice("NORTHSTAR_WEBHOOK_SECRETS"));
            }
            (Some(secrets), None) => secrets.expose().to_owned(),
            (None, Some(path)) => {
                std::fs::read_to_string(path).map_err(|source| InvalidConfig::Unreadable {
                    variable: "NORTHSTAR_WEBHOOK_SECRETS_FILE".to_owned(),
                    path: path.clone(),
                    source,
                })?
            }
            (None, None) => String::new(),
        };
        Secrets::parse(&text)
            .map_err(|problem| unusable(format!("NORTHSTAR_WEBHOOK_SECRETS: {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    #[test]
    fn the_defaults_of_the_command_line_are_those_of_the_program() {
        let matches = Config::augment_args(clap::Command::new("x")).get_matches_from(["x"]);
        let config = Config::from_arg_matches(&matches).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn a_broken_secret_is_told_without_showing_it() {
        let config = Config {
            webhook_secrets: Some(Secret::from("demo=whsec_c2hvcnQ=".to_owned())),
            ..Config::default()
        };
        let error = config.secrets().unwrap_err().to_string();
        assert!(error.contains("\"demo\"") && !error.contains("c2hvcnQ"), "{error}");
    }
}
