//! A process, or a test, that hosts services.

use std::net::SocketAddr;

use anyhow::Context as _;
use northstar_client::{Clients, Credentials, Endpoints};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::health::{Readiness, Status};
use crate::serve::serve_and_tell;
use crate::signals::Signals;
use crate::{Config, Context, Service};

/// Services that run in this process, with the addresses they listen at.
/// Dropping it stops them without waiting.
///
/// ```no_run
/// # async fn example(config: northstar_server::Config) -> anyhow::Result<()> {
/// use northstar_server::{Host, Service};
///
/// let host = Host::start(config, async |_context| Ok(vec![Service::new("example")])).await?;
/// println!("listening at {}", host.grpc);
/// host.stop().await
/// # }
/// ```
#[derive(Debug)]
pub struct Host {
    /// Where gRPC is answered; the real port when port 0 was asked for.
    pub grpc: SocketAddr,
    /// Where HTTP is answered.
    pub http: SocketAddr,
    shutdown: CancellationToken,
    readiness: watch::Receiver<Readiness>,
    serving: JoinHandle<anyhow::Result<()>>,
    _stop_when_dropped: DropGuard,
}

impl Host {
    /// Binds the configured addresses, builds the services and serves them.
    ///
    /// # Errors
    /// [`crate::InvalidConfig`] when the configuration cannot be used; otherwise when
    /// an address cannot be bound or a service cannot be built.
    pub async fn start<B>(config: Config, build: B) -> anyhow::Result<Self>
    where
        B: AsyncFnOnce(Context) -> anyhow::Result<Vec<Service>>,
    {
        // All of the configuration is read before a port is bound.
        crate::context::check(&config)?;
        let grpc_listener = bind(config.grpc_listen).await?;
        let http_listener = bind(config.http_listen).await?;
        let (grpc, http) = (grpc_listener.local_addr()?, http_listener.local_addr()?);
        let shutdown = CancellationToken::new();
        let services = build(Context::new(&config, grpc, shutdown.clone())?).await?;
        let (sender, readiness) = watch::channel(Readiness::default());
        let token = shutdown.clone();
        let serving = tokio::spawn(async move {
            serve_and_tell(services, grpc_listener, http_listener, &config, token, sender).await
        });
        tracing::info!(listen.grpc = %grpc, listen.http = %http, "listening");
        let _stop_when_dropped = shutdown.clone().drop_guard();
        Ok(Self { grpc, http, shutdown, readiness, serving, _stop_when_dropped })
    }

    /// Waits until every service is ready.
    ///
    /// # Errors
    /// Why serving ended, when it ends before.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let ready = self.readiness.wait_for(|readiness| readiness.status == Status::Ready);
        if ready.await.is_ok() {
            return Ok(());
        }
        (&mut self.serving).await.context("the host panicked")??;
        anyhow::bail!("the host was stopped before it was ready")
    }

    /// Waits until serving ends, which it does by itself only when a worker fails.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.serving).await.context("the host panicked")?
    }

    /// Clients of this host with an API key.
    ///
    /// # Errors
    /// When the key cannot be sent.
    pub fn clients(&self, api_key: &str) -> Result<Clients, northstar_client::Error> {
        Clients::new(&Endpoints::all_at(&self.url()), Credentials::api_key(api_key)?)
    }

    /// Where gRPC is answered, as a URL.
    pub fn url(&self) -> Url {
        format!("http://{}", crate::context::reachable(self.grpc))
            .parse()
            .expect("a socket address makes a URL")
    }

    /// Cancelled when the host stops; cancel it to stop the host.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Stops: lets calls in flight and workers finish.
    ///
    /// # Errors
    /// When serving failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.serving.await.context("the host panicked")?
    }

    /// Serves until a signal comes, then stops. A second signal ends the wait
    /// for what is in flight.
    ///
    /// # Errors
    /// When serving fails, or a second signal comes.
    pub async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        tokio::select! {
            outcome = &mut self.serving => return outcome.context("the host panicked")?,
            signal = signals.next() => tracing::info!(signal, "stopping"),
        }
        tokio::select! {
            outcome = self.stop() => outcome,
            signal = signals.next() => {
                anyhow::bail!("stopped by a second signal, {signal}, before calls were done")
            }
        }
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))
}
