#![doc = include_str!("../README.md")]

mod apply_contract;
mod batch;
mod config;
mod consent;
mod contracts;
pub mod convert;
mod erasure;
mod error;
mod events;
mod identity;
mod links;
mod plan;
mod service;
mod sources;
pub mod subjects;
mod subscribe;
mod transaction;
mod writer;

use std::sync::Arc;

use northstar_proto::ingestion::v1::ingestion_service_server::IngestionServiceServer;
use northstar_proto::ingestion::v1::subjects_service_server::SubjectsServiceServer;
use northstar_server::{Context, Service};
use northstar_store::{Service as Area, connect};

pub use config::Config;

/// Connections of the writer, beside those of the service: readers cannot keep
/// it waiting.
const WRITER_CONNECTIONS: u32 = 1;

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
        context.shutdown.clone(),
    );
    let contracts = contracts::Contracts::new(pool.clone());
    let following = contracts.clone().follow(context.shutdown.clone());
    let erasures = erasure::Erasures::new(pool.clone(), Arc::clone(&context.clock));
    let subjects = subjects::Subjects {
        pool: pool.clone(),
        clock: Arc::clone(&context.clock),
        clients: context.clients,
        contracts: contracts.clone(),
        erasures: erasures.clone(),
    };
    let erasing = erasures.work(context.shutdown.clone());
    let subjects =
        SubjectsServiceServer::new(subjects).max_decoding_message_size(context.max_message_bytes);
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
        .grpc(subjects)
        .worker("log-writer", writing)
        .worker("contract-follower", following)
        .worker("erasure", erasing)
        .pool(pool))
}
