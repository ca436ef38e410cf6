//! CloudEvents: the published SDK, and what it does not send.

use http::Method;
use northstar_domain::Role;
use northstar_proto::ingestion::v1 as pb;
use northstar_tests::http::Http;
use northstar_tests::{Suite, log};
use serde_json::{Value, json};

use crate::sdk;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_fills_the_log_in_every_content_mode() {
    let Some(python) = sdk::python() else { return };
    let suite = Suite::start().await;
    let key = suite.key("billing", Role::Ingest).await;
    let address = format!("http://{}", suite.host.http);
    let clients = suite.clients("reader", Role::Admin).await;
    for _ in 0..2 {
        sdk::send(&python, "cloudevents_modes.py", None, &[&address, &key]).await;
    }
    let events = log::events(&clients).await;
    assert_eq!(events[1].event.as_ref().expect("an event").sequence, 7);
    let found: Vec<Value> = events
        .iter()
        .map(|logged| log::to_json(logged.event.as_ref().expect("an event")))
        .collect();
    let attributes = |id: &str, more: Value| {
        let mut attributes = json!({
            "id": id, "source": "/billing/eu", "datacontenttype": "application/json",
        });
        for (name, value) in more.as_object().expect("an object") {
            attributes[name] = value.clone();
        }
        attributes
    };
    let event = |id: &str, second: u32, user: &str| {
        json!({
            "message_id": format!("{id} /billing/eu"),
            "name": "com.example.invoice.paid",
            "user_id": user,
            "occurred_time": format!("2026-03-01T12:00:0{second}Z"),
        })
    };
    let mut structured = event("e1", 1, "u1");
    structured["properties"] = json!({
        "amount": 12.5, "paid": true,
        "cloudevent": attributes("e1", json!({"subject": "u1", "partner": "Zoë"})),
    });
    let mut binary = event("e2", 2, "Zoë & Söhne");
    binary["account_id"] = "acme".into();
    binary["properties"] = json!({
        "amount": 3,
        "cloudevent": attributes(
            "e2",
            json!({"subject": "Zoë & Söhne", "accountid": "acme", "sequence": "7"}),
        ),
    });
    let mut batched = [event("e3", 3, "u1"), event("e4", 4, "u1")];
    for (number, event) in [3, 4].into_iter().zip(&mut batched) {
        let id = format!("e{number}");
        event["properties"] =
            json!({"amount": number, "cloudevent": attributes(&id, json!({"subject": "u1"}))});
    }
    let [third, fourth] = batched;
    assert_eq!(Value::from(found), json!([structured, binary, third, fourth]));
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_a_batch_has_an_answer_of_its_own() {
    let suite = Suite::start().await;
    let key = suite.key("billing", Role::Ingest).await;
    let http = Http::of(&suite);
    let authorization = format!("Bearer {key}");
    let send = async |content_type: &str, body: String| {
        let headers = [("authorization", &*authorization), ("content-type", content_type)];
        http.send(Method::POST, "/v1/cloudevents", &headers, body).await
    };
    let event = |id: &str| json!({"specversion": "1.0", "id": id, "source": "s", "type": "t"});
    let mut of_nobody = event("1");
    of_nobody["time"] = "2026-03-01T12:00:00Z".into();
    let mut old = event("2");
    old["specversion"] = "0.3".into();
    let mut untyped = event("3");
    untyped["type"] = "".into();
    let timeless = event("4");
    let batch = json!([of_nobody, old, untyped, timeless, 5, timeless]);
    let answer = send("application/cloudevents-batch+json; charset=utf-8", batch.to_string()).await;
    assert_eq!(answer.status, 200);
    let told = |answer: &Value| -> Vec<Value> {
        answer["results"]
            .as_array()
            .expect("results")
            .iter()
            .map(|r| r["outcome"].clone())
            .collect()
    };
    let first = answer.json();
    assert_eq!(
        told(&first),
        ["accepted", "quarantined", "quarantined", "accepted", "quarantined", "duplicate"]
    );
    assert_eq!(first["results"][1]["field"], "specversion");
    assert_eq!(first["results"][2]["reason"], "invalid_cloudevent");
    assert_eq!(first["results"][2]["field"], "type");
    assert_eq!(first["results"][4]["reason"], "not_an_object");

    // Later: also what does not say when it happened is known again.
    let again = send("application/cloudevents-batch+json", batch.to_string()).await.json();
    assert_eq!(told(&again), ["duplicate"; 6], "{again}");

    let clients = suite.clients("reader", Role::Admin).await;
    let events = log::events(&clients).await;
    assert_eq!(events[0].event.as_ref().expect("an event").anonymous_id, "s");
    let request = pb::ListQuarantinedEventsRequest::default();
    let waiting = clients.ingestion().list_quarantined_events(request).await.expect("a page");
    let raw: Vec<Vec<u8>> =
        waiting.into_inner().events.into_iter().map(|event| event.raw).collect();
    assert_eq!(
        raw,
        [old.to_string().into_bytes(), untyped.to_string().into_bytes(), b"5".to_vec()]
    );

    for (content_type, body, status, field) in [
        ("application/cloudevents+json", "{", 400, "body"),
        ("application/cloudevents+avro", "", 415, "content-type"),
        ("application/json", "{}", 400, "ce-specversion"),
    ] {
        let answer = send(content_type, body.to_owned()).await;
        assert_eq!(answer.status, status, "{content_type}");
        assert_eq!(answer.json()["error"]["field"], field, "{content_type}");
    }
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_data_of_any_type_is_kept() {
    let suite = Suite::start().await;
    let authorization = format!("Bearer {}", suite.key("billing", Role::Ingest).await);
    let http = Http::of(&suite);
    for (id, content_type, body) in [
        ("1", "text/plain", &b"hello"[..]),
        ("2", "application/octet-stream", &[0, 159, 146]),
        ("3", "application/vnd.example+json", b"[1, 2.0]"),
        ("4", "application/json", b"{no json"),
        ("5", "application/json", b""),
    ] {
        let headers = [
            ("authorization", &*authorization),
            ("content-type", content_type),
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", "s"),
            ("ce-type", "t"),
            ("ce-subject", "u1"),
            ("ce-time", "2026-03-01T12:00:00Z"),
        ];
        let answer = http.send(Method::POST, "/v1/cloudevents", &headers, body).await.json();
        let outcome = if id == "4" { "quarantined" } else { "accepted" };
        assert_eq!(answer["results"][0]["outcome"], outcome, "{answer}");
    }
    let clients = suite.clients("reader", Role::Admin).await;
    let data: Vec<Value> = log::events(&clients)
        .await
        .iter()
        .map(|logged| log::to_json(logged.event.as_ref().expect("an event")))
        .map(|event| json!([event["properties"]["data"], event["properties"]["data_base64"]]))
        .collect();
    assert_eq!(
        Value::from(data),
        json!([["hello", null], [null, "AJ+S"], [[1, 2.0], null], [null, null]])
    );
    suite.stop().await;
}
