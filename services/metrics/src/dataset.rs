//! The read model of each project: an engine data set that has taken in every
//! event committed before it is asked.
//!
//! A view first reads how far the log has come and then takes in what is
//! missing. An event that was acknowledged before the question was asked is
//! committed, so it is at or below that position, and every smaller position is
//! committed too; so the view covers it.

mod archived;
mod compact;
mod folder;
mod load;
mod progress;
mod refresh;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use northstar_domain::{Clock, ProjectId};
use northstar_engine::{Dataset, Snapshot};
use northstar_store::PgPool;
use northstar_store::metrics::cohort::Member;
use northstar_store::metrics::log::Head;

pub(crate) use folder::Folder;

/// The read models of all projects.
pub(crate) struct Datasets {
    pool: PgPool,
    folder: Folder,
    clock: Arc<dyn Clock>,
    /// Most memory that a question may use beside the events.
    query_bytes: u64,
    projects: Mutex<HashMap<ProjectId, Slot>>,
}

/// One project's data set. Whoever holds the lock refreshes, the others wait and
/// find little left to do.
type Slot = Arc<tokio::sync::Mutex<Option<Loaded>>>;

struct Loaded {
    dataset: Dataset,
    /// How far the data set knows the identity map and the consent of subjects.
    known: Known,
}

/// Versions of what is taken in beside the events.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    identity_version: i64,
    consent_version: i64,
    /// `None` before a policy was asked for.
    consent_policy_version: Option<i64>,
    /// Erasures that the events read so far have undergone.
    erasure_version: i64,
}

/// A consistent view of a project's log.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// What the engine answers from.
    pub(crate) snapshot: Snapshot,
    /// How much of the log it covers.
    pub(crate) head: Head,
    /// Events that are in no answer for lack of consent.
    pub(crate) excluded_events: u64,
}

/// Lists of subjects by the names of their cohorts.
pub(crate) type Lists = BTreeMap<String, Arc<Vec<Member>>>;

impl Datasets {
    pub(crate) fn new(
        pool: PgPool,
        folder: Folder,
        clock: Arc<dyn Clock>,
        query_bytes: u64,
    ) -> Self {
        Self { pool, folder, clock, query_bytes, projects: Mutex::default() }
    }

    fn slot(&self, project: ProjectId) -> Slot {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(projects.entry(project).or_default())
    }
}
