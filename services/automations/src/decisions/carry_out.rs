//! Carries a decision out, once, if approvals says that it was made.

use std::time::Duration;

use chrono::{DateTime, Utc};
use northstar_domain::automation::Approval;
use northstar_domain::{DecisionRequestId, ProjectId, ResourceName};
use northstar_proto::approvals::v1 as approvals;
use northstar_store::automations::{self as store, CarriedOut, DecisionRecord};
use northstar_store::outbox::{NewMessage, Outbox};
use northstar_store::{PgConnection, audit};
use serde_json::{Value, json};
use tonic::Code;

use super::heard::Action;
use super::{Decisions, Interrupted};

/// Who acts, in the audit log.
const ACTOR: &str = "northstar-automations";
const TIMEOUT: Duration = Duration::from_secs(10);

/// A decision that approvals says was approved.
pub(super) struct Approved {
    pub(super) project: ProjectId,
    pub(super) id: DecisionRequestId,
    pub(super) name: ResourceName,
    pub(super) request: approvals::DecisionRequest,
}

impl Decisions {
    /// Carries out a decision that the log tells of, if approvals says the same.
    pub(super) async fn carry_out(
        &self,
        project: ProjectId,
        id: DecisionRequestId,
    ) -> Result<(), Interrupted> {
        let mut connection = self.0.pool.acquire().await.map_err(northstar_store::Error::from)?;
        if store::is_carried_out(&mut connection, id).await? {
            return Ok(());
        }
        drop(connection);
        let mut request = tonic::Request::new(approvals::GetDecisionRequestRequest {
            decision_request_id: id.to_string(),
        });
        request.set_timeout(TIMEOUT);
        let mut client = self.0.clients.for_project(project.0).approvals();
        let request = match client.get_decision_request(request).await {
            Ok(found) => found.into_inner().decision_request.unwrap_or_default(),
            // Anybody may write to the log that somebody decided.
            Err(status) if status.code() == Code::NotFound => return Ok(()),
            Err(status) => return Err(status.into()),
        };
        if request.state() != approvals::DecisionState::Approved {
            return Ok(());
        }
        let Some(action) = Action::of(&request.action) else { return Ok(()) };
        let Some(name) = automation_of(&request) else { return Ok(()) };
        let approved = Approved { project, id, name, request };
        let outcome = match action {
            Action::Pause => self.pause(&approved).await?,
            Action::Change => self.change(&approved).await?,
        };
        if let Some(outcome) = outcome {
            tracing::info!(
                automation.name = %approved.name,
                decision_request = %id,
                decision.action = approved.request.action,
                decision.outcome = outcome.as_str(),
                "carried out a decision",
            );
            self.0.wake.triggers.notify_one();
        }
        Ok(())
    }
}

impl Approved {
    /// Who gave the verdict that counted.
    pub(super) fn approver(&self) -> &str {
        let counted = |verdict: &&approvals::Verdict| {
            verdict.kind() == approvals::VerdictKind::Approve && !verdict.stale
        };
        let verdict = self.request.verdicts.iter().rev().find(counted);
        verdict.map_or("", |verdict| verdict.approver.as_str())
    }

    /// Notes that the decision is carried out, and, when nothing follows from it, why.
    /// `false` when it was carried out before: then nothing may be done.
    pub(super) async fn settle(
        &self,
        tx: &mut PgConnection,
        outcome: CarriedOut,
        problem: &str,
        now: DateTime<Utc>,
    ) -> northstar_store::Result<bool> {
        let record = DecisionRecord {
            project: self.project,
            decision: self.id,
            automation: self.name.as_str(),
            action: &self.request.action,
            outcome,
            problem,
        };
        if !store::carry_out(tx, &record, now).await? {
            return Ok(false);
        }
        if !matches!(outcome, CarriedOut::Paused | CarriedOut::Applied) {
            let detail = json!({
                "action": self.request.action,
                "outcome": outcome.as_str(),
                "problem": problem,
            });
            self.audit(tx, "automation.decision_not_applied", detail, now).await?;
        }
        Ok(true)
    }

    /// Adds an entry about the automation, with the decision behind it.
    pub(super) async fn audit(
        &self,
        tx: &mut PgConnection,
        action: &str,
        mut detail: Value,
        now: DateTime<Utc>,
    ) -> northstar_store::Result<()> {
        detail["decision_request"] = json!(self.id);
        detail["approver"] = json!(self.approver());
        let entry = audit::NewEntry {
            project: self.project,
            actor: ACTOR,
            action,
            resource: &Approval::subject(&self.name),
            detail: &detail,
            at: now,
        };
        audit::append(tx, &entry).await?;
        Ok(())
    }

    /// Tells the log what was done, for example `paused`.
    pub(super) async fn tell(
        &self,
        tx: &mut PgConnection,
        done: &str,
        now: DateTime<Utc>,
    ) -> northstar_store::Result<()> {
        let told = NewMessage {
            project: self.project,
            message_id: format!("automation/{}/{done}/{}", self.name, self.id),
            name: format!("northstar.automation.{done}"),
            user_id: format!("principal:{}", self.approver()),
            anonymous_id: String::new(),
            occurred_at: now,
            properties: json!({"automation": self.name, "decision_request": self.id}),
        };
        Outbox::Automations.put(tx, &told).await
    }
}

/// The automation that a decision is about.
fn automation_of(found: &approvals::DecisionRequest) -> Option<ResourceName> {
    found.subject.strip_prefix("automations/")?.parse().ok()
}
