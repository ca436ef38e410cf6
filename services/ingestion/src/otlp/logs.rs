//! Log records, and events, which in OpenTelemetry are log records with a name.

use std::sync::Arc;

use northstar_proto::ingestion::v1 as pb;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;

use super::Signal;
use super::answer::Rejected;
use super::attributes::{Properties, any, find_text, integer, unsigned};
use super::origin::{Origin, Twins, time};
use crate::arrivals::{Arrival, Misfit, Raw};

/// Name of a record that has none.
const UNNAMED: &str = "log";
/// Attribute that named events before there was a field for it.
const EVENT_NAME: &str = "event.name";
/// Attribute that holds a record's own id.
const RECORD_ID: &str = "log.record.uid";

/// The signal.
pub(super) struct Logs;

impl Signal for Logs {
    type Request = ExportLogsServiceRequest;
    type Response = ExportLogsServiceResponse;
    const RECORDS: &'static str = "log records";

    fn arrivals(
        request: ExportLogsServiceRequest,
    ) -> impl Iterator<Item = Arrival<impl Raw + 'static>> + Send {
        let records = request.resource_logs.into_iter().flat_map(|of_resource| {
            let ResourceLogs { resource, scope_logs, schema_url } = of_resource;
            scope_logs.into_iter().flat_map(move |of_scope| {
                let ScopeLogs { scope, log_records, schema_url: scope_schema_url } = of_scope;
                let (resource, url) = (resource.clone(), schema_url.clone());
                let origin = Arc::new(Origin::new(resource, url, scope, scope_schema_url));
                log_records
                    .into_iter()
                    .map(move |record| RawRecord { origin: Arc::clone(&origin), record })
            })
        });
        let mut twins = Twins::default();
        records.map(move |raw| Arrival { event: event(&raw, &mut twins), raw })
    }

    fn partial_success(rejected: Rejected) -> ExportLogsServiceResponse {
        ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records: rejected.count,
                error_message: rejected.message,
            }),
        }
    }
}

/// A log record and what it comes from.
struct RawRecord {
    origin: Arc<Origin>,
    record: LogRecord,
}

impl Raw for RawRecord {
    fn size(&self) -> usize {
        self.origin.size() + self.record.encoded_len()
    }

    /// A request of this record alone.
    fn bytes(&self) -> Vec<u8> {
        let Origin { resource, resource_schema_url, scope, scope_schema_url, .. } = &*self.origin;
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: resource.clone(),
                scope_logs: vec![ScopeLogs {
                    scope: scope.clone(),
                    log_records: vec![self.record.clone()],
                    schema_url: scope_schema_url.clone(),
                }],
                schema_url: resource_schema_url.clone(),
            }],
        }
        .encode_to_vec()
    }
}

fn event(raw: &RawRecord, twins: &mut Twins) -> Result<pb::Event, Misfit> {
    let RawRecord { origin, record } = raw;
    let mut properties = Properties::default();
    let severity = match record.severity_text.as_str() {
        "" => severity_name(record.severity_number),
        text => text,
    };
    properties.set_text("severity", severity);
    if record.severity_number != 0 {
        properties.set("severity_number", integer(record.severity_number.into()));
    }
    if let Some(body) = &record.body {
        properties.set("body", any(body));
    }
    properties.set_hex("trace_id", &record.trace_id);
    properties.set_hex("span_id", &record.span_id);
    if record.dropped_attributes_count > 0 {
        let dropped = unsigned(record.dropped_attributes_count.into());
        properties.set("dropped_attributes_count", dropped);
    }
    let name = match record.event_name.as_str() {
        "" => find_text(&record.attributes, EVENT_NAME).unwrap_or(UNNAMED),
        name => name,
    };
    let message_id = match find_text(&record.attributes, RECORD_ID) {
        Some(id) => id.to_owned(),
        None => twins.message_id(origin.digest("log", &[record.encode_to_vec()])),
    };
    Ok(pb::Event {
        message_id,
        name: name.to_owned(),
        occurred_time: time(record.time_unix_nano).or_else(|| time(record.observed_time_unix_nano)),
        ..origin.event("log", properties, &record.attributes)?
    })
}

/// The short name of a severity's range,
/// <https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber>.
fn severity_name(number: i32) -> &'static str {
    match number {
        1..=4 => "TRACE",
        5..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        17..=20 => "ERROR",
        21..=24 => "FATAL",
        _ => "",
    }
}
