//! API keys: shown once, kept as a hash, revoked for good.

use northstar_domain::{ApiKeySecret, Role};
use northstar_proto::approvals::v1 as pb;

use crate::suite::{Suite, blamed_fields, reason};

fn key_for(principal: &str, role: &str) -> pb::CreateApiKeyRequest {
    pb::CreateApiKeyRequest { principal: principal.to_owned(), role: role.to_owned() }
}

#[tokio::test]
async fn a_new_key_works_and_only_its_hash_is_stored() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    let created = admin.access().create_api_key(key_for("ada", "viewer")).await.unwrap();
    let created = created.into_inner();
    let key = created.api_key.unwrap();
    assert!(created.secret.starts_with("ns_viewer_"));
    let ada = suite.host.clients(&created.secret).unwrap();
    assert!(ada.approvals().list_policies(pb::ListPoliciesRequest::default()).await.is_ok());

    let stored: Vec<u8> =
        sqlx::query_scalar("SELECT secret_sha256 FROM access.api_keys WHERE api_key_id = $1::uuid")
            .bind(&key.api_key_id)
            .fetch_one(suite.superuser())
            .await
            .unwrap();
    assert_eq!(stored, ApiKeySecret::sha256_of(&created.secret));
    // Whatever else is stored, the secret is not.
    let rows: String = sqlx::query_scalar(
        "SELECT coalesce(string_agg(t::text, ''), '')
         FROM (SELECT k::text AS t FROM access.api_keys k
               UNION ALL SELECT e::text FROM audit.entries e) AS rows",
    )
    .fetch_one(suite.superuser())
    .await
    .unwrap();
    assert!(rows.contains("ada") && !rows.contains(&created.secret));
}

#[tokio::test]
async fn a_revoked_key_stays_revoked_and_is_listed_as_such() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    let created = admin.access().create_api_key(key_for("ada", "viewer")).await.unwrap();
    let created = created.into_inner();
    let id = created.api_key.unwrap().api_key_id;
    let revoke = pb::RevokeApiKeyRequest { api_key_id: id.clone() };
    let first = admin.access().revoke_api_key(revoke.clone()).await.unwrap().into_inner();
    let revoked = first.api_key.unwrap();
    assert!(revoked.revoke_time.is_some());
    suite.clock.advance(chrono::TimeDelta::hours(1));
    let again = admin.access().revoke_api_key(revoke).await.unwrap().into_inner();
    assert_eq!(again.api_key.as_ref(), Some(&revoked), "the first revocation counts");

    let list = admin.access().list_api_keys(pb::ListApiKeysRequest::default()).await.unwrap();
    assert!(list.into_inner().api_keys.contains(&revoked));
    // Not used before, so no service remembers it.
    let ada = suite.host.clients(&created.secret).unwrap();
    let refused = ada.approvals().list_policies(pb::ListPoliciesRequest::default()).await;
    assert_eq!(reason(&refused.unwrap_err()), "UNAUTHENTICATED");
    let unknown = pb::RevokeApiKeyRequest { api_key_id: "nothing".to_owned() };
    assert_eq!(reason(&admin.access().revoke_api_key(unknown).await.unwrap_err()), "NOT_FOUND");
}

#[tokio::test]
async fn a_key_needs_a_principal_and_a_role() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    for (principal, role, fields) in [
        ("", "chief", vec!["principal", "role"]),
        (" ada", "viewer", vec!["principal"]),
        ("a\u{0}da", "viewer", vec!["principal"]),
        (&"a".repeat(101), "viewer", vec!["principal"]),
    ] {
        let refused = admin.access().create_api_key(key_for(principal, role)).await.unwrap_err();
        assert_eq!(blamed_fields(&refused), fields, "{principal:?}");
    }
}

#[tokio::test]
async fn only_admins_handle_keys() {
    let suite = Suite::start().await;
    for role in [Role::Viewer, Role::Operator, Role::Approver] {
        let person = suite.person("ada", role).await;
        let refused = person.access().create_api_key(key_for("eve", "admin")).await.unwrap_err();
        assert_eq!(reason(&refused), "ROLE_REQUIRED", "{role}");
    }
}

#[tokio::test]
async fn the_suite_key_makes_the_first_admin_and_no_other_key() {
    let suite = Suite::start().await;
    let machine = suite.machine();
    for role in ["approver", "viewer"] {
        let refused = machine.access().create_api_key(key_for("eve", role)).await.unwrap_err();
        assert_eq!(reason(&refused), "PERSON_REQUIRED", "{role}");
    }
    machine.access().create_api_key(key_for("ada", "admin")).await.unwrap();
    let refused = machine.access().create_api_key(key_for("eve", "admin")).await.unwrap_err();
    assert_eq!(reason(&refused), "PERSON_REQUIRED");
}
