//! OpenTelemetry's protocol: the published Python SDK over gRPC and HTTP, and
//! what it does not send.

use http::Method;
use northstar_domain::Role;
use northstar_proto::ingestion::v1 as pb;
use northstar_tests::http::{Answer, Http};
use northstar_tests::{Suite, log};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use serde_json::{Value, json};

use crate::sdk;

async fn prove(protocol: &str) {
    let Some(python) = sdk::python() else { return };
    let suite = Suite::start().await;
    let key = suite.key("collector", Role::Ingest).await;
    let address = if protocol == "grpc" { suite.host.grpc } else { suite.host.http };
    let clients = suite.clients("reader", Role::Admin).await;
    sdk::send(&python, "otlp.py", None, &[&format!("http://{address}"), &key, protocol]).await;

    let events = log::events(&clients).await;
    assert!(events.iter().all(|logged| logged.source == "collector"), "{events:?}");
    let mut found: Vec<Value> = events
        .iter()
        .map(|logged| log::to_json(logged.event.as_ref().expect("an event")))
        .collect();
    found.sort_by_key(|event| event["name"].to_string());
    let names: Vec<_> = found.iter().map(|event| event["name"].clone()).collect();
    assert_eq!(names, ["POST /orders", "latency", "order.paid", "orders"], "{found:?}");
    for event in &found {
        let properties = &event["properties"];
        assert_eq!(properties["service"], "checkout", "{event}");
        assert_eq!(properties["resource"]["service.namespace"], "shop", "{event}");
        assert_eq!(properties["scope"]["name"], "shop", "{event}");
    }
    let [span, latency, paid, orders] = found.as_slice() else { panic!("{found:?}") };

    assert_eq!((&span["user_id"], &span["anonymous_id"]), (&json!("u1"), &json!("s1")));
    let properties = &span["properties"];
    assert_eq!(properties["signal"], "span");
    assert_eq!(properties["kind"], "server");
    assert_eq!(properties["status"], "error");
    assert_eq!(properties["error"], true);
    assert_eq!(properties["status_message"], "out of stock");
    assert_eq!(properties["http.route"], "/orders");
    assert_eq!(properties["events"][0]["name"], "retried");
    assert_eq!(properties["events"][0]["attempt"], 2);
    assert!(properties["duration_ms"].as_f64() >= Some(0.0), "{span}");
    let id = format!(
        "{}-{}",
        properties["trace_id"].as_str().expect("a trace"),
        properties["span_id"].as_str().expect("a span")
    );
    assert_eq!(span["message_id"], id);

    for point in [latency, orders] {
        assert_eq!(point["anonymous_id"], "service:shop/checkout", "{point}");
        assert_eq!(point["properties"]["temporality"], "cumulative", "{point}");
    }
    assert_eq!(orders["properties"]["value"], 3);
    assert_eq!(orders["properties"]["channel"], "web");
    assert_eq!(orders["properties"]["monotonic"], true);
    assert_eq!(orders["properties"]["unit"], "{order}");
    assert_eq!(latency["properties"]["count"], 1);
    assert_eq!(latency["properties"]["sum"], 12.5);

    assert_eq!(paid["user_id"], "u2");
    assert_eq!(paid["occurred_time"], "2026-03-02T11:59:59Z");
    assert_eq!(paid["properties"]["body"], "paid");
    assert_eq!(paid["properties"]["amount"], 7);
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_exports_over_grpc() {
    prove("grpc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_exports_over_http() {
    prove("http").await;
}

/// A request in OTLP's JSON, with what is particular to it: ids in hexadecimal
/// digits, 64-bit integers as texts or numbers, enums as numbers, unknown
/// fields, a double that is none.
fn traces() -> Value {
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]},
        "scopeSpans": [{
            "scope": {"name": "fetch"},
            "spans": [
                {
                    "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
                    "name": "click", "kind": 3, "someFieldOfTheFuture": {"a": []},
                    "startTimeUnixNano": "1772452799000000000",
                    "endTimeUnixNano": 1_772_452_799_004_000_000_u64,
                    "attributes": [
                        {"key": "user.id", "value": {"stringValue": "u1"}},
                        {"key": "count", "value": {"intValue": "9007199254740993"}},
                        {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": true}, {}]}}},
                    ],
                    "status": {"code": 1},
                },
                {
                    "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "",
                    "name": "broken", "startTimeUnixNano": "1772452799000000000",
                },
            ],
        }],
    }]})
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_protobuf_are_answered_in_kind_with_what_is_not_in_the_log() {
    let suite = Suite::start().await;
    let http = Http::of(&suite);
    let clients = suite.clients("reader", Role::Admin).await;
    let authorization = format!("Bearer {}", suite.key("browser", Role::Ingest).await);
    let send = async |content_type: &str, body: Vec<u8>| -> Answer {
        let headers = [("authorization", &*authorization), ("content-type", content_type)];
        http.send(Method::POST, "/v1/traces", &headers, body).await
    };
    let answer = send("application/json; charset=utf-8", traces().to_string().into_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json");
    let partial = &answer.json()["partialSuccess"];
    assert_eq!(partial["rejectedSpans"].to_string().trim_matches('"'), "1", "{partial}");
    let message = partial["errorMessage"].as_str().expect("a message");
    assert!(message.contains("1: in quarantine, invalid_span_id (span_id)"), "{message}");
    let events = log::events(&clients).await;
    let event = log::to_json(events[0].event.as_ref().expect("an event"));
    let expected = json!({
        "message_id": "5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174",
        "name": "click", "user_id": "u1", "occurred_time": "2026-03-02T11:59:59Z",
        "properties": {
            "count": 9_007_199_254_740_993_i64, "duration_ms": 4.0, "error": false,
            "kind": "client", "list": [true, null], "resource": {"service.name": "web"},
            "scope": {"name": "fetch"}, "service": "web", "signal": "span",
            "span_id": "eee19b7ec3c1b174", "status": "ok",
            "trace_id": "5b8efff798038103d269b633813fc60c",
        },
    });
    assert_eq!(event, expected);

    // The same as protobuf is the same, and answers as protobuf.
    let mut request: ExportTraceServiceRequest =
        serde_json::from_value(traces()).expect("a request");
    let answer = send("application/x-protobuf", request.encode_to_vec()).await;
    assert_eq!(answer.headers["content-type"], "application/x-protobuf");
    let response = ExportTraceServiceResponse::decode(answer.body).expect("an answer");
    assert_eq!(response.partial_success.expect("part of it").rejected_spans, 1);
    assert_eq!(log::events(&clients).await.len(), 1);
    request.resource_spans[0].scope_spans[0].spans.truncate(1);
    let whole = send("application/json", serde_json::to_vec(&request).expect("JSON")).await;
    assert_eq!((whole.status.as_u16(), &*whole.body), (200, &b"{}"[..]));
    let empty = send("application/x-protobuf", Vec::new()).await;
    assert_eq!((empty.status.as_u16(), empty.body.len()), (200, 0));
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_otlp_is_refused_as_a_status_in_the_same_encoding() {
    let suite = Suite::start().await;
    let http = Http::of(&suite);
    let key = suite.key("collector", Role::Ingest).await;
    let authorization = format!("Bearer {key}");
    let deep_json = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"a","value":{}}}]}}}}]}}"#,
        r#"{"arrayValue":{"values":["#.repeat(5_000)
    );
    let within = |tag: u8, inner: Vec<u8>| {
        let mut outer = vec![tag];
        prost::encode_length_delimiter(inner.len(), &mut outer).expect("a vector grows");
        outer.extend(inner);
        outer
    };
    // An array in an array, 5,000 times, as the value of an attribute of the
    // resource: fields 5, 1 and 2 of messages in fields 1.
    let nested = (0..5_000).fold(Vec::new(), |inner, _| within(0x2a, within(0x0a, inner)));
    let attribute = within(0x0a, within(0x12, nested));
    let deep_protobuf = within(0x0a, within(0x0a, attribute));
    let long = "9".repeat(1_000_000);
    let huge_number = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"startTimeUnixNano":{long}}}]}}]}}]}}"#
    );
    for (path, content_type, body, status) in [
        ("/v1/traces", "application/json", b"{".to_vec(), 400),
        ("/v1/traces", "application/json", b"[]".to_vec(), 400),
        ("/v1/traces", "application/json", b"{\"resourceSpans\": \"\xff\"}".to_vec(), 400),
        ("/v1/logs", "application/json", b"{\"resourceLogs\": 5}".to_vec(), 400),
        ("/v1/traces", "application/json", deep_json.into_bytes(), 400),
        ("/v1/traces", "application/json", huge_number.into_bytes(), 400),
        ("/v1/metrics", "application/x-protobuf", vec![0xff; 100], 400),
        (
            "/v1/metrics",
            "application/json",
            br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","gauge":5}]}]}]}"#
                .to_vec(),
            400,
        ),
        ("/v1/traces", "application/x-protobuf", deep_protobuf, 400),
        ("/v1/traces", "application/x-protobuf", vec![0; 5 << 20], 413),
        ("/v1/traces", "text/plain", Vec::new(), 415),
    ] {
        let headers = [("authorization", authorization.as_str()), ("content-type", content_type)];
        let answer = http.send(Method::POST, path, &headers, body).await;
        assert_eq!(answer.status, status, "{path} {content_type}: {answer:?}");
        if content_type == "application/x-protobuf" {
            let status = tonic_types::pb::Status::decode(answer.body).expect("a status");
            assert_eq!(status.code, 3, "{status:?}");
            assert!(!status.message.is_empty());
        } else {
            assert_eq!(answer.json()["code"], 3, "{answer:?}");
        }
    }
    for (key, status, code) in [("ns_ingest_unknown", 401, 16), (&*viewer(&suite).await, 403, 7)] {
        let authorization = format!("Bearer {key}");
        let headers =
            [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let answer = http.send(Method::POST, "/v1/logs", &headers, "{}").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (status, &json!(code)));
    }
    let clients = suite.clients("reader", Role::Admin).await;
    let sources = clients.ingestion().list_sources(pb::ListSourcesRequest {}).await;
    assert!(sources.expect("sources").into_inner().sources.is_empty());
    suite.stop().await;
}

async fn viewer(suite: &Suite) -> String {
    suite.key("viewer", Role::Viewer).await
}
