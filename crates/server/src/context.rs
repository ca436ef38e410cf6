//! What a service is built from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use northstar_client::{Clients, Credentials};
use northstar_domain::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::Config;
use crate::secret::{InvalidConfig, Secret};

/// What every service gets to build itself from.
#[derive(Clone)]
pub struct Context {
    /// Connection URL of the database; holds a password.
    pub database_url: String,
    /// Most connections the service may open.
    pub connections: u32,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The other services.
    pub clients: Clients,
    /// A folder for files that can be made again from the database; may not
    /// exist yet.
    pub data_dir: PathBuf,
    /// Cancelled when the process stops: workers finish what they hold and
    /// return, streams end.
    pub shutdown: CancellationToken,
    /// Largest request message; hand it to `max_decoding_message_size` of the
    /// generated server, whose own default of 4 MiB is smaller.
    pub max_message_bytes: usize,
}

impl Context {
    /// A context from configuration. `grpc` is the address this process listens
    /// at, where services that have no configured address are looked for. Must
    /// be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`InvalidConfig`] when the database is not configured, or when a key or
    /// an address cannot be used.
    pub fn new(
        config: &Config,
        grpc: SocketAddr,
        shutdown: CancellationToken,
    ) -> Result<Self, InvalidConfig> {
        let unusable = |error: &dyn std::fmt::Display| InvalidConfig::Unusable(error.to_string());
        let own: Url =
            format!("http://{}", reachable(grpc)).parse().expect("a socket address makes a URL");
        let clients = Clients::new(&config.endpoints(&own), credentials(config)?)
            .map_err(|error| unusable(&error))?;
        Ok(Self {
            database_url: config.database_url().map(|url| Secret::expose(&url).to_owned())?,
            connections: config.database.database_connections,
            clock: Arc::new(SystemClock),
            clients,
            data_dir: config.data_dir.clone(),
            shutdown,
            max_message_bytes: config.max_message_bytes,
        })
    }
}

/// What services call each other with.
fn credentials(config: &Config) -> Result<Credentials, InvalidConfig> {
    match config.suite_key()? {
        Some(key) => Credentials::api_key(key.expose())
            .map_err(|error| InvalidConfig::Unusable(format!("NORTHSTAR_SUITE_KEY: {error}"))),
        None => Ok(Credentials::none()),
    }
}

/// Checks what can be told before a port is bound.
///
/// # Errors
/// What cannot be used.
pub(crate) fn check(config: &Config) -> Result<(), InvalidConfig> {
    config.database_url()?;
    // Which port the own address has changes nothing about the others.
    let own = format!("http://{}", reachable(config.grpc_listen));
    let own: Url = own.parse().expect("a socket address makes a URL");
    Clients::new(&config.endpoints(&own), credentials(config)?)
        .map(|_| ())
        .map_err(|error| InvalidConfig::Unusable(error.to_string()))
}

/// An address to connect to from an address listened at: a wildcard is reached
/// over loopback.
pub(crate) fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}
