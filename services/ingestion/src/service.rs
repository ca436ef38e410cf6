//! The RPCs: decode, rule, store, encode.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use northstar_client::Clients;
use northstar_domain::Clock;
use northstar_domain::event::{MAX_BATCH_EVENTS, MAX_SOURCE_BYTES, check_text};
use northstar_domain::expression::Condition;
use northstar_domain::{ProjectId, QuarantineId};
use northstar_proto::Encoded;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::page::page_size;
use northstar_server::{Caller, caller};
use northstar_store::PgPool;
use northstar_store::ingestion::{contracts, cursors, heads, quarantine, retention, sources};
use pb::ingestion_service_server::IngestionService;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::apply_contract::{Changes, apply_contract, stored_contract};
use crate::batch::Batch;
use crate::contracts::Contracts;
use crate::convert::{quarantined_to_proto, source_to_proto};
use crate::error::Error;
use crate::ingest::{check_bytes, check_count};
use crate::limits::Limits;
use crate::page;
use crate::reads::{Shown, audited};
use crate::sender::Sender;
use crate::sources::Sources;
use crate::subjects::resolve_subject;
use crate::subscribe::Subscription;
use crate::writer::Writer;

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
    pub(crate) limits: Limits,
    pub(crate) contracts: Contracts,
    pub(crate) clients: Clients,
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl IngestionService for Ingestion {
    async fn ingest_events(
        &self,
        request: Request<Encoded<pb::IngestEventsRequest>>,
    ) -> Result<Response<pb::IngestEventsResponse>, Status> {
        let sender = Sender::from(&caller(&request)?);
        Ok(Response::new(self.ingest_map(sender, request.into_inner()).await?))
    }

    async fn ingest_columns(
        &self,
        request: Request<Encoded<pb::IngestColumnsRequest>>,
    ) -> Result<Response<pb::IngestColumnsResponse>, Status> {
        let sender = Sender::from(&caller(&request)?);
        Ok(Response::new(self.ingest_columns(sender, request.into_inner()).await?))
    }

    type StreamEventsStream = Answers<pb::StreamEventsResponse>;

    async fn stream_events(
        &self,
        request: Request<Streaming<Encoded<pb::StreamEventsRequest>>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let sender = Sender::from(&caller(&request)?);
        Ok(Response::new(Box::pin(self.ingest_stream(sender, request.into_inner()))))
    }

    async fn quarantine_records(
        &self,
        request: Request<pb::QuarantineRecordsRequest>,
    ) -> Result<Response<pb::QuarantineRecordsResponse>, Status> {
        let sender = Sender::from(&caller(&request)?);
        let project = sender.project;
        let request = request.into_inner();
        sender.check_source(&request.source)?;
        check_count(request.records.len())?;
        let memory = self.writer.try_reserve(check_bytes(request.encoded_len())?)?;
        let origin = self.origin(project, &request.source).await?;
        let contracts = self.contracts.of(project).await.map_err(Error::from)?;
        let batch = Batch::of_records(origin, request.records, &contracts);
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
        let request = request.into_inner();
        Ok(Response::new(resolve_subject(&self.pool, project, &request).await?))
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
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(self.quarantined(&caller, &request).await?))
    }

    async fn apply_contract(
        &self,
        request: Request<pb::ApplyContractRequest>,
    ) -> Result<Response<pb::ApplyContractResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let ways = self.contract_changes();
        let response = apply_contract(&ways, &caller, &request).await?;
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
    /// What changes of contracts need.
    pub(crate) fn contract_changes(&self) -> Changes<'_> {
        Changes {
            pool: &self.pool,
            clients: &self.clients,
            now: self.clock.now(),
            makes_pseudonyms: self.contracts.makes_pseudonyms(),
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
            // The log begins where the archive ends.
            position @ 0.. => {
                let start = retention::archived_through(&mut connection, project).await?;
                if (1..start).contains(&position) {
                    let problem = format!("lies before {start}, where the log begins");
                    return Err(Error::invalid("start_position", problem));
                }
                position.max(start)
            }
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
        caller: &Caller,
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
        let found = quarantine::list(&mut connection, caller.project, filter, after, size).await?;
        let counts_by_reason = quarantine::counts(&mut connection, caller.project, filter).await?;
        drop(connection);
        let (page, more) = size.cut(found);
        let next_page_token = match page.last() {
            Some(last) if more => last.id.to_string(),
            _ => String::new(),
        };
        if !page.is_empty() {
            let shown = Shown {
                action: "quarantine.read",
                resource: "quarantine",
                detail: serde_json::json!({"events": page.len()}),
            };
            audited(&self.pool, &*self.clock, caller, shown).await?;
        }
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
        let after = page::read_name(&request.page_token)?;
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let found = contracts::list(&mut connection, project, &after, size).await?;
        let (page, more) = size.cut(found);
        let next_page_token = match page.last() {
            Some(last) if more => page::token(&last.name),
            _ => String::new(),
        };
        let contracts = page.iter().map(stored_contract).collect();
        Ok(pb::ListContractsResponse { contracts, next_page_token })
    }
}

/// Checks a name that must be there.
pub(crate) fn check_name(field: &'static str, name: &str, most: usize) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    check_text(field, name, most).map_err(|fault| Error::invalid(field, fault.message))
}

pub(crate) fn unknown_page() -> Error {
    Error::invalid("page_token", "is not one that this call returned")
}

pub(crate) fn some_if_set(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
