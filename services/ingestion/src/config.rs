//! What can be configured.

use std::path::{Path, PathBuf};

use clap::Args;
use northstar_archive::Archive;
use northstar_server::{InvalidConfig, Secret};

use crate::pseudonyms::PseudonymKey;
use crate::sealing::SealingKey;

/// Services that may have to follow an erasure.
pub(crate) const FOLLOWERS: [&str; 4] = ["metrics", "experiments", "approvals", "automations"];

/// Configuration of ingestion.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Most mebibytes that requests on their way into the log may take, which is
    /// three times what was sent; more are refused with OVERLOADED until some are
    /// written.
    #[arg(long, env = "NORTHSTAR_INGESTION_QUEUE_MEBIBYTES", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(8..=65536))]
    pub ingestion_queue_mebibytes: u32,
    /// Newest message ids of a project that are held in memory, 50 bytes each,
    /// before they are sealed: sorted into pages on disk, with a filter in memory
    /// of 2 MiB for so many. More of them make fewer filters to ask.
    #[arg(long, env = "NORTHSTAR_INGESTION_FRESH_KEYS", default_value_t = 700_000,
          value_parser = clap::value_parser!(u32).range(100..=2_000_000))]
    pub ingestion_fresh_keys: u32,
    /// Key that secrets of webhook sources, and values that contracts keep aside, are
    /// sealed with in the database: 32 bytes in base64. Without it they are stored as
    /// they are.
    #[arg(long, env = "NORTHSTAR_WEBHOOK_SEALING_KEY", hide_env_values = true, value_name = "KEY")]
    pub webhook_sealing_key: Option<Secret>,
    /// File that holds the sealing key, instead of
    /// `NORTHSTAR_WEBHOOK_SEALING_KEY`.
    #[arg(long, env = "NORTHSTAR_WEBHOOK_SEALING_KEY_FILE", value_name = "FILE")]
    pub webhook_sealing_key_file: Option<PathBuf>,
    /// Key that pseudonyms of properties are made with, where contracts keep only
    /// those: 32 bytes in base64. All processes need the same, for ever: with another
    /// key equal values have other pseudonyms.
    #[arg(
        long,
        env = "NORTHSTAR_INGESTION_PSEUDONYM_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub ingestion_pseudonym_key: Option<Secret>,
    /// File that holds the key of pseudonyms, instead of
    /// `NORTHSTAR_INGESTION_PSEUDONYM_KEY`.
    #[arg(long, env = "NORTHSTAR_INGESTION_PSEUDONYM_KEY_FILE", value_name = "FILE")]
    pub ingestion_pseudonym_key_file: Option<PathBuf>,
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
    /// Services that have to follow an erasure before it is done, separated by
    /// commas: those of the suite that run, out of metrics, experiments, approvals
    /// and automations. Empty when ingestion runs alone.
    #[arg(
        long,
        env = "NORTHSTAR_INGESTION_ERASURE_FOLLOWERS",
        value_name = "SERVICES",
        default_value = "metrics,experiments,approvals,automations"
    )]
    pub ingestion_erasure_followers: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ingestion_queue_mebibytes: 64,
            ingestion_fresh_keys: 700_000,
            webhook_sealing_key: None,
            webhook_sealing_key_file: None,
            ingestion_pseudonym_key: None,
            ingestion_pseudonym_key_file: None,
            ingestion_source_check_milliseconds: 5_000,
            ingestion_archive_url: None,
            ingestion_archive_check_milliseconds: 600_000,
            ingestion_erasure_followers: FOLLOWERS.join(","),
        }
    }
}

impl Config {
    /// Checks what only the service itself can judge.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        self.sealing_key()?;
        self.pseudonym_key()?;
        self.archive()?;
        self.erasure_followers()?;
        Ok(())
    }

    /// Where old partitions are archived to, when they are.
    pub(crate) fn archive(&self) -> Result<Option<Archive>, InvalidConfig> {
        let Some(url) = &self.ingestion_archive_url else { return Ok(None) };
        Archive::open(url).map(Some).map_err(|error| {
            InvalidConfig::Unusable(format!("NORTHSTAR_INGESTION_ARCHIVE_URL: {error:#}"))
        })
    }

    /// The services that have to follow an erasure.
    pub(crate) fn erasure_followers(&self) -> Result<Vec<String>, InvalidConfig> {
        let mut found = Vec::new();
        for name in self.ingestion_erasure_followers.split(',').map(str::trim) {
            if name.is_empty() || found.iter().any(|known| known == name) {
                continue;
            }
            if !FOLLOWERS.contains(&name) {
                return Err(InvalidConfig::Unusable(format!(
                    "NORTHSTAR_INGESTION_ERASURE_FOLLOWERS names {name:?}, which is none of {}",
                    FOLLOWERS.join(", ")
                )));
            }
            found.push(name.to_owned());
        }
        Ok(found)
    }

    /// The key that secrets and values kept aside are sealed with.
    pub(crate) fn sealing_key(&self) -> Result<Option<SealingKey>, InvalidConfig> {
        key(
            "NORTHSTAR_WEBHOOK_SEALING_KEY",
            self.webhook_sealing_key.as_ref(),
            self.webhook_sealing_key_file.as_deref(),
            SealingKey::parse,
        )
    }

    /// The key that pseudonyms are made with.
    pub(crate) fn pseudonym_key(&self) -> Result<Option<PseudonymKey>, InvalidConfig> {
        key(
            "NORTHSTAR_INGESTION_PSEUDONYM_KEY",
            self.ingestion_pseudonym_key.as_ref(),
            self.ingestion_pseudonym_key_file.as_deref(),
            PseudonymKey::parse,
        )
    }
}

/// A key from its variable or from the file that the variable's `_FILE` twin names.
fn key<K>(
    variable: &'static str,
    value: Option<&Secret>,
    file: Option<&Path>,
    parse: impl Fn(&str) -> Option<K>,
) -> Result<Option<K>, InvalidConfig> {
    let text = match (value, file) {
        (Some(_), Some(_)) => return Err(InvalidConfig::SetTwice(variable)),
        (Some(key), None) => key.expose().to_owned(),
        (None, Some(path)) => {
            std::fs::read_to_string(path).map_err(|source| InvalidConfig::Unreadable {
                variable: format!("{variable}_FILE"),
                path: path.to_owned(),
                source,
            })?
        }
        (None, None) => return Ok(None),
    };
    parse(&text).map(Some).ok_or_else(|| {
        InvalidConfig::Unusable(format!(
            "{variable} must be 32 bytes in base64; make one with `openssl rand -base64 32`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_of_erasures_are_services_each_once() {
        let config = |text: &str| Config {
            ingestion_erasure_followers: text.to_owned(),
            ..Config::default()
        };
        let of = |text: &str| config(text).erasure_followers();
        assert_eq!(of(" metrics, approvals,metrics").unwrap(), ["metrics", "approvals"]);
        assert!(of("").unwrap().is_empty());
        assert!(of("metrics,console").unwrap_err().to_string().contains("\"console\""));
        assert_eq!(Config::default().erasure_followers().unwrap(), FOLLOWERS);
    }

    #[test]
    fn a_broken_sealing_key_is_told_without_showing_it() {
        let key = Some(Secret::from("hunter2".to_owned()));
        let config = Config { webhook_sealing_key: key, ..Config::default() };
        let error = config.sealing_key().unwrap_err().to_string();
        assert!(error.contains("32 bytes") && !error.contains("hunter2"), "{error}");
        let both = Config { webhook_sealing_key_file: Some("key".into()), ..config };
        assert!(both.sealing_key().unwrap_err().to_string().contains("both set"));
        assert!(Config::default().sealing_key().unwrap().is_none());
    }

    #[test]
    fn an_archive_that_cannot_be_is_told_before_anything_is_started() {
        let config =
            Config { ingestion_archive_url: Some("ftp://host/log".into()), ..Config::default() };
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("NORTHSTAR_INGESTION_ARCHIVE_URL"), "{error}");
        assert!(Config::default().check().is_ok());
    }
}
