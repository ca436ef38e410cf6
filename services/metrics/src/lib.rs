#![doc = include_str!("../README.md")]

mod apply;
mod ask;
mod config;
pub mod convert;
mod dataset;
mod error;
mod journeys;
mod plan;
mod provenance;
mod query;
mod scorecard;
mod service;
mod variants;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use northstar_proto::metrics::v1::journeys_service_server::JourneysServiceServer;
use northstar_proto::metrics::v1::metrics_service_server::MetricsServiceServer;
use northstar_server::{Context, Service};

use crate::dataset::{Datasets, Folder};
use crate::service::Metrics;

pub use config::Config;
pub use error::{Error, Result};
pub use plan::compile_filter;

/// Wires the service up: its pool, its read models and the loop that follows
/// the log.
///
/// # Errors
/// When Postgres cannot be reached, or the data folder cannot be used.
pub async fn build(config: Config, context: Context) -> anyhow::Result<Service> {
    let pool = northstar_store::connect(
        &context.database_url,
        context.connections,
        northstar_store::Service::Metrics,
    )
    .await?;
    let folder = Folder::open(&context.data_dir)?;
    let datasets = Arc::new(Datasets::new(
        pool.clone(),
        folder,
        Arc::clone(&context.clock),
        config.metrics_query_mebibytes * 1024 * 1024,
    ));
    let follow = worker::follow(
        pool.clone(),
        Arc::clone(&datasets),
        Duration::from_secs(config.metrics_follow_seconds),
        config.metrics_compact_events.get(),
        context.shutdown,
    );
    let metrics = Metrics { pool: pool.clone(), clock: context.clock, datasets };
    let journeys = JourneysServiceServer::new(metrics.clone())
        .max_decoding_message_size(context.max_message_bytes);
    let grpc =
        MetricsServiceServer::new(metrics).max_decoding_message_size(context.max_message_bytes);
    Ok(Service::new("metrics")
        .grpc(grpc)
        .grpc(journeys)
        .worker("metrics-follow", follow)
        .pool(pool))
}
