#![doc = include_str!("../README.md")]

mod apply_contract;
mod batch;
mod config;
mod contracts;
pub mod convert;
mod error;
mod events;
mod keys;
mod links;
mod plan;
mod service;
mod sources;
mod subscribe;
mod transaction;
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
/// When Postgres cannot be reached.
pub async fn build(config: Config, context: Context) -> anyhow::Result<Service> {
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
    let server =
        IngestionServiceServer::new(ingestion).max_decoding_message_size(context.max_message_bytes);
    Ok(Service::new("ingestion")
        .grpc(server)
        .worker("log-writer", writing)
        .worker("contract-follower", following)
        .pool(pool))
}
