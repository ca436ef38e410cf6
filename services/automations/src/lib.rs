#![doc = include_str!("../README.md")]

mod activate;
pub mod config;
mod consent;
pub mod convert;
mod decisions;
mod define;
mod deliver;
mod emit;
mod error;
mod event;
mod evidence;
mod lift;
mod preview;
mod runs;
mod secrets;
mod service;
mod sunset;
mod target;
mod trigger;
mod webhook;

use std::sync::Arc;

use anyhow::Context as _;
use northstar_proto::automations::v1::automations_service_server::AutomationsServiceServer;
use northstar_server::{Context, Service, erasure, outbox};
use northstar_store::erasure::Holder;
use northstar_store::outbox::Outbox;

pub use config::Config;
pub use error::Error;

use crate::decisions::Decisions;
use crate::deliver::Deliverer;
use crate::service::{Automations, Wake};
use crate::target::Reach;
use crate::trigger::Triggers;
use crate::webhook::Sender;

/// Builds the service: its pool, its gRPC service and its workers.
///
/// # Errors
/// [`northstar_server::InvalidConfig`] when the signing secrets cannot be used;
/// others when Postgres cannot be reached or TLS cannot be set up.
pub async fn build(config: Config, context: Context) -> anyhow::Result<Service> {
    let secrets = config.secrets()?;
    let reach = Reach::new(config.allow_loopback_webhooks);
    let sender = Sender::new(reach, secrets.clone(), config.timeout())
        .context("cannot set up the client of webhooks")?;
    let pool = northstar_store::connect(
        &context.database_url,
        context.connections,
        northstar_store::Service::Automations,
    )
    .await?;
    let wake = Wake::default();
    let service = Automations {
        pool: pool.clone(),
        clock: context.clock.clone(),
        clients: context.clients.clone(),
        reach,
        secrets,
        wake: wake.clone(),
    };
    let triggers = Triggers {
        pool: pool.clone(),
        clock: context.clock.clone(),
        clients: context.clients.clone(),
        wake: wake.clone(),
        lease: config.lease(),
    };
    let decisions = Decisions(service.clone());
    let deliverer = Arc::new(Deliverer {
        pool: pool.clone(),
        clock: context.clock.clone(),
        clients: context.clients.clone(),
        sender,
        wake,
        lease: config.lease(),
        concurrency: config.delivery_concurrency.into(),
        definitions: std::sync::Mutex::default(),
    });
    let sunset =
        sunset::pause_at_sunset(pool.clone(), context.clock.clone(), context.shutdown.clone());
    let shutdown = context.shutdown.clone();
    let forget = erasure::follow(
        Holder::Automations,
        pool.clone(),
        context.clients.clone(),
        context.clock,
        shutdown.clone(),
    );
    let relay = outbox::relay(pool.clone(), Outbox::Automations, context.clients, shutdown.clone());
    Ok(Service::new("automations")
        .grpc(
            AutomationsServiceServer::new(service)
                .max_decoding_message_size(context.max_message_bytes),
        )
        .worker("automation-triggers", triggers.run(shutdown.clone()))
        .worker("automation-runs", deliverer.run(shutdown.clone()))
        .worker("automation-decisions", decisions.run(shutdown))
        .worker("automation-sunset", sunset)
        .worker("automations-outbox", relay)
        .worker("automations-erasure", forget)
        .pool(pool))
}
