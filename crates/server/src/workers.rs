//! The background loops of the services.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::service::Worker;

/// Workers that run, by name.
#[derive(Default)]
pub(crate) struct Workers {
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

impl Workers {
    pub(crate) fn start(&mut self, service: &str, worker: &str, work: Worker) {
        let task = self.running.spawn(work);
        self.names.insert(task.id(), format!("{service}/{worker}"));
    }

    /// Waits until a worker fails; for ever when none does.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        loop {
            match self.running.join_next_with_id().await {
                Some(ended) => {
                    if let Err(error) = self.outcome(ended) {
                        return error;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until all are done, at most until the deadline, and then aborts
    /// the others.
    pub(crate) async fn finish(mut self, deadline: Instant) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        loop {
            match tokio::time::timeout_at(deadline, self.running.join_next_with_id()).await {
                Ok(Some(ended)) => {
                    let ended = self.outcome(ended);
                    outcome = outcome.and(ended);
                }
                Ok(None) => return outcome,
                Err(_) => {
                    for worker in self.names.values() {
                        tracing::warn!(worker.name = worker, "worker did not stop in time");
                    }
                    self.running.shutdown().await;
                    return outcome;
                }
            }
        }
    }

    fn outcome(
        &mut self,
        ended: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> anyhow::Result<()> {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(anyhow::Error::from(error))),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        match &outcome {
            Ok(()) => tracing::debug!(worker.name = name, "worker is done"),
            Err(error) => {
                tracing::error!(worker.name = name, error = %format!("{error:#}"), "worker failed");
            }
        }
        outcome.map_err(|error| error.context(format!("worker {name} failed")))
    }
}
