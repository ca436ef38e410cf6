//! A member of a consumer group that joins, and joins again when it must.

use std::collections::BTreeMap;
use std::time::Duration;

use northstar_proto::ingestion::v1 as pb;
use pb::consume_request::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::Clients;

/// First and longest wait before joining again.
const PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_secs(10);

/// A member of a consumer group ([`pb::JoinGroup`] says what can be set). It
/// joins when it is first asked for events, and again whenever its place or its
/// connection is lost.
///
/// ```no_run
/// use northstar_client::{Clients, Consumer};
/// use northstar_client::proto::ingestion::v1::JoinGroup;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let northstar = Clients::connect("http://localhost:50051", "ns_...")?;
/// let mut consumer = Consumer::new(northstar, JoinGroup {
///     group: "billing".to_owned(),
///     member_id: "pod-1".to_owned(),
///     ..JoinGroup::default()
/// });
/// loop {
///     let batch = consumer.next().await?;
///     for delivered in &batch.events {
///         println!("{delivered:?}");
///     }
///     consumer.acknowledge(&batch).await?;
/// }
/// # }
/// ```
///
/// Work that takes longer than the lease calls [`Consumer::heartbeat`]
/// meanwhile. Use one connection ([`Clients`]) for each consumer of a process:
/// the streams of one connection share its flow-control window.
#[derive(Debug)]
pub struct Consumer {
    clients: Clients,
    join: pb::JoinGroup,
    stream: Option<Stream>,
    /// Read while an acknowledgement was waited for.
    early: Vec<pb::DeliveredEvent>,
    pause: Duration,
    joins: u64,
}

#[derive(Debug)]
struct Stream {
    requests: mpsc::Sender<pb::ConsumeRequest>,
    responses: Streaming<pb::ConsumeResponse>,
    /// Tells batches of this stream from those of an earlier one.
    number: u64,
}

/// Events that a member was sent, in position order within each partition.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The events; at least one.
    pub events: Vec<pb::DeliveredEvent>,
    stream: u64,
}

impl Batch {
    /// The position to acknowledge for each partition when all of it is handled.
    pub fn positions(&self) -> Vec<pb::PartitionPosition> {
        let mut positions: BTreeMap<i32, i64> = BTreeMap::new();
        for delivered in &self.events {
            let position = delivered.event.as_ref().map_or(0, |event| event.position);
            positions
                .entry(delivered.partition)
                .and_modify(|known| *known = (*known).max(position))
                .or_insert(position);
        }
        positions
            .into_iter()
            .map(|(partition, position)| pb::PartitionPosition { partition, position })
            .collect()
    }
}

impl Consumer {
    /// A member that has not joined yet.
    pub fn new(clients: Clients, join: pb::JoinGroup) -> Self {
        Self { clients, join, stream: None, early: Vec::new(), pause: PAUSE, joins: 0 }
    }

    /// The next events; waits until there are some. Events of a batch that was
    /// not acknowledged before the place was lost come again, to this member or
    /// to another. Safe to drop while it waits.
    ///
    /// # Errors
    /// What joining again cannot mend: a wrong field, a wrong filter, a key that
    /// may not.
    pub async fn next(&mut self) -> Result<Batch, Status> {
        loop {
            if let Some(stream) = &self.stream
                && !self.early.is_empty()
            {
                let events = std::mem::take(&mut self.early);
                return Ok(Batch { events, stream: stream.number });
            }
            if let Err(status) = self.receive().await {
                self.lose(status).await?;
            }
        }
    }

    /// Acknowledges a batch and waits until that is durable. Returns the
    /// partitions for which it came too late, because another member has them
    /// now: their events are handled twice. All of them, when the place was lost
    /// meanwhile.
    ///
    /// # Errors
    /// As [`Consumer::next`].
    pub async fn acknowledge(&mut self, batch: &Batch) -> Result<Vec<i32>, Status> {
        let mut waiting: BTreeMap<i32, i64> =
            batch.positions().into_iter().map(|at| (at.partition, at.position)).collect();
        let mut late = Vec::new();
        let positions = batch.positions();
        let kind = Kind::Acknowledge(pb::Acknowledge { positions });
        let sent = match &self.stream {
            Some(stream) if stream.number == batch.stream => {
                stream.requests.send(pb::ConsumeRequest { kind: Some(kind) }).await.is_ok()
            }
            _ => false,
        };
        while sent && !waiting.is_empty() {
            match self.receive().await {
                Ok(response) => {
                    for at in response.acknowledged {
                        if waiting.get(&at.partition).is_some_and(|wanted| *wanted <= at.position) {
                            waiting.remove(&at.partition);
                        }
                    }
                    for at in response.fenced {
                        if waiting.remove(&at.partition).is_some() {
                            late.push(at.partition);
                        }
                    }
                }
                Err(status) => {
                    self.lose(status).await?;
                    break;
                }
            }
        }
        late.extend(waiting.into_keys());
        Ok(late)
    }

    /// Tells that work goes on, so that the lease starts anew.
    ///
    /// # Errors
    /// Never for now; a lost place shows at the next call.
    pub async fn heartbeat(&mut self) -> Result<(), Status> {
        if let Some(stream) = &self.stream {
            let kind = Some(Kind::Heartbeat(pb::Heartbeat {}));
            // A stream that is gone is noticed by whoever reads from it.
            let _ = stream.requests.send(pb::ConsumeRequest { kind }).await;
        }
        Ok(())
    }

    /// Leaves the group: others get its partitions at once.
    pub fn leave(self) {}

    /// Receives one response and keeps its events.
    async fn receive(&mut self) -> Result<pb::ConsumeResponse, Status> {
        if self.stream.is_none() {
            self.join().await?;
        }
        let Some(stream) = &mut self.stream else {
            return Err(Status::unavailable("the stream could not be opened"));
        };
        let message = stream.responses.message().await?;
        let mut response = message.ok_or_else(|| Status::unavailable("the stream ended"))?;
        self.pause = PAUSE;
        self.early.append(&mut response.events);
        Ok(response)
    }

    async fn join(&mut self) -> Result<(), Status> {
        let (requests, outgoing) = mpsc::channel(16);
        let kind = Some(Kind::Join(self.join.clone()));
        // The receiver is alive: it is used below.
        let _ = requests.send(pb::ConsumeRequest { kind }).await;
        let responses =
            self.clients.subscriptions().consume(ReceiverStream::new(outgoing)).await?.into_inner();
        self.joins += 1;
        self.early.clear();
        self.stream = Some(Stream { requests, responses, number: self.joins });
        Ok(())
    }

    /// Waits before joining again, or gives up.
    async fn lose(&mut self, status: Status) -> Result<(), Status> {
        self.stream = None;
        // They are sent again.
        self.early.clear();
        let passing = matches!(
            status.code(),
            Code::Unavailable
                | Code::Aborted
                | Code::ResourceExhausted
                | Code::Unknown
                | Code::Cancelled
        );
        if !passing {
            return Err(status);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(MOST_PAUSE);
        Ok(())
    }
}
