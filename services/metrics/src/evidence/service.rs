//! The RPCs about evidence: decode, ask, encode.

use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::evidence_service_server::EvidenceService;
use northstar_server::caller;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{explain, restatements, subjects};
use crate::service::Metrics;

#[tonic::async_trait]
impl EvidenceService for Metrics {
    type ListSubjectsStream = ReceiverStream<Result<pb::ListSubjectsResponse, Status>>;

    async fn list_subjects(
        &self,
        request: Request<pb::ListSubjectsRequest>,
    ) -> Result<Response<Self::ListSubjectsStream>, Status> {
        let project = caller(&request)?.project;
        let answer = subjects::list_subjects(self, project, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    type ExplainStream = ReceiverStream<Result<pb::ExplainResponse, Status>>;

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<Self::ExplainStream>, Status> {
        let project = caller(&request)?.project;
        let answer = explain::explain(self, project, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_restatements(
        &self,
        request: Request<pb::ListRestatementsRequest>,
    ) -> Result<Response<pb::ListRestatementsResponse>, Status> {
        let project = caller(&request)?.project;
        let page = restatements::list(self, project, request.into_inner()).await?;
        Ok(Response::new(page))
    }
}
