//! Definitions of webhook sources, and how their secrets are kept.

use northstar_ingestion::{Config, presets};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::{Host, Secret};
use sqlx::Row as _;
use tonic::Status;

use crate::suite::{PROJECT, SUITE_KEY, Suite, blamed_fields, clients, reason};

fn source() -> pb::WebhookSource {
    let preset = presets::find("stripe-billing").unwrap();
    let document: serde_json::Value = serde_norway::from_str(preset.document).unwrap();
    let spec = &document["spec"];
    let mapping = serde_json::json!({ "common": spec["common"], "rules": spec["rules"] });
    pb::WebhookSource {
        name: preset.name.to_owned(),
        owner: "finance".to_owned(),
        description: "Billing".to_owned(),
        signature_json: spec["signature"].to_string(),
        mapping_json: mapping.to_string(),
        ..pb::WebhookSource::default()
    }
}

fn apply(source: pb::WebhookSource) -> pb::ApplyWebhookSourceRequest {
    pb::ApplyWebhookSourceRequest {
        webhook_source: Some(source),
        ..pb::ApplyWebhookSourceRequest::default()
    }
}

async fn send(
    suite: &Suite,
    request: pb::ApplyWebhookSourceRequest,
) -> Result<pb::WebhookSource, Status> {
    let answer = suite.clients().webhook_sources().apply_webhook_source(request).await?;
    Ok(answer.into_inner().webhook_source.unwrap())
}

async fn get(suite: &Suite, name: &str) -> Result<pb::WebhookSource, Status> {
    let request = pb::GetWebhookSourceRequest { name: name.to_owned() };
    let answer = suite.clients().webhook_sources().get_webhook_source(request).await?;
    Ok(answer.into_inner().webhook_source.unwrap())
}

fn secret(secret: &str) -> pb::SetWebhookSecretRequest {
    pb::SetWebhookSecretRequest {
        name: "stripe-billing".to_owned(),
        secret: secret.to_owned(),
        ..pb::SetWebhookSecretRequest::default()
    }
}

#[tokio::test]
async fn a_source_is_kept_as_it_was_applied() {
    let suite = Suite::start().await;
    let dry = pb::ApplyWebhookSourceRequest { validate_only: true, ..apply(source()) };
    send(&suite, dry).await.unwrap();
    assert_eq!(reason(&get(&suite, "stripe-billing").await.unwrap_err()), "NOT_FOUND");

    let request_id = uuid::Uuid::new_v4().to_string();
    let once = pb::ApplyWebhookSourceRequest { request_id, ..apply(source()) };
    let stored = send(&suite, once.clone()).await.unwrap();
    assert_eq!(stored.signature_json, r#"{"scheme":"stripe"}"#);
    assert!(!stored.has_secret);
    assert_eq!(get(&suite, "stripe-billing").await.unwrap(), stored);
    assert_eq!(send(&suite, once.clone()).await.unwrap(), stored, "the same call again");
    let another = pb::WebhookSource { owner: "sales".to_owned(), ..source() };
    let reused = pb::ApplyWebhookSourceRequest { webhook_source: Some(another.clone()), ..once };
    assert_eq!(reason(&send(&suite, reused).await.unwrap_err()), "REQUEST_ID_REUSED");

    let changed = send(&suite, apply(another.clone())).await.unwrap();
    assert_ne!(changed.etag, stored.etag);
    let late = pb::WebhookSource { etag: stored.etag, ..source() };
    assert_eq!(reason(&send(&suite, apply(late)).await.unwrap_err()), "ETAG_MISMATCH");

    let request = pb::ListWebhookSourcesRequest::default();
    let listed = suite.clients().webhook_sources().list_webhook_sources(request).await.unwrap();
    assert_eq!(listed.into_inner().webhook_sources, [changed]);
    let actions: Vec<String> = sqlx::query("SELECT action FROM audit.entries ORDER BY sequence")
        .fetch_all(suite.superuser())
        .await
        .unwrap()
        .iter()
        .map(|row| row.get("action"))
        .collect();
    assert_eq!(actions, ["webhook_source.apply", "webhook_source.apply"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_told_by_field() {
    let suite = Suite::start().await;
    let broken = pb::WebhookSource {
        name: "Not A Name".to_owned(),
        signature_json: r#"{"scheme": "rot13"}"#.to_owned(),
        mapping_json: r#"{"rules": [{"when": "item.a =="}]}"#.to_owned(),
        ..source()
    };
    let refused = send(&suite, apply(broken)).await.unwrap_err();
    assert_eq!(
        blamed_fields(&refused),
        ["webhook_source.name", "webhook_source.signature_json", "webhook_source.mapping_json"]
    );
    let empty = pb::WebhookSource { mapping_json: "{}".to_owned(), ..source() };
    let refused = send(&suite, apply(empty)).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["webhook_source.rules"]);

    let mut client = suite.clients().webhook_sources();
    let missing = client.set_webhook_secret(secret("long enough")).await.unwrap_err();
    assert_eq!(reason(&missing), "NOT_FOUND");
    for (request, field) in [
        (secret("short"), "secret"),
        (secret("a line\nand another"), "secret"),
        (
            pb::SetWebhookSecretRequest { keep_previous_seconds: -1, ..secret("long enough") },
            "keep_previous_seconds",
        ),
    ] {
        let refused = client.set_webhook_secret(request).await.unwrap_err();
        assert_eq!(blamed_fields(&refused), [field]);
    }
}

#[tokio::test]
async fn a_secret_is_sealed_with_the_configured_key() {
    let suite = Suite::start().await;
    send(&suite, apply(source())).await.unwrap();
    let stored = async || -> Vec<u8> {
        sqlx::query("SELECT secret FROM ingestion.webhook_sources")
            .fetch_one(suite.superuser())
            .await
            .unwrap()
            .get("secret")
    };
    // Without a key it is stored as it is, after a byte that says so.
    suite.clients().webhook_sources().set_webhook_secret(secret("whsec_first")).await.unwrap();
    assert_eq!(stored().await, b"\0whsec_first");

    let config =
        northstar_server::Config::for_tests(suite.database_url(), SUITE_KEY, "unused".into());
    let sealing = Config {
        webhook_sealing_key: Some(Secret::from(
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned(),
        )),
        ..Config::default()
    };
    let host = Host::start(config, async move |context| {
        Ok(vec![northstar_ingestion::build(sealing, context).await?])
    })
    .await
    .unwrap();
    let sealed = clients(&host);
    sealed.webhook_sources().set_webhook_secret(secret("whsec_second")).await.unwrap();
    let stored = stored().await;
    assert_eq!(stored[0], 1);
    assert!(!stored.windows(12).any(|part| part == b"whsec_second"));
    let detail: String = sqlx::query(
        "SELECT string_agg(detail, ' ') AS detail FROM audit.entries WHERE project_id = $1",
    )
    .bind(PROJECT)
    .fetch_one(suite.superuser())
    .await
    .unwrap()
    .get("detail");
    assert!(!detail.contains("whsec_"), "{detail}");
    host.stop().await.unwrap();
}
