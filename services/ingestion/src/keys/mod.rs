//! What this process knows of the message ids that are in the log of a project:
//! every one, up to a position.
//!
//! The newest are held whole; the others lie in sorted runs in Postgres, over
//! which a filter is held. A new id is asked for in memory and costs no look into
//! an index; an old one, and one in some thousand new ones, costs one.
//!
//! Whoever moves the project's head from the position up to which it knows every
//! key has decided rightly what is new, whatever other processes do: if the head
//! is somewhere else, nothing is written, and what others wrote is learnt first.

mod filter;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use northstar_domain::ProjectId;
use northstar_store::ingestion::heads;
use northstar_store::ingestion::keys::{self, FreshKeys, Key, MessageKey, Run};
use northstar_store::{Error, PgConnection, PgPool, Result};
use sqlx::Connection as _;
use tokio::task::JoinHandle;

use filter::{FILTER_BYTES, Filters};

/// Commits whose keys are read at once.
const COMMITS_AT_ONCE: i64 = 64;
/// Runs that are read at once, of 2 MiB each.
const RUNS_AT_ONCE: i64 = 4;
/// Memory that the keys of all projects may take. Those of the project that was
/// not written for longest go first, and are read again when it is written; the
/// one that is being written is known whatever its size.
const MAX_BYTES: usize = 128 << 20;
/// Attempts to read keys that another process is sealing meanwhile.
const MAX_ATTEMPTS: usize = 10;

type Keys = HashMap<MessageKey, Key, RandomState>;

/// What is known of the projects that this process writes.
#[derive(Debug)]
pub(crate) struct KnownKeys {
    /// Keys that are held whole before they become a run.
    run_keys: usize,
    projects: HashMap<ProjectId, (u64, ProjectKeys)>,
    /// Rises with every use.
    now: u64,
}

impl KnownKeys {
    /// Knows nothing yet; makes runs of so many keys.
    pub(crate) fn new(run_keys: usize) -> Self {
        Self { run_keys, projects: HashMap::new(), now: 0 }
    }

    /// Every key of a project, read when it is not known yet.
    pub(crate) async fn of(
        &mut self,
        connection: &mut PgConnection,
        project: ProjectId,
    ) -> Result<&mut ProjectKeys> {
        self.now += 1;
        if !self.projects.contains_key(&project) {
            let keys = ProjectKeys::read(connection, project, self.run_keys).await?;
            let mut bytes: usize = self.projects.values().map(|(_, keys)| keys.bytes()).sum();
            while bytes + keys.bytes() > MAX_BYTES {
                let oldest = self.projects.iter().min_by_key(|(_, (used, _))| *used);
                let Some(oldest) = oldest.map(|(project, _)| *project) else { break };
                bytes -= self.projects.remove(&oldest).map_or(0, |(_, keys)| keys.bytes());
            }
            self.projects.insert(project, (self.now, keys));
        }
        let (used, keys) = self.projects.get_mut(&project).expect("it was just made sure");
        *used = self.now;
        Ok(keys)
    }

    /// Notes keys of a project that this process has committed.
    pub(crate) fn remember(
        &mut self,
        project: ProjectId,
        keys: impl IntoIterator<Item = (MessageKey, u64)>,
    ) {
        if let Some((_, known)) = self.projects.get_mut(&project) {
            known.remember(keys);
        }
    }

    /// Forgets what is known of a project, because it may not be true.
    pub(crate) fn forget(&mut self, project: ProjectId) {
        self.projects.remove(&project);
    }
}

/// Every key of a project up to a position.
#[derive(Debug)]
pub(crate) struct ProjectKeys {
    project: ProjectId,
    run_keys: usize,
    /// The position.
    position: i64,
    /// Keys that no run holds.
    fresh: Keys,
    /// Keys of which a run is being made.
    sealing: Option<Sealing>,
    /// The last position of each run, in the order of the filters.
    runs: Vec<i64>,
    filters: Filters,
}

#[derive(Debug)]
struct Sealing {
    keys: Arc<Keys>,
    last_position: i64,
    task: JoinHandle<Result<Run>>,
}

impl ProjectKeys {
    /// Reads everything. Runs and fresh keys must follow one another without a gap
    /// from the first position; there is one for a moment when a process seals
    /// keys between two of our looks, and then we look again.
    async fn read(
        connection: &mut PgConnection,
        project: ProjectId,
        run_keys: usize,
    ) -> Result<Self> {
        heads::ensure(connection, project).await?;
        for _ in 0..MAX_ATTEMPTS {
            let mut known = Self {
                project,
                run_keys,
                position: 0,
                fresh: Keys::default(),
                sealing: None,
                runs: Vec::new(),
                filters: Filters::default(),
            };
            if known.read_runs(connection).await? && known.catch_up(connection).await? {
                return Ok(known);
            }
        }
        Err(Self::gap(project))
    }

    fn gap(project: ProjectId) -> Error {
        Error::Corrupt {
            table: "ingestion.fresh_keys",
            column: "first_position",
            row: format!("project {project}"),
            value: "the keys of some positions are missing".to_owned(),
        }
    }

    /// Reads the runs; `false` when there is a gap.
    async fn read_runs(&mut self, connection: &mut PgConnection) -> Result<bool> {
        loop {
            let runs = keys::runs(connection, self.project, self.position, RUNS_AT_ONCE).await?;
            if runs.is_empty() {
                return Ok(true);
            }
            for run in runs {
                if run.first_position != self.position + 1 {
                    return Ok(false);
                }
                self.add(&run)?;
                self.position = run.last_position;
            }
        }
    }

    fn add(&mut self, run: &Run) -> Result<()> {
        if !self.filters.push(&run.filter) {
            return Err(Error::Corrupt {
                table: "ingestion.key_runs",
                column: "filter",
                row: format!("{}/{}", self.project, run.last_position),
                value: format!("{} bytes instead of {FILTER_BYTES}", run.filter.len()),
            });
        }
        self.runs.push(run.last_position);
        Ok(())
    }

    /// Learns the keys that others wrote since; `false` when some of them have
    /// been sealed already, so that everything is to be read again.
    pub(crate) async fn catch_up(&mut self, connection: &mut PgConnection) -> Result<bool> {
        loop {
            let commits =
                keys::fresh(connection, self.project, self.position, COMMITS_AT_ONCE).await?;
            if commits.is_empty() {
                return Ok(true);
            }
            for commit in commits {
                if commit.first_position != self.position + 1 {
                    return Ok(false);
                }
                self.learn(&commit);
            }
            // After a crash, or the move from the old tables, there may be more
            // than memory should hold.
            if self.fresh.len() >= self.run_keys && self.sealing.is_none() {
                let fresh = Arc::new(std::mem::take(&mut self.fresh));
                let run = seal(connection, self.project, fresh, self.position).await?;
                self.add(&run)?;
            }
        }
    }

    fn learn(&mut self, commit: &FreshKeys) {
        self.fresh.extend(commit.iter());
        self.position = commit.last_position;
    }

    /// Memory that this takes, about.
    fn bytes(&self) -> usize {
        let sealing = self.sealing.as_ref().map_or(0, |sealing| sealing.keys.capacity());
        let keys = self.fresh.capacity() + sealing;
        keys * size_of::<(MessageKey, Key)>() + self.filters.bytes() + size_of::<Self>()
    }

    /// Every key up to this position is known.
    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    /// Which of these keys are taken, and by what. The connection must be that of a
    /// [writer](northstar_store::ingestion::settle_writer). No transaction is
    /// needed: a run that was sealed does not change.
    pub(crate) async fn find(
        &mut self,
        connection: &mut PgConnection,
        wanted: &[MessageKey],
    ) -> Result<HashMap<MessageKey, Key>> {
        let mut found = HashMap::new();
        let mut sealed = Vec::new();
        for key in wanted {
            let fresh = self.fresh.get(key);
            let sealing = || self.sealing.as_ref().and_then(|sealing| sealing.keys.get(key));
            match fresh.or_else(sealing) {
                Some(known) => {
                    found.insert(*key, *known);
                }
                None => sealed.extend(
                    self.filters.candidates(*key).map(|candidate| (self.runs[candidate], *key)),
                ),
            }
        }
        if !sealed.is_empty() {
            // In the order of the index, whose pages are then read once each.
            sealed.sort_unstable();
            found.extend(keys::find_sealed(connection, self.project, &sealed).await?);
        }
        Ok(found)
    }

    /// Notes keys that this process has committed; they follow [`Self::position`].
    fn remember(&mut self, keys: impl IntoIterator<Item = (MessageKey, u64)>) {
        for (key, body) in keys {
            self.position += 1;
            self.fresh.insert(key, Key { position: self.position, body });
        }
    }

    /// Begins to make a run when enough keys are held, and takes it in when it is
    /// made. Writing goes on meanwhile. `false` when another process has sealed
    /// some of the same keys, so that everything is to be read again.
    pub(crate) async fn tend(&mut self, pool: &PgPool) -> Result<bool> {
        if let Some(sealing) = &mut self.sealing
            && sealing.task.is_finished()
        {
            let sealed = (&mut sealing.task).await;
            let Sealing { keys, last_position, .. } =
                self.sealing.take().expect("it was there a line above");
            let error = match sealed {
                Ok(Ok(run)) => {
                    self.add(&run)?;
                    None
                }
                Ok(Err(Error::Conflict(_))) => return Ok(false),
                Ok(Err(error)) => Some(anyhow::Error::from(error)),
                Err(panic) => Some(panic.into()),
            };
            if let Some(error) = error {
                tracing::warn!(
                    project.id = self.project.0,
                    error = format!("{error:#}"),
                    "message ids are not sealed yet; tried again with the next commit"
                );
                self.begin_sealing(pool.clone(), keys, last_position);
            }
        }
        if self.sealing.is_none() && self.fresh.len() >= self.run_keys {
            let keys = Arc::new(std::mem::take(&mut self.fresh));
            self.begin_sealing(pool.clone(), keys, self.position);
        }
        Ok(true)
    }

    fn begin_sealing(&mut self, pool: PgPool, keys: Arc<Keys>, last_position: i64) {
        let project = self.project;
        let sealed = Arc::clone(&keys);
        let task = tokio::spawn(async move {
            let mut connection = pool.acquire().await?;
            seal(&mut connection, project, sealed, last_position).await
        });
        self.sealing = Some(Sealing { keys, last_position, task });
    }
}

/// Makes a run of keys, the newest of which has the last position.
async fn seal(
    connection: &mut PgConnection,
    project: ProjectId,
    fresh: Arc<Keys>,
    last_position: i64,
) -> Result<Run> {
    let sorting = tokio::task::spawn_blocking(move || {
        let mut sorted: Vec<(MessageKey, Key)> =
            fresh.iter().map(|(key, of)| (*key, *of)).collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        let filter = filter::build(sorted.iter().map(|(key, _)| *key));
        (sorted, filter)
    });
    let (sorted, filter) =
        sorting.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let first_position = sorted.iter().map(|(_, key)| key.position).min().unwrap_or(last_position);
    let run = Run { first_position, last_position, filter };
    let mut transaction = connection.begin().await?;
    keys::seal(&mut transaction, project, &run, &sorted).await?;
    transaction.commit().await?;
    Ok(run)
}
