//! The tracking API beyond what the SDKs send: every route, every way to give a
//! key, bad input.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use northstar_domain::Role;
use northstar_proto::ingestion::v1 as pb;
use northstar_tests::http::Http;
use northstar_tests::{Suite, log};
use serde_json::{Value, json};

const TIME: &str = "2026-03-01T12:00:00Z";

fn track(id: &str) -> Value {
    json!({"type": "track", "event": "Clicked", "userId": "u1", "messageId": id, "timestamp": TIME})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_takes_its_kind_of_message() {
    let suite = Suite::start().await;
    let key = suite.key("web", Role::Ingest).await;
    let http = Http::of(&suite);
    for (number, (routes, name, more)) in [
        (["/v1/track", "/v1/t"], "Clicked", json!({"event": "Clicked"})),
        (["/v1/identify", "/v1/i"], "identify", json!({"traits": {"a": 1}})),
        (["/v1/page", "/v1/p"], "page", json!({"name": "Home"})),
        (["/v1/screen", "/v1/s"], "screen", json!({"name": "Home"})),
        (["/v1/group", "/v1/g"], "group", json!({"groupId": "acme"})),
        (["/v1/alias", "/v1/a"], "alias", json!({"previousId": "before"})),
    ]
    .into_iter()
    .enumerate()
    {
        for route in routes {
            let mut message = json!({"userId": "u1", "timestamp": TIME, "messageId": route});
            for (name, value) in more.as_object().expect("an object") {
                message[name] = value.clone();
            }
            let answer = http.post(route, &key, &message).await;
            assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"success": true})));
        }
        let events = log::events(&suite.clients("reader", Role::Admin).await).await;
        assert_eq!(events.len(), 2 * (number + 1));
        for logged in &events[2 * number..] {
            assert_eq!(logged.event.as_ref().expect("an event").name, name);
        }
    }
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_key_is_taken_wherever_the_protocol_has_it() {
    let suite = Suite::start().await;
    let key = suite.key("web", Role::Ingest).await;
    let http = Http::of(&suite);
    let in_body = |mut body: Value, key: &str| {
        body["writeKey"] = key.into();
        body.to_string()
    };
    let batch = json!({"batch": [track("1")]});
    for (path, body) in [
        ("/v1/track".to_owned(), in_body(track("1"), &key)),
        ("/v1/batch".to_owned(), in_body(batch.clone(), &key)),
        ("/v1/import".to_owned(), in_body(batch.clone(), &key)),
        (format!("/beacon/v1/batch?writeKey={key}"), batch.to_string()),
    ] {
        let answer = http.send(Method::POST, &path, &[], body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let viewer = suite.key("someone", Role::Viewer).await;
    for (body, status) in [
        (in_body(track("1"), "nobody's"), 401),
        (in_body(track("1"), ""), 401),
        (track("1").to_string(), 401),
        (json!({"writeKey": 7}).to_string(), 401),
        (in_body(track("1"), &viewer), 403),
    ] {
        let answer = http.send(Method::POST, "/v1/track", &[], body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let answer = answer.json();
        assert_eq!(answer["success"], false);
        // Where the SDKs look for what went wrong.
        assert!(answer["code"].is_string() && answer["message"].is_string(), "{answer}");
    }
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_never_fails_for_one_message_and_nothing_is_dropped() {
    let suite = Suite::start().await;
    let key = suite.key("web", Role::Ingest).await;
    let http = Http::of(&suite);
    let with = |id: &str, name: &str, value: Value| {
        let mut message = track(id);
        message[name] = value;
        message
    };
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let bad = [
        (json!("a text"), "not_an_object", ""),
        (with("2", "type", json!("click")), "unknown_type", "type"),
        (with("3", "event", json!(null)), "missing_name", "event"),
        (with("4", "userId", json!(null)), "missing_actor", "userId"),
        (with("5", "userId", json!({"id": 1})), "invalid_id", "userId"),
        (with("6", "timestamp", json!("yesterday")), "invalid_time", "timestamp"),
        (with("7", "properties", json!([1])), "invalid_type", "properties"),
        (with("8", "context", json!("x")), "invalid_type", "context"),
        (with("9", "event", json!("x".repeat(201))), "too_long", "name"),
        (with("10", "properties", json!({"a": "\0"})), "nul_character", "properties.a"),
        (with("11", "properties", json!({"a": "x".repeat(33_000)})), "too_long", ""),
        (with("12", "properties", json!({"deep": deep})), "invalid_json", ""),
        (with("13", "properties", json!({"k".repeat(2_000): "\0"})), "nul_character", ""),
    ];
    let huge = track("14").to_string().replace(r#""Clicked""#, "1e999");
    let mut messages: Vec<String> = vec![track("good").to_string()];
    messages.extend(bad.iter().map(|(message, ..)| message.to_string()));
    messages.push(huge);
    messages.push(track("good").to_string());
    let body = format!(r#"{{"batch": [{}]}}"#, messages.join(","));
    let authorization = format!("Bearer {key}");
    let headers = [("authorization", authorization.as_str())];
    let answer = http.send(Method::POST, "/v1/batch", &headers, body.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let results = answer["results"].as_array().expect("results");
    assert_eq!(results.len(), messages.len() - 1, "the first one was accepted: {answer}");
    for (index, (result, (_, reason, field))) in results.iter().zip(&bad).enumerate() {
        assert_eq!(result["index"], index + 1);
        assert_eq!(result["outcome"], "quarantined", "{result}");
        assert_eq!(result["reason"], *reason, "{result}");
        if !field.is_empty() {
            assert_eq!(result["field"], *field, "{result}");
        }
    }
    assert_eq!(results[bad.len()]["reason"], "invalid_json");
    assert_eq!(results[bad.len() + 1]["outcome"], "duplicate");

    let clients = suite.clients("reader", Role::Admin).await;
    let request = pb::ListQuarantinedEventsRequest::default();
    let waiting = clients.ingestion().list_quarantined_events(request).await.expect("a page");
    let mut kept: Vec<String> = waiting
        .into_inner()
        .events
        .into_iter()
        .map(|event| String::from_utf8(event.raw).expect("JSON"))
        .collect();
    let mut sent = messages[1..messages.len() - 1].to_vec();
    kept.sort();
    sent.sort();
    assert_eq!(kept, sent, "whole, as they came");

    let again = http.send(Method::POST, "/v1/batch", &headers, body).await.json();
    let outcomes = again["results"].as_array().expect("results");
    assert!(outcomes.iter().all(|result| result["outcome"] == "duplicate"), "{again}");
    assert_eq!(outcomes.len(), messages.len());
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_says_holds_for_its_messages_unless_they_say_otherwise() {
    let suite = Suite::start().await;
    let key = suite.key("web", Role::Ingest).await;
    let http = Http::of(&suite);
    let mut own = track("1");
    own["context"] = json!({"locale": "de", "groupId": "acme"});
    own["properties"] = json!({"context": "mine"});
    own["channel"] = "server".into();
    let consent = json!({"categoryPreferences": {"ads": false, "analytics": true}});
    let batch = json!({
        "context": {"locale": "en", "consent": consent},
        "integrations": {"All": true},
        "sentAt": "2026-03-01T12:00:05Z",
        "batch": [own, track("2")],
    });
    assert_eq!(http.post("/v1/batch", &key, &batch).await.status, 200);
    assert_eq!(http.post("/v1/import", &key, &json!({"batch": [track("3")]})).await.status, 200);
    let clients = suite.clients("reader", Role::Admin).await;
    let events: Vec<pb::Event> = log::events(&clients)
        .await
        .into_iter()
        .map(|logged| logged.event.expect("an event"))
        .collect();
    let consent = pb::Consent {
        granted_purposes: vec!["analytics".to_owned()],
        denied_purposes: vec!["ads".to_owned()],
    };
    assert!(events.iter().take(2).all(|event| event.consent.as_ref() == Some(&consent)));
    let events: Vec<Value> = events.iter().map(log::to_json).collect();
    assert_eq!(events[0]["account_id"], "acme");
    assert_eq!(events[0]["sent_time"], "2026-03-01T12:00:05Z");
    assert_eq!(
        events[0]["properties"],
        json!({
            "context": "mine",
            "$context": {
                "locale": "de", "groupId": "acme", "channel": "server",
                "consent": {"categoryPreferences": {"ads": false, "analytics": true}},
            },
            "integrations": {"All": true},
        })
    );
    assert_eq!(events[1]["properties"]["context"]["locale"], "en");
    assert!(events[2].get("sent_time").is_none(), "an import is of long ago");
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_those_that_segment_documents() {
    let suite = Suite::start().await;
    let key = suite.key("web", Role::Ingest).await;
    let http = Http::of(&suite);
    let mut large = track("1");
    large["properties"] = json!({"a": "x".repeat(32 * 1024)});
    let batch = json!({"batch": vec![track("1"); 6_000]});
    for (path, body) in [("/v1/track", &large), ("/v1/batch", &batch)] {
        let answer = http.post(path, &key, body).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.json()["code"], "ERROR_REASON_BATCH_TOO_LARGE");
    }
    for bad in ["", "{", "[]", r#"{"batch": 1}"#, r#"{"batch": [], "context": 1}"#, "\u{feff}{}"] {
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", authorization.as_str())];
        let answer = http.send(Method::POST, "/v1/batch", &headers, bad.to_owned()).await;
        assert_eq!(answer.status, 400, "{bad:?}");
        assert_eq!(answer.json()["code"], "ERROR_REASON_INVALID_FIELD", "{bad:?}");
    }
    let answer = http.post("/v1/batch", &key, &json!({"batch": []})).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"success": true})));
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_an_id_or_a_time_are_told_apart() {
    let suite = Suite::start().await;
    let key = suite.key("web", Role::Ingest).await;
    let http = Http::of(&suite);
    let without = |fields: &[&str]| {
        let mut message = track("1");
        for field in fields {
            message.as_object_mut().expect("an object").remove(*field);
        }
        message
    };
    for (message, second) in [
        // One fact that comes twice.
        (without(&["messageId"]), Some("duplicate")),
        (without(&["timestamp"]), Some("duplicate")),
        // May have happened twice.
        (without(&["messageId", "timestamp"]), None),
    ] {
        let first = http.post("/v1/track", &key, &message).await;
        assert_eq!(first.json(), json!({"success": true}));
        let again = http.post("/v1/track", &key, &message).await.json();
        match second {
            Some(outcome) => assert_eq!(again["results"][0]["outcome"], outcome, "{message}"),
            None => assert_eq!(again, json!({"success": true}), "{message}"),
        }
    }
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_tells_of_what_happened_where_no_script_runs() {
    let suite = Suite::start().await;
    let key = suite.key("mail", Role::Ingest).await;
    let http = Http::of(&suite);
    let message = |id: &str| json!({"writeKey": key, "event": "Mail Opened", "userId": "u1", "messageId": id});
    let image = async |kind: &str, message: &Value| {
        let data = BASE64_URL_SAFE_NO_PAD.encode(message.to_string());
        http.send(Method::GET, &format!("/v1/pixel/{kind}?data={data}"), &[], "").await
    };
    for (message, outcome) in [
        (message("m1"), "accepted"),
        (message("m1"), "duplicate"),
        (json!({"writeKey": key, "userId": "u1"}), "quarantined"),
    ] {
        let answer = image("track", &message).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers["northstar-outcome"], outcome);
        assert_eq!(answer.headers["content-type"], "image/gif");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.body.starts_with(b"GIF89a"), "{answer:?}");
    }
    let answer = image("page", &json!({"writeKey": key, "userId": "u1", "name": "Mail"})).await;
    assert_eq!(answer.headers["northstar-outcome"], "accepted");

    // Who may not is told so, in a status that a developer sees.
    let answer = image("track", &json!({"userId": "u1", "event": "Mail Opened"})).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let authorization = format!("Bearer {key}");
    let headers = [("authorization", authorization.as_str())];
    let answer = http.send(Method::GET, "/v1/pixel/track?data=%25%25", &headers, "").await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["field"]),
        (StatusCode::BAD_REQUEST, &json!("data"))
    );
    let large = json!({"writeKey": key, "userId": "u1", "event": "x".repeat(33_000)});
    let answer = image("track", &large).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!(400))
    );

    let events = log::events(&suite.clients("reader", Role::Admin).await).await;
    let names: Vec<_> =
        events.iter().filter_map(|logged| logged.event.as_ref()).map(|event| &event.name).collect();
    assert_eq!(names, ["Mail Opened", "page"]);
    suite.stop().await;
}
