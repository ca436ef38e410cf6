//! The identity policy.

use super::*;

fn identity_policy() -> pb::IdentityPolicy {
    let rule = |kind: &str, priority, unique, limit| pb::IdentifierRule {
        kind: kind.to_owned(),
        priority,
        unique,
        limit,
        window: pb::LimitWindow::Ever.into(),
        ..Default::default()
    };
    pb::IdentityPolicy {
        name: "default".to_owned(),
        owner: "growth".to_owned(),
        identifiers: vec![
            rule("user_id", 1, true, 0),
            pb::IdentifierRule {
                blocked_values: vec!["kiosk*".to_owned()],
                ..rule("anonymous_id", 9, false, 2)
            },
            rule("loyalty_card", 3, false, 0),
        ],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_policy_limits_blocks_and_names_kinds_for_what_is_known_and_what_comes() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let devices = ["a", "b", "c", "kiosk-1"];
    let mut events: Vec<_> =
        devices.iter().zip(-9..).map(|(device, minute)| seen(device, "ada", minute)).collect();
    suite.ingest("web", std::mem::take(&mut events)).await;
    let apply = async |policy: pb::IdentityPolicy| {
        let request =
            pb::ApplyIdentityPolicyRequest { identity_policy: Some(policy), ..Default::default() };
        clients.subjects().apply_identity_policy(request).await.map(tonic::Response::into_inner)
    };
    let applied = apply(identity_policy()).await.unwrap();
    // The third device and the kiosk stand alone now.
    assert_eq!(applied.changed_identifiers, 2);
    let ada = resolve_at(&suite, "ada", 0).await;
    assert_eq!(ada.anonymous_ids, ["a", "b"]);
    // What comes obeys too, and an earlier device takes the place of a later one.
    suite.ingest("web", vec![seen("z", "ada", -30), seen("kiosk-2", "grace", -1)]).await;
    assert_eq!(resolve_at(&suite, "ada", 0).await.anonymous_ids, ["a", "z"]);
    assert_eq!(subject(&suite, "anonymous_id:kiosk-2").await, "anonymous_id:kiosk-2");
    assert_eq!(link(&clients, "loyalty_card:7", "ada").await.unwrap(), "user_id:ada");

    let etag = applied.identity_policy.unwrap().etag;
    let stale = pb::IdentityPolicy { etag: "old".to_owned(), ..identity_policy() };
    assert_eq!(reason(&apply(stale).await.unwrap_err()), "ETAG_MISMATCH");
    let same = apply(pb::IdentityPolicy { etag, ..identity_policy() }).await.unwrap();
    assert_eq!(same.changed_identifiers, 0);
    let wrong = pb::IdentityPolicy { owner: String::new(), ..identity_policy() };
    assert_eq!(blamed_fields(&apply(wrong).await.unwrap_err()), ["identity_policy.owner"]);
    let request = pb::GetIdentityPolicyRequest { name: "default".to_owned() };
    let stored = clients.subjects().get_identity_policy(request).await.unwrap().into_inner();
    let stored = stored.identity_policy.unwrap();
    assert_eq!(stored.identifiers, identity_policy().identifiers);
    let entries = audited(&suite).await;
    assert_eq!(entries[0].0, "identity_policy.apply");
    assert!(entries[0].2.contains("\"before\":null"), "{}", entries[0].2);
}
