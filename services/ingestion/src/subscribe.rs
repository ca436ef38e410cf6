//! Follows the log for one consumer group.

use std::time::Duration;

use northstar_domain::ProjectId;
use northstar_domain::expression::{Condition, EventFacts};
use northstar_proto::ingestion::v1 as pb;
use northstar_store::PgPool;
use northstar_store::ingestion::heads;
use northstar_store::ingestion::log::{LoggedEvent, read_after};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::convert::logged_to_proto;
use crate::error::Error;
use crate::writer::Writer;

/// How soon the events of another process are noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How soon a consumer learns of progress when every event is filtered out.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Events read at once: bounds the memory of a subscription.
pub(crate) const READ_EVENTS: i64 = 1_000;
/// A response is sent once its properties have so many bytes, far below the
/// 4 MiB that clients accept by default.
pub(crate) const RESPONSE_BYTES: usize = 1 << 20;

/// A consumer group that follows the log.
pub(crate) struct Subscription {
    pub(crate) pool: PgPool,
    pub(crate) writer: Writer,
    pub(crate) project: ProjectId,
    /// Every event up to here has been handled.
    pub(crate) position: i64,
    pub(crate) filter: Condition,
    /// Most events per response.
    pub(crate) batch_events: usize,
    pub(crate) shutdown: CancellationToken,
}

type Responses = mpsc::Sender<Result<pb::SubscribeResponse, Status>>;

impl Subscription {
    /// Sends events until the consumer leaves, the process stops or the database
    /// fails. The consumer's pace is the pace of reading: no more than one
    /// response waits for it, and no connection is held meanwhile.
    pub(crate) async fn run(self, responses: Responses) {
        let shutdown = self.shutdown.clone();
        let consumer = responses.clone();
        tokio::select! {
            biased;
            () = consumer.closed() => {}
            () = shutdown.cancelled() => {
                // The consumer may be behind; it is told when it has room.
                let _ = responses.send(Err(Error::Draining.into())).await;
            }
            Err(error) = self.follow(&responses) => {
                let _ = responses.send(Err(error.into())).await;
            }
        }
    }

    /// Never returns `Ok`.
    async fn follow(mut self, responses: &Responses) -> Result<(), Error> {
        let writer = self.writer.clone();
        let mut told = self.position;
        let mut told_at = Instant::now();
        loop {
            // Before reading, so that a commit in between is not missed.
            let mut written = std::pin::pin!(writer.written().notified());
            written.as_mut().enable();
            let (events, end) = self.read().await?;
            let idle = end == self.position;
            let mut response = pb::SubscribeResponse::default();
            let mut bytes = 0;
            for event in events {
                self.position = event.position;
                bytes += event.properties.len();
                response.events.extend(select(&self.filter, event));
                if response.events.len() >= self.batch_events || bytes >= RESPONSE_BYTES {
                    send(responses, &mut response, self.position).await;
                    (told, told_at, bytes) = (self.position, Instant::now(), 0);
                }
            }
            self.position = end;
            let progress_due = self.position > told && told_at.elapsed() >= PROGRESS_INTERVAL;
            if !response.events.is_empty() || progress_due {
                send(responses, &mut response, self.position).await;
                (told, told_at) = (self.position, Instant::now());
            }
            if idle {
                let _ = tokio::time::timeout(POLL_INTERVAL, written).await;
            }
        }
    }

    /// The next events, and the position up to which these are all.
    async fn read(&self) -> Result<(Vec<LoggedEvent>, i64), Error> {
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        // An idle subscription costs one look at one row.
        let head = heads::read(&mut connection, self.project).await?;
        if head.position <= self.position {
            return Ok((Vec::new(), self.position));
        }
        let end = head.position.min(self.position + READ_EVENTS);
        let limit = end - self.position;
        let events = read_after(&mut connection, self.project, self.position, limit).await?;
        Ok((events, end))
    }
}

/// The event for the wire, if the consumer wants it.
pub(crate) fn select(filter: &Condition, event: LoggedEvent) -> Option<pb::LoggedEvent> {
    let properties: serde_json::Map<_, _> = match serde_json::from_str(&event.properties) {
        Ok(properties) => properties,
        Err(error) => {
            tracing::error!(event.position, %error, "properties in the log are no JSON object");
            return None;
        }
    };
    let facts = EventFacts {
        name: &event.name,
        source: &event.source,
        user_id: &event.user_id,
        anonymous_id: &event.anonymous_id,
        account_id: &event.account_id,
        properties: &properties,
    };
    if !filter.matches(&facts) {
        return None;
    }
    Some(logged_to_proto(event, properties))
}

/// Whether the consumer is still there is noticed by [`Subscription::run`].
async fn send(responses: &Responses, response: &mut pb::SubscribeResponse, position: i64) {
    let mut response = std::mem::take(response);
    response.position = position;
    let _ = responses.send(Ok(response)).await;
}
