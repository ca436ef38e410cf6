//! The one task that writes the log of this process.
//!
//! Requests wait in a queue; whatever waits when a transaction ends goes into
//! the next one. Under light load that is one request, under heavy load the
//! cost of a durable commit is shared by many.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use northstar_domain::ProjectId;
use northstar_store::ingestion::{begin_durably, heads};
use northstar_store::{PgPool, Result};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::accounting::KnownNames;
use crate::batch::Batch;
use crate::error::Error;
use crate::keys::KnownKeys;
use crate::links::KnownLinks;
use crate::transaction::{Answer, Attempt, write};

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
        };
        let writer = Self {
            queue,
            memory: Arc::new(Semaphore::new(memory_kibibytes as usize)),
            memory_kibibytes,
            written,
        };
        (writer, task.run(waiting, shutdown))
    }

    /// Takes memory for a request of so many bytes, if there is some.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Result<Memory, Error> {
        Arc::clone(&self.memory)
            .try_acquire_many_owned(self.kibibytes(bytes))
            .map(Memory)
            .map_err(|_| Error::Overloaded)
    }

    /// Waits for memory for a request of so many bytes.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Memory, Error> {
        Arc::clone(&self.memory)
            .acquire_many_owned(self.kibibytes(bytes))
            .await
            .map(Memory)
            .map_err(|_| Error::Draining)
    }

    fn kibibytes(&self, bytes: usize) -> u32 {
        u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.memory_kibibytes)
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
    /// Held between transactions: to ask a pool for one costs a round trip.
    connection: Option<PoolConnection<Postgres>>,
    keys: KnownKeys,
    known_links: KnownLinks,
    known_names: KnownNames,
    /// Last position for which the log has a partition; `None` before the first
    /// transaction.
    partition_end: Option<i64>,
    written: Arc<Notify>,
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
            match self.write(project, &Arc::new(batches)).await {
                Ok(answers) => {
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
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        let keys = self.keys.of(&mut connection, project).await?;
        if !keys.tend(&self.pool).await? {
            self.keys.forget(project);
            self.connection = Some(connection);
            return Ok(None);
        }
        let events: usize = batches.iter().map(|batch| batch.items.len()).sum();
        let last = keys.position() + events as i64;
        if self.partition_end.is_none_or(|end| end < last) {
            let from = self.partition_end.map_or_else(|| keys.position(), |end| end + 1);
            let end = grow(&mut connection, from, last + PARTITION_LEAD).await?;
            self.partition_end = Some(end);
        }
        let mut transaction = match begin_durably(&mut connection).await {
            Ok(transaction) => transaction,
            // It may have rested for long. Nothing was asked of it yet.
            Err(northstar_store::Error::Unavailable(_)) if others == Others::Absent => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if others == Others::Present {
            heads::lock(&mut transaction, project).await?;
            if !keys.catch_up(&mut transaction).await? {
                self.keys.forget(project);
                transaction.rollback().await?;
                self.connection = Some(connection);
                return Ok(None);
            }
        }
        let (links, names) = (&self.known_links, &self.known_names);
        match write(&mut transaction, project, batches, keys, links, names).await? {
            Attempt::HeadMoved => {
                transaction.rollback().await?;
                self.connection = Some(connection);
                Ok(None)
            }
            Attempt::Done(written) => {
                transaction.commit().await.map_err(|error| match error.into() {
                    error @ northstar_store::Error::Unavailable(_) => Failed::Commit(error),
                    error => Failed::Store(error),
                })?;
                keys.remember(written.keys);
                self.known_links.remember(project, written.erasures, written.links);
                self.connection = Some(connection);
                Ok(Some(written.answers))
            }
        }
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
