//! The RPCs about subjects: decode, rule, store, encode.

mod consent;
mod convert;
mod erase;
mod export;
mod history;
mod merges;
mod policies;
mod preview;
mod resolve;
mod statements;

use std::sync::Arc;

use northstar_client::Clients;
use northstar_domain::Clock;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::{Caller, caller};
use northstar_store::PgPool;
use pb::subjects_service_server::SubjectsService;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::change::{Begun, Change};
use crate::contracts::Contracts;
use crate::erasure::Erasures;
use crate::error::Error;

pub use convert::{
    consent_policy_from_proto, consent_policy_to_proto, identity_policy_from_proto,
    identity_policy_to_proto,
};
pub(crate) use resolve::resolve_subject;

/// The service.
pub(crate) struct Subjects {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clients: Clients,
    pub(crate) contracts: Contracts,
    pub(crate) erasures: Erasures,
    /// Services that have to follow an erasure.
    pub(crate) followers: Vec<String>,
}

impl Subjects {
    /// Begins what a call asks for.
    async fn begin<'a, R: prost::Message + Default>(
        &self,
        caller: &'a Caller,
        method: &'static str,
        request_id: &str,
        request: &impl prost::Message,
    ) -> Result<Begun<'a, R>, Error> {
        let now = self.clock.now();
        Change::begin(&self.pool, caller, method, request_id, request, now).await
    }
}

#[tonic::async_trait]
impl SubjectsService for Subjects {
    async fn apply_identity_policy(
        &self,
        request: Request<pb::ApplyIdentityPolicyRequest>,
    ) -> Result<Response<pb::ApplyIdentityPolicyResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(policies::apply_identity(self, &caller, &request).await?))
    }

    async fn get_identity_policy(
        &self,
        request: Request<pb::GetIdentityPolicyRequest>,
    ) -> Result<Response<pb::GetIdentityPolicyResponse>, Status> {
        let project = caller(&request)?.project;
        let identity_policy =
            Some(policies::get_identity(self, project, &request.into_inner().name).await?);
        Ok(Response::new(pb::GetIdentityPolicyResponse { identity_policy }))
    }

    async fn list_identity_policies(
        &self,
        request: Request<pb::ListIdentityPoliciesRequest>,
    ) -> Result<Response<pb::ListIdentityPoliciesResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        policies::check_page(request.page_size, &request.page_token)?;
        let identity_policies = policies::find_identity(self, project).await?.into_iter().collect();
        let next_page_token = String::new();
        Ok(Response::new(pb::ListIdentityPoliciesResponse { identity_policies, next_page_token }))
    }

    async fn apply_consent_policy(
        &self,
        request: Request<pb::ApplyConsentPolicyRequest>,
    ) -> Result<Response<pb::ApplyConsentPolicyResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(policies::apply_consent(self, &caller, &request).await?))
    }

    async fn get_consent_policy(
        &self,
        request: Request<pb::GetConsentPolicyRequest>,
    ) -> Result<Response<pb::GetConsentPolicyResponse>, Status> {
        let project = caller(&request)?.project;
        let name = request.into_inner().name;
        Ok(Response::new(policies::get_consent(self, project, &name).await?))
    }

    async fn list_consent_policies(
        &self,
        request: Request<pb::ListConsentPoliciesRequest>,
    ) -> Result<Response<pb::ListConsentPoliciesResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        policies::check_page(request.page_size, &request.page_token)?;
        let consent_policies = policies::find_consent(self, project).await?.into_iter().collect();
        let next_page_token = String::new();
        Ok(Response::new(pb::ListConsentPoliciesResponse { consent_policies, next_page_token }))
    }

    async fn link_identifiers(
        &self,
        request: Request<pb::LinkIdentifiersRequest>,
    ) -> Result<Response<pb::LinkIdentifiersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(statements::link(self, &caller, &request).await?))
    }

    async fn unlink_identifiers(
        &self,
        request: Request<pb::UnlinkIdentifiersRequest>,
    ) -> Result<Response<pb::UnlinkIdentifiersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(statements::unlink(self, &caller, &request).await?))
    }

    async fn preview_merge(
        &self,
        request: Request<pb::PreviewMergeRequest>,
    ) -> Result<Response<pb::PreviewMergeResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(preview::preview_merge(self, project, &request).await?))
    }

    async fn merge_subjects(
        &self,
        request: Request<pb::MergeSubjectsRequest>,
    ) -> Result<Response<pb::MergeSubjectsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(statements::merge(self, &caller, &request).await?))
    }

    async fn request_merge(
        &self,
        request: Request<pb::RequestMergeRequest>,
    ) -> Result<Response<pb::RequestMergeResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(merges::request_merge(self, &caller, &request).await?))
    }

    async fn unmerge_subjects(
        &self,
        request: Request<pb::UnmergeSubjectsRequest>,
    ) -> Result<Response<pb::UnmergeSubjectsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(statements::unmerge(self, &caller, &request).await?))
    }

    async fn list_identity_facts(
        &self,
        request: Request<pb::ListIdentityFactsRequest>,
    ) -> Result<Response<pb::ListIdentityFactsResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(history::list_identity_facts(self, project, &request).await?))
    }

    async fn record_consent(
        &self,
        request: Request<pb::RecordConsentRequest>,
    ) -> Result<Response<pb::RecordConsentResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(consent::record_consent(self, &caller, &request).await?))
    }

    async fn get_consent(
        &self,
        request: Request<pb::GetConsentRequest>,
    ) -> Result<Response<pb::GetConsentResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(consent::get_consent(self, project, &request).await?))
    }

    async fn erase_subject(
        &self,
        request: Request<pb::EraseSubjectRequest>,
    ) -> Result<Response<pb::EraseSubjectResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(erase::erase_subject(self, &caller, &request).await?))
    }

    async fn get_erasure(
        &self,
        request: Request<pb::GetErasureRequest>,
    ) -> Result<Response<pb::GetErasureResponse>, Status> {
        let project = caller(&request)?.project;
        let id = request.into_inner().erasure_id;
        let erasure = Some(erase::get_erasure(self, project, &id).await?);
        Ok(Response::new(pb::GetErasureResponse { erasure }))
    }

    async fn list_erasures(
        &self,
        request: Request<pb::ListErasuresRequest>,
    ) -> Result<Response<pb::ListErasuresResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(erase::list_erasures(self, project, &request).await?))
    }

    async fn follow_erasures(
        &self,
        request: Request<pb::FollowErasuresRequest>,
    ) -> Result<Response<pb::FollowErasuresResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(erase::follow_erasures(self, project, &request).await?))
    }

    async fn report_erasure(
        &self,
        request: Request<pb::ReportErasureRequest>,
    ) -> Result<Response<pb::ReportErasureResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(erase::report_erasure(self, project, &request).await?))
    }

    type ExportSubjectStream = ReceiverStream<Result<pb::ExportSubjectResponse, Status>>;

    async fn export_subject(
        &self,
        request: Request<pb::ExportSubjectRequest>,
    ) -> Result<Response<Self::ExportSubjectStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(export::export_subject(self, &caller, &request).await?))
    }
}
