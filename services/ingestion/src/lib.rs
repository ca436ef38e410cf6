#![doc = include_str!("../README.md")]

mod accounting;
mod apply_contract;
mod arrivals;
mod at_once;
mod batch;
mod change;
mod columns;
mod config;
mod consent;
pub mod contract_check;
mod contract_service;
mod contracts;
pub mod convert;
mod counting;
mod doors;
mod erasure;
mod error;
mod events;
mod identity;
mod infer;
mod ingest;
mod instruments;
mod judge;
mod keys;
mod limits;
mod lineage;
mod links;
mod notes;
mod otlp;
mod page;
mod plan;
pub mod presets;
mod pseudonyms;
mod quarantine;
mod reads;
mod retention;
mod retold;
mod sealing;
mod sender;
mod service;
mod source_states;
mod sources;
#[cfg(test)]
mod strategies;
pub mod subjects;
mod subscribe;
mod subscriptions;
mod transaction;
mod walk;
mod webhooks;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use northstar_proto::ingestion::v1::contracts_service_server::ContractsServiceServer;
use northstar_proto::ingestion::v1::ingestion_service_server::IngestionServiceServer;
use northstar_proto::ingestion::v1::quarantine_service_server::QuarantineServiceServer;
use northstar_proto::ingestion::v1::retention_service_server::RetentionServiceServer;
use northstar_proto::ingestion::v1::sources_service_server::SourcesServiceServer;
use northstar_proto::ingestion::v1::subjects_service_server::SubjectsServiceServer;
use northstar_proto::ingestion::v1::subscriptions_service_server::SubscriptionsServiceServer;
use northstar_server::{Context, Service, outbox};
use northstar_store::outbox::Outbox;
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
    let pseudonym_key = config.pseudonym_key()?;
    let archive = config.archive()?;
    let followers = config.erasure_followers()?;
    let pool = connect(&context.database_url, context.connections, Area::Ingestion).await?;
    let writer_pool = connect(&context.database_url, WRITER_CONNECTIONS, Area::Ingestion).await?;
    let (writer, writing) = writer::Writer::new(
        writer_pool,
        config.ingestion_queue_mebibytes,
        config.ingestion_fresh_keys as usize,
        context.shutdown.clone(),
    );
    let contracts = contracts::Contracts::new(pool.clone(), sealing_key.clone(), pseudonym_key);
    let following = contracts.clone().follow(context.shutdown.clone());
    let counting = counting::add_up(pool.clone(), context.shutdown.clone());
    let erasures = erasure::Erasures::new(pool.clone(), Arc::clone(&context.clock));
    let subjects = subjects::Subjects {
        pool: pool.clone(),
        clock: Arc::clone(&context.clock),
        clients: context.clients.clone(),
        contracts: contracts.clone(),
        erasures: erasures.clone(),
        followers,
    };
    let erasing = erasures.work(context.shutdown.clone());
    let subjects =
        SubjectsServiceServer::new(subjects).max_decoding_message_size(context.max_message_bytes);
    let (clock, shutdown) = (Arc::clone(&context.clock), context.shutdown.clone());
    let limits = limits::Limits::default();
    let following_limits = limits.clone().follow(pool.clone(), shutdown.clone());
    let source_states = source_states::SourceStates {
        pool: pool.clone(),
        clock: Arc::clone(&clock),
        limits: limits.clone(),
    };
    let subscriptions = subscriptions::Subscriptions {
        pool: pool.clone(),
        clock: Arc::clone(&clock),
        writer: writer.clone(),
        shutdown: shutdown.clone(),
    };
    let watching_sources = source_states::watch(
        pool.clone(),
        Arc::clone(&clock),
        Duration::from_millis(config.ingestion_source_check_milliseconds),
        shutdown.clone(),
    );
    let retention = retention::Retention { pool: pool.clone(), clock: Arc::clone(&clock) };
    let archiving = retention::archive(retention::Archiving {
        pool: pool.clone(),
        clock: Arc::clone(&clock),
        archive,
        interval: Duration::from_millis(config.ingestion_archive_check_milliseconds),
        shutdown: shutdown.clone(),
    });
    let watching_groups = subscriptions::watch(pool.clone(), clock, shutdown.clone());
    let relay = outbox::relay(pool.clone(), Outbox::Ingestion, context.clients.clone(), shutdown);
    let ingestion = service::Ingestion {
        pool: pool.clone(),
        clock: context.clock,
        writer,
        sources: sources::Sources::new(pool.clone()),
        limits,
        contracts,
        clients: context.clients,
        shutdown: context.shutdown,
    };
    let webhooks = webhooks::Webhooks::new(ingestion.clone(), sealing_key);
    let most = context.max_message_bytes;
    let service = doors::hang(Service::new("ingestion"), &ingestion)
        .door(otlp::door(ingestion.clone()))
        .door(webhooks::door(webhooks.clone()))
        .grpc(IngestionServiceServer::new(ingestion.clone()).max_decoding_message_size(most))
        .grpc(
            ContractsServiceServer::new(contract_service::ContractService(ingestion.clone()))
                .max_decoding_message_size(most),
        )
        .grpc(
            QuarantineServiceServer::new(quarantine::QuarantineService(ingestion.clone()))
                .max_decoding_message_size(most),
        )
        .grpc(RetentionServiceServer::new(retention))
        .grpc(SourcesServiceServer::new(source_states))
        .grpc(subjects)
        .grpc(SubscriptionsServiceServer::new(subscriptions))
        .grpc(webhooks::server(webhooks));
    Ok(otlp::Otlp::new(ingestion)
        .serve_grpc(service, most)
        .worker("log-writer", writing)
        .worker("contract-follower", following)
        .worker("limit-follower", following_limits)
        .worker("accounting", counting)
        .worker("erasure", erasing)
        .worker("archiver", archiving)
        .worker("source-watch", watching_sources)
        .worker("subscription-watch", watching_groups)
        .worker("outbox-relay", relay)
        .pool(pool))
}
