//! Where the suite is, and with which key: flags, environment, or the context
//! file that `northstar up` wrote.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context as _;
use northstar_client::{Clients, Credentials, Endpoints};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::failure::ConfigError;

/// Flags of every command that talks to a running suite.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Where the suite is")]
pub struct Connection {
    /// gRPC address of the suite, for example http://127.0.0.1:50051. Default:
    /// the context file that `northstar up` wrote.
    #[arg(long, global = true, env = "NORTHSTAR_ADDRESS")]
    address: Option<String>,
    /// API key. Default: the context file.
    #[arg(long, global = true, env = "NORTHSTAR_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// File that holds the API key.
    #[arg(long, global = true, env = "NORTHSTAR_API_KEY_FILE", conflicts_with = "api_key")]
    api_key_file: Option<PathBuf>,
    /// Number of the project, for a suite key, which belongs to none. A project's
    /// own key needs no number.
    #[arg(long, global = true, env = "NORTHSTAR_PROJECT", value_name = "NUMBER",
          value_parser = clap::value_parser!(i32).range(1..))]
    project: Option<i32>,
    #[command(flatten)]
    split: Split,
}

/// Addresses of services that do not share one, as on Kubernetes. The variables
/// are those by which the services find each other.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Services at addresses of their own")]
struct Split {
    /// gRPC address of ingestion. Default: that of the suite, as for the others.
    #[arg(
        long,
        global = true,
        env = "NORTHSTAR_INGESTION_URL",
        value_name = "URL",
        hide_short_help = true
    )]
    ingestion_url: Option<Url>,
    /// gRPC address of metrics.
    #[arg(
        long,
        global = true,
        env = "NORTHSTAR_METRICS_URL",
        value_name = "URL",
        hide_short_help = true
    )]
    metrics_url: Option<Url>,
    /// gRPC address of experiments.
    #[arg(
        long,
        global = true,
        env = "NORTHSTAR_EXPERIMENTS_URL",
        value_name = "URL",
        hide_short_help = true
    )]
    experiments_url: Option<Url>,
    /// gRPC address of approvals, which also holds the API keys.
    #[arg(
        long,
        global = true,
        env = "NORTHSTAR_APPROVALS_URL",
        value_name = "URL",
        hide_short_help = true
    )]
    approvals_url: Option<Url>,
    /// gRPC address of automations.
    #[arg(
        long,
        global = true,
        env = "NORTHSTAR_AUTOMATIONS_URL",
        value_name = "URL",
        hide_short_help = true
    )]
    automations_url: Option<Url>,
}

impl Split {
    /// Where each service is: at its own address, or else at the suite's.
    ///
    /// # Errors
    /// [`ConfigError`] when a service is at neither.
    fn endpoints(&self, suite: Option<&Url>) -> anyhow::Result<Endpoints> {
        let at = |own: &Option<Url>, name: &str| {
            own.as_ref().or(suite).cloned().ok_or_else(|| {
                ConfigError::new(format!(
                    "no address of {name} is known: start a suite with `northstar up`, or give \
                     --address or --{name}-url"
                ))
            })
        };
        Ok(Endpoints {
            ingestion: at(&self.ingestion_url, "ingestion")?,
            metrics: at(&self.metrics_url, "metrics")?,
            experiments: at(&self.experiments_url, "experiments")?,
            approvals: at(&self.approvals_url, "approvals")?,
            automations: at(&self.automations_url, "automations")?,
        })
    }
}

/// What the context file holds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ContextFile {
    /// gRPC address.
    pub grpc: String,
    /// HTTP address.
    pub http: String,
    /// API key with role admin.
    pub api_key: String,
}

impl Connection {
    /// Clients of the suite.
    ///
    /// # Errors
    /// [`ConfigError`] when no address or key is known.
    pub fn clients(&self) -> anyhow::Result<Clients> {
        let file = ContextFile::read()?;
        let address = self.address.as_ref().or_else(|| file.as_ref().map(|file| &file.grpc));
        let suite: Option<Url> =
            address.map(|address| address.parse()).transpose().map_err(|_| {
                ConfigError::new("--address must be http://host:port or https://host:port")
            })?;
        let endpoints = self.split.endpoints(suite.as_ref())?;
        let key_file = self.api_key_file.as_deref().map(read_secret).transpose()?;
        let api_key = self
            .api_key
            .clone()
            .or(key_file)
            .or_else(|| file.map(|file| file.api_key))
            .ok_or_else(|| {
            ConfigError::new("no API key: give --api-key or NORTHSTAR_API_KEY")
        })?;
        let refused = |error: &dyn std::fmt::Display| ConfigError::new(error.to_string());
        let credentials = Credentials::api_key(&api_key).map_err(|error| refused(&error))?;
        let clients = Clients::new(&endpoints, credentials).map_err(|error| refused(&error))?;
        Ok(self.project.map_or_else(|| clients.clone(), |project| clients.for_project(project)))
    }
}

impl Connection {
    /// What to do when nobody answers.
    pub fn advice(&self) -> String {
        let file = ContextFile::read().ok().flatten().map(|file| file.grpc);
        let place = match (&self.address, file) {
            (Some(address), _) => format!("at {address}"),
            (None, Some(address)) => format!("at {address}, where the context file says it is"),
            (None, None) => "at the address of the service".to_owned(),
        };
        format!(
            "nobody answers {place}: start the suite with `northstar up`, or say with --address \
             where it is"
        )
    }
}

fn read_secret(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path)
        .map_err(|error| ConfigError::new(format!("{}: {error}", path.display())))?;
    Ok(text.trim().to_owned())
}

impl ContextFile {
    /// Where it lies: `$NORTHSTAR_CONTEXT`, else
    /// `$XDG_CONFIG_HOME/northstar/context.json`, else
    /// `~/.config/northstar/context.json`.
    pub fn path() -> anyhow::Result<PathBuf> {
        if let Some(path) = env::var_os("NORTHSTAR_CONTEXT") {
            return Ok(path.into());
        }
        let config = env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".config")))
            .ok_or_else(|| ConfigError::new("no home folder; set NORTHSTAR_CONTEXT"))?;
        Ok(config.join("northstar/context.json"))
    }

    fn read() -> anyhow::Result<Option<Self>> {
        let path = Self::path()?;
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                ConfigError::new(format!("{} is damaged ({error}); remove it", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConfigError::new(format!("{}: {error}", path.display()))),
        }
    }

    /// Writes the file, readable by its owner alone.
    pub fn write(&self) -> anyhow::Result<PathBuf> {
        let path = Self::path()?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        }
        let draft = path.with_extension(format!("{}.tmp", std::process::id()));
        write_private(&draft, &serde_json::to_vec_pretty(self)?)?;
        fs::rename(&draft, &path).with_context(|| format!("{}", path.display()))?;
        Ok(path)
    }
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{}", path.display()))?;
    file.write_all(bytes).with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    const NOWHERE: Split = Split {
        ingestion_url: None,
        metrics_url: None,
        experiments_url: None,
        approvals_url: None,
        automations_url: None,
    };

    #[test]
    fn a_service_is_at_its_own_address_or_at_that_of_the_suite() {
        let suite = url("http://suite:1");
        let split = Split { metrics_url: Some(url("http://metrics:2")), ..NOWHERE };
        let endpoints = split.endpoints(Some(&suite)).expect("endpoints");
        assert_eq!(endpoints.metrics, url("http://metrics:2"));
        assert_eq!(endpoints.approvals, suite);
    }

    #[test]
    fn a_service_that_is_nowhere_is_named() {
        let split = Split { ingestion_url: Some(url("http://ingestion:1")), ..NOWHERE };
        let error = split.endpoints(None).expect_err("no address").to_string();
        assert!(error.contains("metrics") && error.contains("--address"), "{error}");
    }
}
