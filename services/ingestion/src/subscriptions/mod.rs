//! Consumer groups with members, and the log by position.

mod consume;
mod member;
mod place;
mod read;
mod watch;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::{Clock, ProjectId};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::idempotent::Mutation;
use northstar_server::page::page_size;
use northstar_server::{Caller, caller};
use northstar_store::ingestion::subscriptions::{self as store, Summary};
use northstar_store::ingestion::{heads, log};
use northstar_store::{Error as StoreError, PgConnection, PgPool, audit};
use pb::subscriptions_service_server::SubscriptionsService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::convert::time_to_proto;
use crate::error::Error;
use crate::writer::Writer;

pub(crate) use watch::watch;

const DELETE: &str = "/northstar.ingestion.v1.SubscriptionsService/DeleteSubscription";
const SEEK: &str = "/northstar.ingestion.v1.SubscriptionsService/SeekSubscription";
/// The word for a group in errors.
const KIND: &str = "Subscription";

/// The service.
#[derive(Clone)]
pub(crate) struct Subscriptions {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) writer: Writer,
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl SubscriptionsService for Subscriptions {
    type ConsumeStream = ReceiverStream<Result<pb::ConsumeResponse, Status>>;

    async fn consume(
        &self,
        request: Request<Streaming<pb::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let caller = caller(&request)?;
        // Room for one: the consumer's pace is the pace of reading.
        let (responses, stream) = mpsc::channel(1);
        tokio::spawn(consume::run(self.clone(), caller, request.into_inner(), responses));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list_subscriptions(
        &self,
        request: Request<pb::ListSubscriptionsRequest>,
    ) -> Result<Response<pb::ListSubscriptionsResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(self.list(project, &request).await?))
    }

    async fn delete_subscription(
        &self,
        request: Request<pb::DeleteSubscriptionRequest>,
    ) -> Result<Response<pb::DeleteSubscriptionResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(self.delete(&caller, &request).await?))
    }

    async fn seek_subscription(
        &self,
        request: Request<pb::SeekSubscriptionRequest>,
    ) -> Result<Response<pb::SeekSubscriptionResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(self.seek(&caller, &request).await?))
    }

    type ReadEventsStream = ReceiverStream<Result<pb::ReadEventsResponse, Status>>;

    async fn read_events(
        &self,
        request: Request<pb::ReadEventsRequest>,
    ) -> Result<Response<Self::ReadEventsStream>, Status> {
        let project = caller(&request)?.project;
        let stretch = read::Stretch::open(self, project, request.into_inner()).await?;
        let (responses, stream) = mpsc::channel(1);
        tokio::spawn(stretch.run(responses));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn find_position(
        &self,
        request: Request<pb::FindPositionRequest>,
    ) -> Result<Response<pb::FindPositionResponse>, Status> {
        let project = caller(&request)?.project;
        let place = request.into_inner().place;
        Ok(Response::new(self.find(project, place).await?))
    }
}

impl Subscriptions {
    async fn connection(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Postgres>, Error> {
        Ok(self.pool.acquire().await.map_err(StoreError::from)?)
    }

    async fn list(
        &self,
        project: ProjectId,
        request: &pb::ListSubscriptionsRequest,
    ) -> Result<pb::ListSubscriptionsResponse, Error> {
        let size = page_size(request.page_size)?;
        let after = crate::page::read_name(&request.page_token)?;
        let mut connection = self.connection().await?;
        let head = heads::read(&mut connection, project).await?.position;
        let found = store::list(&mut connection, Some(project), &after, size.limit()).await?;
        let (page, more) = size.cut(found);
        let next_page_token = match page.last() {
            Some(last) if more => crate::page::token(&last.group),
            _ => String::new(),
        };
        let now = self.clock.now();
        let mut subscriptions = Vec::with_capacity(page.len());
        for group in page {
            let behind = lag(&mut connection, &group, head, now).await?;
            subscriptions.push(pb::Subscription {
                position: group.position,
                lag_positions: head - group.position,
                lag_seconds: behind.as_seconds_f64(),
                update_time: Some(time_to_proto(group.updated_at)),
                group: group.group,
                filter: group.filter,
                members: group.members,
                partitioned: group.partitioned,
            });
        }
        Ok(pb::ListSubscriptionsResponse { subscriptions, next_page_token, log_position: head })
    }

    async fn delete(
        &self,
        caller: &Caller,
        request: &pb::DeleteSubscriptionRequest,
    ) -> Result<pb::DeleteSubscriptionResponse, Error> {
        let mutation = Mutation::new(caller, DELETE, &request.request_id, request)?;
        let (project, group, now) = (caller.project, &request.group, self.clock.now());
        let mut transaction = self.pool.begin().await.map_err(StoreError::from)?;
        if let Some(answer) = mutation.find_answer(&mut transaction).await? {
            return Ok(answer);
        }
        if !store::delete(&mut transaction, project, group).await? {
            return Err(Error::NotFound { kind: KIND, name: group.clone() });
        }
        let detail = serde_json::json!({ "after": null });
        self.audit(&mut transaction, caller, "subscription.delete", group, &detail, now).await?;
        let response = pb::DeleteSubscriptionResponse {};
        mutation.save_answer(&mut transaction, &response, now).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(response)
    }

    async fn seek(
        &self,
        caller: &Caller,
        request: &pb::SeekSubscriptionRequest,
    ) -> Result<pb::SeekSubscriptionResponse, Error> {
        let mutation = Mutation::new(caller, SEEK, &request.request_id, request)?;
        let (project, group, now) = (caller.project, &request.group, self.clock.now());
        let mut transaction = self.pool.begin().await.map_err(StoreError::from)?;
        if let Some(answer) = mutation.find_answer(&mut transaction).await? {
            return Ok(answer);
        }
        let position =
            place::find(&mut transaction, project, "place", request.place.as_ref()).await?;
        let before = store::seek(&mut transaction, project, group, position, now)
            .await?
            .ok_or_else(|| Error::NotFound { kind: KIND, name: group.clone() })?;
        let detail = serde_json::json!({
            "before": { "position": before },
            "after": { "position": position },
        });
        self.audit(&mut transaction, caller, "subscription.seek", group, &detail, now).await?;
        let response = pb::SeekSubscriptionResponse { position };
        mutation.save_answer(&mut transaction, &response, now).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(response)
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        caller: &Caller,
        action: &str,
        group: &str,
        detail: &serde_json::Value,
        at: DateTime<Utc>,
    ) -> Result<(), Error> {
        let entry = audit::NewEntry {
            project: caller.project,
            actor: &caller.principal,
            action,
            resource: &format!("subscriptions/{group}"),
            detail,
            at,
        };
        audit::append(connection, &entry).await?;
        Ok(())
    }

    async fn find(
        &self,
        project: ProjectId,
        place: Option<pb::LogPlace>,
    ) -> Result<pb::FindPositionResponse, Error> {
        let mut connection = self.connection().await?;
        let log_position = heads::read(&mut connection, project).await?.position;
        let position = place::find(&mut connection, project, "place", place.as_ref()).await?;
        Ok(pb::FindPositionResponse { position, log_position })
    }
}

/// How long the first event that a group has not handled has been in the log.
async fn lag(
    connection: &mut PgConnection,
    group: &Summary,
    head: i64,
    now: DateTime<Utc>,
) -> Result<TimeDelta, StoreError> {
    if group.position >= head {
        return Ok(TimeDelta::zero());
    }
    let next = log::read_after(connection, group.project, group.position, 1).await?;
    Ok(next
        .first()
        .map_or(TimeDelta::zero(), |next| (now - next.received_at).max(TimeDelta::zero())))
}
