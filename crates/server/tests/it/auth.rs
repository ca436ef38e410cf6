//! Who may call what.

use std::time::Duration;

use northstar_client::{Clients, Credentials, Endpoints};
use northstar_domain::Role;
use tonic::{Code, Request};

use crate::support::{Fixture, SUITE_KEY, ask, details, key};

#[tokio::test]
async fn a_key_acts_as_its_principal_in_its_project() {
    let fixture = Fixture::start().await;
    let reply = fixture.admin().await.list_api_keys(ask("who am I")).await.unwrap();
    assert_eq!(reply.into_inner().next_page_token, "a admin@1");
}

#[tokio::test]
async fn a_call_without_a_known_key_is_unauthenticated() {
    let fixture = Fixture::start().await;
    let nobody =
        Clients::new(&Endpoints::all_at(&fixture.host.url()), Credentials::none()).unwrap();
    for clients in [nobody, fixture.host.clients("unknown").unwrap()] {
        let refused = clients.access().list_api_keys(ask("")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        let (reason, details) = details(&refused);
        assert_eq!(reason, "ERROR_REASON_UNAUTHENTICATED");
        assert_eq!(
            details.error_info().unwrap().metadata["method"],
            "/northstar.approvals.v1.AccessService/ListApiKeys"
        );
    }
}

#[tokio::test]
async fn a_key_of_another_role_is_told_which_role_is_needed() {
    let fixture = Fixture::start().await;
    let viewer = fixture.clients(Role::Viewer).await;
    let refused = viewer.access().list_api_keys(ask("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let (reason, details) = details(&refused);
    assert_eq!(reason, "ERROR_REASON_ROLE_REQUIRED");
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!((&*metadata["role"], &*metadata["required_role"]), ("viewer", "admin"));
}

#[tokio::test]
async fn a_suite_key_names_its_project() {
    let fixture = Fixture::start().await;
    let suite = fixture.host.clients(SUITE_KEY).unwrap();
    let reply = suite.for_project(1).access().list_api_keys(ask("")).await.unwrap();
    assert_eq!(reply.into_inner().next_page_token, "northstar@1");

    let unnamed = suite.access().list_api_keys(ask("")).await.unwrap_err();
    assert_eq!(unnamed.code(), Code::InvalidArgument);
    let violations = details(&unnamed).1.bad_request().unwrap().field_violations.clone();
    assert_eq!(violations[0].field, "northstar-project");

    let unknown = suite.for_project(77).access().list_api_keys(ask("")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::PermissionDenied);
    assert_eq!(details(&unknown).0, "ERROR_REASON_WRONG_PROJECT");
}

#[tokio::test]
async fn a_key_reaches_no_other_project() {
    let fixture = Fixture::start().await;
    let admin = fixture.clients(Role::Admin).await;
    let refused = admin.for_project(2).access().list_api_keys(ask("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(details(&refused).0, "ERROR_REASON_WRONG_PROJECT");
    admin.for_project(1).access().list_api_keys(ask("")).await.unwrap();
}

#[tokio::test]
async fn a_revoked_key_stops_working_when_its_look_up_expires() {
    let fixture = Fixture::start().await;
    let secret = key(fixture.database.pool(), Role::Admin).await;
    let mut client = fixture.host.clients(&secret).unwrap().access();
    client.list_api_keys(ask("")).await.unwrap();
    sqlx::query("UPDATE access.api_keys SET revoked_at = now()")
        .execute(fixture.database.pool())
        .await
        .unwrap();
    let refused = tokio::time::timeout(northstar_server::KEY_LIFETIME * 6, async {
        loop {
            if let Err(refused) = client.list_api_keys(ask("")).await {
                return refused;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let refused = refused.await.expect("the key still works");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_request_id_is_kept_when_it_is_valid_and_comes_back() {
    let fixture = Fixture::start().await;
    let mut admin = fixture.admin().await;

    let mut request = Request::new(ask("request id"));
    request.metadata_mut().insert("northstar-request-id", "mine-1".parse().unwrap());
    let reply = admin.list_api_keys(request).await.unwrap();
    assert_eq!(reply.metadata().get("northstar-request-id").unwrap(), "mine-1");
    assert_eq!(reply.get_ref().next_page_token, "mine-1");

    let mut request = Request::new(ask("request id"));
    request.metadata_mut().insert("northstar-request-id", "not {valid}".parse().unwrap());
    let reply = admin.list_api_keys(request).await.unwrap();
    let made: uuid::Uuid = reply.get_ref().next_page_token.parse().unwrap();
    assert_eq!(reply.metadata().get("northstar-request-id").unwrap(), made.to_string().as_str());

    let refused = fixture.host.clients("unknown").unwrap().access().list_api_keys(ask("")).await;
    assert!(refused.unwrap_err().metadata().contains_key("northstar-request-id"));
}

#[tokio::test]
async fn a_call_made_on_behalf_of_another_carries_its_identity() {
    let fixture = Fixture::start().await;
    let mut request = Request::new(ask("another"));
    request.metadata_mut().insert("northstar-request-id", "both".parse().unwrap());
    // The host's own credentials name no project, so the call only succeeds
    // with the caller's.
    let reply = fixture.admin().await.list_api_keys(request).await.unwrap();
    assert_eq!(reply.into_inner().next_page_token, "both");
}
