//! Explain: how a value came about, down to the events.

use std::collections::BTreeMap;

use northstar_domain::ProjectId;
use northstar_engine::{Contribution, Contributions};
use northstar_proto::metrics::v1 as pb;
use prost_types::value::Kind;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::cell::Found;
use super::subjects::read_limit;
use super::words;
use crate::ask::ask;
use crate::cohorts::subject;
use crate::convert::to_timestamp;
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Events of one message.
const EVENTS_A_MESSAGE: usize = 200;

/// Messages that wait for the reader.
const MESSAGES_IN_FLIGHT: usize = 4;

type Responses = mpsc::Sender<Result<pb::ExplainResponse, Status>>;

/// Answers the question.
pub(super) async fn explain(
    service: &Service,
    project: ProjectId,
    request: pb::ExplainRequest,
) -> Result<ReceiverStream<Result<pb::ExplainResponse, Status>>> {
    let limit = read_limit(request.limit)?;
    let metric = request.cell.as_ref().and_then(|cell| cell.question.as_ref());
    let metric = metric.map(|question| question.metric.clone()).unwrap_or_default();
    let found = Found::compute(service, project, request.cell).await?;
    let Found { computed, cell, row, provenance, quarantined } = found;
    let definitions = words::definitions(&computed.metrics, &metric);
    let query = computed.query;
    let (contributions, subjects) = ask(&computed.view.snapshot, move |snapshot| {
        let contributions = snapshot.contributions(&query, &cell)?;
        Ok::<_, Error>((contributions, snapshot.behind(&query, &cell)?.len()))
    })
    .await?;
    let excluded = [
        (pb::ExclusionReason::Quarantined, quarantined),
        (pb::ExclusionReason::NoConsent, contributions.without_consent.cast_signed()),
        (pb::ExclusionReason::Filtered, contributions.filtered.cast_signed()),
        (pb::ExclusionReason::NoValue, contributions.without_value.cast_signed()),
    ];
    let excluded = excluded
        .into_iter()
        .map(|(reason, events)| pb::ExcludedEvents { reason: reason.into(), events });
    let explanation = pb::Explanation {
        row,
        definitions,
        events: contributions.events.len() as i64,
        subjects: subjects.cast_signed(),
        excluded: excluded.collect(),
        provenance: Some(provenance),
    };
    let (sender, receiver) = mpsc::channel(MESSAGES_IN_FLIGHT);
    spawn_blocking(move || {
        send(&sender, explanation, &contributions, request.after_position, limit);
    });
    Ok(ReceiverStream::new(receiver))
}

/// Sends until the end or until the reader leaves.
fn send(
    sender: &Responses,
    explanation: pb::Explanation,
    contributions: &Contributions,
    after: i64,
    limit: usize,
) {
    let first = pb::ExplainResponse { explanation: Some(explanation), events: Vec::new() };
    if sender.blocking_send(Ok(first)).is_err() {
        return;
    }
    let events = contributions.after(after);
    let events = &events[..limit.min(events.len())];
    for events in events.chunks(EVENTS_A_MESSAGE) {
        let events = events.iter().map(|event| event_to_proto(contributions, event)).collect();
        let part = pb::ExplainResponse { explanation: None, events };
        if sender.blocking_send(Ok(part)).is_err() {
            return;
        }
    }
}

fn event_to_proto(
    contributions: &Contributions,
    contribution: &Contribution,
) -> pb::ContributingEvent {
    let event = contributions.event(contribution);
    let plays = |(number, _): &(usize, &String)| contribution.roles >> (*number).min(63) & 1 == 1;
    let roles = contributions.roles.iter().enumerate().filter(plays);
    let properties = event.properties.into_iter().map(|(name, value)| (name, to_proto(value)));
    pb::ContributingEvent {
        position: event.position,
        name: event.name,
        source: event.source,
        subject: event.subject.as_ref().map(subject),
        account_id: event.account_id.unwrap_or_default(),
        effective_time: chrono::DateTime::from_timestamp_micros(event.effective_micros)
            .map(to_timestamp),
        roles: roles.map(|(_, role)| role.clone()).collect(),
        properties: Some(prost_types::Struct { fields: properties.collect::<BTreeMap<_, _>>() }),
    }
}

fn to_proto(value: Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(values) => Kind::ListValue(prost_types::ListValue {
            values: values.into_iter().map(to_proto).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields.into_iter().map(|(name, value)| (name, to_proto(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}
