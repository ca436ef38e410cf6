//! OpenTelemetry's protocol, OTLP 1.x, as a door: spans, log records and data
//! points of metrics become events.
//!
//! Protocol: <https://opentelemetry.io/docs/specs/otlp/>; the words of
//! attributes: <https://opentelemetry.io/docs/specs/semconv/>.
//!
//! | Event | span | log record | data point |
//! |---|---|---|---|
//! | `message_id` | trace id and span id | `log.record.uid`, or a digest of the record | a digest of the point |
//! | `name` | its name | `event_name`, or `event.name`, or `log` | the metric's name |
//! | `occurred_time` | its start | its time, or when it was observed | its time |
//! | `properties` | `duration_ms`, `status`, `error`, `kind`, ids, ... | `severity`, `body`, ids | `value`, or `count`, `sum`, ...; `type`, `unit` |
//!
//! Every event has the properties `signal`, `service` and `resource`, and the
//! record's attributes under their own names; one whose name is taken stands in
//! the object `attributes`. Who it is about is read from the attributes of the
//! record and then of the resource: `user.id` or `enduser.id` is the user,
//! `enduser.pseudo.id`, `app.installation.id` or `session.id` the anonymous id,
//! `account.id` or `tenant.id` the account. Telemetry of nobody is about its
//! service: its anonymous id is `service:` and the service's namespace and name.
//!
//! The source is the principal of the key; `northstar` is the suite's own.

mod answer;
mod attributes;
mod grpc;
mod http;
mod logs;
mod metrics;
mod origin;
mod traces;

pub(crate) use grpc::Otlp;
pub(crate) use http::door;

use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arrivals::{Arrival, Raw, Undated};
use crate::error::Error;
use crate::sender::Sender;
use crate::service::Ingestion;

use self::answer::{Rejected, rejected};

/// One of OTLP's three signals.
pub(super) trait Signal {
    /// An export request.
    type Request: Message + Default + DeserializeOwned + 'static;
    /// Its answer.
    type Response: Message + Default + PartialEq + Serialize;
    /// What a request holds, in the plural, as answers call it.
    const RECORDS: &'static str;

    /// The records of a request, in order, and what they become.
    fn arrivals(request: Self::Request)
    -> impl Iterator<Item = Arrival<impl Raw + 'static>> + Send;

    /// What a request in JSON held that its reader passed over, if anything:
    /// values of the wrong form, which cannot be kept because they are gone.
    fn passed_over(_request: &Self::Request) -> Option<String> {
        None
    }

    /// An answer that says which records are not in the log.
    fn partial_success(rejected: Rejected) -> Self::Response;
}

/// Takes an export request in. The answer follows the commit.
pub(super) async fn export<S: Signal>(
    ingestion: &Ingestion,
    caller: &Caller,
    request: S::Request,
) -> Result<S::Response, Error> {
    let arrivals = S::arrivals(request);
    let results: Vec<pb::EventResult> =
        ingestion.take_in(Sender::from(caller), &caller.principal, Undated::Kept, arrivals).await?;
    Ok(rejected(S::RECORDS, &results).map(S::partial_success).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use proptest::prelude::*;
    use serde_json::json;

    use super::logs::Logs;
    use super::metrics::Metrics;
    use super::traces::Traces;
    use super::*;

    fn any_value() -> serde_json::Value {
        json!({"kvlistValue": {"values": [
            {"key": "a", "value": {"arrayValue": {"values": [{"intValue": "-7"}, {}]}}},
            {"key": "b", "value": {"bytesValue": "AP8="}},
            {"key": "c", "value": {"doubleValue": 0.5}},
        ]}})
    }

    fn attributes() -> serde_json::Value {
        json!([
            {"key": "user.id", "value": {"stringValue": "u1"}},
            {"key": "status", "value": any_value()},
        ])
    }

    /// A request of each signal in which everything is set.
    fn requests() -> [String; 3] {
        let time = "1772452799000000000";
        let (trace, span) = ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174");
        let common = json!({
            "startTimeUnixNano": time, "timeUnixNano": time, "count": "3", "sum": 1.5,
            "attributes": attributes(),
        });
        let with = |fields: serde_json::Value| {
            let mut point = common.as_object().unwrap().clone();
            point.extend(fields.as_object().unwrap().clone());
            serde_json::Value::Object(point)
        };
        let spans = json!({"resourceSpans": [{
            "resource": {"attributes": attributes()},
            "scopeSpans": [{"scope": {"name": "s"}, "spans": [{
                "traceId": trace, "spanId": span, "name": "n", "kind": 2,
                "startTimeUnixNano": time, "endTimeUnixNano": time, "attributes": attributes(),
                "events": [{"timeUnixNano": time, "name": "e", "attributes": attributes()}],
                "links": [{"traceId": trace, "spanId": span, "attributes": attributes()}],
                "status": {"code": 2, "message": "m"},
            }]}],
        }]});
        let logs = json!({"resourceLogs": [{
            "resource": {"attributes": attributes()},
            "scopeLogs": [{"logRecords": [{
                "timeUnixNano": time, "severityNumber": 9, "body": any_value(),
                "attributes": attributes(), "traceId": trace, "spanId": span, "eventName": "n",
            }]}],
        }]});
        let metrics = json!({"resourceMetrics": [{
            "resource": {"attributes": attributes()},
            "scopeMetrics": [{"metrics": [
                {"name": "g", "unit": "1", "gauge": {"dataPoints": [with(json!({"asInt": "3"}))]}},
                {"name": "s", "sum": {"isMonotonic": true, "aggregationTemporality": 2,
                                      "dataPoints": [with(json!({"asDouble": 0.5}))]}},
                {"name": "h", "histogram": {"aggregationTemporality": 1, "dataPoints": [
                    with(json!({"bucketCounts": ["1", "2"], "explicitBounds": [2.0]}))]}},
                {"name": "e", "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [
                    with(json!({"scale": 1, "zeroCount": "1",
                                "positive": {"offset": 1, "bucketCounts": ["2"]}}))]}},
                {"name": "q", "summary": {"dataPoints": [
                    with(json!({"quantileValues": [{"quantile": 0.5, "value": 1.0}]}))]}},
            ]}],
        }]});
        [spans, logs, metrics].map(|request| request.to_string())
    }

    /// Reads every record of a request and asks for everything a chunk asks for;
    /// gives how many became events.
    fn read<S: Signal>(request: S::Request) -> usize {
        S::arrivals(request)
            .filter(|arrival| {
                assert!(arrival.raw.size() < 1 << 20);
                assert!(!arrival.raw.bytes().is_empty());
                arrival.event.is_ok()
            })
            .count()
    }

    #[test]
    fn a_request_in_which_everything_is_set_reads_as_json_and_as_protobuf() {
        let [spans, logs, metrics] = requests();
        let spans: ExportTraceServiceRequest = serde_json::from_str(&spans).unwrap();
        let logs: ExportLogsServiceRequest = serde_json::from_str(&logs).unwrap();
        let metrics: ExportMetricsServiceRequest = serde_json::from_str(&metrics).unwrap();
        assert_eq!(spans, Message::decode(&*spans.encode_to_vec()).unwrap());
        assert_eq!(read::<Traces>(spans), 1);
        assert_eq!(read::<Logs>(logs), 1);
        assert_eq!(read::<Metrics>(metrics), 5);
    }

    proptest! {
        #[test]
        fn a_damaged_request_is_refused_or_read_and_never_worse(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
            cut in any::<prop::sample::Index>(),
        ) {
            fn damaged(
                mut bytes: Vec<u8>,
                damage: &[(prop::sample::Index, u8)],
                cut: prop::sample::Index,
            ) -> Vec<u8> {
                for (place, byte) in damage {
                    let place = place.index(bytes.len());
                    bytes[place] = *byte;
                }
                // Half of them are cut short as well.
                let end = cut.index(bytes.len() * 2);
                bytes.truncate(end);
                bytes
            }
            fn attempt<S: Signal>(json: &str, damage: &[(prop::sample::Index, u8)], cut: prop::sample::Index) {
                let request: S::Request = serde_json::from_str(json).unwrap();
                let protobuf = damaged(request.encode_to_vec(), damage, cut);
                if let Ok(request) = S::Request::decode(&*protobuf) {
                    read::<S>(request);
                }
                let json = damaged(json.as_bytes().to_vec(), damage, cut);
                if let Ok(request) = serde_json::from_slice(&json) {
                    read::<S>(request);
                }
            }
            let [spans, logs, metrics] = requests();
            attempt::<Traces>(&spans, &damage, cut);
            attempt::<Logs>(&logs, &damage, cut);
            attempt::<Metrics>(&metrics, &damage, cut);
        }
    }
}
