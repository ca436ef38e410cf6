//! Whether the services are ready, as health v1 and `/health/readyz` tell it.

use std::time::Duration;

use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::latch::Latch;

/// Between two checks; the first is made at once.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Between two checks while a service is not ready yet.
const EAGER_INTERVAL: Duration = Duration::from_millis(100);
/// How long the database may take to answer a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// What `/health/readyz` answers.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Readiness {
    /// All of it.
    pub(crate) status: Status,
    /// One by one.
    pub(crate) services: Vec<ServiceReadiness>,
}

/// Whether calls should be sent here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Not yet, or not now.
    #[default]
    NotReady,
    /// Yes.
    Ready,
    /// No more: the process is stopping.
    Draining,
}

/// One service's part.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct ServiceReadiness {
    name: &'static str,
    ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// What is checked of one service.
pub(crate) struct Checked {
    pub(crate) name: &'static str,
    pub(crate) grpc: Vec<&'static str>,
    pub(crate) pools: Vec<PgPool>,
    pub(crate) latches: Vec<Latch>,
}

/// Checks and tells until `shutdown` is cancelled, and then tells that the
/// process is stopping.
pub(crate) async fn watch(
    services: Vec<Checked>,
    reporter: HealthReporter,
    readiness: watch::Sender<Readiness>,
    shutdown: CancellationToken,
) {
    let mut was_ready = false;
    loop {
        let found = tokio::select! {
            () = shutdown.cancelled() => break,
            found = check(&services, was_ready) => found,
        };
        was_ready = found.status == Status::Ready;
        tell(&services, &reporter, &readiness, found).await;
        let pause = if was_ready { CHECK_INTERVAL } else { EAGER_INTERVAL };
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    let draining = Readiness {
        status: Status::Draining,
        services: services
            .iter()
            .map(|service| ServiceReadiness {
                name: service.name,
                ready: false,
                reason: Some("the process is stopping"),
            })
            .collect(),
    };
    tell(&services, &reporter, &readiness, draining).await;
}

/// Sets every service to NOT_SERVING, before the first check and so that
/// watchers of a service that is served never hear of an unknown one.
pub(crate) async fn announce(services: &[Checked], reporter: &HealthReporter) {
    reporter.set_service_status("", ServingStatus::NotServing).await;
    for name in services.iter().flat_map(|service| &service.grpc) {
        reporter.set_service_status(name, ServingStatus::NotServing).await;
    }
}

async fn check(services: &[Checked], was_ready: bool) -> Readiness {
    let mut found = Vec::with_capacity(services.len());
    for service in services {
        let reason = reason(service, was_ready).await;
        found.push(ServiceReadiness { name: service.name, ready: reason.is_none(), reason });
    }
    let ready = found.iter().all(|service| service.ready);
    let status = if ready { Status::Ready } else { Status::NotReady };
    Readiness { status, services: found }
}

async fn reason(service: &Checked, was_ready: bool) -> Option<&'static str> {
    if let Some(reason) = service.latches.iter().find_map(Latch::reason) {
        return Some(reason);
    }
    for pool in &service.pools {
        let check = northstar_store::schema_is_current(pool);
        match tokio::time::timeout(CHECK_TIMEOUT, check).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Some("the schema is older than this program"),
            // Every connection works: the database is there, and taking calls
            // away from a busy process would only move the load.
            Ok(Err(_)) | Err(_) if was_ready && is_busy(pool) => {}
            Ok(Err(_)) | Err(_) => return Some("the database cannot be reached"),
        }
    }
    None
}

fn is_busy(pool: &PgPool) -> bool {
    pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections()
}

async fn tell(
    services: &[Checked],
    reporter: &HealthReporter,
    readiness: &watch::Sender<Readiness>,
    found: Readiness,
) {
    if *readiness.borrow() == found {
        return;
    }
    for (service, state) in services.iter().zip(&found.services) {
        let reason = state.reason;
        tracing::info!(service.name = service.name, ready = state.ready, reason, "readiness");
        for name in &service.grpc {
            reporter.set_service_status(name, serving(state.ready)).await;
        }
    }
    reporter.set_service_status("", serving(found.status == Status::Ready)).await;
    readiness.send_replace(found);
}

fn serving(ready: bool) -> ServingStatus {
    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}
