//! What subjects agreed to, said by persons and by events.

use super::*;

#[tokio::test]
async fn the_last_word_about_a_purpose_holds_for_all_identifiers_of_a_subject() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", vec![seen("phone", "ada", -9)]).await;
    let policy = pb::ConsentPolicy {
        name: "default".to_owned(),
        owner: "privacy".to_owned(),
        purposes: vec![
            pb::Purpose {
                name: "analytics".to_owned(),
                required_for: vec![pb::DataUse::Analyse.into()],
                ..Default::default()
            },
            pb::Purpose {
                name: "marketing".to_owned(),
                required_for: vec![pb::DataUse::Act.into()],
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    let request =
        pb::ApplyConsentPolicyRequest { consent_policy: Some(policy), ..Default::default() };
    clients.subjects().apply_consent_policy(request).await.unwrap();
    let consent = async |identifier: &str| {
        let request = pb::GetConsentRequest { identifier: Some(id(identifier)) };
        let found = clients.subjects().get_consent(request).await.unwrap().into_inner();
        (found.may_analyse, found.may_act)
    };
    let record = async |identifier: &str, granted: &[&str], denied: &[&str], minute: i64| {
        let owned = |purposes: &[&str]| purposes.iter().map(ToString::to_string).collect();
        let request = pb::RecordConsentRequest {
            identifier: Some(id(identifier)),
            granted_purposes: owned(granted),
            denied_purposes: owned(denied),
            reason: "settings page".to_owned(),
            effective_time: Some(minutes(minute)),
            request_id: String::new(),
        };
        clients.subjects().record_consent(request).await.map(tonic::Response::into_inner)
    };
    assert_eq!(consent("ada").await, (false, false), "nothing was said");
    record("anonymous_id:phone", &["analytics", "marketing"], &[], -8).await.unwrap();
    assert_eq!(consent("ada").await, (true, true));
    record("ada", &[], &["marketing"], -5).await.unwrap();
    assert_eq!(consent("anonymous_id:phone").await, (true, false));
    // A word of before comes late and changes nothing.
    record("ada", &["marketing"], &["analytics"], -9).await.unwrap();
    assert_eq!(consent("ada").await, (true, false));
    let answer = record("ada", &[], &["analytics"], -1).await.unwrap();
    assert_eq!(consent("ada").await, (false, false));
    let words: BTreeSet<_> =
        answer.states.iter().map(|state| (state.purpose.as_str(), state.decision())).collect();
    assert!(words.contains(&("analytics", pb::ConsentDecision::Denied)), "{words:?}");
    let refused = record("ada", &["analytics"], &["analytics", ""], -1).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["denied_purposes[1]", "denied_purposes"]);
    let entries = audited(&suite).await;
    assert_eq!(entries.iter().filter(|entry| entry.0 == "consent.record").count(), 4);
    assert!(entries.iter().all(|entry| !entry.2.contains("ada")));
}

async fn apply_consent_policy(suite: &Suite, purposes: Vec<pb::Purpose>, blocked: &[&str]) {
    let policy = pb::ConsentPolicy {
        name: "default".to_owned(),
        owner: "privacy".to_owned(),
        purposes,
        blocked_regions: blocked.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let request =
        pb::ApplyConsentPolicyRequest { consent_policy: Some(policy), ..Default::default() };
    suite.clients().subjects().apply_consent_policy(request).await.unwrap();
}

fn said(granted: &[&str], denied: &[&str]) -> Option<pb::Consent> {
    let owned = |purposes: &[&str]| purposes.iter().map(ToString::to_string).collect();
    Some(pb::Consent { granted_purposes: owned(granted), denied_purposes: owned(denied) })
}

#[tokio::test]
async fn what_may_not_be_kept_never_reaches_disk_and_is_counted_without_a_trace() {
    let suite = Suite::start().await;
    let service = pb::Purpose {
        name: "service".to_owned(),
        required_for: vec![pb::DataUse::Store.into()],
        ..Default::default()
    };
    apply_consent_policy(&suite, vec![service], &["atlantis"]).await;
    let of = |user: &str, region: &str, consent| pb::Event {
        region: region.to_owned(),
        consent,
        ..seen("phone", user, -9)
    };
    let results = suite
        .ingest(
            "web",
            vec![
                of("kept", "eu", said(&["service"], &[])),
                of("secret-1", "Atlantis", said(&["service"], &[])),
                of("secret-2", "eu", None),
                of("secret-3", "eu", said(&["other"], &["service"])),
            ],
        )
        .await;
    let reasons: Vec<_> = results.iter().map(|result| result.reason.as_str()).collect();
    assert_eq!(reasons, ["", "region_blocked", "consent_missing", "consent_missing"]);
    let record = pb::MalformedRecord {
        message_id: "row-1".to_owned(),
        raw: b"secret-4".to_vec(),
        reason: "invalid_timestamp".to_owned(),
        ..Default::default()
    };
    let request = pb::QuarantineRecordsRequest { source: "web".to_owned(), records: vec![record] };
    let kept = suite.clients().ingestion().quarantine_records(request).await.unwrap().into_inner();
    assert_eq!(kept.results[0].reason, "consent_missing");
    let held = everything_held(&suite).await;
    assert!(held.contains("kept") && !held.contains("secret"), "{held}");
    assert_eq!(suite.counts("web").await, [5, 1, 0, 0, 4]);
    let request = pb::GetConsentPolicyRequest { name: "default".to_owned() };
    let stored = suite.clients().subjects().get_consent_policy(request).await.unwrap().into_inner();
    let refusals: Vec<_> = stored
        .refusals
        .iter()
        .map(|found| (found.source.as_str(), found.reason.as_str(), found.events))
        .collect();
    assert_eq!(refusals, [("web", "consent_missing", 3), ("web", "region_blocked", 1)]);
}

#[tokio::test]
async fn an_event_speaks_for_its_actor_and_repeats_cost_nothing() {
    let suite = Suite::start().await;
    let marketing = pb::Purpose {
        name: "marketing".to_owned(),
        required_for: vec![pb::DataUse::Act.into()],
        ..Default::default()
    };
    apply_consent_policy(&suite, vec![marketing], &[]).await;
    let of = |device: &str, user: &str, minute, consent| pb::Event {
        consent,
        ..seen(device, user, minute)
    };
    let may_act = async || {
        let request = pb::GetConsentRequest { identifier: Some(id("ada")) };
        suite.clients().subjects().get_consent(request).await.unwrap().into_inner().may_act
    };
    let yes = || said(&["marketing"], &[]);
    suite.ingest("web", vec![of("phone", "", -9, yes()), of("phone", "ada", -8, None)]).await;
    assert!(may_act().await);
    suite.ingest("web", vec![of("phone", "", -7, yes()), of("phone", "", -6, yes())]).await;
    suite.ingest("web", vec![of("", "ada", -5, said(&[], &["marketing"]))]).await;
    assert!(!may_act().await);
    suite.ingest("web", vec![of("", "ada", -30, yes())]).await;
    assert!(!may_act().await, "a word of before changes nothing");
    let facts: i64 = sqlx::query_scalar("SELECT count(*) FROM ingestion.consent_facts")
        .fetch_one(suite.superuser())
        .await
        .unwrap();
    assert_eq!(facts, 2);
}
