#![doc = include_str!("../README.md")]

mod apply_contract;
mod arrivals;
mod batch;
mod config;
mod contracts;
pub mod convert;
mod doors;
mod error;
mod events;
mod keys;
mod links;
mod otlp;
mod plan;
pub mod presets;
mod service;
mod sources;
mod subscribe;
mod transaction;
mod webhooks;
mod writer;

use northstar_proto::ingestion::v1::ingestion_service_server::IngestionServiceServer;
use northstar_server::{Context, Service};
use northstar_store::{Service as Area, connect};

pub use config::Config;

/// Connections of the writer, beside those of the service: readers cannot keep
/// it waiting. One writes the log, the other seals message ids.
const WRITER_CONNECTIONS: u32 = 2;

/// Builds the service: its pools, its gRPC service, the writer and the follower
/// of contracts. Must be called within a Tokio runtime.
///
/// # Errors
/// When Postgres cannot be reached, or the configuration cannot be used.
pub async fn build(config: Config, context: Context) -> anyhow::Result<Service> {
    let sealing_key = config.sealing_key()?;
    let pool = connect(&context.database_url, context.connections, Area::Ingestion).await?;
    let writer_pool = connect(&context.database_url, WRITER_CONNECTIONS, Area::Ingestion).await?;
    let (writer, writing) = writer::Writer::new(
        writer_pool,
        config.ingestion_queue_mebibytes,
        config.ingestion_fresh_keys as usize,
        context.shutdown.clone(),
    );
    let contracts = contracts::Contracts::new(pool.clone());
    let following = contracts.clone().follow(context.shutdown.clone());
    let ingestion = service::Ingestion {
        pool: pool.clone(),
        clock: context.clock,
        writer,
        sources: sources::Sources::new(pool.clone()),
        contracts,
        shutdown: context.shutdown,
    };
    let webhooks = webhooks::Webhooks::new(ingestion.clone(), sealing_key);
    let server = IngestionServiceServer::new(ingestion.clone())
        .max_decoding_message_size(context.max_message_bytes);
    let service = doors::hang(Service::new("ingestion"), &ingestion)
        .door(otlp::door(ingestion.clone()))
        .door(webhooks::door(webhooks.clone()))
        .grpc(server)
        .grpc(webhooks::server(webhooks));
    Ok(otlp::Otlp::new(ingestion)
        .serve_grpc(service, context.max_message_bytes)
        .worker("log-writer", writing)
        .worker("contract-follower", following)
        .pool(pool))
}
