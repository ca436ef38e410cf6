//! Configuration every process has: environment first, typed, checked before a
//! port is bound.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use northstar_client::Endpoints;
use url::Url;

use crate::secret::{InvalidConfig, Secret, value_or_file};
use crate::telemetry;

const GRPC_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);
const HTTP_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const DRAIN_SECONDS: u64 = 20;
const MAX_CONCURRENT_REQUESTS: NonZeroUsize = NonZeroUsize::new(512).expect("512 is not 0");
const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
const HTTP_BODIES_MEBIBYTES: u32 = 64;
const DEFAULT_DEADLINE_SECONDS: u64 = 30;
const DATA_DIR: &str = "northstar-data";

/// What every process needs to know.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Config {
    /// Address of the gRPC listener. Beyond loopback it needs a suite key or an
    /// API key to exist.
    #[arg(long, env = "NORTHSTAR_GRPC_LISTEN", default_value_t = GRPC_LISTEN, value_name = "ADDR")]
    pub grpc_listen: SocketAddr,
    /// Address of the HTTP listener: health, metrics, and the doors for protocols
    /// that are not gRPC. Beyond loopback as for gRPC.
    #[arg(long, env = "NORTHSTAR_HTTP_LISTEN", default_value_t = HTTP_LISTEN, value_name = "ADDR")]
    pub http_listen: SocketAddr,
    /// The database.
    #[command(flatten)]
    pub database: northstar_store::Config,
    /// File that holds the database URL, instead of `DATABASE_URL`.
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// Key with which services call each other, for any project.
    #[arg(long, env = "NORTHSTAR_SUITE_KEY", hide_env_values = true, value_name = "KEY")]
    pub suite_key: Option<Secret>,
    /// File that holds the suite key, instead of `NORTHSTAR_SUITE_KEY`.
    #[arg(long, env = "NORTHSTAR_SUITE_KEY_FILE", value_name = "FILE")]
    pub suite_key_file: Option<PathBuf>,
    /// Where ingestion is; this process when not set, as for the four below.
    #[arg(long, env = "NORTHSTAR_INGESTION_URL", value_name = "URL")]
    pub ingestion_url: Option<Url>,
    /// Where metrics is.
    #[arg(long, env = "NORTHSTAR_METRICS_URL", value_name = "URL")]
    pub metrics_url: Option<Url>,
    /// Where experiments is.
    #[arg(long, env = "NORTHSTAR_EXPERIMENTS_URL", value_name = "URL")]
    pub experiments_url: Option<Url>,
    /// Where approvals is.
    #[arg(long, env = "NORTHSTAR_APPROVALS_URL", value_name = "URL")]
    pub approvals_url: Option<Url>,
    /// Where automations is.
    #[arg(long, env = "NORTHSTAR_AUTOMATIONS_URL", value_name = "URL")]
    pub automations_url: Option<Url>,
    /// Seconds that calls in flight get to finish when the process stops.
    #[arg(long, env = "NORTHSTAR_DRAIN_SECONDS", default_value_t = DRAIN_SECONDS, value_name = "SECONDS")]
    pub drain_seconds: u64,
    /// Most calls handled at once; more are refused with RESOURCE_EXHAUSTED.
    #[arg(long, env = "NORTHSTAR_MAX_CONCURRENT_REQUESTS", default_value_t = MAX_CONCURRENT_REQUESTS, value_name = "N")]
    pub max_concurrent_requests: NonZeroUsize,
    /// Largest request message, in bytes.
    #[arg(long, env = "NORTHSTAR_MAX_MESSAGE_BYTES", default_value_t = MAX_MESSAGE_BYTES, value_name = "BYTES")]
    pub max_message_bytes: usize,
    /// Most mebibytes of HTTP bodies that are read at the same time, a quarter of
    /// them without a key in a header; more are refused with 429.
    #[arg(long, env = "NORTHSTAR_HTTP_BODIES_MEBIBYTES", default_value_t = HTTP_BODIES_MEBIBYTES,
          value_parser = clap::value_parser!(u32).range(8..=65536), value_name = "MIB")]
    pub http_bodies_mebibytes: u32,
    /// Deadline, in seconds, of unary calls that come without one.
    #[arg(long, env = "NORTHSTAR_DEFAULT_DEADLINE_SECONDS", default_value_t = DEFAULT_DEADLINE_SECONDS,
          value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS")]
    pub default_deadline_seconds: u64,
    /// Folder for files that can be made again from the database.
    #[arg(long, env = "NORTHSTAR_DATA_DIR", default_value = DATA_DIR, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Logs, traces and metrics.
    #[command(flatten)]
    pub telemetry: telemetry::Config,
}

impl Default for Config {
    /// The defaults of the command line, whatever the environment says.
    fn default() -> Self {
        Self {
            grpc_listen: GRPC_LISTEN,
            http_listen: HTTP_LISTEN,
            database: northstar_store::Config { database_url: None, database_connections: 8 },
            database_url_file: None,
            suite_key: None,
            suite_key_file: None,
            ingestion_url: None,
            metrics_url: None,
            experiments_url: None,
            approvals_url: None,
            automations_url: None,
            drain_seconds: DRAIN_SECONDS,
            max_concurrent_requests: MAX_CONCURRENT_REQUESTS,
            max_message_bytes: MAX_MESSAGE_BYTES,
            http_bodies_mebibytes: HTTP_BODIES_MEBIBYTES,
            default_deadline_seconds: DEFAULT_DEADLINE_SECONDS,
            data_dir: DATA_DIR.into(),
            telemetry: telemetry::Config::default(),
        }
    }
}

impl Config {
    /// A configuration for tests: ports of the system's choice on loopback, the
    /// given database and suite key, a data folder of the caller's.
    pub fn for_tests(database_url: &str, suite_key: &str, data_dir: PathBuf) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            grpc_listen: any_port,
            http_listen: any_port,
            database: northstar_store::Config {
                database_url: Some(database_url.to_owned()),
                database_connections: 8,
            },
            suite_key: Some(Secret::from(suite_key.to_owned())),
            data_dir,
            ..Self::default()
        }
    }

    /// The database's URL.
    ///
    /// # Errors
    /// [`InvalidConfig`] when it is missing, given twice, no URL of a PostgreSQL
    /// database, or its file cannot be read.
    pub fn database_url(&self) -> Result<Secret, InvalidConfig> {
        let url = value_or_file(
            "DATABASE_URL",
            self.database.database_url.as_deref(),
            self.database_url_file.as_deref(),
        )?
        .ok_or(InvalidConfig::Missing(
            "DATABASE_URL",
            "set it, or DATABASE_URL_FILE, to postgres://user:password@host/database",
        ))?;
        northstar_store::check_url(url.expose()).map_err(|problem| {
            InvalidConfig::Unusable(format!(
                "DATABASE_URL {problem}; write postgres://user:password@host/database"
            ))
        })?;
        Ok(url)
    }

    /// The suite key, when there is one.
    ///
    /// # Errors
    /// [`InvalidConfig`] when it is given twice or its file cannot be read.
    pub fn suite_key(&self) -> Result<Option<Secret>, InvalidConfig> {
        value_or_file(
            "NORTHSTAR_SUITE_KEY",
            self.suite_key.as_ref().map(Secret::expose),
            self.suite_key_file.as_deref(),
        )
    }

    /// Where the services are; those not configured are at `own`.
    pub fn endpoints(&self, own: &Url) -> Endpoints {
        let or_own = |url: &Option<Url>| url.as_ref().unwrap_or(own).clone();
        Endpoints {
            ingestion: or_own(&self.ingestion_url),
            metrics: or_own(&self.metrics_url),
            experiments: or_own(&self.experiments_url),
            approvals: or_own(&self.approvals_url),
            automations: or_own(&self.automations_url),
        }
    }

    /// How long calls in flight get to finish.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// The deadline of unary calls that come without one.
    pub fn default_deadline(&self) -> Duration {
        Duration::from_secs(self.default_deadline_seconds)
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    #[test]
    fn the_default_is_what_an_empty_command_line_gives() {
        let command = Config::augment_args(clap::Command::new("test"))
            .mut_args(|argument| argument.env(None::<&str>));
        let parsed = Config::from_arg_matches(&command.get_matches_from(["test"])).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn a_database_url_that_is_none_is_told_without_showing_it() {
        for url in ["hush", "mysql://user:hush@host/db", "postgres://user:hush@host:port/db"] {
            let config = Config::for_tests(url, "unused", "unused".into());
            let error = config.database_url().unwrap_err().to_string();
            assert!(error.starts_with("DATABASE_URL ") && !error.contains("hush"), "{error}");
        }
        let config = Config::for_tests("postgresql://user@host/db", "unused", "unused".into());
        assert!(config.database_url().is_ok());
    }

    #[test]
    fn no_secret_is_shown() {
        let config = Config::for_tests("postgres://user:hush@host/db", "hush", "unused".into());
        assert!(!format!("{config:?}").contains("hush"));
    }
}
