//! Numbers of sources, remembered: a source never changes its number.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use northstar_domain::ProjectId;
use northstar_store::ingestion::{SourceId, sources};
use northstar_store::{PgPool, Result};

/// Most sources of a project that are remembered.
const MOST_REMEMBERED: usize = 10_000;

type Known = HashMap<ProjectId, HashMap<String, SourceId>>;

/// The sources this process has heard of.
#[derive(Clone)]
pub(crate) struct Sources {
    pool: PgPool,
    known: Arc<RwLock<Known>>,
}

impl Sources {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, known: Arc::default() }
    }

    /// The number of a source, which is made when it is new.
    pub(crate) async fn id(&self, project: ProjectId, name: &str) -> Result<SourceId> {
        let known = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&project)
            .and_then(|sources| sources.get(name).copied());
        if let Some(id) = known {
            return Ok(id);
        }
        let mut connection = self.pool.acquire().await?;
        let id = sources::ensure(&mut connection, project, name).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(project).or_default();
        // Producers choose the names; what is forgotten is looked up again.
        if known.len() == MOST_REMEMBERED {
            known.clear();
        }
        known.insert(name.to_owned(), id);
        Ok(id)
    }
}
