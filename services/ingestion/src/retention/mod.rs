//! How long events stay in the database, and where they go.

mod apply;
mod archive;

use std::sync::Arc;

use northstar_domain::{Clock, ProjectId};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::caller;
use northstar_server::page::page_size;
use northstar_store::ingestion::retention::{self as store, RetentionPolicy};
use northstar_store::{Error as StoreError, PgPool};
use pb::retention_service_server::RetentionService;
use tonic::{Request, Response, Status};

use crate::convert::{retention_policy_to_proto, time_to_proto};
use crate::error::Error;

pub(crate) use archive::{Archiving, archive, digest, logged, read_archived, verify};

/// The word for a policy in errors.
const KIND: &str = "RetentionPolicy";

/// The service.
pub(crate) struct Retention {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl RetentionService for Retention {
    async fn apply_retention_policy(
        &self,
        request: Request<pb::ApplyRetentionPolicyRequest>,
    ) -> Result<Response<pb::ApplyRetentionPolicyResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(apply::apply(&self.pool, &caller, &request, self.clock.now()).await?))
    }

    async fn get_retention_policy(
        &self,
        request: Request<pb::GetRetentionPolicyRequest>,
    ) -> Result<Response<pb::GetRetentionPolicyResponse>, Status> {
        let project = caller(&request)?.project;
        let name = request.into_inner().name;
        let policy = self.find(project).await?.filter(|policy| policy.name == name);
        let policy = policy.ok_or(Error::NotFound { kind: KIND, name })?;
        let retention_policy = Some(stored(&policy));
        Ok(Response::new(pb::GetRetentionPolicyResponse { retention_policy }))
    }

    async fn list_retention_policies(
        &self,
        request: Request<pb::ListRetentionPoliciesRequest>,
    ) -> Result<Response<pb::ListRetentionPoliciesResponse>, Status> {
        let project = caller(&request)?.project;
        let found = self.find(project).await?;
        let retention_policies = found.iter().map(stored).collect();
        Ok(Response::new(pb::ListRetentionPoliciesResponse { retention_policies }))
    }

    async fn delete_retention_policy(
        &self,
        request: Request<pb::DeleteRetentionPolicyRequest>,
    ) -> Result<Response<pb::DeleteRetentionPolicyResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(apply::delete(&self.pool, &caller, &request, self.clock.now()).await?))
    }

    async fn list_archived_files(
        &self,
        request: Request<pb::ListArchivedFilesRequest>,
    ) -> Result<Response<pb::ListArchivedFilesResponse>, Status> {
        let project = caller(&request)?.project;
        Ok(Response::new(self.files(project, &request.into_inner()).await?))
    }
}

impl Retention {
    async fn find(&self, project: ProjectId) -> Result<Option<RetentionPolicy>, Error> {
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        Ok(store::find(&mut connection, project).await?)
    }

    async fn files(
        &self,
        project: ProjectId,
        request: &pb::ListArchivedFilesRequest,
    ) -> Result<pb::ListArchivedFilesResponse, Error> {
        let size = page_size(request.page_size)?;
        let after = match request.page_token.as_str() {
            "" => 0,
            token => token
                .parse()
                .map_err(|_| Error::invalid("page_token", "is not one that this call returned"))?,
        };
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let found = store::files(&mut connection, project, after, size.limit()).await?;
        let (page, more) = size.cut(found);
        let last = page.last().filter(|_| more);
        Ok(pb::ListArchivedFilesResponse {
            next_page_token: last.map_or_else(String::new, |last| last.last_position.to_string()),
            archived_through_position: store::archived_through(&mut connection, project).await?,
            files: page
                .into_iter()
                .map(|file| pb::ArchivedFile {
                    first_position: file.first_position,
                    last_position: file.last_position,
                    events: file.events,
                    bytes: file.bytes,
                    location: file.location,
                    sha256: hex::encode(file.sha256),
                    verify_time: Some(time_to_proto(file.verified_at)),
                    detach_time: file.detached_at.map(time_to_proto),
                })
                .collect(),
        })
    }
}

/// A policy with what the store knows about it.
fn stored(policy: &RetentionPolicy) -> pb::RetentionPolicy {
    pb::RetentionPolicy {
        etag: policy.etag.clone(),
        update_time: Some(time_to_proto(policy.updated_at)),
        updated_by: policy.updated_by.clone(),
        ..retention_policy_to_proto(&policy.name, &policy.spec)
    }
}
