//! Where the suite is, and with which key: flags, environment, or the context
//! file that `northstar up` wrote.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context as _;
use northstar_client::Clients;
use serde::{Deserialize, Serialize};

use crate::failure::ConfigError;

/// Flags of every command that talks to a running suite.
#[derive(Clone, clap::Args)]
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
        let address = match (&self.address, &file) {
            (Some(address), _) => address.clone(),
            (None, Some(file)) => file.grpc.clone(),
            (None, None) => {
                return Err(ConfigError::new(
                    "no suite is known: start one with `northstar up`, or give --address and \
                     --api-key",
                ));
            }
        };
        let key_file = self.api_key_file.as_deref().map(read_secret).transpose()?;
        let api_key = self
            .api_key
            .clone()
            .or(key_file)
            .or_else(|| file.map(|file| file.api_key))
            .ok_or_else(|| {
            ConfigError::new("no API key: give --api-key or NORTHSTAR_API_KEY")
        })?;
        Clients::connect(&address, &api_key).map_err(|error| ConfigError::new(error.to_string()))
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
