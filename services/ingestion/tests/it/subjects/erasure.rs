//! What is left of a subject that was erased.

use super::*;

async fn erase(suite: &Suite, identifier: &str) -> pb::Erasure {
    let request = pb::EraseSubjectRequest {
        identifier: Some(id(identifier)),
        reason: "article 17".to_owned(),
        proof: "ticket 4714".to_owned(),
        request_id: Uuid::new_v4().to_string(),
    };
    let entered = suite.clients().subjects().erase_subject(request).await.unwrap().into_inner();
    wait_for_erasure(suite, entered.erasure.unwrap()).await
}

async fn wait_for_erasure(suite: &Suite, mut erasure: pb::Erasure) -> pb::Erasure {
    while erasure.state() != pb::ErasureState::Done {
        tokio::task::yield_now().await;
        let request = pb::GetErasureRequest { erasure_id: erasure.erasure_id };
        let found = suite.clients().subjects().get_erasure(request).await.unwrap().into_inner();
        erasure = found.erasure.unwrap();
    }
    erasure
}

async fn export(suite: &Suite, identifier: &str) -> Vec<pb::export_subject_response::Item> {
    let request = pb::ExportSubjectRequest {
        identifier: Some(id(identifier)),
        reason: "article 15".to_owned(),
    };
    let mut stream = suite.clients().subjects().export_subject(request).await.unwrap().into_inner();
    let mut items = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        items.push(piece.item.unwrap());
    }
    items
}

#[tokio::test]
async fn an_erased_subject_is_held_nowhere_and_its_events_still_count() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let mut event_of_ada = seen("ada-phone", "ada-lovelace", -9);
    event_of_ada.message_id = "msg-ada-lovelace-1".to_owned();
    event_of_ada.properties.insert("note".to_owned(), crate::suite::text("Ada was here"));
    event_of_ada.properties.insert("amount".to_owned(), crate::suite::integer(12));
    suite.ingest("web", vec![event_of_ada.clone(), seen("laptop", "grace", -8)]).await;
    let anonymous = pb::Event { user_id: String::new(), ..seen("ada-phone", "", -7) };
    suite.ingest("web", vec![anonymous]).await;
    let conflicting = pb::Event { name: "Other".to_owned(), ..event_of_ada.clone() };
    suite.ingest("web", vec![conflicting]).await;
    let record = pb::MalformedRecord {
        message_id: "row-1".to_owned(),
        raw: b"yesterday,ada-lovelace,x".to_vec(),
        reason: "invalid_timestamp".to_owned(),
        ..Default::default()
    };
    let request = pb::QuarantineRecordsRequest { source: "web".to_owned(), records: vec![record] };
    clients.ingestion().quarantine_records(request).await.unwrap();
    merge(&clients, "lady-ada", "ada-lovelace").await.unwrap();
    link(&clients, "email:ada@x.io", "ada-lovelace").await.unwrap();
    let request = pb::RecordConsentRequest {
        identifier: Some(id("ada-lovelace")),
        granted_purposes: vec!["analytics".to_owned()],
        reason: "settings page".to_owned(),
        ..Default::default()
    };
    clients.subjects().record_consent(request).await.unwrap();
    let before = everything_held(&suite).await;
    assert!(before.contains("ada-lovelace") && before.contains("Ada was here"));

    let items = export(&suite, "email:ada@x.io").await;
    let kinds: Vec<_> = items
        .iter()
        .map(|item| {
            use pb::export_subject_response::Item;
            match item {
                Item::Subject(_) => "subject",
                Item::Fact(_) => "fact",
                Item::Consent(_) => "consent",
                Item::Event(_) => "event",
                Item::QuarantinedEvent(_) => "quarantined",
                Item::KeptAside(_) => "kept aside",
                Item::Summary(_) => "summary",
            }
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "subject",
            "fact",
            "fact",
            "fact",
            "consent",
            "event",
            "event",
            "quarantined",
            "quarantined",
            "summary"
        ]
    );

    let done = erase(&suite, "email:ada@x.io").await;
    assert_eq!((done.identifiers, done.events, done.quarantined), (4, 2, 2));
    let after = everything_held(&suite).await;
    for personal in ["ada-lovelace", "ada-phone", "lady-ada", "ada@x.io", "Ada was here"] {
        assert!(!after.contains(personal), "{personal} is still held");
    }
    assert!(after.contains("grace"));

    // Events stay where they were, with their numbers, as one subject's.
    let events: Vec<(i64, String, String, String)> = logged(&suite)
        .await
        .into_iter()
        .map(|event| (event.position, event.user_id, event.anonymous_id, event.properties))
        .collect();
    assert_eq!(events.len(), 3);
    assert!(events[0].3.contains("12") && !events[0].3.contains("plan"), "{}", events[0].3);
    let (user, device) = (events[0].1.clone(), events[2].2.clone());
    assert_eq!(events[0].2, device);
    assert_eq!(subject(&suite, &format!("anonymous_id:{device}")).await, format!("user_id:{user}"));
    // Deduplication stays.
    let again = suite.ingest("web", vec![event_of_ada]).await;
    assert_eq!(again[0].outcome(), pb::EventOutcome::Duplicate);
    // Who comes back is somebody new, whatever this process remembers.
    suite.ingest("web", vec![seen("ada-phone", "ada-lovelace", -1)]).await;
    assert_eq!(subject(&suite, "anonymous_id:ada-phone").await, "user_id:ada-lovelace");

    let actions: Vec<String> = audited(&suite).await.into_iter().map(|entry| entry.0).collect();
    assert_eq!(
        actions,
        [
            "subject.merge",
            "subject.link",
            "consent.record",
            "subject.export",
            "subject.erase",
            "subject.erased"
        ]
    );
    let request = pb::ListErasuresRequest::default();
    let listed = clients.subjects().list_erasures(request).await.unwrap().into_inner().erasures;
    assert_eq!(listed, [done]);
}

#[tokio::test]
async fn an_erasure_that_was_cut_short_is_finished_by_whoever_comes_next() {
    let suite = Suite::start().await;
    suite.ingest("web", vec![seen("phone", "ada", -9), seen("phone", "ada", -8)]).await;
    // As a killed process leaves it: entered, some events found, nothing changed.
    let erasure = Uuid::now_v7();
    for statement in [
        format!(
            "INSERT INTO ingestion.erasures (erasure_id, project_id, pseudonym, actor, reason,
                 proof, requested_at, last_position, position, identifiers, events)
             VALUES ('{erasure}', 1, 'erased-x', 'dpo', 'r', 'p', now(), 2, 1, 2, 1)"
        ),
        format!(
            "INSERT INTO ingestion.erasure_identifiers VALUES
                 ('{erasure}', 'user_id', 'ada', 'erased-x'),
                 ('{erasure}', 'anonymous_id', 'phone', 'erased-x-1')"
        ),
        format!("INSERT INTO ingestion.erasure_events VALUES ('{erasure}', 1)"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(suite.superuser()).await.unwrap();
    }
    let _another = suite.start_another().await;
    let running = pb::Erasure {
        erasure_id: erasure.to_string(),
        state: pb::ErasureState::Running.into(),
        ..Default::default()
    };
    let done = wait_for_erasure(&suite, running).await;
    assert_eq!(done.events, 2);
    let users: BTreeSet<String> =
        logged(&suite).await.into_iter().map(|event| event.user_id).collect();
    assert_eq!(users, BTreeSet::from(["erased-x".to_owned()]));
    assert_eq!(subject(&suite, "anonymous_id:erased-x-1").await, "user_id:erased-x");
}

#[tokio::test]
async fn what_a_contract_tags_or_keeps_aside_goes_and_the_other_texts_stay() {
    let suite = Suite::start().await;
    let tagged = |pii: &str, mode: pb::ContractMode| pb::PropertyRule {
        pii: pii.to_owned(),
        mode: mode.into(),
        ..Default::default()
    };
    let contract = pb::Contract {
        name: "Signed Up".to_owned(),
        schema_version: "1-0-0".to_owned(),
        json_schema: r#"{"type":"object","properties":{"age":{"type":"integer"}}}"#.to_owned(),
        mode: pb::ContractMode::Quarantine.into(),
        owner: "growth".to_owned(),
        properties: [
            ("email".to_owned(), tagged("email", pb::ContractMode::Unspecified)),
            ("age".to_owned(), tagged("", pb::ContractMode::Omit)),
        ]
        .into(),
        ..Default::default()
    };
    let request = pb::ApplyContractRequest { contract: Some(contract), ..Default::default() };
    suite.clients().ingestion().apply_contract(request).await.unwrap();
    let mut event_of_ada = seen("phone", "lovelace", -9);
    for (name, value) in [("email", "mail-of-hers"), ("age", "aside-of-hers"), ("plan", "pro")] {
        event_of_ada.properties.insert(name.to_owned(), crate::suite::text(value));
    }
    let accepted = suite.ingest("web", vec![event_of_ada]).await;
    assert_eq!(accepted[0].outcome(), pb::EventOutcome::Accepted);
    let before = everything_held(&suite).await;
    assert!(before.contains("mail-of-hers") && before.contains("aside-of-hers"));
    erase(&suite, "lovelace").await;
    let after = everything_held(&suite).await;
    for personal in ["mail-of-hers", "aside-of-hers", "lovelace"] {
        assert!(!after.contains(personal), "{personal} is still held");
    }
    let request = pb::SubscribeRequest { group: "test".to_owned(), ..Default::default() };
    let mut stream = suite.clients().ingestion().subscribe(request).await.unwrap().into_inner();
    let event = stream.message().await.unwrap().unwrap().events.remove(0);
    assert_eq!(event.event.unwrap().properties["plan"], crate::suite::text("pro"));
}

#[tokio::test]
async fn whoever_uses_an_erased_identifier_again_is_linked_anew() {
    let suite = Suite::start().await;
    // The first is news, the second known. After the erasure what is known is not so any more.
    for minute in [-9, -8] {
        suite.ingest("web", vec![seen("phone", "ada", minute)]).await;
    }
    assert_eq!(subject(&suite, "anonymous_id:phone").await, "user_id:ada");
    erase(&suite, "ada").await;
    assert_eq!(subject(&suite, "anonymous_id:phone").await, "anonymous_id:phone");
    suite.ingest("web", vec![seen("phone", "ada", -7)]).await;
    assert_eq!(subject(&suite, "anonymous_id:phone").await, "user_id:ada");
    assert_eq!(suite.counts("web").await, [3, 3, 0, 0, 0]);
}
