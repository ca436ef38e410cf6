#![doc = include_str!("../README.md")]

#[cfg(test)]
extern crate self as northstar_metrics;

mod apply;
mod ask;
mod cohorts;
mod config;
pub mod convert;
mod dataset;
mod error;
mod evidence;
mod insights;
mod journeys;
mod lineage;
pub mod packs;
mod plan;
mod provenance;
mod query;
mod query_metrics;
mod reports;
mod scorecard;
mod service;
#[cfg(test)]
#[path = "../tests/it/suite.rs"]
#[expect(dead_code, reason = "the tests beside the service need more of it")]
mod suite;
mod thresholds;
mod variants;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use northstar_proto::metrics::v1::cohorts_service_server::CohortsServiceServer;
use northstar_proto::metrics::v1::evidence_service_server::EvidenceServiceServer;
use northstar_proto::metrics::v1::insights_service_server::InsightsServiceServer;
use northstar_proto::metrics::v1::journeys_service_server::JourneysServiceServer;
use northstar_proto::metrics::v1::metrics_service_server::MetricsServiceServer;
use northstar_proto::metrics::v1::reports_service_server::ReportsServiceServer;
use northstar_proto::metrics::v1::thresholds_service_server::ThresholdsServiceServer;
use northstar_server::{Context, Latch, Service, erasure, outbox};
use northstar_store::erasure::Holder;
use northstar_store::outbox::Outbox;

use crate::dataset::{Datasets, Folder};
use crate::reports::Reports;
use crate::service::Metrics;
use crate::thresholds::{Thresholds, Watch};

pub use config::Config;
pub use error::{Error, Result};
pub use plan::{COMPILERS, compile_filter, compile_formula};

/// Wires the service up: its pool, its read models, the loop that follows the log,
/// the ones that evaluate thresholds and ask, and those that tell the log and forget
/// whom it forgot.
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
    let (clock, clients, shutdown) = (context.clock, context.clients, context.shutdown);
    let ready = Latch::new("read models are being made from the log");
    let follow = worker::follow(
        pool.clone(),
        Arc::clone(&datasets),
        Duration::from_secs(config.metrics_follow_seconds),
        config.metrics_compact_events.get(),
        ready.clone(),
        shutdown.clone(),
    );
    let watch = Watch {
        pool: pool.clone(),
        clock: Arc::clone(&clock),
        datasets: Arc::clone(&datasets),
        clients: clients.clone(),
    };
    let ask = thresholds::ask(pool.clone(), Arc::clone(&clock), clients.clone(), shutdown.clone());
    let relay = outbox::relay(pool.clone(), Outbox::Metrics, clients.clone(), shutdown.clone());
    let forget = erasure::follow(
        Holder::Metrics,
        pool.clone(),
        clients.clone(),
        Arc::clone(&clock),
        shutdown.clone(),
    );
    let thresholds = Thresholds {
        pool: pool.clone(),
        clock: Arc::clone(&clock),
        datasets: Arc::clone(&datasets),
        clients: clients.clone(),
    };
    let reports = Reports {
        pool: pool.clone(),
        clock: Arc::clone(&clock),
        datasets: Arc::clone(&datasets),
        clients,
    };
    let metrics = Metrics { pool: pool.clone(), clock, datasets };
    let every = Duration::from_secs(config.metrics_follow_seconds);
    let restate = evidence::restate::follow(metrics.clone(), every, shutdown.clone());
    let limit = context.max_message_bytes;
    Ok(Service::new("metrics")
        .grpc(MetricsServiceServer::new(metrics.clone()).max_decoding_message_size(limit))
        .grpc(CohortsServiceServer::new(metrics.clone()).max_decoding_message_size(limit))
        .grpc(InsightsServiceServer::new(metrics.clone()).max_decoding_message_size(limit))
        .grpc(JourneysServiceServer::new(metrics.clone()).max_decoding_message_size(limit))
        .grpc(EvidenceServiceServer::new(metrics).max_decoding_message_size(limit))
        .grpc(ThresholdsServiceServer::new(thresholds).max_decoding_message_size(limit))
        .grpc(ReportsServiceServer::new(reports).max_decoding_message_size(limit))
        .latch(ready)
        .worker("metrics-follow", follow)
        .worker("metrics-restate", restate)
        .worker("thresholds", watch.run(shutdown))
        .worker("threshold-questions", ask)
        .worker("metrics-outbox", relay)
        .worker("metrics-erasure", forget)
        .pool(pool))
}
