//! Puts an event about a run's subject in the log.

use std::time::Duration;

use northstar_client::Clients;
use northstar_domain::automation::EmitEvent;
use northstar_domain::run::Outcome;
use northstar_proto::ingestion::v1::value::Kind;
use northstar_proto::ingestion::v1::{Event, EventOutcome, IngestEventsRequest, Value};
use northstar_server::outbox::SOURCE;
use northstar_store::automations::LeasedRun;

use crate::convert::time_to_proto;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Emits the event. Its message id and its time are the run's, so that emitting
/// it again makes a duplicate.
pub(crate) async fn deliver(
    clients: &Clients,
    emit: &EmitEvent,
    run: &LeasedRun,
    action: usize,
) -> Outcome {
    let (user_id, anonymous_id) = match run.anonymous {
        true => (String::new(), run.subject.clone()),
        false => (run.subject.clone(), String::new()),
    };
    let event = Event {
        message_id: format!("action/{}/{action}", run.id),
        name: emit.event.clone(),
        user_id,
        anonymous_id,
        occurred_time: Some(time_to_proto(run.created_at)),
        properties: emit
            .properties
            .iter()
            .map(|(name, text)| {
                (name.clone(), Value { kind: Some(Kind::StringValue(text.clone())) })
            })
            .collect(),
        ..Event::default()
    };
    let mut request =
        tonic::Request::new(IngestEventsRequest { source: SOURCE.to_owned(), events: vec![event] });
    request.set_timeout(TIMEOUT);
    let failed = |error: String| Outcome::Failed { error, retry_after: None };
    let mut ingestion = clients.for_project(run.project.0).ingestion();
    let results = match ingestion.ingest_events(request).await {
        Ok(response) => response.into_inner().results,
        Err(status) => return failed(format!("ingestion does not answer: {}", status.message())),
    };
    match results.first() {
        None => failed("ingestion gave no result".to_owned()),
        Some(result) => match result.outcome() {
            EventOutcome::Accepted | EventOutcome::Duplicate => Outcome::Done,
            EventOutcome::Retry | EventOutcome::Unspecified => {
                failed("ingestion asked to try again".to_owned())
            }
            EventOutcome::Quarantined | EventOutcome::Rejected => {
                let error =
                    format!("the log did not take the event: {} {}", result.reason, result.message);
                Outcome::Gone { error }
            }
        },
    }
}
