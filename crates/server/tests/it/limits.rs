//! What keeps one call from taking the others down.

use std::num::NonZeroUsize;

use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use northstar_client::proto::approvals::v1::RevokeApiKeyRequest;
use northstar_client::proto::approvals::v1::access_service_client::AccessServiceClient;
use northstar_domain::Role;
use tonic::{Code, Request};

use crate::support::{Fixture, ask, details, key};

#[tokio::test]
async fn a_call_without_a_deadline_gets_the_default_one() {
    let fixture = Fixture::with(|config| config.default_deadline_seconds = 1).await;
    let late = fixture.admin().await.list_api_keys(ask("gate")).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert_eq!(details(&late).0, "ERROR_REASON_DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn the_callers_deadline_is_kept() {
    let fixture = Fixture::start().await;
    // tonic's own channel would give up by itself; this one leaves it to the server.
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let origin = fixture.host.url().to_string().parse().unwrap();
    let mut client = AccessServiceClient::with_origin(client, origin);
    let mut request = Request::new(ask("gate"));
    let secret = key(fixture.database.pool(), Role::Admin).await;
    let metadata = request.metadata_mut();
    metadata.insert("authorization", format!("Bearer {secret}").parse().unwrap());
    metadata.insert("grpc-timeout", "50m".parse().unwrap());
    let late = client.list_api_keys(request).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(late.message().contains("50 ms"), "{late:?}");
}

#[tokio::test]
async fn what_cannot_be_handled_now_is_shed_and_may_be_tried_again() {
    let fixture = Fixture::with(|config| config.max_concurrent_requests = NonZeroUsize::MIN).await;
    let mut admin = fixture.admin().await;
    let mut other = admin.clone();
    let first = tokio::spawn(async move { other.list_api_keys(ask("gate")).await });
    fixture.gate.entered().await;

    let shed = admin.list_api_keys(ask("")).await.unwrap_err();
    assert_eq!(shed.code(), Code::ResourceExhausted);
    let (reason, details) = details(&shed);
    assert_eq!(reason, "ERROR_REASON_OVERLOADED");
    assert!(details.retry_info().unwrap().retry_delay.is_some());

    fixture.gate.open();
    first.await.unwrap().unwrap();
    admin.list_api_keys(ask("")).await.unwrap();
}

#[tokio::test]
async fn a_panic_fails_its_own_call_only() {
    let fixture = Fixture::start().await;
    let mut admin = fixture.admin().await;
    let mut request = Request::new(ask("panic"));
    request.metadata_mut().insert("northstar-request-id", "the-panic".parse().unwrap());
    let failed = admin.list_api_keys(request).await.unwrap_err();
    assert_eq!(failed.code(), Code::Internal);
    let (reason, details) = details(&failed);
    assert_eq!(reason, "ERROR_REASON_INTERNAL");
    assert_eq!(details.error_info().unwrap().metadata["request_id"], "the-panic");
    assert!(!failed.message().contains("as asked"), "the panic's message is not for callers");
    admin.list_api_keys(ask("")).await.unwrap();
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_with_both_sizes() {
    let fixture = Fixture::with(|config| config.max_message_bytes = 1000).await;
    let mut admin = fixture.admin().await;
    let large = RevokeApiKeyRequest { api_key_id: "x".repeat(2000) };
    let refused = admin.revoke_api_key(large).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let (reason, details) = details(&refused);
    assert_eq!(reason, "ERROR_REASON_BATCH_TOO_LARGE");
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!((&*metadata["bytes"], &*metadata["limit"]), ("2003", "1000"));
    let fitting = RevokeApiKeyRequest { api_key_id: "x".repeat(900) };
    admin.revoke_api_key(fitting).await.unwrap();
}
