//! Reports count what the suite tells of itself, so nobody else tells it.

use northstar_client::Clients;
use northstar_client::columns::ColumnsBuilder;
use northstar_domain::Role;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_tests::Suite;
use northstar_tests::http::Http;
use tonic::Status;
use tonic_types::StatusExt as _;

fn forged() -> ingestion::Event {
    ingestion::Event {
        message_id: "forged".to_owned(),
        name: "northstar.automation.run".to_owned(),
        user_id: "ada".to_owned(),
        occurred_time: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        ..ingestion::Event::default()
    }
}

fn source() -> String {
    "northstar".to_owned()
}

async fn send(
    clients: &Clients,
    source: String,
) -> Result<ingestion::IngestEventsResponse, Status> {
    let request = ingestion::IngestEventsRequest { source, events: vec![forged()] };
    Ok(clients.ingestion().ingest_events(request).await?.into_inner())
}

fn is_reserved(refused: &Status) {
    let details = refused.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    assert_eq!(reason, Some("ERROR_REASON_SOURCE_RESERVED"), "{refused:?}");
    assert!(refused.message().contains("the suite's own"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_suite_sends_from_its_own_source() {
    let suite = Suite::start().await;
    for role in [Role::Ingest, Role::Operator, Role::Admin] {
        let somebody = suite.clients("somebody", role).await;
        is_reserved(&send(&somebody, source()).await.expect_err("it is the suite's"));
        assert!(send(&somebody, "web".to_owned()).await.is_ok(), "{role}");
    }
    let somebody = suite.clients("somebody", Role::Ingest).await;
    let columns =
        ingestion::IngestColumnsRequest { source: source(), columns: Some(one_in_columns()) };
    let refused = somebody.ingestion().ingest_columns(columns).await;
    is_reserved(&refused.expect_err("columns are no way around it"));
    let request = ingestion::StreamEventsRequest {
        sequence: 1,
        source: source(),
        events: vec![forged()],
        ..Default::default()
    };
    let requests = tokio_stream::iter([request]);
    let mut answers =
        somebody.ingestion().stream_events(requests).await.expect("a stream").into_inner();
    is_reserved(&answers.message().await.expect_err("nor is a stream"));
    let record = ingestion::QuarantineRecordsRequest {
        source: source(),
        records: vec![ingestion::MalformedRecord::default()],
    };
    let refused = somebody.ingestion().quarantine_records(record).await;
    is_reserved(&refused.expect_err("what is replayed from quarantine is in the log too"));

    // The suite itself may, and nothing of all that is in the log.
    assert!(send(&suite.machine(), source()).await.is_ok());
    let request = ingestion::ListSourcesRequest::default();
    let found = somebody_who_reads(&suite).await.ingestion().list_sources(request).await;
    let sources = found.expect("a read").into_inner().sources;
    let own = sources.iter().find(|one| one.name == "northstar").expect("it sent one");
    assert_eq!((own.received, own.accepted), (1, 1));
    suite.stop().await;
}

async fn somebody_who_reads(suite: &Suite) -> Clients {
    suite.clients("reader", Role::Viewer).await
}

fn one_in_columns() -> ingestion::EventColumns {
    let mut columns = ColumnsBuilder::default();
    columns.push_event(&forged());
    columns.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_door_is_a_way_around_it() {
    let suite = Suite::start().await;
    let http = Http::of(&suite);
    // A key of that name, or a header, makes the source of a door.
    let (namesake, other) =
        (suite.key("northstar", Role::Ingest).await, suite.key("web", Role::Ingest).await);
    let event = r#"{"specversion":"1.0","id":"1","source":"/web","type":"northstar.automation.run","subject":"ada"}"#;
    let track = r#"{"event":"northstar.automation.run","userId":"ada","messageId":"1"}"#;
    let logs =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}"#;
    let header = northstar_client::metadata::SOURCE;
    for (path, content_type, body) in [
        ("/v1/cloudevents", "application/cloudevents+json", event),
        ("/v1/track", "application/json", track),
        ("/v1/logs", "application/json", logs),
    ] {
        for (key, named) in [(&namesake, None), (&other, Some("northstar"))] {
            // OTLP knows no header for it.
            if path == "/v1/logs" && named.is_some() {
                continue;
            }
            let bearer = format!("Bearer {key}");
            let mut headers =
                vec![("authorization", bearer.as_str()), ("content-type", content_type)];
            headers.extend(named.map(|name| (header, name)));
            let answer = http.send(http::Method::POST, path, &headers, body).await;
            assert_eq!(answer.status, http::StatusCode::FORBIDDEN, "{path}: {answer:?}");
            let told = String::from_utf8_lossy(&answer.body);
            assert!(told.contains("the suite's own"), "{path}: {told}");
        }
    }
    let webhook = ingestion::ApplyWebhookSourceRequest {
        webhook_source: Some(webhook()),
        ..Default::default()
    };
    let analyst = suite.clients("analyst", Role::Analyst).await;
    let refused = analyst.webhook_sources().apply_webhook_source(webhook).await;
    is_reserved(&refused.expect_err("a webhook comes from elsewhere"));
    suite.stop().await;
}

fn webhook() -> ingestion::WebhookSource {
    let preset = northstar_ingestion::presets::find("stripe-billing").expect("a preset");
    let document: serde_json::Value = serde_norway::from_str(preset.document).expect("YAML");
    let spec = &document["spec"];
    let mapping = serde_json::json!({ "common": spec["common"], "rules": spec["rules"] });
    ingestion::WebhookSource {
        name: source(),
        owner: "finance".to_owned(),
        signature_json: spec["signature"].to_string(),
        mapping_json: mapping.to_string(),
        ..ingestion::WebhookSource::default()
    }
}
