//! The RPCs: decode, rule, store, encode.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use northstar_domain::Clock;
use northstar_domain::contract::ContractSpec;
use northstar_domain::event::{
    Fault, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_ID_BYTES, MAX_SOURCE_BYTES, Reason, check_text,
};
use northstar_domain::expression::Condition;
use northstar_domain::{ProjectId, QuarantineId};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::caller;
use northstar_server::page::page_size;
use northstar_store::PgPool;
use northstar_store::ingestion::{contracts, cursors, heads, identity, quarantine, sources};
use pb::ingestion_service_server::IngestionService;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::apply_contract::apply_contract;
use crate::batch::{Batch, Origin};
use crate::contracts::Contracts;
use crate::convert::{contract_to_proto, quarantined_to_proto, source_to_proto, time_to_proto};
use crate::error::Error;
use crate::events::Events;
use crate::sources::Sources;
use crate::subscribe::Subscription;
use crate::transaction::Answer;
use crate::writer::{Memory, Writer};

/// Requests of one stream that are worked on at the same time.
const STREAM_IN_FLIGHT: usize = 16;
/// Events of a response when the consumer does not say.
const DEFAULT_BATCH_EVENTS: usize = 1_000;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ingestion {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) writer: Writer,
    pub(crate) sources: Sources,
    pub(crate) contracts: Contracts,
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl IngestionService for Ingestion {
    async fn ingest_events(
        &self,
        request: Request<pb::IngestEventsRequest>,
    ) -> Result<Response<pb::IngestEventsResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        let bytes = check_batch(&request.source, request.events.len(), &request)?;
        let memory = self.writer.try_reserve(bytes)?;
        let answer = self.ingest(project, &request.source, request.events, memory).await?;
        Ok(Response::new(pb::IngestEventsResponse {
            results: answer.results,
            log_position: answer.log_position,
        }))
    }

    type StreamEventsStream = Answers<pb::StreamEventsResponse>;

    async fn stream_events(
        &self,
        request: Request<Streaming<pb::StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let project = caller(&request)?.project;
        let service = self.clone();
        let shutdown = self.shutdown.clone();
        let answers = request
            .into_inner()
            .take_until(self.shutdown.clone().cancelled_owned())
            .map(move |request| {
                let service = service.clone();
                // On a task of its own, so that requests are prepared in parallel.
                let answer = tokio::spawn(async move {
                    service.answer_stream(project, request?).await.map_err(Status::from)
                });
                async move { answer.await.unwrap_or_else(|_| Err(Error::Draining.into())) }
            })
            .buffered(STREAM_IN_FLIGHT)
            .chain(
                futures::stream::once(async move {
                    // A stream that the client ended ends well.
                    if shutdown.is_cancelled() { Some(Err(Error::Draining.into())) } else { None }
                })
                .filter_map(async |end| end),
            );
        Ok(Response::new(Box::pin(answers)))
    }

    async fn quarantine_records(
        &self,
        request: Request<pb::QuarantineRecordsRequest>,
    ) -> Result<Response<pb::QuarantineRecordsResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        let bytes = check_batch(&request.source, request.records.len(), &request)?;
        let memory = self.writer.try_reserve(bytes)?;
        let origin = self.origin(project, &request.source).await?;
        let batch = Batch::of_records(origin, request.records);
        let answer = self.writer.write(batch, memory).await?;
        Ok(Response::new(pb::QuarantineRecordsResponse { results: answer.results }))
    }

    type SubscribeStream = ReceiverStream<Result<pb::SubscribeResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        let subscription = self.open(project, request).await?;
        // Room for one: the consumer's pace is the pace of reading.
        let (responses, stream) = mpsc::channel(1);
        tokio::spawn(subscription.run(responses));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn commit_cursor(
        &self,
        request: Request<pb::CommitCursorRequest>,
    ) -> Result<Response<pb::CommitCursorResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        let position = self.commit(project, &request).await?;
        Ok(Response::new(pb::CommitCursorResponse { position }))
    }

    async fn resolve_subject(
        &self,
        request: Request<pb::ResolveSubjectRequest>,
    ) -> Result<Response<pb::ResolveSubjectResponse>, Status> {
        let project = caller(&request)?.project;
        let identifier = request.into_inner().identifier;
        Ok(Response::new(self.resolve(project, identifier).await?))
    }

    async fn list_sources(
        &self,
        request: Request<pb::ListSourcesRequest>,
    ) -> Result<Response<pb::ListSourcesResponse>, Status> {
        let project = caller(&request)?.project;
        Ok(Response::new(self.sources_of(project).await?))
    }

    async fn list_quarantined_events(
        &self,
        request: Request<pb::ListQuarantinedEventsRequest>,
    ) -> Result<Response<pb::ListQuarantinedEventsResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(self.quarantined(project, &request).await?))
    }

    async fn apply_contract(
        &self,
        request: Request<pb::ApplyContractRequest>,
    ) -> Result<Response<pb::ApplyContractResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let response = apply_contract(&self.pool, &caller, &request, self.clock.now()).await?;
        // What was applied holds from the next request on.
        self.contracts.reload(caller.project).await.map_err(Error::from)?;
        Ok(Response::new(response))
    }

    async fn get_contract(
        &self,
        request: Request<pb::GetContractRequest>,
    ) -> Result<Response<pb::GetContractResponse>, Status> {
        let project = caller(&request)?.project;
        let name = request.into_inner().name;
        let contract = self.contract(project, name).await?;
        Ok(Response::new(pb::GetContractResponse { contract: Some(contract) }))
    }

    async fn list_contracts(
        &self,
        request: Request<pb::ListContractsRequest>,
    ) -> Result<Response<pb::ListContractsResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(self.contracts_of(project, &request).await?))
    }
}

impl Ingestion {
    pub(crate) async fn origin(&self, project: ProjectId, source: &str) -> Result<Origin, Error> {
        let received_at = self.clock.now();
        let source = self.sources.id(project, source).await?;
        Ok(Origin { project, source, received_at })
    }

    pub(crate) async fn ingest(
        &self,
        project: ProjectId,
        source: &str,
        events: impl Events + 'static,
        memory: Memory,
    ) -> Result<Answer, Error> {
        let contracts = self.contracts.of(project).await?;
        let origin = self.origin(project, source).await?;
        let batch = Batch::of_events(origin, events, &contracts);
        drop(contracts);
        self.writer.write(batch, memory).await
    }

    /// One request of a stream. What a later attempt may mend is answered with
    /// RETRY for each event, so that the stream goes on.
    async fn answer_stream(
        &self,
        project: ProjectId,
        request: pb::StreamEventsRequest,
    ) -> Result<pb::StreamEventsResponse, Error> {
        let bytes = check_batch(&request.source, request.events.len(), &request)?;
        let memory = self.writer.reserve(bytes).await?;
        let (sequence, count) = (request.sequence, request.events.len());
        match self.ingest(project, &request.source, request.events, memory).await {
            Ok(Answer { results, log_position }) => {
                Ok(pb::StreamEventsResponse { sequence, results, log_position })
            }
            Err(error) if error.may_be_retried() => Ok(pb::StreamEventsResponse {
                sequence,
                results: vec![retry(); count],
                log_position: 0,
            }),
            Err(error) => Err(error),
        }
    }

    async fn open(
        &self,
        project: ProjectId,
        request: pb::SubscribeRequest,
    ) -> Result<Subscription, Error> {
        check_name("group", &request.group, MAX_SOURCE_BYTES)?;
        let batch_events = match usize::try_from(request.max_batch_events) {
            Ok(0) => DEFAULT_BATCH_EVENTS,
            Ok(events) if events <= MAX_BATCH_EVENTS => events,
            _ => {
                let problem = format!("must lie between 0 and {MAX_BATCH_EVENTS}");
                return Err(Error::invalid("max_batch_events", problem));
            }
        };
        let filter = Condition::parse(&request.filter)
            .map_err(|error| Error::InvalidFilter { filter: request.filter, error })?;
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let start = match request.start_position {
            -1 => heads::read(&mut connection, project).await?.position,
            position @ 0.. => position,
            _ => {
                return Err(Error::invalid(
                    "start_position",
                    "must be -1 for now, 0 for the beginning or a position",
                ));
            }
        };
        let now = self.clock.now();
        let position = cursors::open(&mut connection, project, &request.group, start, now).await?;
        Ok(Subscription {
            pool: self.pool.clone(),
            writer: self.writer.clone(),
            project,
            position,
            filter,
            batch_events,
            shutdown: self.shutdown.clone(),
        })
    }

    async fn commit(
        &self,
        project: ProjectId,
        request: &pb::CommitCursorRequest,
    ) -> Result<i64, Error> {
        check_name("group", &request.group, MAX_SOURCE_BYTES)?;
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let head = heads::read(&mut connection, project).await?;
        if !(0..=head.position).contains(&request.position) {
            let problem = format!("must lie between 0 and the log's end, {}", head.position);
            return Err(Error::invalid("position", problem));
        }
        let (group, position, now) = (&request.group, request.position, self.clock.now());
        Ok(cursors::commit(&mut connection, project, group, position, now).await?)
    }

    async fn resolve(
        &self,
        project: ProjectId,
        identifier: String,
    ) -> Result<pb::ResolveSubjectResponse, Error> {
        check_name("identifier", &identifier, MAX_ID_BYTES)?;
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let subject =
            identity::find_user(&mut connection, project, &identifier).await?.unwrap_or(identifier);
        let anonymous_ids = identity::anonymous_ids(&mut connection, project, &subject).await?;
        let head = heads::read(&mut connection, project).await?;
        Ok(pb::ResolveSubjectResponse {
            subject,
            anonymous_ids,
            identity_map_version: head.identity_version,
        })
    }

    async fn sources_of(&self, project: ProjectId) -> Result<pb::ListSourcesResponse, Error> {
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let sources = sources::list(&mut connection, project).await?;
        let head = heads::read(&mut connection, project).await?;
        Ok(pb::ListSourcesResponse {
            sources: sources.into_iter().map(source_to_proto).collect(),
            log_position: head.position,
        })
    }

    async fn quarantined(
        &self,
        project: ProjectId,
        request: &pb::ListQuarantinedEventsRequest,
    ) -> Result<pb::ListQuarantinedEventsResponse, Error> {
        let size = page_size(request.page_size)?;
        let after: Option<QuarantineId> = some_if_set(&request.page_token)
            .map(|token| token.parse().map_err(|_| unknown_page()))
            .transpose()?;
        let filter = quarantine::Filter {
            source: some_if_set(&request.source),
            reason: some_if_set(&request.reason),
        };
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let found = quarantine::list(&mut connection, project, filter, after, size).await?;
        let counts_by_reason = quarantine::counts(&mut connection, project, filter).await?;
        let (page, more) = size.cut(found);
        let next_page_token = match page.last() {
            Some(last) if more => last.id.to_string(),
            _ => String::new(),
        };
        Ok(pb::ListQuarantinedEventsResponse {
            events: page.into_iter().map(quarantined_to_proto).collect(),
            next_page_token,
            counts_by_reason,
        })
    }

    async fn contract(&self, project: ProjectId, name: String) -> Result<pb::Contract, Error> {
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        match contracts::find(&mut connection, project, &name).await? {
            Some(contract) => Ok(stored_contract(&contract)),
            None => Err(Error::ContractNotFound { name }),
        }
    }

    async fn contracts_of(
        &self,
        project: ProjectId,
        request: &pb::ListContractsRequest,
    ) -> Result<pb::ListContractsResponse, Error> {
        let size = page_size(request.page_size)?;
        let after = hex::decode(&request.page_token)
            .ok()
            .and_then(|name| String::from_utf8(name).ok())
            .ok_or_else(unknown_page)?;
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let found = contracts::list(&mut connection, project, &after, size).await?;
        let (page, more) = size.cut(found);
        let next_page_token = match page.last() {
            Some(last) if more => hex::encode(&last.name),
            _ => String::new(),
        };
        let contracts = page.iter().map(stored_contract).collect();
        Ok(pb::ListContractsResponse { contracts, next_page_token })
    }
}

/// A contract with what the store knows about it.
pub(crate) fn stored_contract(contract: &contracts::Contract) -> pb::Contract {
    let contracts::Contract { name, spec, etag, updated_at, observed_violations } = contract;
    let spec: &ContractSpec = spec;
    pb::Contract {
        etag: etag.clone(),
        update_time: Some(time_to_proto(*updated_at)),
        observed_violations: *observed_violations,
        ..contract_to_proto(name, spec)
    }
}

/// Checks what concerns a batch as a whole; returns its size in bytes.
fn check_batch(source: &str, events: usize, request: &impl Message) -> Result<usize, Error> {
    check_name("source", source, MAX_SOURCE_BYTES)?;
    if events > MAX_BATCH_EVENTS {
        return Err(Error::TooLarge { what: "events", found: events, limit: MAX_BATCH_EVENTS });
    }
    let bytes = request.encoded_len();
    if bytes > MAX_BATCH_BYTES {
        return Err(Error::TooLarge { what: "bytes", found: bytes, limit: MAX_BATCH_BYTES });
    }
    Ok(bytes)
}

fn check_name(field: &'static str, name: &str, most: usize) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    check_text(field, name, most).map_err(|fault| Error::invalid(field, fault.message))
}

fn unknown_page() -> Error {
    Error::invalid("page_token", "is not one that this call returned")
}

fn some_if_set(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
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
