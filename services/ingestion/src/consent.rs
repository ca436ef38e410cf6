//! Consent policies at hand, so that an event is judged before anything of it is
//! kept.
//!
//! A change made through this process holds for the next request; one made
//! through another is noticed within a second.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use northstar_domain::ProjectId;
use northstar_domain::consent_policy::ConsentPolicy;
use northstar_store::ingestion::subject_policies::{self, Kind, Stored};
use northstar_store::{PgPool, Result};
use tokio_util::sync::CancellationToken;

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Version and policy of each project that was asked for.
type Known = HashMap<ProjectId, (i64, Arc<ConsentPolicy>)>;

/// The consent policies of every project this process receives events for.
#[derive(Clone)]
pub(crate) struct ConsentPolicies {
    pool: PgPool,
    projects: Arc<RwLock<Known>>,
}

impl ConsentPolicies {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, projects: Arc::default() }
    }

    /// The policy of a project; one that asks for nothing when it has none.
    pub(crate) async fn of(&self, project: ProjectId) -> Result<Arc<ConsentPolicy>> {
        let known = self
            .projects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&project)
            .map(|(_, policy)| Arc::clone(policy));
        match known {
            Some(policy) => Ok(policy),
            None => self.reload(project).await,
        }
    }

    /// Reads a project's policy again.
    pub(crate) async fn reload(&self, project: ProjectId) -> Result<Arc<ConsentPolicy>> {
        let mut connection = self.pool.acquire().await?;
        let stored: Option<Stored<ConsentPolicy>> =
            subject_policies::find(&mut connection, project, Kind::Consent).await?;
        let (version, policy) =
            stored.map_or_else(Default::default, |stored| (stored.version, stored.policy));
        let policy = Arc::new(policy);
        let mut projects = self.projects.write().unwrap_or_else(PoisonError::into_inner);
        let newest = projects.entry(project).or_insert_with(|| (version, Arc::clone(&policy)));
        if newest.0 <= version {
            *newest = (version, policy);
        }
        Ok(Arc::clone(&newest.1))
    }

    /// Follows changes made through other processes until `shutdown`.
    pub(crate) async fn follow(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        while shutdown.run_until_cancelled(tokio::time::sleep(REFRESH_INTERVAL)).await.is_some() {
            if let Err(error) = self.refresh().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "consent policies could not be refreshed"
                );
            }
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<()> {
        let mut connection = self.pool.acquire().await?;
        let versions = subject_policies::versions(&mut connection, Kind::Consent).await?;
        drop(connection);
        for (project, version) in versions {
            let outdated = self
                .projects
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&project)
                .is_some_and(|(known, _)| *known != version);
            if outdated {
                self.reload(project).await?;
            }
        }
        Ok(())
    }
}
