//! The RPCs about cohorts: decode, ask, encode.

use northstar_domain::cohort::Cohort;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::cohorts_service_server::CohortsService;
use northstar_server::caller;
use northstar_store::metrics::definition::Stored;
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{members, query};
use crate::apply::{Application, apply};
use crate::convert;
use crate::service::Metrics;

/// A cohort for the wire.
pub(super) fn cohort(stored: &Stored<Cohort>) -> pb::Cohort {
    let Stored { name, version, etag, document } = stored;
    convert::cohort::to_proto(name.as_str(), *version, etag, document)
}

#[tonic::async_trait]
impl CohortsService for Metrics {
    async fn apply_cohort(
        &self,
        request: Request<pb::ApplyCohortRequest>,
    ) -> Result<Response<pb::ApplyCohortResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let application = Application {
            method: "/northstar.metrics.v1.CohortsService/ApplyCohort",
            body: request.encode_to_vec(),
            received: convert::cohort::from_proto(request.cohort.unwrap_or_default()),
            validate_only: request.validate_only,
            request_id: request.request_id,
        };
        let respond =
            |stored: &Stored<Cohort>| pb::ApplyCohortResponse { cohort: Some(cohort(stored)) };
        let now = self.clock.now();
        Ok(Response::new(apply(&self.pool, &caller, now, application, respond).await?))
    }

    async fn get_cohort(
        &self,
        request: Request<pb::GetCohortRequest>,
    ) -> Result<Response<pb::GetCohortResponse>, Status> {
        let stored = self.get(&caller(&request)?, &request.get_ref().name).await?;
        Ok(Response::new(pb::GetCohortResponse { cohort: Some(cohort(&stored)) }))
    }

    async fn list_cohorts(
        &self,
        request: Request<pb::ListCohortsRequest>,
    ) -> Result<Response<pb::ListCohortsResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListCohortsRequest { page_size, page_token } = request.into_inner();
        let (page, next_page_token) = self.list(&caller, page_size, &page_token).await?;
        let cohorts = page.iter().map(cohort).collect();
        Ok(Response::new(pb::ListCohortsResponse { cohorts, next_page_token }))
    }

    async fn delete_cohort(
        &self,
        request: Request<pb::DeleteCohortRequest>,
    ) -> Result<Response<pb::DeleteCohortResponse>, Status> {
        let caller = caller(&request)?;
        members::delete(self, &caller, &request.into_inner()).await?;
        Ok(Response::new(pb::DeleteCohortResponse {}))
    }

    async fn upload_cohort_members(
        &self,
        request: Request<Streaming<pb::UploadCohortMembersRequest>>,
    ) -> Result<Response<pb::UploadCohortMembersResponse>, Status> {
        let caller = caller(&request)?;
        let upload = members::Upload::receive(request.into_inner()).await?;
        let members = members::upload(self, &caller, upload).await?;
        Ok(Response::new(pb::UploadCohortMembersResponse { members }))
    }

    async fn snapshot_cohort(
        &self,
        request: Request<pb::SnapshotCohortRequest>,
    ) -> Result<Response<pb::SnapshotCohortResponse>, Status> {
        let caller = caller(&request)?;
        let kept = members::snapshot(self, &caller, request.into_inner()).await?;
        Ok(Response::new(kept))
    }

    type QueryCohortStream = ReceiverStream<Result<pb::QueryCohortResponse, Status>>;

    async fn query_cohort(
        &self,
        request: Request<pb::QueryCohortRequest>,
    ) -> Result<Response<Self::QueryCohortStream>, Status> {
        let project = caller(&request)?.project;
        let answer = query::query_cohort(self, project, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}
