//! The RPCs of decisions, policies and the audit log: each reads as the order of
//! its effects.

use std::sync::Arc;

use northstar_domain::Clock;
use northstar_proto::approvals::v1 as pb;
use northstar_proto::approvals::v1::approvals_service_server::ApprovalsService;
use northstar_server::caller;
use northstar_store::PgPool;
use tonic::{Request, Response, Status};

use crate::{audit, decide, policies, withdraw};

/// The service: a pool and a clock.
#[derive(Clone)]
pub struct Approvals {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Approvals {
    /// A service over a pool that works under the role of approvals.
    pub fn new(pool: PgPool, clock: Arc<dyn Clock>) -> Self {
        Self { pool, clock }
    }
}

#[tonic::async_trait]
impl ApprovalsService for Approvals {
    async fn apply_policy(
        &self,
        request: Request<pb::ApplyPolicyRequest>,
    ) -> Result<Response<pb::ApplyPolicyResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(policies::apply(self, &caller, request.into_inner()).await?))
    }

    async fn get_policy(
        &self,
        request: Request<pb::GetPolicyRequest>,
    ) -> Result<Response<pb::GetPolicyResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(policies::get(self, &caller, request.into_inner()).await?))
    }

    async fn list_policies(
        &self,
        request: Request<pb::ListPoliciesRequest>,
    ) -> Result<Response<pb::ListPoliciesResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(policies::list(self, &caller, request.into_inner()).await?))
    }

    async fn create_decision_request(
        &self,
        request: Request<pb::CreateDecisionRequestRequest>,
    ) -> Result<Response<pb::CreateDecisionRequestResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(decide::ask(self, &caller, request.into_inner()).await?))
    }

    async fn get_decision_request(
        &self,
        request: Request<pb::GetDecisionRequestRequest>,
    ) -> Result<Response<pb::GetDecisionRequestResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(decide::get(self, &caller, request.into_inner()).await?))
    }

    async fn list_decision_requests(
        &self,
        request: Request<pb::ListDecisionRequestsRequest>,
    ) -> Result<Response<pb::ListDecisionRequestsResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(decide::list(self, &caller, request.into_inner()).await?))
    }

    async fn withdraw_decision_request(
        &self,
        request: Request<pb::WithdrawDecisionRequestRequest>,
    ) -> Result<Response<pb::WithdrawDecisionRequestResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(withdraw::withdraw(self, &caller, request.into_inner()).await?))
    }

    async fn record_verdict(
        &self,
        request: Request<pb::RecordVerdictRequest>,
    ) -> Result<Response<pb::RecordVerdictResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(decide::record(self, &caller, request.into_inner()).await?))
    }

    async fn append_audit_entry(
        &self,
        request: Request<pb::AppendAuditEntryRequest>,
    ) -> Result<Response<pb::AppendAuditEntryResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(audit::append(self, &caller, request.into_inner()).await?))
    }

    async fn list_audit_entries(
        &self,
        request: Request<pb::ListAuditEntriesRequest>,
    ) -> Result<Response<pb::ListAuditEntriesResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(audit::list(self, &caller, request.into_inner()).await?))
    }

    async fn verify_audit_log(
        &self,
        request: Request<pb::VerifyAuditLogRequest>,
    ) -> Result<Response<pb::VerifyAuditLogResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(audit::verify(self, &caller).await?))
    }
}
