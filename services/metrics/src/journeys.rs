//! The RPCs about journeys: read the question, ask the engine, tell the answer in parts.

mod ask;
mod funnel;
mod lifecycle;
mod page;
mod paths;
mod read;
mod retention;
mod times;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::journeys_service_server::JourneysService;
use northstar_server::caller;
use tonic::{Request, Response, Status};

use crate::service::Metrics;

/// Rows of one message.
const ROWS_PER_MESSAGE: usize = 500;

/// The messages of an answer.
type Parts<T> = BoxStream<'static, Result<T, Status>>;

fn parts<T: Send + 'static>(messages: Vec<T>) -> Response<Parts<T>> {
    Response::new(stream::iter(messages.into_iter().map(Ok)).boxed())
}

#[tonic::async_trait]
impl JourneysService for Metrics {
    type QueryFunnelStream = Parts<pb::QueryFunnelResponse>;

    async fn query_funnel(
        &self,
        request: Request<pb::QueryFunnelRequest>,
    ) -> Result<Response<Self::QueryFunnelStream>, Status> {
        let project = caller(&request)?.project;
        Ok(parts(funnel::query(self, project, request.into_inner()).await?))
    }

    async fn list_funnel_subjects(
        &self,
        request: Request<pb::ListFunnelSubjectsRequest>,
    ) -> Result<Response<pb::ListFunnelSubjectsResponse>, Status> {
        let project = caller(&request)?.project;
        Ok(Response::new(funnel::list(self, project, request.into_inner()).await?))
    }

    type QueryRetentionStream = Parts<pb::QueryRetentionResponse>;

    async fn query_retention(
        &self,
        request: Request<pb::QueryRetentionRequest>,
    ) -> Result<Response<Self::QueryRetentionStream>, Status> {
        let project = caller(&request)?.project;
        Ok(parts(retention::query(self, project, request.into_inner()).await?))
    }

    async fn list_retention_subjects(
        &self,
        request: Request<pb::ListRetentionSubjectsRequest>,
    ) -> Result<Response<pb::ListRetentionSubjectsResponse>, Status> {
        let project = caller(&request)?.project;
        Ok(Response::new(retention::list(self, project, request.into_inner()).await?))
    }

    type QueryLifecycleStream = Parts<pb::QueryLifecycleResponse>;

    async fn query_lifecycle(
        &self,
        request: Request<pb::QueryLifecycleRequest>,
    ) -> Result<Response<Self::QueryLifecycleStream>, Status> {
        let project = caller(&request)?.project;
        Ok(parts(lifecycle::query(self, project, request.into_inner()).await?))
    }

    async fn list_lifecycle_subjects(
        &self,
        request: Request<pb::ListLifecycleSubjectsRequest>,
    ) -> Result<Response<pb::ListLifecycleSubjectsResponse>, Status> {
        let project = caller(&request)?.project;
        Ok(Response::new(lifecycle::list(self, project, request.into_inner()).await?))
    }

    type QueryPathsStream = Parts<pb::QueryPathsResponse>;

    async fn query_paths(
        &self,
        request: Request<pb::QueryPathsRequest>,
    ) -> Result<Response<Self::QueryPathsStream>, Status> {
        let project = caller(&request)?.project;
        Ok(parts(paths::query(self, project, request.into_inner()).await?))
    }

    async fn list_path_subjects(
        &self,
        request: Request<pb::ListPathSubjectsRequest>,
    ) -> Result<Response<pb::ListPathSubjectsResponse>, Status> {
        let project = caller(&request)?.project;
        Ok(Response::new(paths::list(self, project, request.into_inner()).await?))
    }
}
