//! Carries out what people decided about automations: pauses those that a
//! threshold asked to be paused.
//!
//! The log tells that a verdict was given; approvals tells whether it is so. Each
//! decision is carried out once, however often the log tells of it and however
//! many replicas hear it: an automation that was activated again is not paused by
//! an old decision.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use northstar_client::Clients;
use northstar_domain::automation::{Approval, AutomationState};
use northstar_domain::{Clock, DecisionRequestId, ProjectId, ResourceName};
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_store::automations::{self as store, CarriedOut, DecisionRecord};
use northstar_store::outbox::{NewMessage, Outbox};
use northstar_store::{PgPool, access, audit};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::service::Wake;

/// Who pauses, in the audit log.
const ACTOR: &str = "northstar-automations";
/// The consumer group of each project, and what it hears of.
const GROUP: &str = "automations/decisions";
const VERDICT: &str = "northstar.decision.verdict";
/// What is carried out here.
const ACTION: &str = "automation.pause";
/// Between two looks for new projects.
const LOOK: Duration = Duration::from_secs(1);
/// Before another try after a failure, at first and at most.
const PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);

/// What carrying out needs.
#[derive(Clone)]
pub(crate) struct Decisions {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clients: Clients,
    pub(crate) wake: Wake,
}

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

/// The change that was decided, as far as it matters here.
#[derive(Deserialize)]
struct Change {
    #[serde(default)]
    action: String,
    #[serde(default)]
    automation: String,
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
        let mut connection = self.pool.acquire().await?;
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
        let mut ingestion = self.clients.for_project(project.0).ingestion();
        let request = ingestion::SubscribeRequest {
            group: GROUP.to_owned(),
            filter: format!("event.name == {VERDICT:?}"),
            ..ingestion::SubscribeRequest::default()
        };
        let mut stream = ingestion.subscribe(request).await?.into_inner();
        loop {
            let message = stream.message().await?.ok_or(Interrupted::Closed)?;
            for logged in &message.events {
                if let Some(decision) = approved_pause(logged) {
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

    /// Carries out a decision that the log tells of, if approvals says the same.
    async fn carry_out(
        &self,
        project: ProjectId,
        decision: DecisionRequestId,
    ) -> Result<(), Interrupted> {
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        if store::is_carried_out(&mut connection, decision).await? {
            return Ok(());
        }
        drop(connection);
        let mut request = tonic::Request::new(approvals::GetDecisionRequestRequest {
            decision_request_id: decision.to_string(),
        });
        request.set_timeout(TIMEOUT);
        let mut client = self.clients.for_project(project.0).approvals();
        let found = match client.get_decision_request(request).await {
            Ok(found) => found.into_inner().decision_request.unwrap_or_default(),
            // Anybody may write to the log that somebody decided.
            Err(status) if status.code() == Code::NotFound => return Ok(()),
            Err(status) => return Err(status.into()),
        };
        let approved = found.state() == approvals::DecisionState::Approved;
        if !approved || found.action != ACTION {
            return Ok(());
        }
        let Some(name) = automation_of(&found) else { return Ok(()) };
        Ok(self.pause(project, decision, &found, &name).await?)
    }

    async fn pause(
        &self,
        project: ProjectId,
        decision: DecisionRequestId,
        found: &approvals::DecisionRequest,
        name: &ResourceName,
    ) -> northstar_store::Result<()> {
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let stored = store::load_for_update(&mut tx, project, name).await?;
        let outcome = match &stored {
            _ if !still_wants(found, name) => CarriedOut::Edited,
            None => CarriedOut::UnknownAutomation,
            Some(stored) if stored.state.pause().is_ok() => CarriedOut::Paused,
            Some(_) => CarriedOut::NotActive,
        };
        let record = DecisionRecord {
            project,
            decision,
            automation: name.as_str(),
            action: ACTION,
            outcome,
        };
        if !store::carry_out(&mut tx, &record, now).await? {
            return Ok(());
        }
        if outcome == CarriedOut::Paused {
            store::save_state(&mut tx, project, name, AutomationState::Paused, now).await?;
            let resource = Approval::subject(name);
            let approver = approver(found);
            let entry = audit::NewEntry {
                project,
                actor: ACTOR,
                action: ACTION,
                resource: &resource,
                detail: &json!({
                    "before": {"state": AutomationState::Active.as_str()},
                    "after": {"state": AutomationState::Paused.as_str(), "reason": found.summary},
                    "decision_request": decision,
                    "approver": approver,
                }),
                at: now,
            };
            audit::append(&mut tx, &entry).await?;
            let told = NewMessage {
                project,
                message_id: format!("automation/{name}/paused/{decision}"),
                name: "northstar.automation.paused".to_owned(),
                user_id: format!("principal:{approver}"),
                anonymous_id: String::new(),
                occurred_at: now,
                properties: json!({"automation": name, "decision_request": decision}),
            };
            Outbox::Automations.put(&mut tx, &told).await?;
        }
        tx.commit().await?;
        tracing::info!(
            automation.name = %name,
            decision_request = %decision,
            decision.outcome = outcome.as_str(),
            "carried out a decision",
        );
        self.wake.triggers.notify_one();
        Ok(())
    }
}

/// The decision request that an event says was approved to pause an automation.
fn approved_pause(logged: &ingestion::LoggedEvent) -> Option<DecisionRequestId> {
    let event = logged.event.as_ref()?;
    let text = |name: &str| match event.properties.get(name)?.kind.as_ref()? {
        ingestion::value::Kind::StringValue(text) => Some(text.as_str()),
        _ => None,
    };
    let approved = event.name == VERDICT
        && text("action") == Some(ACTION)
        && text("state") == Some("approved");
    if approved { text("decision_request")?.parse().ok() } else { None }
}

/// The automation that a decision is about.
fn automation_of(found: &approvals::DecisionRequest) -> Option<ResourceName> {
    found.subject.strip_prefix("automations/")?.parse().ok()
}

/// Whether what was approved is still to pause this automation: an edit may have
/// made it something else.
fn still_wants(found: &approvals::DecisionRequest, name: &ResourceName) -> bool {
    serde_json::from_str(&found.diff_json)
        .is_ok_and(|change: Change| change.action == "pause" && change.automation == name.as_str())
}

/// Who gave the verdict that counted.
fn approver(found: &approvals::DecisionRequest) -> &str {
    found
        .verdicts
        .iter()
        .rev()
        .find(|verdict| verdict.kind() == approvals::VerdictKind::Approve && !verdict.stale)
        .map_or("", |verdict| verdict.approver.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(action: &str, state: &str) -> ingestion::LoggedEvent {
        let text = |text: &str| ingestion::Value {
            kind: Some(ingestion::value::Kind::StringValue(text.to_owned())),
        };
        let properties = [
            ("decision_request".to_owned(), text("0198c7e0-0000-7000-8000-000000000001")),
            ("action".to_owned(), text(action)),
            ("state".to_owned(), text(state)),
        ];
        ingestion::LoggedEvent {
            event: Some(ingestion::Event {
                name: VERDICT.to_owned(),
                properties: properties.into(),
                ..ingestion::Event::default()
            }),
            ..ingestion::LoggedEvent::default()
        }
    }

    #[test]
    fn only_an_approved_pause_is_heard() {
        assert!(approved_pause(&verdict("automation.pause", "approved")).is_some());
        assert!(approved_pause(&verdict("automation.pause", "rejected")).is_none());
        assert!(approved_pause(&verdict("automation.activate", "approved")).is_none());
        assert!(approved_pause(&ingestion::LoggedEvent::default()).is_none());
    }

    #[test]
    fn what_was_edited_into_something_else_is_not_carried_out() {
        let name: ResourceName = "nudge".parse().unwrap();
        let found = |diff: &str| approvals::DecisionRequest {
            diff_json: diff.to_owned(),
            ..approvals::DecisionRequest::default()
        };
        assert!(still_wants(
            &found(r#"{"action":"pause","automation":"nudge","episode":1}"#),
            &name
        ));
        assert!(!still_wants(&found(r#"{"action":"adjust","automation":"nudge"}"#), &name));
        assert!(!still_wants(&found(r#"{"action":"pause","automation":"other"}"#), &name));
        assert!(!still_wants(&found("no JSON"), &name));
    }
}
