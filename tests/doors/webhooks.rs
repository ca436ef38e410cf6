//! Webhooks of other systems: every preset with its example payload, signed as
//! the other system signs, and what nobody should send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use http::Method;
use northstar_client::Clients;
use northstar_domain::Role;
use northstar_ingestion::presets::{self, Preset};
use northstar_proto::ingestion::v1 as pb;
use northstar_tests::http::{Answer, Http};
use northstar_tests::{Suite, log};
use ring::hmac;
use serde_json::{Value, json};

const SECRET: &str = "whsec_bm90IGEgcmVhbCBzZWNyZXQsIG9ubHkgYSB0ZXN0";

fn mac(algorithm: hmac::Algorithm, secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, secret), &parts.concat()).as_ref().to_vec()
}

fn sha256(secret: &str, parts: &[&[u8]]) -> Vec<u8> {
    mac(hmac::HMAC_SHA256, secret.as_bytes(), parts)
}

/// The headers that the other system of a preset signs a payload with.
fn signed(preset: &str, secret: &str, body: &[u8], now: DateTime<Utc>) -> Vec<(String, String)> {
    let headers = match preset {
        "hubspot-deals" => {
            let time = now.timestamp_millis().to_string();
            let url = b"https://northstar.example.com/v1/webhooks/default/hubspot-deals";
            let signature = sha256(secret, &[b"POST".as_slice(), url, body, time.as_bytes()]);
            vec![
                ("x-hubspot-request-timestamp", time),
                ("x-hubspot-signature-v3", STANDARD.encode(signature)),
            ]
        }
        "intercom-conversations" => {
            let algorithm = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
            let signature = mac(algorithm, secret.as_bytes(), &[body]);
            vec![("x-hub-signature", format!("sha1={}", hex::encode(signature)))]
        }
        "stripe-billing" => {
            let time = now.timestamp().to_string();
            let signature = hex::encode(sha256(secret, &[time.as_bytes(), b".", body]));
            vec![("stripe-signature", format!("t={time},v1={signature},v0=00"))]
        }
        "zendesk-tickets" => {
            let time = now.to_rfc3339_opts(SecondsFormat::Secs, true);
            let signature = STANDARD.encode(sha256(secret, &[time.as_bytes(), body]));
            vec![
                ("x-zendesk-webhook-signature-timestamp", time),
                ("x-zendesk-webhook-signature", signature),
            ]
        }
        other => panic!("how does {other} sign?"),
    };
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn post(http: &Http, path: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    http.send(Method::POST, path, &all, body.to_vec()).await
}

/// A webhook source from a document in YAML or JSON.
fn source(document: &str) -> pb::WebhookSource {
    let document: Value = serde_norway::from_str(document).expect("a document");
    let spec = &document["spec"];
    let mut mapping = json!({ "rules": spec["rules"] });
    for field in ["each", "common"] {
        if let Some(value) = spec.get(field) {
            mapping[field] = value.clone();
        }
    }
    pb::WebhookSource {
        name: document["metadata"]["name"].as_str().expect("a name").to_owned(),
        owner: spec["owner"].as_str().expect("an owner").to_owned(),
        signature_json: spec["signature"].to_string(),
        mapping_json: mapping.to_string(),
        ..pb::WebhookSource::default()
    }
}

async fn apply(clients: &Clients, document: &str) {
    let request = pb::ApplyWebhookSourceRequest {
        webhook_source: Some(source(document)),
        ..pb::ApplyWebhookSourceRequest::default()
    };
    clients.webhook_sources().apply_webhook_source(request).await.expect("it is applied");
}

async fn set_secret(clients: &Clients, name: &str, secret: &str, keep_previous_seconds: i32) {
    let request = pb::SetWebhookSecretRequest {
        name: name.to_owned(),
        secret: secret.to_owned(),
        keep_previous_seconds,
        ..pb::SetWebhookSecretRequest::default()
    };
    clients.webhook_sources().set_webhook_secret(request).await.expect("it is set");
}

fn outcomes(answer: &Answer) -> Vec<Value> {
    let answer = answer.json();
    let results = answer["results"].as_array().unwrap_or_else(|| panic!("no results: {answer}"));
    results.iter().map(|result| result["outcome"].clone()).collect()
}

fn preset(name: &str) -> &'static Preset {
    presets::find(name).expect(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_presets_are_for_comes_in_once_and_only_signed() {
    let suite = Suite::start().await;
    let http = Http::of(&suite);
    let clients = suite.clients("support", Role::Admin).await;
    for preset in presets::ALL {
        apply(&clients, preset.document).await;
        let path = format!("/v1/webhooks/default/{}", preset.name);
        let body = preset.payload.as_bytes();
        let now = Utc::now();

        let early = post(&http, &path, &signed(preset.name, SECRET, body, now), body).await;
        assert_eq!(early.status, 401, "{}: no secret is set", preset.name);
        set_secret(&clients, preset.name, SECRET, 0).await;

        let first = post(&http, &path, &signed(preset.name, SECRET, body, now), body).await;
        assert_eq!(first.status, 200, "{}: {first:?}", preset.name);
        assert!(outcomes(&first).iter().all(|o| o == "accepted"), "{}: {first:?}", preset.name);
        // The path that the source names has the project's number.
        let request = pb::GetWebhookSourceRequest { name: preset.name.to_owned() };
        let known = clients.webhook_sources().get_webhook_source(request).await.expect("it is");
        let path_of_source = known.into_inner().webhook_source.expect("a source").path;
        assert_ne!(path_of_source, path);
        let headers = signed(preset.name, SECRET, body, Utc::now());
        let again = post(&http, &path_of_source, &headers, body).await;
        assert_eq!(again.status, 200);
        assert!(outcomes(&again).iter().all(|o| o == "duplicate"), "{}: {again:?}", preset.name);

        let mut forged = body.to_vec();
        forged.push(b' ');
        let headers = signed(preset.name, SECRET, body, now);
        let others = signed(preset.name, "another secret", body, now);
        for (what, headers, body) in [
            ("a changed body", headers, forged.as_slice()),
            ("another secret", others, body),
            ("no signature", Vec::new(), body),
        ] {
            let refused = post(&http, &path, &headers, body).await;
            assert_eq!(refused.status, 401, "{}: {what}", preset.name);
            let reason = &refused.json()["error"]["reason"];
            assert_eq!(reason, "ERROR_REASON_UNAUTHENTICATED", "{}: {what}", preset.name);
        }
        if preset.name != "intercom-conversations" {
            let old = now - chrono::TimeDelta::minutes(6);
            let stale = post(&http, &path, &signed(preset.name, SECRET, body, old), body).await;
            assert_eq!(stale.status, 401, "{}: an old signature", preset.name);
        }
    }

    let mut found: Vec<_> = log::events(&clients)
        .await
        .iter()
        .map(|logged| {
            let mut event = log::to_json(logged.event.as_ref().expect("an event"));
            event["source"] = logged.source.as_str().into();
            event
        })
        .collect();
    found.sort_by_key(|event| event["name"].to_string());
    let expected = json!([
        {
            "source": "intercom-conversations", "name": "Conversation Closed",
            "message_id": "notif_5a7d2c10-1f3e-11f1-9a44-2b7c61d0e8f5",
            "user_id": "u-1042", "occurred_time": "2026-03-02T11:59:50Z",
            "properties": {
                "assignee_id": 811, "channel": "conversation", "conversation_id": "215468",
                "priority": "not_priority", "reopens": 1, "replies": 9, "state": "closed",
                "team_id": 12, "topic": "conversation.admin.closed",
            },
        },
        {
            "source": "hubspot-deals", "name": "Deal Created",
            "message_id": "25-3816279340-70412-1772452795000",
            "anonymous_id": "hubspot-deal:70412", "account_id": "hubspot:33",
            "occurred_time": "2026-03-02T11:59:55Z",
            "properties": {"change_source": "CRM_UI", "deal_id": "70412"},
        },
        {
            "source": "hubspot-deals", "name": "Deal Won",
            "message_id": "22-3816279480-70398-1772452798250",
            "anonymous_id": "hubspot-deal:70398", "account_id": "hubspot:33",
            "occurred_time": "2026-03-02T11:59:58.250Z",
            "properties": {"change_source": "CRM_UI", "deal_id": "70398"},
        },
        {
            "source": "stripe-billing", "name": "Invoice Paid",
            "message_id": "evt_1TqA7bKx2mQyWp", "user_id": "cus_R81sLq0", "account_id": "acme",
            "occurred_time": "2026-03-02T11:59:59Z",
            "properties": {
                "amount": 4900, "currency": "eur", "customer": "cus_R81sLq0", "livemode": true,
                "number": "A-2026-0117", "object_id": "in_1TqA7aKx2mQyWp",
                "reason": "subscription_cycle", "status": "paid", "stripe_type": "invoice.paid",
            },
        },
        {
            "source": "zendesk-tickets", "name": "Ticket Solved",
            "message_id": "3d1f7a52-9b0e-4d57-8f43-0c1a5be7d9a1",
            "user_id": "zendesk:8123", "account_id": "zendesk:640",
            "occurred_time": "2026-03-02T11:59:58.412773Z",
            "properties": {
                "assignee_id": "9002", "channel": "email", "group_id": "77",
                "previous_status": "OPEN", "priority": "HIGH", "status": "SOLVED",
                "tags": ["billing", "address"], "ticket_id": "5158", "ticket_type": "QUESTION",
                "zendesk_type": "zen:event-type:ticket.status_changed",
            },
        },
    ]);
    let mut expected = expected.as_array().expect("a list").clone();
    expected.sort_by_key(|event| event["name"].to_string());
    assert_eq!(found, expected);
    suite.stop().await;
}

/// A source without a signature, whose events are its items.
const OPEN: &str = r#"{
  "kind": "WebhookSource", "metadata": {"name": "open"},
  "spec": {
    "owner": "tests", "signature": {"scheme": "none"},
    "rules": [
      {"when": "item.type == 'ping'", "ignore": true},
      {"event": {"value": "Seen"}, "message_id": "/id", "user_id": "/user",
       "occurred_time": "/time", "properties_from": "/properties"}
    ]
  }
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_signature_needs_a_key_of_its_project() {
    let suite = Suite::start().await;
    let http = Http::of(&suite);
    apply(&suite.clients("admin", Role::Admin).await, OPEN).await;
    let body = json!({"id": "1", "user": "u", "time": "2026-03-02T12:00:00Z"}).to_string();
    let send = async |key: Option<&str>, path: &str| {
        let headers: Vec<_> = key
            .map(|key| ("authorization".to_owned(), format!("Bearer {key}")))
            .into_iter()
            .collect();
        post(&http, path, &headers, body.as_bytes()).await
    };
    let path = "/v1/webhooks/default/open";
    assert_eq!(send(None, path).await.status, 401);
    assert_eq!(send(Some("ns_ingest_unknown"), path).await.status, 401);
    let viewer = suite.key("viewer", Role::Viewer).await;
    assert_eq!(send(Some(&viewer), path).await.status, 403);
    let key = suite.key("sender", Role::Ingest).await;
    assert_eq!(send(Some(&key), path).await.status, 200);
    for elsewhere in ["/v1/webhooks/default/closed", "/v1/webhooks/other/open"] {
        let answer = send(Some(&key), elsewhere).await;
        assert_eq!(answer.status, 404, "{elsewhere}");
        assert_eq!(answer.json()["error"]["reason"], "ERROR_REASON_NOT_FOUND");
    }
    // Intercom asks before it uses an address, whatever it is.
    for path in [path, "/v1/webhooks/default/closed"] {
        assert_eq!(http.send(Method::HEAD, path, &[], "").await.status, 200);
    }
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_kept_whole_and_answered_with_the_reason() {
    let suite = Suite::start().await;
    let http = Http::of(&suite);
    let clients = suite.clients("admin", Role::Admin).await;
    apply(&clients, OPEN).await;
    let key = suite.key("sender", Role::Ingest).await;
    let headers = [("authorization".to_owned(), format!("Bearer {key}"))];
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!(
        r#"{{"id":"5","user":"u","time":"2026-03-02T12:00:00Z","properties":{{"a":{}1{}}}}}"#,
        "[".repeat(20),
        "]".repeat(20)
    );
    let with = |fields: Value| {
        let mut body = json!({"id": "1", "user": "u", "time": "2026-03-02T12:00:00Z"});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("o").clone());
        body.to_string().into_bytes()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("invalid_json", b"{".to_vec()),
        ("invalid_json", b"".to_vec()),
        ("invalid_json", b"{\"id\": \"\xff\"}".to_vec()),
        ("invalid_json", b"{\"id\": 1e999999}".to_vec()),
        ("missing_occurred_time", b"[1, 2]".to_vec()),
        ("missing_message_id", with(json!({"id": null}))),
        ("missing_actor", with(json!({"user": ""}))),
        ("invalid_time", with(json!({"time": "9".repeat(30_000)}))),
        ("not_a_text", with(json!({"id": {"a": 1}}))),
        ("too_long", with(json!({"id": "x".repeat(201)}))),
        ("nul_character", with(json!({"properties": {"a\u{0}": 1}}))),
        ("properties_too_deep", nested.into_bytes()),
    ];
    for (reason, body) in &cases {
        let answer = post(&http, "/v1/webhooks/default/open", &headers, body).await;
        let told = answer.json();
        assert_eq!(answer.status, 202, "{reason}: {told}");
        assert_eq!(told["results"][0]["outcome"], "quarantined", "{reason}: {told}");
        assert_eq!(told["results"][0]["reason"], *reason, "{told}");
    }
    let ping = post(&http, "/v1/webhooks/default/open", &headers, b"{\"type\":\"ping\"}").await;
    assert_eq!((ping.status.as_u16(), outcomes(&ping)), (200, vec![json!("ignored")]));

    let mut kept = Vec::new();
    let request = pb::ListQuarantinedEventsRequest { page_size: 100, ..Default::default() };
    let page = clients.ingestion().list_quarantined_events(request).await.expect("a page");
    for event in page.into_inner().events {
        kept.push((event.reason, event.raw));
    }
    let expected: Vec<_> =
        cases.iter().map(|(reason, body)| ((*reason).to_owned(), body.clone())).collect();
    assert_eq!(kept, expected);

    // What is too large to be kept is refused, so that the sender knows.
    let large = post(&http, "/v1/webhooks/default/open", &headers, deep.as_bytes()).await;
    assert_eq!(large.status, 422, "{large:?}");
    assert_eq!(outcomes(&large), ["rejected"]);
    let huge = post(&http, "/v1/webhooks/default/open", &headers, &vec![b' '; 2 << 20]).await;
    assert_eq!(huge.status, 413, "{huge:?}");
    assert!(log::events(&clients).await.is_empty());
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_before_works_until_it_does_not() {
    let suite = Suite::start().await;
    let http = Http::of(&suite);
    let clients = suite.clients("admin", Role::Admin).await;
    let stripe = preset("stripe-billing");
    apply(&clients, stripe.document).await;
    let path = "/v1/webhooks/default/stripe-billing";
    let body = stripe.payload.as_bytes();
    let status = async |secret: &str| {
        let headers = signed(stripe.name, secret, body, Utc::now());
        post(&http, path, &headers, body).await.status.as_u16()
    };
    set_secret(&clients, stripe.name, "the first secret", 0).await;
    assert_eq!(status("the first secret").await, 200);
    set_secret(&clients, stripe.name, "the second secret", 3600).await;
    assert_eq!(status("the first secret").await, 200);
    assert_eq!(status("the second secret").await, 200);
    set_secret(&clients, stripe.name, "the third secret", 0).await;
    assert_eq!(status("the second secret").await, 401);
    assert_eq!(status("the third secret").await, 200);
    // Applying the document again leaves the secret alone, and no call shows it.
    apply(&clients, stripe.document).await;
    assert_eq!(status("the third secret").await, 200);
    let request = pb::GetWebhookSourceRequest { name: stripe.name.to_owned() };
    let shown = clients.webhook_sources().get_webhook_source(request).await.expect("it is there");
    let shown = shown.into_inner().webhook_source.expect("it is there");
    assert!(shown.has_secret);
    assert!(!format!("{shown:?}").contains("third"), "{shown:?}");
    let request =
        pb::DeleteWebhookSourceRequest { name: stripe.name.to_owned(), ..Default::default() };
    clients.webhook_sources().delete_webhook_source(request).await.expect("it goes");
    assert_eq!(status("the third secret").await, 404);
    suite.stop().await;
}
