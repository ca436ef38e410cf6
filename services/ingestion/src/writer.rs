//! The one task that writes the log of this process.
//!
//! Requests wait in a queue; whatever waits when a transaction ends goes into
//! the next one. Under light load that is one request, under heavy load the
//! cost of a durable commit is shared by many.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use northstar_domain::ProjectId;
use northstar_store::ingestion::{accounting, heads, settle_writer};
use northstar_store::{PgPool, Result};
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Postgres};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::accounting::KnownNames;
use crate::at_once;
use crate::batch::Batch;
use crate::error::Error;
use crate::instruments::Writing;
use crate::keys::KnownKeys;
use crate::links::KnownLinks;
use crate::transaction::{self, Answer, Attempt};

/// A transaction takes no more once it holds so many events or bytes.
const FULL_EVENTS: usize = 20_000;
const FULL_BYTES: usize = 8 << 20;
/// Attempts when other processes write the same project at the same time. The
/// second locks the head first and fails only with the database.
const MAX_ATTEMPTS: u32 = 10;
/// Partitions are made so many positions before they are needed.
const PARTITION_LEAD: i64 = 1_000_000;
/// After the signal to stop, the writer leaves when nothing came for so long.
const QUIET: Duration = Duration::from_millis(500);
/// What a request takes in memory until it is written, in multiples of what was
/// sent: the message, its events as they are noted, what is to become of each, and
/// its answer.
const HELD_OF_SENT: usize = 3;
/// A connection that was not used for so long is asked whether it is there.
const RESTED: Duration = Duration::from_secs(1);

struct Queued {
    batch: Batch,
    answer: oneshot::Sender<Result<Answer, Error>>,
    memory: Memory,
}

/// Who waits for an answer.
struct Waiting {
    answer: oneshot::Sender<Result<Answer, Error>>,
    /// Held until the batch is written.
    _memory: Memory,
}

/// A share of the memory that waiting requests may take.
pub(crate) struct Memory(#[expect(dead_code, reason = "held until dropped")] OwnedSemaphorePermit);

/// The way into the log.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::UnboundedSender<Queued>,
    memory: Arc<Semaphore>,
    memory_kibibytes: u32,
    written: Arc<Notify>,
}

impl Writer {
    /// A writer, and the task that does its work. The task ends some time after
    /// `shutdown`, when nothing waits any more.
    pub(crate) fn new(
        pool: PgPool,
        queue_mebibytes: u32,
        fresh_keys: usize,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (queue, waiting) = mpsc::unbounded_channel();
        let memory_kibibytes = queue_mebibytes.saturating_mul(1024);
        let written = Arc::new(Notify::new());
        let task = Task {
            pool,
            connection: None,
            keys: KnownKeys::new(fresh_keys),
            known_links: KnownLinks::default(),
            known_names: KnownNames::default(),
            partition_end: None,
            written: Arc::clone(&written),
            instruments: Writing::new(),
        };
        let writer = Self {
            queue,
            memory: Arc::new(Semaphore::new(memory_kibibytes as usize)),
            memory_kibibytes,
            written,
        };
        (writer, task.run(waiting, shutdown))
    }

    /// Takes memory for a request of so many bytes, as sent, if there is some.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Result<Memory, Error> {
        Arc::clone(&self.memory)
            .try_acquire_many_owned(self.kibibytes(bytes))
            .map(Memory)
            .map_err(|_| Error::Overloaded)
    }

    /// Waits for memory for a request of so many bytes, as sent.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Memory, Error> {
        Arc::clone(&self.memory)
            .acquire_many_owned(self.kibibytes(bytes))
            .await
            .map(Memory)
            .map_err(|_| Error::Draining)
    }

    fn kibibytes(&self, bytes: usize) -> u32 {
        u32::try_from(bytes * HELD_OF_SENT / 1024 + 1)
            .unwrap_or(u32::MAX)
            .min(self.memory_kibibytes)
    }

    /// Writes a batch and answers when it is durable. A batch that was handed in
    /// is written even when the caller stops waiting.
    pub(crate) async fn write(&self, batch: Batch, memory: Memory) -> Result<Answer, Error> {
        let (answer, answered) = oneshot::channel();
        let queued = Queued { batch, answer, memory };
        self.queue.send(queued).map_err(|_| Error::Draining)?;
        answered.await.unwrap_or(Err(Error::Draining))
    }

    /// Wakes up whoever waits for new events, after each commit of this process.
    pub(crate) fn written(&self) -> &Notify {
        &self.written
    }
}

struct Task {
    pool: PgPool,
    /// Held between transactions, since its last use: to ask a pool for one costs a
    /// round trip.
    connection: Option<(PoolConnection<Postgres>, Instant)>,
    keys: KnownKeys,
    known_links: KnownLinks,
    known_names: KnownNames,
    /// Last position for which the log has a partition; `None` before the first
    /// transaction.
    partition_end: Option<i64>,
    written: Arc<Notify>,
    instruments: Writing,
}

impl Task {
    async fn run(
        mut self,
        mut waiting: mpsc::UnboundedReceiver<Queued>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        while let Some(first) = next(&mut waiting, &shutdown).await {
            let (mut events, mut bytes) = (first.batch.items.len(), first.batch.bytes());
            let mut group = vec![first];
            while events < FULL_EVENTS && bytes < FULL_BYTES {
                let Ok(queued) = waiting.try_recv() else { break };
                events += queued.batch.items.len();
                bytes += queued.batch.bytes();
                group.push(queued);
            }
            self.commit(group).await;
        }
        Ok(())
    }

    /// One transaction for each project, so that one does not fail with another.
    async fn commit(&mut self, group: Vec<Queued>) {
        let mut projects: BTreeMap<ProjectId, (Vec<Batch>, Vec<Waiting>)> = BTreeMap::new();
        for Queued { batch, answer, memory } in group {
            let (batches, waiting) = projects.entry(batch.project).or_default();
            batches.push(batch);
            waiting.push(Waiting { answer, _memory: memory });
        }
        for (project, (batches, waiting)) in projects {
            let started = Instant::now();
            match self.write(project, &Arc::new(batches)).await {
                Ok(answers) => {
                    self.instruments.committed(started.elapsed(), &answers);
                    self.written.notify_waiters();
                    for (waiting, answer) in waiting.into_iter().zip(answers) {
                        // Whoever does not wait any more asks again and hears DUPLICATE.
                        let _ = waiting.answer.send(Ok(answer));
                    }
                }
                Err(error) => {
                    for waiting in waiting {
                        let _ = waiting.answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    async fn write(
        &mut self,
        project: ProjectId,
        batches: &Arc<Vec<Batch>>,
    ) -> Result<Vec<Answer>, Error> {
        let mut attempt = 1;
        loop {
            let others = if attempt == 1 { Others::Absent } else { Others::Present };
            let failed = match self.try_write(project, batches, others).await {
                Ok(Some(answers)) => return Ok(answers),
                Ok(None) => northstar_store::Error::Conflict(sqlx::Error::RowNotFound),
                Err(failed) => {
                    // What is known of the keys may not be so: it may have been
                    // learnt in the transaction, or its commit may have happened.
                    self.keys.forget(project);
                    match failed {
                        Failed::Store(error @ northstar_store::Error::Conflict(_)) => error,
                        Failed::Store(error) => return Err(error.into()),
                        Failed::Commit(error) => {
                            tracing::warn!(
                                error = &error as &dyn std::error::Error,
                                "the connection was lost at commit"
                            );
                            return Err(Error::CommitUnknown);
                        }
                    }
                }
            };
            if attempt == MAX_ATTEMPTS {
                return Err(failed.into());
            }
            attempt += 1;
            tracing::debug!(attempt, project.id = project.0, "another process wrote first");
        }
    }

    /// One transaction; `None` when another process wrote first.
    async fn try_write(
        &mut self,
        project: ProjectId,
        batches: &Arc<Vec<Batch>>,
        others: Others,
    ) -> Result<Option<Vec<Answer>>, Failed> {
        let mut connection = self.connect().await?;
        let keys = self.keys.of(&mut connection, project).await?;
        if !keys.tend(&self.pool).await? {
            self.keys.forget(project);
            self.keep(connection);
            return Ok(None);
        }
        let events: usize = batches.iter().map(|batch| batch.items.len()).sum();
        let last = keys.position() + events as i64;
        if self.partition_end.is_none_or(|end| end < last) {
            let from = self.partition_end.map_or_else(|| keys.position(), |end| end + 1);
            let end = grow(&mut connection, from, last + PARTITION_LEAD).await?;
            self.partition_end = Some(end);
        }
        let (links, names) = (&mut self.known_links, &self.known_names);
        let mut planned = None;
        if others == Others::Absent {
            let plan = transaction::plan(&mut connection, batches, keys).await?;
            let after = keys.position();
            let written =
                at_once::write(&mut connection, project, batches, &plan, after, links, names);
            if let Some(attempt) = written.await.map_err(at_commit)? {
                return Ok(self.learn(project, connection, attempt));
            }
            planned = Some(plan);
        }
        // Names that came first are known first.
        if names.expect_some(project) {
            accounting::count_appended(&mut connection, project).await?;
            names.forget(project);
        }
        let mut transaction = connection.begin().await?;
        let plan = match planned {
            Some(plan) => plan,
            None => {
                heads::lock(&mut transaction, project).await?;
                if !keys.catch_up(&mut transaction).await? {
                    self.keys.forget(project);
                    transaction.rollback().await?;
                    self.keep(connection);
                    return Ok(None);
                }
                transaction::plan(&mut transaction, batches, keys).await?
            }
        };
        let after = keys.position();
        let attempt =
            transaction::write(&mut transaction, project, batches, &plan, after, links, names)
                .await?;
        match attempt {
            Attempt::HeadMoved => transaction.rollback().await?,
            Attempt::Done(_) => {
                transaction.commit().await.map_err(|error| at_commit(error.into()))?;
            }
        }
        Ok(self.learn(project, connection, attempt))
    }

    /// The connection that this task holds, or a new one. One that has rested may
    /// have been lost meanwhile, which is better found out before anything is
    /// asked of it.
    async fn connect(&mut self) -> Result<PoolConnection<Postgres>> {
        if let Some((mut connection, used)) = self.connection.take()
            && (used.elapsed() < RESTED || connection.ping().await.is_ok())
        {
            return Ok(connection);
        }
        let mut connection = self.pool.acquire().await?;
        // It is not like the others any more.
        connection.close_on_drop();
        settle_writer(&mut connection).await?;
        Ok(connection)
    }

    fn keep(&mut self, connection: PoolConnection<Postgres>) {
        self.connection = Some((connection, Instant::now()));
    }

    /// Remembers what was written; `None` when it was not, because another process
    /// wrote first.
    fn learn(
        &mut self,
        project: ProjectId,
        connection: PoolConnection<Postgres>,
        attempt: Attempt,
    ) -> Option<Vec<Answer>> {
        self.keep(connection);
        let Attempt::Done(written) = attempt else { return None };
        self.keys.remember(project, written.keys);
        self.known_links.remember(project, written.erasures, written.links);
        Some(written.answers)
    }
}

/// A failure of what commits: without a connection nobody knows whether it did.
fn at_commit(error: northstar_store::Error) -> Failed {
    match error {
        error @ northstar_store::Error::Unavailable(_) => Failed::Commit(error),
        error => Failed::Store(error),
    }
}

/// Whether others may be writing the same project.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Others {
    /// The head is where we left it, or else nothing is written.
    Absent,
    /// The head is locked, and what they wrote is learnt first.
    Present,
}

/// Makes the partitions that hold the positions from one to another, and returns
/// the last position that they hold.
async fn grow(connection: &mut northstar_store::PgConnection, from: i64, to: i64) -> Result<i64> {
    let mut end = heads::ensure_partition(connection, from).await?;
    while end < to {
        end = heads::ensure_partition(connection, end + 1).await?;
    }
    Ok(end)
}

async fn next(
    waiting: &mut mpsc::UnboundedReceiver<Queued>,
    shutdown: &CancellationToken,
) -> Option<Queued> {
    tokio::select! {
        biased;
        queued = waiting.recv() => return queued,
        () = shutdown.cancelled() => {}
    }
    tokio::time::timeout(QUIET, waiting.recv()).await.ok().flatten()
}

/// Why a transaction did not end well.
enum Failed {
    /// Nothing was written.
    Store(northstar_store::Error),
    /// The connection was lost at commit; whether it happened is not known.
    Commit(northstar_store::Error),
}

impl From<northstar_store::Error> for Failed {
    fn from(error: northstar_store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}
