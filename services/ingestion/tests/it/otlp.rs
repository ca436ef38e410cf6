//! OpenTelemetry's protocol as a door.

use std::collections::BTreeMap;

use northstar_proto::ingestion::v1 as pb;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status as SpanStatus,
};
use prost::Message as _;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::subscribe::read_all;
use crate::suite::{PROJECT, SUITE_KEY, Suite, double, integer, noon, text};

/// The source of everything that comes with the suite's key.
const SOURCE: &str = "northstar";

fn channel(suite: &Suite) -> Channel {
    Endpoint::new(suite.host.url().to_string()).unwrap().connect_lazy()
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", format!("Bearer {SUITE_KEY}").parse().unwrap());
    metadata.insert("northstar-project", PROJECT.to_string().parse().unwrap());
    request
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn string(key: &str, text: &str) -> KeyValue {
    attribute(key, Value::StringValue(text.to_owned()))
}

fn resource() -> Option<Resource> {
    let attributes = vec![
        string("service.name", "checkout"),
        string("service.namespace", "shop"),
        string("service.instance.id", "pod-1"),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "http".to_owned(), ..InstrumentationScope::default() })
}

/// Nanoseconds at so many milliseconds after noon.
fn at(milliseconds: i64) -> u64 {
    let nanos = noon().timestamp_nanos_opt().unwrap() + milliseconds * 1_000_000;
    u64::try_from(nanos).unwrap()
}

fn span(number: u8) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![number; 8],
        name: "GET /orders".to_owned(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: at(0),
        end_time_unix_nano: at(0) + 12_500_000,
        ..Span::default()
    }
}

fn spans(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource(),
            scope_spans,
            ..ResourceSpans::default()
        }],
    }
}

async fn export_spans(suite: &Suite, all: Vec<Span>) -> Result<ExportTraceServiceResponse, Status> {
    let mut client = TraceServiceClient::new(channel(suite));
    client.export(request(spans(all))).await.map(tonic::Response::into_inner)
}

fn logs(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: resource(),
            scope_logs,
            ..ResourceLogs::default()
        }],
    }
}

fn metrics(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: resource(),
            scope_metrics,
            ..ResourceMetrics::default()
        }],
    }
}

fn object(fields: &[(&str, pb::Value)]) -> pb::Value {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    pb::Value { kind: Some(pb::value::Kind::StructValue(pb::StructValue { fields })) }
}

fn list(values: Vec<pb::Value>) -> pb::Value {
    pb::Value { kind: Some(pb::value::Kind::ListValue(pb::ListValue { values })) }
}

/// Properties that every event of these tests has.
fn shared(signal: &str) -> Vec<(&'static str, pb::Value)> {
    let attributes = object(&[
        ("service.instance.id", text("pod-1")),
        ("service.name", text("checkout")),
        ("service.namespace", text("shop")),
    ]);
    vec![
        ("signal", text(signal)),
        ("service", text("checkout")),
        ("resource", attributes),
        ("scope", object(&[("name", text("http"))])),
    ]
}

fn properties(signal: &str, own: &[(&str, pb::Value)]) -> BTreeMap<String, pb::Value> {
    shared(signal)
        .into_iter()
        .chain(own.iter().cloned())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The events of the log without what differs from run to run.
async fn logged(suite: &Suite, events: usize) -> Vec<pb::Event> {
    let logged = read_all(&suite.clients(), "reader", events).await;
    assert!(logged.iter().all(|logged| logged.source == SOURCE), "{logged:?}");
    logged.into_iter().map(|logged| logged.event.unwrap()).collect()
}

async fn quarantined(suite: &Suite) -> Vec<pb::QuarantinedEvent> {
    let request = pb::ListQuarantinedEventsRequest::default();
    let response = suite.clients().ingestion().list_quarantined_events(request).await;
    response.unwrap().into_inner().events
}

#[tokio::test]
async fn a_span_becomes_an_event_with_its_latency_its_status_and_who_it_is_about() {
    let suite = Suite::start().await;
    let sent = Span {
        parent_span_id: vec![9; 8],
        attributes: vec![
            string("user.id", "u1"),
            string("session.id", "s1"),
            string("account.id", "acme"),
            string("http.route", "/orders"),
            attribute("http.response.status_code", Value::IntValue(500)),
        ],
        status: Some(SpanStatus {
            code: StatusCode::Error.into(),
            message: "out of stock".to_owned(),
        }),
        ..span(2)
    };
    let answer = export_spans(&suite, vec![sent]).await.unwrap();
    assert_eq!(answer, ExportTraceServiceResponse::default());
    let [event] = &*logged(&suite, 1).await else { panic!("one event") };
    assert_eq!(event.message_id, format!("{}-{}", "01".repeat(16), "02".repeat(8)));
    assert_eq!(event.name, "GET /orders");
    assert_eq!((&*event.user_id, &*event.anonymous_id, &*event.account_id), ("u1", "s1", "acme"));
    assert_eq!(event.occurred_time, Some(crate::suite::minutes(0)));
    let boolean = |value| pb::Value { kind: Some(pb::value::Kind::BoolValue(value)) };
    let expected = properties(
        "span",
        &[
            ("trace_id", text(&"01".repeat(16))),
            ("span_id", text(&"02".repeat(8))),
            ("parent_span_id", text(&"09".repeat(8))),
            ("kind", text("server")),
            ("duration_ms", double(12.5)),
            ("status", text("error")),
            ("status_message", text("out of stock")),
            ("error", boolean(true)),
            ("http.route", text("/orders")),
            ("http.response.status_code", integer(500)),
        ],
    );
    assert_eq!(event.properties, expected);
}

#[tokio::test]
async fn telemetry_of_nobody_is_about_its_service() {
    let suite = Suite::start().await;
    let mut nameless = spans(vec![span(3)]);
    nameless.resource_spans[0].resource = None;
    let mut client = TraceServiceClient::new(channel(&suite));
    client.export(request(spans(vec![span(2)]))).await.unwrap();
    client.export(request(nameless)).await.unwrap();
    let events = logged(&suite, 2).await;
    assert_eq!(events[0].anonymous_id, "service:shop/checkout");
    assert_eq!(events[1].anonymous_id, "service:unknown_service");
    assert!(events.iter().all(|event| event.user_id.is_empty()));
}

#[tokio::test]
async fn what_is_exported_again_is_a_duplicate_and_a_success() {
    let suite = Suite::start().await;
    for _ in 0..2 {
        let mut client = TraceServiceClient::new(channel(&suite));
        let answer = client.export(request(spans(vec![span(1), span(2)]))).await.unwrap();
        assert_eq!(answer.into_inner(), ExportTraceServiceResponse::default());
        let mut client = LogsServiceClient::new(channel(&suite));
        let record = LogRecord { time_unix_nano: at(0), ..LogRecord::default() };
        // Two records alike are two records.
        let answer = client.export(request(logs(vec![record.clone(), record]))).await.unwrap();
        assert_eq!(answer.into_inner().partial_success, None);
    }
    assert_eq!(suite.counts(SOURCE).await, [8, 4, 4, 0, 0]);
}

#[tokio::test]
async fn spans_that_are_no_events_are_kept_whole_and_named_by_their_index() {
    let suite = Suite::start().await;
    let nameless = Span { name: String::new(), ..span(2) };
    let wrong_id = Span { span_id: vec![0; 8], ..span(3) };
    let not_a_number =
        Span { attributes: vec![attribute("ratio", Value::DoubleValue(f64::NAN))], ..span(4) };
    let timeless = Span { start_time_unix_nano: 0, end_time_unix_nano: 0, ..span(5) };
    let all = vec![span(1), nameless, wrong_id.clone(), not_a_number.clone(), timeless, span(6)];
    let answer = export_spans(&suite, all).await.unwrap().partial_success.unwrap();
    assert_eq!(answer.rejected_spans, 4);
    for part in [
        "4 of 6 spans are not in the log",
        "1: in quarantine, missing_name (name)",
        "2: in quarantine, invalid_span_id (span_id): must be 8 bytes",
        "3: in quarantine, invalid_number (properties.ratio)",
        "4: in quarantine, missing_occurred_time (occurred_time)",
    ] {
        assert!(answer.error_message.contains(part), "{part}: {}", answer.error_message);
    }
    assert_eq!(suite.counts(SOURCE).await, [6, 2, 0, 4, 0]);

    let kept = quarantined(&suite).await;
    let wrong = kept.iter().find(|kept| kept.reason == "invalid_span_id").unwrap();
    let whole = ExportTraceServiceRequest::decode(&*wrong.raw).unwrap();
    assert_eq!(whole, spans(vec![wrong_id]));
    let nan = kept.iter().find(|kept| kept.reason == "invalid_number").unwrap();
    assert_eq!(nan.raw, spans(vec![not_a_number]).encode_to_vec());
}

#[tokio::test]
async fn a_span_that_ends_before_it_begins_has_no_latency() {
    let suite = Suite::start().await;
    let backwards = Span { end_time_unix_nano: at(-1), ..span(1) };
    export_spans(&suite, vec![backwards]).await.unwrap();
    let events = logged(&suite, 1).await;
    assert!(!events[0].properties.contains_key("duration_ms"), "{events:?}");
}

#[tokio::test]
async fn a_contract_rules_spans_as_it_rules_events() {
    let suite = Suite::start().await;
    let contract = pb::Contract {
        name: "GET /orders".to_owned(),
        schema_version: "1-0-0".to_owned(),
        json_schema: r#"{"required": ["http.route"]}"#.to_owned(),
        mode: pb::ContractMode::Reject.into(),
        owner: "shop".to_owned(),
        description: "A request for orders.".to_owned(),
        ..pb::Contract::default()
    };
    let apply = pb::ApplyContractRequest { contract: Some(contract), ..Default::default() };
    suite.clients().ingestion().apply_contract(apply).await.unwrap();
    let answer = export_spans(&suite, vec![span(1)]).await.unwrap().partial_success.unwrap();
    assert!(answer.error_message.contains("0: rejected, schema_violation"), "{answer:?}");
    assert_eq!(suite.counts(SOURCE).await, [1, 0, 0, 0, 1]);
    assert!(quarantined(&suite).await.is_empty());
}

#[tokio::test]
async fn a_log_record_goes_by_its_event_name() {
    let suite = Suite::start().await;
    let record = LogRecord {
        time_unix_nano: at(5),
        severity_number: 9,
        body: Some(AnyValue { value: Some(Value::StringValue("paid".to_owned())) }),
        trace_id: vec![1; 16],
        attributes: vec![
            string("log.record.uid", "01JD"),
            string("enduser.id", "u2"),
            attribute("amount", Value::IntValue(3)),
            string("severity", "mine"),
        ],
        event_name: "order.paid".to_owned(),
        ..LogRecord::default()
    };
    let older = LogRecord {
        observed_time_unix_nano: at(6),
        attributes: vec![string("event.name", "older")],
        ..LogRecord::default()
    };
    let plain = LogRecord { time_unix_nano: at(7), ..LogRecord::default() };
    let mut client = LogsServiceClient::new(channel(&suite));
    let answer = client.export(request(logs(vec![record, older, plain]))).await.unwrap();
    assert_eq!(answer.into_inner().partial_success, None);
    let events = logged(&suite, 3).await;
    assert_eq!(events[0].message_id, "01JD");
    assert_eq!(events[0].user_id, "u2");
    let expected = properties(
        "log",
        &[
            ("severity", text("INFO")),
            ("severity_number", integer(9)),
            ("body", text("paid")),
            ("trace_id", text(&"01".repeat(16))),
            ("log.record.uid", text("01JD")),
            ("amount", integer(3)),
            ("attributes", object(&[("severity", text("mine"))])),
        ],
    );
    assert_eq!(events[0].properties, expected);
    let names: Vec<_> = events.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["order.paid", "older", "log"]);
    assert_eq!(events[1].occurred_time.map(|time| time.nanos), Some(6_000_000));
}

fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: "ms".to_owned(), data: Some(data), ..Metric::default() }
}

#[tokio::test]
async fn data_points_of_every_kind_become_events() {
    let suite = Suite::start().await;
    let number = |value| NumberDataPoint {
        time_unix_nano: at(1),
        attributes: vec![string("cache", "hot")],
        value: Some(value),
        ..NumberDataPoint::default()
    };
    let delta = AggregationTemporality::Delta.into();
    let sum = Sum {
        data_points: vec![number(Number::AsInt(i64::MAX)), number(Number::AsInt(2))],
        aggregation_temporality: delta,
        is_monotonic: true,
    };
    let histogram = HistogramDataPoint {
        start_time_unix_nano: at(0),
        time_unix_nano: at(1),
        count: 3,
        sum: Some(6.5),
        min: Some(1.0),
        max: Some(3.0),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![2.0],
        ..HistogramDataPoint::default()
    };
    let exponential = ExponentialHistogramDataPoint {
        time_unix_nano: at(1),
        count: 2,
        scale: -1,
        zero_count: 1,
        positive: Some(Buckets { offset: 4, bucket_counts: vec![1] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let summary = SummaryDataPoint {
        time_unix_nano: at(1),
        count: 2,
        sum: 3.0,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.5 }],
        ..SummaryDataPoint::default()
    };
    let all = vec![
        metric("load", Data::Gauge(Gauge { data_points: vec![number(Number::AsDouble(0.5))] })),
        metric("requests", Data::Sum(sum)),
        metric(
            "latency",
            Data::Histogram(Histogram {
                data_points: vec![histogram],
                aggregation_temporality: delta,
            }),
        ),
        metric(
            "sizes",
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![exponential],
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
            }),
        ),
        metric("old", Data::Summary(Summary { data_points: vec![summary] })),
        Metric { name: "strange".to_owned(), ..Metric::default() },
    ];
    let mut client = MetricsServiceClient::new(channel(&suite));
    let answer = client.export(request(metrics(all))).await.unwrap().into_inner();
    let partial = answer.partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    assert!(
        partial.error_message.contains("6: in quarantine, unknown_metric_type (data)"),
        "{partial:?}"
    );

    let events = logged(&suite, 6).await;
    let names: Vec<_> = events.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["load", "requests", "requests", "latency", "sizes", "old"]);
    let boolean = |value| pb::Value { kind: Some(pb::value::Kind::BoolValue(value)) };
    let unit = ("unit", text("ms"));
    let cache = ("cache", text("hot"));
    let expected = [
        vec![("type", text("gauge")), ("value", double(0.5)), cache.clone()],
        vec![
            ("type", text("sum")),
            ("value", integer(i64::MAX)),
            ("monotonic", boolean(true)),
            ("temporality", text("delta")),
            cache.clone(),
        ],
        vec![
            ("type", text("sum")),
            ("value", integer(2)),
            ("monotonic", boolean(true)),
            ("temporality", text("delta")),
            cache,
        ],
        vec![
            ("type", text("histogram")),
            ("temporality", text("delta")),
            ("start_time", text("2026-03-02T12:00:00Z")),
            ("count", integer(3)),
            ("sum", double(6.5)),
            ("min", double(1.0)),
            ("max", double(3.0)),
            ("bounds", list(vec![double(2.0)])),
            ("bucket_counts", list(vec![integer(1), integer(2)])),
        ],
        vec![
            ("type", text("exponential_histogram")),
            ("temporality", text("cumulative")),
            ("count", integer(2)),
            ("scale", integer(-1)),
            ("zero_count", integer(1)),
            ("zero_threshold", double(0.0)),
            (
                "positive",
                object(&[("offset", integer(4)), ("bucket_counts", list(vec![integer(1)]))]),
            ),
        ],
        vec![
            ("type", text("summary")),
            ("count", integer(2)),
            ("sum", double(3.0)),
            ("quantiles", list(vec![object(&[("quantile", double(0.5)), ("value", double(1.5))])])),
        ],
    ];
    for (event, own) in events.iter().zip(expected) {
        let own: Vec<_> = own.into_iter().chain([unit.clone()]).collect();
        assert_eq!(event.properties, properties("metric", &own), "{}", event.name);
    }
}

#[tokio::test]
async fn an_empty_request_succeeds() {
    let suite = Suite::start().await;
    let mut client = MetricsServiceClient::new(channel(&suite));
    let answer = client.export(request(ExportMetricsServiceRequest::default())).await.unwrap();
    assert_eq!(answer.into_inner().partial_success, None);
}

#[tokio::test]
async fn a_request_may_be_packed_and_is_measured_unpacked() {
    let suite = Suite::start().await;
    let mut client =
        TraceServiceClient::new(channel(&suite)).send_compressed(CompressionEncoding::Gzip);
    client.export(request(spans(vec![span(1)]))).await.unwrap();
    let bomb = Span { name: "x".repeat(9 << 20), ..span(2) };
    let refused = client.export(request(spans(vec![bomb]))).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    // What is too large stays too large: no RetryInfo, no retry.
    assert!(refused.get_error_details().retry_info().is_none());
    assert_eq!(suite.counts(SOURCE).await, [1, 1, 0, 0, 0]);
}

#[tokio::test]
async fn a_large_resource_costs_no_more_than_it_weighs() {
    let suite = Suite::start().await;
    let mut request_of_many = spans((1..=200).map(span).collect());
    let attributes = vec![string("build", &"x".repeat(1 << 20))];
    request_of_many.resource_spans[0].resource =
        Some(Resource { attributes, ..Resource::default() });
    let mut client = TraceServiceClient::new(channel(&suite));
    let answer = client.export(request(request_of_many)).await.unwrap().into_inner();
    let partial = answer.partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 200);
    assert!(partial.error_message.contains("; and 100 more"), "{partial:?}");
    assert_eq!(suite.counts(SOURCE).await, [200, 0, 0, 0, 200]);
}

#[tokio::test]
async fn a_database_that_is_away_asks_for_a_retry() {
    let (suite, gate) = Suite::start_behind_a_gate().await;
    export_spans(&suite, vec![span(1)]).await.unwrap();
    gate.close();
    let failed = export_spans(&suite, vec![span(2)]).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable, "{failed:?}");
    assert!(failed.get_error_details().retry_info().is_some());
}
