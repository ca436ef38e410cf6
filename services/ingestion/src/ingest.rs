//! The gRPC doors: from the bytes of a request to the outcome of each event.
//!
//! Bytes are counted before anything is made of them, so that what waits here
//! is bounded whoever sends.

use std::sync::Arc;
use std::time::Instant;

use futures::{Stream, StreamExt as _};
use northstar_domain::ProjectId;
use northstar_domain::event::{Fault, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Reason};
use northstar_proto::Encoded;
use northstar_proto::ingestion::v1 as pb;
use tokio::sync::Semaphore;
use tonic::{Status, Streaming};

use crate::batch::{Batch, Origin};
use crate::columns::Columns;
use crate::convert::result_runs;
use crate::error::Error;
use crate::events::Events;
use crate::sender::Sender;
use crate::service::Ingestion;
use crate::transaction::Answer;
use crate::walk;
use crate::writer::Memory;

/// Requests of one stream that are worked on, or whose answers wait to be read.
const STREAM_IN_FLIGHT: usize = 16;
/// Bytes of them, as sent. What is beyond stays with the client.
const STREAM_WINDOW_KIBIBYTES: usize = 8 * 1024;

impl Ingestion {
    pub(crate) async fn ingest_map(
        &self,
        sender: Sender,
        request: Encoded<pb::IngestEventsRequest>,
    ) -> Result<pb::IngestEventsResponse, Error> {
        let memory = self.writer.try_reserve(check_bytes(request.bytes().len())?)?;
        let walk::MapBatch { source, events, .. } = walk::ingest_events(&request)?;
        let Answer { results, log_position } = self.ingest(sender, &source, events, memory).await?;
        Ok(pb::IngestEventsResponse { results, log_position })
    }

    pub(crate) async fn ingest_columns(
        &self,
        sender: Sender,
        request: Encoded<pb::IngestColumnsRequest>,
    ) -> Result<pb::IngestColumnsResponse, Error> {
        let while_decoding = self.writer.try_reserve(check_bytes(request.bytes().len())?)?;
        let pb::IngestColumnsRequest { source, columns } = request.decode()?;
        drop(request);
        let columns = Columns::check(columns.unwrap_or_default())?;
        drop(while_decoding);
        let memory = self.writer.try_reserve(columns.bytes())?;
        let Answer { results, log_position } =
            self.ingest(sender, &source, columns, memory).await?;
        Ok(pb::IngestColumnsResponse { result_runs: result_runs(results), log_position })
    }

    /// Answers the requests of a stream in their order. The next one is read
    /// when there is room for it, both within the stream's window and among
    /// everything that waits for the log; room is given back when an answer is
    /// handed to the connection, so that a client that does not read is not read
    /// either.
    pub(crate) fn ingest_stream(
        &self,
        sender: Sender,
        requests: Streaming<Encoded<pb::StreamEventsRequest>>,
    ) -> impl Stream<Item = Result<pb::StreamEventsResponse, Status>> + Send + use<> {
        let window = Arc::new(Semaphore::new(STREAM_WINDOW_KIBIBYTES));
        let (taker, answerer) = (self.clone(), self.clone());
        let shutdown = self.shutdown.clone();
        requests
            .take_until(self.shutdown.clone().cancelled_owned())
            .then(move |request| {
                let (writer, window) = (taker.writer.clone(), Arc::clone(&window));
                async move {
                    let request = request?;
                    let bytes = check_bytes(request.bytes().len())?;
                    let kibibytes = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
                    let room = window.acquire_many_owned(kibibytes).await;
                    let room = room.map_err(|_| Error::Draining)?;
                    let memory = writer.reserve(bytes).await?;
                    Ok::<_, Status>((request, memory, room))
                }
            })
            .map(move |taken| {
                let service = answerer.clone();
                // On a task of its own, so that requests are prepared in parallel.
                let answer = tokio::spawn(async move {
                    let (request, memory, room) = taken?;
                    let answer = service.answer_stream(sender, request, memory).await?;
                    Ok::<_, Status>((answer, room))
                });
                async move { answer.await.unwrap_or_else(|_| Err(Error::Draining.into())) }
            })
            .buffered(STREAM_IN_FLIGHT)
            .map(|answered| answered.map(|(answer, _room)| answer))
            .chain(
                futures::stream::once(async move {
                    // A stream that the client ended ends well.
                    shutdown.is_cancelled().then(|| Err(Error::Draining.into()))
                })
                .filter_map(async |end| end),
            )
    }

    /// One request of a stream. What a later attempt may mend is answered with
    /// RETRY for each event, so that the stream goes on.
    async fn answer_stream(
        &self,
        sender: Sender,
        request: Encoded<pb::StreamEventsRequest>,
        memory: Memory,
    ) -> Result<pb::StreamEventsResponse, Error> {
        let walk::MapBatch { sequence, source, events, columns } = walk::stream_events(&request)?;
        drop(request);
        let in_columns = columns.is_some();
        let (count, answer) = match columns {
            None => (events.len(), self.ingest(sender, &source, events, memory).await),
            Some(_) if events.len() > 0 => {
                return Err(Error::invalid("columns", "a request has events or columns, not both"));
            }
            Some(columns) => {
                let columns = Columns::check(columns)?;
                // Not both at once: two requests that each wait for their second
                // share would wait for each other.
                drop(memory);
                let memory = self.writer.reserve(columns.bytes()).await?;
                (columns.len(), self.ingest(sender, &source, columns, memory).await)
            }
        };
        let Answer { results, log_position } = match answer {
            Ok(answer) => answer,
            Err(error) if error.may_be_retried() => {
                Answer { results: vec![retry(); count], log_position: 0 }
            }
            Err(error) => return Err(error),
        };
        let (results, result_runs) =
            if in_columns { (Vec::new(), result_runs(results)) } else { (results, Vec::new()) };
        Ok(pb::StreamEventsResponse { sequence, results, log_position, result_runs })
    }

    /// Takes events in, whatever door they came by. `memory` is a share for
    /// what they take until they are written.
    pub(crate) async fn ingest(
        &self,
        sender: Sender,
        source: &str,
        events: impl Events + 'static,
        memory: Memory,
    ) -> Result<Answer, Error> {
        sender.check_source(source)?;
        check_count(events.len())?;
        self.limits.take(sender.project, source, events.len(), Instant::now())?;
        let origin = self.origin(sender.project, source).await?;
        self.ingest_from(origin, events, memory).await
    }

    /// As [`Self::ingest`], from where it is known already.
    pub(crate) async fn ingest_from(
        &self,
        origin: Origin,
        events: impl Events + 'static,
        memory: Memory,
    ) -> Result<Answer, Error> {
        let contracts = self.contracts.of(origin.project).await?;
        let batch = Batch::of_events(origin, events, &contracts);
        drop(contracts);
        self.writer.write(batch, memory).await
    }

    pub(crate) async fn origin(&self, project: ProjectId, source: &str) -> Result<Origin, Error> {
        let received_at = self.clock.now();
        let source = self.sources.id(project, source).await?;
        Ok(Origin { project, source, received_at })
    }
}

/// Checks the size of a batch in bytes, as sent.
pub(crate) fn check_bytes(bytes: usize) -> Result<usize, Error> {
    if bytes > MAX_BATCH_BYTES {
        return Err(Error::TooLarge { what: "bytes", found: bytes, limit: MAX_BATCH_BYTES });
    }
    Ok(bytes)
}

/// Checks how many events or records a batch has.
pub(crate) fn check_count(count: usize) -> Result<(), Error> {
    if count > MAX_BATCH_EVENTS {
        return Err(Error::TooLarge { what: "events", found: count, limit: MAX_BATCH_EVENTS });
    }
    Ok(())
}

fn retry() -> pb::EventResult {
    let fault = Fault::new(Reason::Unavailable, "", "could not be stored now; send it again");
    pb::EventResult {
        outcome: pb::EventOutcome::Retry.into(),
        position: 0,
        reason: fault.reason.as_str().to_owned(),
        field: String::new(),
        message: fault.message,
    }
}
