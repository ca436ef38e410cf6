//! A stretch of the log, once, without a group.

use northstar_domain::ProjectId;
use northstar_domain::expression::Condition;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::{heads, log, retention};
use northstar_store::{Error as StoreError, PgPool};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::Subscriptions;
use crate::error::Error;
use crate::subscribe::{READ_EVENTS, RESPONSE_BYTES, select};

/// What is to be sent.
pub(super) struct Stretch {
    pool: PgPool,
    project: ProjectId,
    filter: Condition,
    after: i64,
    to: i64,
    shutdown: CancellationToken,
}

type Responses = mpsc::Sender<Result<pb::ReadEventsResponse, Status>>;

impl Stretch {
    pub(super) async fn open(
        service: &Subscriptions,
        project: ProjectId,
        request: pb::ReadEventsRequest,
    ) -> Result<Self, Error> {
        let filter = Condition::parse(&request.filter)
            .map_err(|error| Error::InvalidFilter { filter: request.filter, error })?;
        let mut connection = service.connection().await?;
        let head = heads::read(&mut connection, project).await?.position;
        let to = if request.to_position == 0 { head } else { request.to_position };
        if !(0..=head).contains(&to) {
            let problem = format!("must lie between 0 and the log's end, {head}");
            return Err(Error::invalid("to_position", problem));
        }
        let start = retention::archived_through(&mut connection, project).await?;
        if !(start..=to).contains(&request.after_position) {
            let problem =
                format!("must lie between {start}, where the log begins, and to_position, {to}");
            return Err(Error::invalid("after_position", problem));
        }
        Ok(Self {
            pool: service.pool.clone(),
            project,
            filter,
            after: request.after_position,
            to,
            shutdown: service.shutdown.clone(),
        })
    }

    /// Sends events until the end or until the reader leaves.
    pub(super) async fn run(self, responses: Responses) {
        let reader = responses.clone();
        let shutdown = self.shutdown.clone();
        tokio::select! {
            biased;
            () = reader.closed() => {}
            () = shutdown.cancelled() => {
                let _ = responses.send(Err(Error::Draining.into())).await;
            }
            sent = self.send(&responses) => if let Err(error) = sent {
                let _ = responses.send(Err(error.into())).await;
            }
        }
    }

    async fn send(mut self, responses: &Responses) -> Result<(), Error> {
        while self.after < self.to {
            let end = self.to.min(self.after + READ_EVENTS);
            let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
            let events =
                log::read_after(&mut connection, self.project, self.after, end - self.after)
                    .await?;
            if events.len() as i64 != end - self.after {
                let start = retention::archived_through(&mut connection, self.project).await?;
                if start > self.after {
                    let problem = format!("events up to {start} went to the archive meanwhile");
                    return Err(Error::invalid("after_position", problem));
                }
            }
            drop(connection);
            let mut response = pb::ReadEventsResponse::default();
            let mut bytes = 0;
            for event in events {
                let position = event.position;
                bytes += event.properties.len();
                response.events.extend(select(&self.filter, event));
                if bytes >= RESPONSE_BYTES {
                    response.position = position;
                    let _ = responses.send(Ok(std::mem::take(&mut response))).await;
                    bytes = 0;
                }
            }
            response.position = end;
            // Whether the reader is still there is noticed by `run`.
            let _ = responses.send(Ok(response)).await;
            self.after = end;
        }
        Ok(())
    }
}
