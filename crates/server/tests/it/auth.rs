//! Who may call what.

use northstar_client::proto::approvals::v1::ListApiKeysRequest;
use northstar_domain::Role;
use northstar_testkit as _;
use sqlx::PgPool;
use tonic::Code;

use crate::support::{SUITE_KEY, key, start};

#[tokio::test]
async fn an_admin_key_calls_and_a_viewer_key_may_not() {
    let url = std::env::var("DATABASE_URL").unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    let host = start(&url).await;
    let admin = host.clients(&key(&pool, Role::Admin).await).unwrap();
    let reply = admin.access().list_api_keys(ListApiKeysRequest::default()).await.unwrap();
    assert_eq!(reply.into_inner().next_page_token, "a admin@1");

    let viewer = host.clients(&key(&pool, Role::Viewer).await).unwrap();
    let refused = viewer.access().list_api_keys(ListApiKeysRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    let suite = host.clients(SUITE_KEY).unwrap().for_project(1);
    let reply = suite.access().list_api_keys(ListApiKeysRequest::default()).await.unwrap();
    assert_eq!(reply.into_inner().next_page_token, "northstar@1");

    let nobody = host.clients("unknown").unwrap();
    let refused = nobody.access().list_api_keys(ListApiKeysRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    host.stop().await.unwrap();
}
