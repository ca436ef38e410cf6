#![doc = include_str!("../README.md")]

mod access;
mod audit;
pub mod config;
pub mod convert;
mod decide;
mod error;
mod events;
mod policies;
mod service;
mod withdraw;
pub mod worker;

use northstar_proto::approvals::v1::access_service_server::AccessServiceServer;
use northstar_proto::approvals::v1::approvals_service_server::ApprovalsServiceServer;
use northstar_server::{Context, Service, erasure, outbox};
use northstar_store::erasure::Holder;
use northstar_store::outbox::Outbox;

pub use config::Config;
pub use error::Error;
pub use service::Approvals;

/// Builds the service: its pool, its two gRPC services and its workers.
///
/// # Errors
/// When Postgres cannot be reached.
pub async fn build(config: Config, context: Context) -> anyhow::Result<Service> {
    let pool = northstar_store::connect(
        &context.database_url,
        context.connections,
        northstar_store::Service::Approvals,
    )
    .await?;
    let approvals = Approvals::new(pool.clone(), context.clock.clone());
    let expiry = worker::expire_overdue(
        pool.clone(),
        context.clock.clone(),
        config.expiry_interval(),
        context.shutdown.clone(),
    );
    let forget = erasure::follow(
        Holder::Approvals,
        pool.clone(),
        context.clients.clone(),
        context.clock.clone(),
        context.shutdown.clone(),
    );
    let relay =
        outbox::relay(pool.clone(), Outbox::Approvals, context.clients, context.shutdown.clone());
    let limit = context.max_message_bytes;
    Ok(Service::new("approvals")
        .grpc(ApprovalsServiceServer::new(approvals.clone()).max_decoding_message_size(limit))
        .grpc(AccessServiceServer::new(approvals))
        .worker("decision-expiry", expiry)
        .worker("approvals-outbox", relay)
        .worker("approvals-erasure", forget)
        .pool(pool))
}
