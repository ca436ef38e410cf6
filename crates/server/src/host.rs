//! Serves services in this process: on listeners handed in, until told to stop.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use northstar_client::{Clients, Credentials, Endpoints};
use northstar_proto::FILE_DESCRIPTOR_SET;
use tonic::service::Routes;

use crate::auth::Authenticator;
use crate::layers::{self, Limits};
use crate::listen::{Protocol, listen};
use crate::{Config, Context, Service};

/// Serves every service on one gRPC and one HTTP listener until `shutdown` is
/// cancelled and the calls in flight are done.
///
/// # Errors
/// When the configuration cannot be used, or when a worker fails.
pub async fn serve(
    services: Vec<Service>,
    grpc: TcpListener,
    http: TcpListener,
    config: &Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let suite_key = config.suite_key()?;
    let pool = services
        .iter()
        .find_map(|service| service.pools.first())
        .context("no service offers a database pool to look up API keys in")?;
    let authenticator = Authenticator::new(pool.clone(), suite_key.as_ref());
    let limits = Limits { default_deadline: config.default_deadline() };

    let (_reporter, health) = tonic_health::server::health_reporter();
    let mut reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let mut routes = Routes::new(health);
    let mut router = axum::Router::new();
    let mut workers = tokio::task::JoinSet::new();
    for service in services {
        for mount in service.grpc {
            reflection = reflection.with_service_name(mount.name);
            routes = (mount.add)(routes);
        }
        router = router.merge(service.http);
        for (_, work) in service.workers {
            workers.spawn(work);
        }
    }
    let routes = routes.add_service(reflection.build_v1()?).prepare();
    let grpc_router = layers::around(routes.into_axum_router(), authenticator, &limits);
    let drain = config.drain();
    tokio::join!(
        listen(grpc, grpc_router, Protocol::Grpc, drain, shutdown.clone()),
        listen(http, router, Protocol::Http, drain, shutdown.clone()),
    );
    Ok(())
}

/// Services that run in this process, with the addresses they listen at.
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
pub struct Host {
    /// Where gRPC is answered; the real port when port 0 was asked for.
    pub grpc: SocketAddr,
    /// Where HTTP is answered.
    pub http: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Host {
    /// Binds the configured addresses, builds the services and serves them.
    ///
    /// # Errors
    /// When an address cannot be bound, the configuration cannot be used or a
    /// service cannot be built.
    pub async fn start<B>(config: Config, build: B) -> anyhow::Result<Self>
    where
        B: AsyncFnOnce(Context) -> anyhow::Result<Vec<Service>>,
    {
        let bind = async |address: SocketAddr| {
            TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))
        };
        let grpc_listener = bind(config.grpc_listen).await?;
        let http_listener = bind(config.http_listen).await?;
        let (grpc, http) = (grpc_listener.local_addr()?, http_listener.local_addr()?);
        let shutdown = CancellationToken::new();
        let services = build(Context::new(&config, grpc, shutdown.clone())?).await?;
        let token = shutdown.clone();
        let serving = tokio::spawn(async move {
            serve(services, grpc_listener, http_listener, &config, token).await
        });
        Ok(Self { grpc, http, shutdown, serving })
    }

    /// Clients of this host with an API key.
    ///
    /// # Errors
    /// When the key cannot be sent.
    pub fn clients(&self, api_key: &str) -> Result<Clients, northstar_client::Error> {
        let url: Url =
            format!("http://{}", self.grpc).parse().expect("a socket address makes a URL");
        Clients::new(&Endpoints::all_at(&url), Credentials::api_key(api_key)?)
    }

    /// Stops: lets calls in flight finish, then waits for the workers.
    ///
    /// # Errors
    /// When serving failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.serving.await.context("the host panicked")?
    }
}
