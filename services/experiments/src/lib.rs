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
use northstar_server::{Context, Service, outbox};
use northstar_store::outbox::Outbox;

pub use config::Config;
pub use error::Error;
pub use service::Experiments;

/// Builds the service: its pool, its gRPC service and the worker that sends its
/// events.
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
    let relay = outbox::relay(pool.clone(), Outbox::Experiments, context.clients, context.shutdown);
    let server = ExperimentsServiceServer::new(experiments)
        .max_decoding_message_size(context.max_message_bytes);
    Ok(Service::new("experiments").grpc(server).worker("experiments-outbox", relay).pool(pool))
}
