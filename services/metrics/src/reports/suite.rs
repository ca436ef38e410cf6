//! What other services tell for a report. What cannot be asked is a gap, not a
//! failure: the numbers are there.

use std::collections::BTreeMap;

use northstar_client::Clients;
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::automations::v1 as automations;
use northstar_proto::experiments::v1 as experiments;
use tonic::Status;

use super::belongs::Belongs;
use super::tasks::{Task, task};

/// Questions asked for at once: each comes with its evidence.
const PAGE: i32 = 50;

/// The other services, in the project of the call.
pub(super) struct Suite<'a>(pub(super) &'a Clients);

impl Suite<'_> {
    /// Which pillar automations and experiments serve, as their services know it.
    pub(super) async fn belongs(&self, gaps: &mut Vec<String>) -> Belongs {
        let mut belongs = Belongs::default();
        match self.automations().await {
            Ok(found) => belongs.automations = found,
            Err(status) => {
                tracing::warn!(error = status.message(), "automations cannot be asked");
                gaps.push(
                    "automations could not be asked which pillar their work belongs to.".to_owned(),
                );
            }
        }
        match self.experiments().await {
            Ok(found) => belongs.experiments = found,
            Err(status) => {
                tracing::warn!(error = status.message(), "experiments cannot be asked");
                gaps.push(
                    "experiments could not be asked which pillar their work belongs to.".to_owned(),
                );
            }
        }
        belongs
    }

    async fn automations(&self) -> Result<BTreeMap<String, String>, Status> {
        let mut found = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = automations::ListAutomationsRequest { page_size: 1_000, page_token };
            let page = self.0.automations().list_automations(request).await?.into_inner();
            found.extend(page.automations.into_iter().map(|one| (one.name, one.pillar)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn experiments(&self) -> Result<BTreeMap<String, String>, Status> {
        let mut found = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = experiments::ListExperimentsRequest { page_size: 1_000, page_token };
            let page = self.0.experiments().list_experiments(request).await?.into_inner();
            found.extend(page.experiments.into_iter().map(|one| (one.name, one.pillar)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// How many questions wait for people.
    pub(super) async fn waiting(&self, gaps: &mut Vec<String>) -> Option<usize> {
        let pending = approvals::ListDecisionRequestsRequest {
            state: approvals::DecisionState::Pending.into(),
            ..approvals::ListDecisionRequestsRequest::default()
        };
        match self.questions(pending).await {
            Ok(found) => Some(found.len()),
            Err(status) => {
                tracing::warn!(error = status.message(), "approvals cannot be asked");
                gaps.push("approvals could not be asked what waits for people.".to_owned());
                None
            }
        }
    }

    /// What people were asked to look into, newest first.
    pub(super) async fn tasks(&self, gaps: &mut Vec<String>) -> Vec<Task> {
        let tasks = approvals::ListDecisionRequestsRequest {
            kind: approvals::DecisionKind::Task.into(),
            ..approvals::ListDecisionRequestsRequest::default()
        };
        match self.questions(tasks).await {
            Ok(found) => found.into_iter().map(task).collect(),
            Err(status) => {
                tracing::warn!(error = status.message(), "approvals cannot be asked");
                gaps.push("approvals could not be asked what is to be looked into.".to_owned());
                Vec::new()
            }
        }
    }

    async fn questions(
        &self,
        wanted: approvals::ListDecisionRequestsRequest,
    ) -> Result<Vec<approvals::DecisionRequest>, Status> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = approvals::ListDecisionRequestsRequest {
                page_size: PAGE,
                page_token,
                ..wanted.clone()
            };
            let page = self.0.approvals().list_decision_requests(request).await?.into_inner();
            found.extend(page.decision_requests.into_iter().map(|question| {
                // Evidence is large, and no report shows it.
                approvals::DecisionRequest { evidence: Vec::new(), ..question }
            }));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }
}
