//! Sends what services wrote to their outboxes to the log, at least once.

use std::collections::BTreeMap;
use std::time::Duration;

use northstar_client::Clients;
use northstar_domain::ProjectId;
use northstar_proto::ingestion::v1::value::Kind;
use northstar_proto::ingestion::v1::{
    Event, EventOutcome, EventResult, IngestEventsRequest, ListValue, StructValue, Value,
};
use northstar_store::outbox::{Message, NewMessage, Outbox};
use northstar_store::{PgConnection, PgPool};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// Source of every event the suite tells of itself.
pub const SOURCE: &str = "northstar";
/// Events per transaction and call.
const BATCH: i64 = 1_000;
/// Between two looks at an empty outbox, and between two tries.
const PAUSE: Duration = Duration::from_millis(250);
const MOST_PAUSE: Duration = Duration::from_secs(15);
/// Longest wait for ingestion; rows stay locked meanwhile.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a batch was not sent; it stays in the outbox.
#[derive(Debug, Error)]
enum RelayError {
    #[error("the outbox cannot be read or written")]
    Store(#[from] northstar_store::Error),
    #[error("ingestion does not take the events")]
    Ingestion(#[from] tonic::Status),
    #[error("ingestion asked to try again")]
    TryAgain,
    #[error("ingestion answered {answers} results for {events} events")]
    Unanswered { answers: usize, events: usize },
}

/// Sends what an outbox holds, oldest first, until `shutdown` is cancelled. Any
/// number of replicas may do so at once. Ingestion or a database that is away
/// is waited for, longer each time, up to fifteen seconds.
///
/// # Errors
/// Never.
pub async fn relay(
    pool: PgPool,
    outbox: Outbox,
    clients: Clients,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut pause = PAUSE;
    loop {
        match send_batch(&pool, outbox, &clients).await {
            Ok(0) => pause = PAUSE,
            Ok(_) => {
                pause = PAUSE;
                if shutdown.is_cancelled() {
                    return Ok(());
                }
                continue;
            }
            Err(error) => {
                pause = (pause * 2).min(MOST_PAUSE);
                tracing::warn!(
                    outbox = ?outbox,
                    error = &error as &dyn std::error::Error,
                    "cannot send events to the log, trying again",
                );
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Sends one batch and tells how many rows it dealt with. The rows are removed
/// after the log has acknowledged them: a crash in between sends them again,
/// and the log finds the duplicate.
async fn send_batch(pool: &PgPool, outbox: Outbox, clients: &Clients) -> Result<usize, RelayError> {
    let mut tx = pool.begin().await.map_err(northstar_store::Error::from)?;
    let messages = outbox.lock_next(&mut tx, BATCH).await?;
    let count = messages.len();
    let mut by_project: BTreeMap<ProjectId, Vec<Message>> = BTreeMap::new();
    for message in messages {
        by_project.entry(message.event.project).or_default().push(message);
    }
    let mut again = false;
    for (project, messages) in by_project {
        let request = IngestEventsRequest {
            source: SOURCE.to_owned(),
            events: messages.iter().map(|message| event(&message.event)).collect(),
        };
        let mut request = tonic::Request::new(request);
        request.set_timeout(TIMEOUT);
        let mut ingestion = clients.for_project(project.0).ingestion();
        let results = ingestion.ingest_events(request).await?.into_inner().results;
        again |= settle(&mut tx, outbox, &messages, &results).await?;
    }
    tx.commit().await.map_err(northstar_store::Error::from)?;
    if again { Err(RelayError::TryAgain) } else { Ok(count) }
}

/// Removes what the log has, keeps what it refuses, and tells whether anything
/// is to be sent again.
async fn settle(
    connection: &mut PgConnection,
    outbox: Outbox,
    messages: &[Message],
    results: &[EventResult],
) -> Result<bool, RelayError> {
    if messages.len() != results.len() {
        return Err(RelayError::Unanswered { answers: results.len(), events: messages.len() });
    }
    let mut done = Vec::with_capacity(messages.len());
    let mut again = false;
    for (message, result) in messages.iter().zip(results) {
        match result.outcome() {
            EventOutcome::Accepted | EventOutcome::Duplicate => done.push(message.id),
            EventOutcome::Retry | EventOutcome::Unspecified => again = true,
            EventOutcome::Quarantined | EventOutcome::Rejected => {
                tracing::error!(
                    outbox = ?outbox,
                    event.name = message.event.name,
                    event.message_id = message.event.message_id,
                    reason = result.reason,
                    "the log refused an event of our own",
                );
                let refusal = format!("{}: {}", result.reason, result.message);
                outbox.refuse(connection, message.id, &refusal).await?;
            }
        }
    }
    outbox.remove(connection, &done).await?;
    Ok(again)
}

fn event(message: &NewMessage) -> Event {
    let properties = message.properties.as_object().into_iter().flatten();
    Event {
        message_id: message.message_id.clone(),
        name: message.name.clone(),
        user_id: message.user_id.clone(),
        anonymous_id: message.anonymous_id.clone(),
        occurred_time: Some(prost_types::Timestamp {
            seconds: message.occurred_at.timestamp(),
            nanos: message.occurred_at.timestamp_subsec_nanos().cast_signed(),
        }),
        properties: properties.map(|(name, json)| (name.clone(), value(json))).collect(),
        ..Event::default()
    }
}

/// A JSON value as an event holds it: integers stay exact.
pub fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => None,
        Json::Bool(bool) => Some(Kind::BoolValue(*bool)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => Some(Kind::IntValue(int)),
            (None, double) => double.map(Kind::DoubleValue),
        },
        Json::String(text) => Some(Kind::StringValue(text.clone())),
        Json::Array(items) => {
            Some(Kind::ListValue(ListValue { values: items.iter().map(value).collect() }))
        }
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, json)| (name.clone(), value(json)));
            Some(Kind::StructValue(StructValue { fields: fields.collect() }))
        }
    };
    Value { kind }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_keeps_integers_exact() {
        let message = NewMessage {
            project: ProjectId(1),
            message_id: "decision/1/requested".to_owned(),
            name: "northstar.decision.requested".to_owned(),
            user_id: "principal:ada".to_owned(),
            anonymous_id: String::new(),
            occurred_at: chrono::DateTime::from_timestamp(1_790_000_000, 123_000).expect("a time"),
            properties: json!({"cycle": 9_007_199_254_740_993_i64, "share": 0.5, "none": null}),
        };
        let event = event(&message);
        assert_eq!(event.properties["cycle"].kind, Some(Kind::IntValue(9_007_199_254_740_993)));
        assert_eq!(event.properties["share"].kind, Some(Kind::DoubleValue(0.5)));
        assert_eq!(event.properties["none"].kind, None);
        assert_eq!(event.occurred_time.expect("set").nanos, 123_000);
    }
}
