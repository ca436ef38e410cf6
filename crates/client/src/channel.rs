//! Where the services are, and one lazily connected channel for each place.

use std::collections::HashMap;
use std::time::Duration;

use thiserror::Error;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use url::Url;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle or busy connection is probed, so that a peer that vanished
/// is noticed before the next call.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer to a probe may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of each service: `http://host:port` or `https://host:port`.
/// Several services may share an address, and then share a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoints {
    /// Ingestion.
    pub ingestion: Url,
    /// Metrics.
    pub metrics: Url,
    /// Experiments.
    pub experiments: Url,
    /// Approvals, and with it API keys.
    pub approvals: Url,
    /// Automations.
    pub automations: Url,
}

impl Endpoints {
    /// Every service at one address, as `northstar up` serves them.
    pub fn all_at(url: &Url) -> Self {
        Self {
            ingestion: url.clone(),
            metrics: url.clone(),
            experiments: url.clone(),
            approvals: url.clone(),
            automations: url.clone(),
        }
    }
}

/// An address is not one that can be connected to.
#[derive(Debug, Error)]
#[error("{url:?} is not an address of a service: use http://host:port or https://host:port")]
pub struct InvalidEndpoint {
    url: String,
    #[source]
    source: Option<tonic::transport::Error>,
}

impl InvalidEndpoint {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), source: None }
    }
}

/// What one answer may have under way unread. A window that adapts would begin
/// at 64 KiB for the whole connection, and a subscription that is not read for
/// a moment would hold up every other answer, its own consumer's too.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// What all of them may have: so many subscriptions can stand still before
/// others wait.
const CONNECTION_WINDOW_BYTES: u32 = 128 << 20;

/// Channels by address, so that services at one address share a connection.
#[derive(Default)]
pub(crate) struct Channels(HashMap<Url, Channel>);

impl Channels {
    pub(crate) fn get(&mut self, url: &Url) -> Result<Channel, InvalidEndpoint> {
        if let Some(channel) = self.0.get(url) {
            return Ok(channel.clone());
        }
        let channel = open(url)?;
        self.0.insert(url.clone(), channel.clone());
        Ok(channel)
    }
}

fn open(url: &Url) -> Result<Channel, InvalidEndpoint> {
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(InvalidEndpoint::new(url.as_str()));
    }
    let invalid = |source| InvalidEndpoint { url: url.as_str().to_owned(), source: Some(source) };
    let mut endpoint = Endpoint::from_shared(url.as_str().to_owned())
        .map_err(invalid)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    if url.scheme() == "https" {
        endpoint =
            endpoint.tls_config(ClientTlsConfig::new().with_enabled_roots()).map_err(invalid)?;
    }
    Ok(endpoint.connect_lazy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_http_addresses_with_a_host_are_taken() {
        for good in ["http://localhost:50051", "https://northstar.example", "http://[::1]:1"] {
            open(&good.parse().unwrap()).unwrap();
        }
        for bad in ["ftp://localhost", "unix:/tmp/socket", "localhost:50051"] {
            let error = open(&bad.parse().unwrap()).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }

    #[tokio::test]
    async fn one_address_has_one_channel() {
        let mut channels = Channels::default();
        let url: Url = "http://localhost:50051".parse().unwrap();
        channels.get(&url).unwrap();
        channels.get(&url).unwrap();
        assert_eq!(channels.0.len(), 1);
    }
}
