//! The one task that writes the log of this process.
//!
//! Requests wait in a queue; whatever waits when a transaction ends goes into
//! the next one. Under light load that is one request, under heavy load the
//! cost of a durable commit is shared by many.

use std::sync::Arc;
use std::time::Duration;

use northstar_store::ingestion::{commit_durably, heads, prefer_indexes};
use northstar_store::{PgPool, Result};
use sqlx::Acquire as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::accounting::KnownNames;
use crate::batch::Batch;
use crate::error::Error;
use crate::links::KnownLinks;
use crate::transaction::{Answer, Attempt, write};

/// A transaction takes no more once it holds so many events or bytes.
const FULL_EVENTS: usize = 20_000;
const FULL_BYTES: usize = 8 << 20;
/// Attempts when another process takes the same message ids at the same time.
const MAX_ATTEMPTS: u32 = 10;
/// Partitions are made so many positions before they are needed.
const PARTITION_LEAD: i64 = 1_000_000;
/// After the signal to stop, the writer leaves when nothing came for so long.
const QUIET: Duration = Duration::from_millis(500);

struct Queued {
    batch: Batch,
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
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (queue, waiting) = mpsc::unbounded_channel();
        let memory_kibibytes = queue_mebibytes.saturating_mul(1024);
        let written = Arc::new(Notify::new());
        let task = Task {
            pool,
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
        let queued = Queued { batch, answer, _memory: memory };
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

    async fn commit(&mut self, group: Vec<Queued>) {
        let batches: Vec<&Batch> = group.iter().map(|queued| &queued.batch).collect();
        match self.write(&batches).await {
            Ok(answers) => {
                self.written.notify_waiters();
                for (queued, answer) in group.into_iter().zip(answers) {
                    // Whoever does not wait any more asks again and hears DUPLICATE.
                    let _ = queued.answer.send(Ok(answer));
                }
            }
            Err(error) => {
                for queued in group {
                    let _ = queued.answer.send(Err(error.clone()));
                }
            }
        }
    }

    async fn write(&mut self, batches: &[&Batch]) -> Result<Vec<Answer>, Error> {
        let mut attempt = 1;
        loop {
            match self.try_write(batches).await {
                Err(Failed::Store(northstar_store::Error::Conflict(error)))
                    if attempt < MAX_ATTEMPTS =>
                {
                    attempt += 1;
                    tracing::debug!(attempt, %error, "another process took a message id first");
                }
                Err(Failed::Store(error)) => return Err(error.into()),
                Err(Failed::Commit(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the connection was lost at commit"
                    );
                    return Err(Error::CommitUnknown);
                }
                Ok(Some(answers)) => return Ok(answers),
                Ok(None) => {}
            }
        }
    }

    /// One transaction; `None` when the log had to grow first.
    async fn try_write(&mut self, batches: &[&Batch]) -> Result<Option<Vec<Answer>>, Failed> {
        let mut connection = self.pool.acquire().await?;
        let partition_end = match self.partition_end {
            Some(end) => end,
            None => {
                let highest = heads::highest(&mut connection).await?;
                self.grow(&mut connection, highest, highest + PARTITION_LEAD).await?
            }
        };
        let mut transaction = connection.begin().await?;
        commit_durably(&mut transaction).await?;
        prefer_indexes(&mut transaction).await?;
        let (links, names) = (&self.known_links, &self.known_names);
        match write(&mut transaction, batches, links, names, partition_end).await? {
            Attempt::NeedsPartition(position) => {
                transaction.rollback().await?;
                self.grow(&mut connection, partition_end + 1, position + PARTITION_LEAD).await?;
                Ok(None)
            }
            Attempt::Done(written) => {
                transaction.commit().await.map_err(|error| match error.into() {
                    error @ northstar_store::Error::Unavailable(_) => Failed::Commit(error),
                    error => Failed::Store(error),
                })?;
                for (project, erasures, links) in written.links {
                    self.known_links.remember(project, erasures, links);
                }
                Ok(Some(written.answers))
            }
        }
    }

    /// Makes the partitions that hold the positions from one to another.
    async fn grow(
        &mut self,
        connection: &mut northstar_store::PgConnection,
        from: i64,
        to: i64,
    ) -> Result<i64> {
        let mut end = heads::ensure_partition(connection, from).await?;
        while end < to {
            end = heads::ensure_partition(connection, end + 1).await?;
        }
        self.partition_end = Some(end);
        Ok(end)
    }
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
