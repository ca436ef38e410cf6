//! Follows the erasure of subjects in a service's own tables.
//!
//! The log tells of every erasure, but a service need not read every event for the
//! few that matter: it asks ingestion which erasures it has to follow, forgets in
//! its own schema, and reports. Whatever is interrupted is asked for again.

use std::sync::Arc;
use std::time::Duration;

use northstar_client::Clients;
use northstar_domain::erasure::Renaming;
use northstar_domain::{Clock, ErasureId, ProjectId};
use northstar_proto::ingestion::v1::{
    ErasureToFollow, FollowErasuresRequest, ReportErasureRequest,
};
use northstar_store::erasure::{ErasedSubject, Forgot, Holder};
use northstar_store::{PgPool, access, audit};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tonic::Request;

/// The event by which the log tells that a subject was erased from it. It names
/// the erasure, never the subject.
pub const SUBJECT_ERASED: &str = "northstar.subject.erased";
/// Between two looks, at first and at most when they fail.
const PAUSE: Duration = Duration::from_secs(2);
const MOST_PAUSE: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a look did not get on; the next one does.
#[derive(Debug, Error)]
enum FollowError {
    #[error("the service's tables cannot be read or written")]
    Store(#[from] northstar_store::Error),
    #[error("ingestion does not answer")]
    Ingestion(#[from] tonic::Status),
    #[error("ingestion names no erasure: {0:?}")]
    Unreadable(String),
}

/// A service that follows.
struct Follower {
    holder: Holder,
    pool: PgPool,
    clients: Clients,
    clock: Arc<dyn Clock>,
}

/// Follows erasures of every project until `shutdown`. Any number of replicas may
/// do so at once.
///
/// # Errors
/// Never.
pub async fn follow(
    holder: Holder,
    pool: PgPool,
    clients: Clients,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let follower = Follower { holder, pool, clients, clock };
    let mut pause = PAUSE;
    loop {
        let looked = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            looked = follower.look() => looked,
        };
        match looked {
            Ok(()) => pause = PAUSE,
            Err(error) => {
                pause = (pause * 2).min(MOST_PAUSE);
                tracing::warn!(
                    service = holder.as_str(),
                    error = &error as &dyn std::error::Error,
                    "erasures cannot be followed, trying again",
                );
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Follower {
    /// Follows what there is to follow, once.
    async fn look(&self) -> Result<(), FollowError> {
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let projects = access::list_projects(&mut connection).await?;
        drop(connection);
        for project in projects {
            let mut request =
                Request::new(FollowErasuresRequest { service: self.holder.as_str().to_owned() });
            request.set_timeout(TIMEOUT);
            let mut subjects = self.clients.for_project(project.0).subjects();
            let found = subjects.follow_erasures(request).await?.into_inner();
            for erasure in found.erasures {
                self.forget(project, erasure).await?;
            }
        }
        Ok(())
    }

    async fn forget(
        &self,
        project: ProjectId,
        erasure: ErasureToFollow,
    ) -> Result<(), FollowError> {
        let erasure_id = erasure.erasure_id.clone();
        let subject = self.subject(project, erasure)?;
        let mut transaction = self.pool.begin().await.map_err(northstar_store::Error::from)?;
        let Forgot { records, waits_for, note } =
            self.holder.forget(&mut transaction, &subject).await?;
        if records > 0 {
            let service = self.holder.as_str();
            let entry = audit::NewEntry {
                project,
                actor: &format!("northstar-{service}"),
                action: "subject.forgotten",
                resource: &format!("erasures/{erasure_id}"),
                detail: &serde_json::json!({"service": service, "records": records}),
                at: subject.at,
            };
            audit::append(&mut transaction, &entry).await?;
        }
        transaction.commit().await.map_err(northstar_store::Error::from)?;
        let mut request = Request::new(ReportErasureRequest {
            erasure_id: erasure_id.clone(),
            service: self.holder.as_str().to_owned(),
            done: waits_for.is_none(),
            records,
            note: waits_for.unwrap_or(note),
        });
        request.set_timeout(TIMEOUT);
        self.clients.for_project(project.0).subjects().report_erasure(request).await?;
        tracing::info!(
            service = self.holder.as_str(),
            erasure.id = erasure_id,
            erasure.records = records,
            "followed an erasure",
        );
        Ok(())
    }

    fn subject(
        &self,
        project: ProjectId,
        erasure: ErasureToFollow,
    ) -> Result<ErasedSubject, FollowError> {
        let id = erasure.erasure_id.parse::<ErasureId>();
        let identifiers = erasure.identifiers.into_iter();
        Ok(ErasedSubject {
            erasure: id.map_err(|_| FollowError::Unreadable(erasure.erasure_id))?,
            project,
            last_position: erasure.last_position,
            rewrite_position: erasure.rewrite_position,
            renamings: identifiers
                .map(|found| {
                    let identifier = found.identifier.unwrap_or_default();
                    Renaming {
                        kind: identifier.kind,
                        value: identifier.value,
                        pseudonym: found.pseudonym,
                    }
                })
                .collect(),
            at: self.clock.now(),
        })
    }
}
