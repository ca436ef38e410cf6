//! Carries out what people decided about automations, when a threshold asked.
//!
//! The log tells that a verdict was given; approvals tells whether it is so. Each
//! decision is carried out once, however often the log tells of it and however
//! many replicas hear it: an automation that was activated again is not paused by
//! an old decision.

mod carry_out;
mod change;
mod heard;
mod pause;

use std::collections::HashMap;
use std::time::Duration;

use northstar_domain::ProjectId;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_store::access;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::service::Automations;

/// The consumer group of each project.
const GROUP: &str = "automations/decisions";
/// Between two looks for new projects.
const LOOK: Duration = Duration::from_secs(1);
/// Before another try after a failure, at first and at most.
const PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_secs(5);

/// What carrying out needs is what the service has.
#[derive(Clone)]
pub(crate) struct Decisions(pub(crate) Automations);

/// Why listening stopped; it begins again.
#[derive(Debug, Error)]
enum Interrupted {
    #[error("the store failed")]
    Store(#[from] northstar_store::Error),
    #[error("a service did not answer: {}", .0.message())]
    Call(#[from] tonic::Status),
    #[error("ingestion closed the subscription")]
    Closed,
}

impl Decisions {
    /// Listens to the log of every project.
    ///
    /// # Errors
    /// Never; it ends when `shutdown` is cancelled.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut listeners: HashMap<ProjectId, JoinHandle<()>> = HashMap::new();
        loop {
            listeners.retain(|_, task| !task.is_finished());
            match self.projects().await {
                Ok(projects) => {
                    for project in projects {
                        listeners.entry(project).or_insert_with(|| {
                            tokio::spawn(self.clone().listen(project, shutdown.clone()))
                        });
                    }
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot look for projects, trying again",
                ),
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        for task in listeners.into_values() {
            // A task that panicked has told so already.
            let _ = task.await;
        }
        Ok(())
    }

    async fn projects(&self) -> northstar_store::Result<Vec<ProjectId>> {
        let mut connection = self.0.pool.acquire().await?;
        access::list_projects(&mut connection).await
    }

    async fn listen(self, project: ProjectId, shutdown: CancellationToken) {
        let mut pause = PAUSE;
        loop {
            let mut heard = false;
            let ended = tokio::select! {
                () = shutdown.cancelled() => return,
                ended = self.subscribe(project, &mut heard) => ended,
            };
            pause = if heard { PAUSE } else { pause };
            if let Err(interrupted) = ended {
                tracing::warn!(
                    project = project.0,
                    error = &interrupted as &dyn std::error::Error,
                    "listening for decisions was interrupted, trying again",
                );
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(MOST_PAUSE),
            }
        }
    }

    async fn subscribe(&self, project: ProjectId, heard: &mut bool) -> Result<(), Interrupted> {
        let mut ingestion = self.0.clients.for_project(project.0).ingestion();
        let request = ingestion::SubscribeRequest {
            group: GROUP.to_owned(),
            filter: format!("event.name == {:?}", heard::VERDICT),
            ..ingestion::SubscribeRequest::default()
        };
        let mut stream = ingestion.subscribe(request).await?.into_inner();
        loop {
            let message = stream.message().await?.ok_or(Interrupted::Closed)?;
            for logged in &message.events {
                if let Some(decision) = heard::approved(logged) {
                    self.carry_out(project, decision).await?;
                }
            }
            *heard = true;
            let commit = ingestion::CommitCursorRequest {
                group: GROUP.to_owned(),
                position: message.position,
            };
            ingestion.commit_cursor(commit).await?;
        }
    }
}
