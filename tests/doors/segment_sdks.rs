//! The published server SDKs of Segment and RudderStack, unmodified, and what
//! the log holds of what they sent.

use std::path::Path;

use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::ingestion::v1 as pb;
use northstar_tests::{Suite, log};
use serde_json::{Value, json};

use crate::sdk;

/// Sends one message of each kind twice, and checks what is in the log.
async fn prove(interpreter: &Path, program: &str, folder: Option<&Path>, library: &str) {
    let suite = Suite::start().await;
    let key = suite.key("shop", Role::Ingest).await;
    let address = format!("http://{}", suite.host.http);
    let clients = suite.clients("reader", Role::Admin).await;

    sdk::send(interpreter, program, folder, &[&address, &key]).await;
    let events = log::events(&clients).await;
    check(&events, library);
    check_links(&clients).await;

    sdk::send(interpreter, program, folder, &[&address, &key]).await;
    assert_eq!(log::events(&clients).await.len(), events.len(), "what is sent again is not new");
    let sources = clients.ingestion().list_sources(pb::ListSourcesRequest {}).await;
    let source = sources.expect("sources").into_inner().sources.remove(0);
    let counts = (source.accepted, source.duplicate, source.quarantined, source.rejected);
    assert_eq!((source.name.as_str(), counts), ("shop", (6, 6, 0, 0)));
    suite.stop().await;
}

fn check(events: &[pb::LoggedEvent], library: &str) {
    assert!(events.iter().all(|logged| logged.source == "shop"));
    let mut found: Vec<Value> = events
        .iter()
        .map(|logged| log::to_json(logged.event.as_ref().expect("an event")))
        .collect();
    found.sort_by_key(|event| event["message_id"].to_string());
    for event in &mut found {
        let event = event.as_object_mut().expect("an object");
        event.remove("sent_time");
        let properties = event["properties"].as_object_mut().expect("properties");
        let context = properties.remove("context").expect("a context");
        assert_eq!(context["library"]["name"], library, "{context}");
        if event["message_id"] == "m2" {
            assert_eq!(context["ip"], "203.0.113.7");
            assert_eq!(context["groupId"], "acme");
        }
        let properties = event["properties"].as_object_mut().expect("properties");
        let integrations = properties.remove("integrations").unwrap_or_default();
        if event["message_id"] == "m2" {
            assert_eq!(integrations, json!({"All": false}));
        }
    }
    let expected = [
        json!({
            "message_id": "m1", "name": "identify", "user_id": "u1", "anonymous_id": "a1",
            "occurred_time": "2026-03-01T12:00:01Z",
            "properties": {"plan": "pro", "seats": 5},
        }),
        json!({
            "message_id": "m2", "name": "Order Completed", "user_id": "u1", "account_id": "acme",
            "occurred_time": "2026-03-01T12:00:02Z",
            "properties": {
                "total": 99.5, "items": 3, "coupon": null, "gift": true, "tags": ["ü", "b"],
                "deep": {"a": {"b": 1}},
            },
        }),
        json!({
            "message_id": "m3", "name": "page", "user_id": "u1",
            "occurred_time": "2026-03-01T12:00:03Z",
            "properties": {"category": "Docs", "name": "Pricing", "path": "/pricing"},
        }),
        json!({
            "message_id": "m4", "name": "screen", "user_id": "u1",
            "occurred_time": "2026-03-01T12:00:04Z",
            "properties": {"name": "Home", "tab": "one"},
        }),
        json!({
            "message_id": "m5", "name": "group", "user_id": "u1", "account_id": "acme",
            "occurred_time": "2026-03-01T12:00:05Z",
            "properties": {"industry": "rockets"},
        }),
        json!({
            "message_id": "m6", "name": "alias", "user_id": "u1", "anonymous_id": "old-1",
            "occurred_time": "2026-03-01T12:00:06Z",
            "properties": {"previousId": "old-1"},
        }),
    ];
    assert_eq!(Value::from(found), Value::from(expected.to_vec()));
}

/// `identify` and `alias` tell who is who.
async fn check_links(clients: &Clients) {
    for identifier in ["a1", "old-1"] {
        let request =
            pb::ResolveSubjectRequest { identifier: identifier.to_owned(), ..Default::default() };
        let answer = clients.ingestion().resolve_subject(request).await.expect("an answer");
        assert_eq!(answer.into_inner().subject, "u1", "{identifier}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_s_python_sdk_fills_the_log() {
    let Some(python) = sdk::python() else { return };
    prove(&python, "segment_python.py", None, "analytics-python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rudderstack_s_python_sdk_fills_the_log() {
    let Some(python) = sdk::python() else { return };
    prove(&python, "rudder_python.py", None, "analytics-python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_s_node_sdk_fills_the_log() {
    let Some(folder) = sdk::node() else { return };
    prove(Path::new("node"), "segment_node.js", Some(&folder), "@segment/analytics-node").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rudderstack_s_node_sdk_fills_the_log() {
    let Some(folder) = sdk::node() else { return };
    prove(Path::new("node"), "rudder_node.js", Some(&folder), "analytics-node").await;
}
