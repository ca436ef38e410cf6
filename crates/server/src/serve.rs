//! Serves services on listeners handed in, until told to stop.

use anyhow::Context as _;
use northstar_proto::FILE_DESCRIPTOR_SET;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::auth::Authenticator;
use crate::door::{self, Room};
use crate::health::{self, Checked, Readiness};
use crate::layers::{self, Limits};
use crate::listen::{Protocol, listen};
use crate::service::Mount;
use crate::workers::Workers;
use crate::{Config, Service, exposure, http};

/// Serves every service on one gRPC and one HTTP listener until `shutdown` is
/// cancelled and the calls in flight are done.
///
/// 1. Refuses a listener beyond loopback when nobody holds a key.
/// 2. Serves at once, but says NOT_SERVING until every latch is released.
/// 3. When `shutdown` is cancelled: says NOT_SERVING, accepts no more, lets
///    calls and workers finish for as long as the configuration allows.
///
/// # Errors
/// [`crate::InvalidConfig`] when the configuration cannot be used; the worker's
/// error when a worker fails, after the same clean stop.
pub async fn serve(
    services: Vec<Service>,
    grpc: TcpListener,
    http: TcpListener,
    config: &Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (readiness, _) = watch::channel(Readiness::default());
    serve_and_tell(services, grpc, http, config, shutdown, readiness).await
}

/// [`serve`], telling the readiness to others in this process too.
pub(crate) async fn serve_and_tell(
    services: Vec<Service>,
    grpc: TcpListener,
    http: TcpListener,
    config: &Config,
    shutdown: CancellationToken,
    readiness: watch::Sender<Readiness>,
) -> anyhow::Result<()> {
    let suite_key = config.suite_key()?;
    let pool = services
        .iter()
        .find_map(|service| service.pools.first())
        .context("no service offers a database pool to look up API keys in")?
        .clone();
    let addresses = [grpc.local_addr()?, http.local_addr()?];
    exposure::check(addresses, suite_key.as_ref(), &pool).await?;

    let mut mounts = Vec::new();
    let mut checked = Vec::new();
    let mut workers = Workers::default();
    let authenticator = Authenticator::new(pool, suite_key.as_ref());
    let shared = door::Shared {
        authenticator: authenticator.clone(),
        room: Room::of_mebibytes(config.http_bodies_mebibytes),
    };
    let mut http_router = http::always(readiness.subscribe()).fallback(door::not_found);
    for service in services {
        checked.push(Checked {
            name: service.name,
            grpc: service.grpc.iter().map(|mount| mount.name).collect(),
            pools: service.pools,
            latches: service.latches,
        });
        mounts.extend(service.grpc);
        for door in service.doors {
            http_router = http_router.merge(door::around(door, &shared)?);
        }
        for (name, work) in service.workers {
            workers.start(service.name, name, work);
        }
    }

    let closing = CancellationToken::new();
    let limits = Limits {
        concurrent_requests: config.max_concurrent_requests,
        message_bytes: config.max_message_bytes,
        default_deadline: config.default_deadline(),
        closing: closing.clone(),
    };
    let (reporter, health_service) = tonic_health::server::health_reporter();
    health::announce(&checked, &reporter).await;
    let routes = routes(Routes::new(health_service), mounts)?;
    let grpc_router = layers::around(routes.into_axum_router(), authenticator, limits);

    let drain = config.drain();
    let listening = async {
        tokio::join!(
            listen(grpc, grpc_router, Protocol::Grpc, drain, closing.clone()),
            listen(http, http_router, Protocol::Http, drain, closing.clone()),
        )
    };
    let stopping = async {
        let failure = tokio::select! {
            () = shutdown.cancelled() => None,
            failure = workers.failure() => Some(failure),
        };
        shutdown.cancel();
        let finished = workers.finish(Instant::now() + drain).await;
        failure.map_or(finished, Err)
    };
    let telling = async {
        health::watch(checked, reporter, readiness, shutdown.clone()).await;
        // Only now, so that whoever watches hears NOT_SERVING first.
        closing.cancel();
    };
    let (_, outcome, ()) = tokio::join!(listening, stopping, telling);
    outcome
}

fn routes(mut routes: Routes, mounts: Vec<Mount>) -> anyhow::Result<Routes> {
    let names: Vec<&'static str> = mounts.iter().map(|mount| mount.name).collect();
    for mount in mounts {
        routes = (mount.add)(routes);
    }
    // Clients of Python and older tools ask for the version before the first.
    let routes = routes
        .add_service(reflection(&names).build_v1()?)
        .add_service(reflection(&names).build_v1alpha()?);
    Ok(routes.prepare())
}

fn reflection(names: &[&'static str]) -> tonic_reflection::server::Builder<'static> {
    let about = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(opentelemetry_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    names.iter().fold(about, |about, name| about.with_service_name(*name))
}
