//! What sources owe, whether they deliver, and telling the log when that changes.

mod apply;
mod judge;
mod watch;

use std::sync::Arc;

use northstar_domain::{Clock, ProjectId};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::caller;
use northstar_server::page::page_size;
use northstar_store::ingestion::source_documents::{self as store, SourceDocument};
use northstar_store::{Error as StoreError, PgPool};
use pb::sources_service_server::SourcesService;
use tonic::{Request, Response, Status};

use crate::convert::{limit_from_proto, source_definition_to_proto, time_to_proto};
use crate::error::Error;
use crate::limits::Limits;

pub(crate) use watch::watch;

/// The word for a source document in errors.
const KIND: &str = "Source";

/// The service.
pub(crate) struct SourceStates {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
}

#[tonic::async_trait]
impl SourcesService for SourceStates {
    async fn apply_source(
        &self,
        request: Request<pb::ApplySourceRequest>,
    ) -> Result<Response<pb::ApplySourceResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let now = self.clock.now();
        let response = apply::apply(&self.pool, &caller, &request, now).await?;
        if let (Some(source), false) = (&request.source, request.validate_only) {
            self.limits.set(caller.project, &source.name, source.limit.map(limit_from_proto));
        }
        Ok(Response::new(response))
    }

    async fn get_source(
        &self,
        request: Request<pb::GetSourceRequest>,
    ) -> Result<Response<pb::GetSourceResponse>, Status> {
        let project = caller(&request)?.project;
        let source = self.find(project, request.into_inner().name).await?;
        Ok(Response::new(pb::GetSourceResponse { source: Some(source) }))
    }

    async fn list_source_definitions(
        &self,
        request: Request<pb::ListSourceDefinitionsRequest>,
    ) -> Result<Response<pb::ListSourceDefinitionsResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(self.list(project, &request).await?))
    }

    async fn delete_source(
        &self,
        request: Request<pb::DeleteSourceRequest>,
    ) -> Result<Response<pb::DeleteSourceResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let now = self.clock.now();
        let response = apply::delete(&self.pool, &caller, &request, now).await?;
        self.limits.set(caller.project, &request.name, None);
        Ok(Response::new(response))
    }

    async fn list_source_states(
        &self,
        request: Request<pb::ListSourceStatesRequest>,
    ) -> Result<Response<pb::ListSourceStatesResponse>, Status> {
        let project = caller(&request)?.project;
        let source = request.into_inner().source;
        let only = (!source.is_empty()).then_some(source.as_str());
        let now = self.clock.now();
        let mut connection =
            self.pool.acquire().await.map_err(|error| Error::from(StoreError::from(error)))?;
        Ok(Response::new(
            judge::standings(&mut connection, project, only, now).await.map_err(Error::from)?,
        ))
    }
}

impl SourceStates {
    async fn find(&self, project: ProjectId, name: String) -> Result<pb::SourceDefinition, Error> {
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        match store::find(&mut connection, project, &name).await? {
            Some(document) => Ok(stored(&document)),
            None => Err(Error::NotFound { kind: KIND, name }),
        }
    }

    async fn list(
        &self,
        project: ProjectId,
        request: &pb::ListSourceDefinitionsRequest,
    ) -> Result<pb::ListSourceDefinitionsResponse, Error> {
        let size = page_size(request.page_size)?;
        let after = crate::page::read_name(&request.page_token)?;
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let (page, more) = size.cut(store::list(&mut connection, project, &after, size).await?);
        let last = page.last().filter(|_| more);
        Ok(pb::ListSourceDefinitionsResponse {
            next_page_token: last.map_or_else(String::new, |last| crate::page::token(&last.name)),
            sources: page.iter().map(stored).collect(),
        })
    }
}

/// A document with what the store knows about it.
fn stored(document: &SourceDocument) -> pb::SourceDefinition {
    pb::SourceDefinition {
        etag: document.etag.clone(),
        create_time: Some(time_to_proto(document.declared_at)),
        update_time: Some(time_to_proto(document.updated_at)),
        updated_by: document.updated_by.clone(),
        ..source_definition_to_proto(&document.name, &document.spec)
    }
}
