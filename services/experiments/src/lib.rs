#![doc = include_str!("../README.md")]

mod analyze;
mod assign;
mod conclude;
pub mod config;
pub mod convert;
mod error;
mod events;
mod lifecycle;
mod registry;
mod service;
mod ship;

use northstar_proto::experiments::v1::experiments_service_server::ExperimentsServiceServer;
use northstar_server::{Context, Service, erasure, outbox};
use northstar_store::erasure::Holder;
use northstar_store::outbox::Outbox;

pub use config::Config;
pub use error::Error;
pub use service::Experiments;

/// Builds the service: its pool, its gRPC service and the workers that send its
/// events and forget whom the log forgot.
///
/// # Errors
/// When Postgres cannot be reached.
pub async fn build(_config: Config, context: Context) -> anyhow::Result<Service> {
    let pool = northstar_store::connect(
        &context.database_url,
        context.connections,
        northstar_store::Service::Experiments,
    )
    .await?;
    let experiments =
        Experiments::new(pool.clone(), context.clock.clone(), context.clients.clone());
    let forget = erasure::follow(
        Holder::Experiments,
        pool.clone(),
        context.clients.clone(),
        context.clock,
        context.shutdown.clone(),
    );
    let relay = outbox::relay(pool.clone(), Outbox::Experiments, context.clients, context.shutdown);
    let server = ExperimentsServiceServer::new(experiments)
        .max_decoding_message_size(context.max_message_bytes);
    Ok(Service::new("experiments")
        .grpc(server)
        .worker("experiments-outbox", relay)
        .worker("experiments-erasure", forget)
        .pool(pool))
}
