//! Webhooks as a door: other systems send payloads, each source says how they
//! become events.
//!
//! A request is believed for its signature, not for a key: who signs is the
//! source. What it says is checked, mapped by the source's rules
//! ([`northstar_domain::webhook`]) and written like any event; what no rule can
//! read is kept whole in quarantine, and answered with the reason.

mod door;
mod secrets;
mod service;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use moka::future::Cache;
use northstar_domain::ProjectId;
use northstar_store::ingestion::webhook_sources::{self, WebhookSource};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;

use crate::error::Error;
use crate::sealing::SealingKey;
use crate::service::Ingestion;

pub(crate) use door::door;
pub(crate) use service::server;

/// How long a source is believed to be what it was: as long as a change made by
/// another process may take to hold here.
const SOURCE_LIFETIME: Duration = Duration::from_secs(1);
/// Sources remembered, found or not.
const REMEMBERED_SOURCES: u64 = 10_000;

/// Webhook sources. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Webhooks {
    pub(crate) ingestion: Ingestion,
    sealing: Option<SealingKey>,
    known: Cache<(String, String), Option<Arc<Known>>>,
    requests: Counter<u64>,
}

/// A source as the door needs it.
struct Known {
    project: ProjectId,
    source: WebhookSource,
    secrets: Vec<TimedSecret>,
}

/// A secret, and until when it is accepted.
struct TimedSecret {
    secret: String,
    until: Option<DateTime<Utc>>,
}

impl Webhooks {
    pub(crate) fn new(ingestion: Ingestion, sealing: Option<SealingKey>) -> Self {
        let requests = opentelemetry::global::meter("northstar-ingestion")
            .u64_counter("northstar.webhook.requests")
            .with_description("Requests to webhook sources, by source and outcome.")
            .build();
        Self {
            ingestion,
            sealing,
            known: Cache::builder()
                .max_capacity(REMEMBERED_SOURCES)
                .time_to_live(SOURCE_LIFETIME)
                .build(),
            requests,
        }
    }

    /// The source at an address.
    async fn find(&self, project: &str, name: &str) -> Result<Option<Arc<Known>>, Error> {
        let address = (project.to_owned(), name.to_owned());
        self.known
            .try_get_with(address, self.load(project, name))
            .await
            .map_err(|error| Error::clone(&error))
    }

    async fn load(&self, project: &str, name: &str) -> Result<Option<Arc<Known>>, Error> {
        let mut connection =
            self.ingestion.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let found = webhook_sources::find_by_address(&mut connection, project, name).await?;
        let Some((project, source, stored)) = found else { return Ok(None) };
        let open = |sealed: Option<Vec<u8>>, until: Option<DateTime<Utc>>| {
            let secret = secrets::open(self.sealing.as_ref(), project, &source.name, &sealed?);
            if secret.is_none() {
                tracing::error!(
                    webhook.source = source.name,
                    "the secret of a webhook source cannot be opened with the configured key"
                );
            }
            secret.map(|secret| TimedSecret { secret, until })
        };
        let secrets = [
            open(stored.current, None),
            stored.previous_until.and_then(|until| open(stored.previous, Some(until))),
        ];
        let secrets = secrets.into_iter().flatten().collect();
        Ok(Some(Arc::new(Known { project, source, secrets })))
    }

    /// Forgets what was remembered, after a change.
    fn forget(&self) {
        self.known.invalidate_all();
    }

    fn count(&self, source: &str, outcome: &'static str) {
        let labels =
            [KeyValue::new("source", source.to_owned()), KeyValue::new("outcome", outcome)];
        self.requests.add(1, &labels);
    }
}
