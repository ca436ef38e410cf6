//! Links, merges and what they take back.

use super::*;

#[tokio::test]
async fn a_merge_joins_two_subjects_and_an_unmerge_is_as_if_it_had_never_been() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", vec![seen("phone", "ada", -9), seen("laptop", "ada-2", -8)]).await;
    let before = resolve_at(&suite, "ada-2", 0).await;

    // The devices stand for their subjects.
    let merged = merge(&clients, "anonymous_id:laptop", "anonymous_id:phone").await.unwrap();
    assert_eq!(shown(merged.subject.as_ref()), "user_id:ada");
    assert_eq!(merged.changed_identifiers, 2);
    let fact = merged.fact.unwrap();
    assert_eq!(shown(fact.from.as_ref()), "user_id:ada-2");
    assert_eq!(fact.actor, "northstar");
    for identifier in ["ada", "ada-2", "anonymous_id:phone", "anonymous_id:laptop"] {
        assert_eq!(subject(&suite, identifier).await, "user_id:ada", "{identifier}");
    }
    let ada = resolve_at(&suite, "ada", 0).await;
    assert_eq!(ada.anonymous_ids, ["laptop", "phone"]);
    assert_eq!(ada.identifiers, ["anonymous_id:laptop", "anonymous_id:phone", "user_id:ada-2"]);
    // A device that shows up with the merged user belongs to the whole.
    suite.ingest("web", vec![seen("tablet", "ada-2", -1)]).await;
    assert_eq!(subject(&suite, "anonymous_id:tablet").await, "user_id:ada");

    let apart = unmerge(&clients, fact.fact_id).await.unwrap();
    assert_eq!(apart.changed_identifiers, 3);
    assert_eq!(subject(&suite, "anonymous_id:tablet").await, "user_id:ada-2");
    assert_eq!(subject(&suite, "anonymous_id:phone").await, "user_id:ada");
    let after = resolve_at(&suite, "ada-2", 0).await;
    assert_eq!(after.anonymous_ids, ["laptop", "tablet"]);

    // Every version is still there.
    assert_eq!(resolve_at(&suite, "ada-2", before.identity_map_version).await, before);
    let then = resolve_at(&suite, "anonymous_id:laptop", merged.identity_map_version).await;
    assert_eq!(then.subject, "ada");

    let again = unmerge(&clients, fact.fact_id).await.unwrap_err();
    assert_eq!(
        (again.code(), reason(&again).as_str()),
        (Code::FailedPrecondition, "INVALID_TRANSITION")
    );
    let unknown = unmerge(&clients, 4_711).await.unwrap_err();
    assert_eq!(reason(&unknown), "NOT_FOUND");
}

#[tokio::test]
async fn what_was_known_on_a_date_can_be_asked() {
    let suite = Suite::start().await;
    suite.ingest("web", vec![seen("phone", "ada", -9)]).await;
    suite.clock.advance(chrono::TimeDelta::days(2));
    merge(&suite.clients(), "ada", "grace").await.unwrap();
    let known = async |days: i64| {
        let request = pb::ResolveSubjectRequest {
            identifier: "phone".to_owned(),
            as_known_time: Some(minutes(days * 24 * 60)),
            ..Default::default()
        };
        suite.clients().ingestion().resolve_subject(request).await.unwrap().into_inner()
    };
    assert_eq!(known(-1).await.subject, "phone");
    assert_eq!(known(1).await.subject, "ada");
    assert_eq!(known(3).await.subject, "grace");
    let both = pb::ResolveSubjectRequest {
        identifier: "phone".to_owned(),
        identity_map_version: 1,
        as_known_time: Some(minutes(0)),
        ..Default::default()
    };
    let refused = suite.clients().ingestion().resolve_subject(both).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["as_known_time"]);
}

#[tokio::test]
async fn an_unlink_holds_against_events_and_the_next_strongest_link_takes_over() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", vec![seen("kiosk", "ada", -9), seen("kiosk", "grace", -8)]).await;
    assert_eq!(subject(&suite, "anonymous_id:kiosk").await, "user_id:ada");
    assert_eq!(unlink(&clients, "anonymous_id:kiosk", "ada").await.unwrap(), "user_id:grace");
    // Events say what they said, also older ones, and another process says it too.
    suite.ingest("web", vec![seen("kiosk", "ada", -20), seen("kiosk", "ada", -1)]).await;
    assert_eq!(subject(&suite, "anonymous_id:kiosk").await, "user_id:grace");
    assert_eq!(
        unlink(&clients, "anonymous_id:kiosk", "grace").await.unwrap(),
        "anonymous_id:kiosk"
    );
    suite.ingest("web", vec![seen("kiosk", "mary", -2)]).await;
    assert_eq!(subject(&suite, "anonymous_id:kiosk").await, "user_id:mary");
    suite.clock.advance(chrono::TimeDelta::minutes(1));
    assert_eq!(link(&clients, "ada", "anonymous_id:kiosk").await.unwrap(), "user_id:ada");
    assert_eq!(subject(&suite, "anonymous_id:kiosk").await, "user_id:ada");

    let facts = history(&suite, "anonymous_id:kiosk").await;
    let said: Vec<_> = facts
        .iter()
        .map(|fact| {
            (fact.verb().as_str_name().trim_start_matches("IDENTITY_VERB_"), fact.position > 0)
        })
        .collect();
    assert_eq!(
        said,
        [
            ("LINK", true),
            ("LINK", true),
            ("UNLINK", false),
            ("LINK", true),
            ("UNLINK", false),
            ("LINK", true),
            ("LINK", false),
        ]
    );
    // The last link of an event no longer has an effect, and the history says why.
    assert_eq!(facts[5].refusal, "limit");
}

#[tokio::test]
async fn an_address_joins_devices_of_one_person_before_anybody_signs_in() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    link(&clients, "anonymous_id:phone", "email: Ada@X.io").await.unwrap();
    suite.clock.advance(chrono::TimeDelta::minutes(1));
    link(&clients, "anonymous_id:laptop", "email:ada@x.io").await.unwrap();
    assert_eq!(subject(&suite, "anonymous_id:laptop").await, "email:ada@x.io");
    // An entangled device that signs in brings the others along.
    suite.ingest("web", vec![seen("laptop", "ada", -1)]).await;
    for identifier in ["anonymous_id:laptop", "anonymous_id:phone", "email:ada@x.io"] {
        assert_eq!(subject(&suite, identifier).await, "user_id:ada", "{identifier}");
    }
}

#[tokio::test]
async fn the_map_kept_up_to_date_equals_the_one_made_anew_from_all_facts() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let mut random = StdRng::seed_from_u64(11);
    let mut merges: Vec<i64> = Vec::new();
    let user = |random: &mut StdRng| format!("u{}", random.random_range(0..5));
    let device = |random: &mut StdRng| format!("d{}", random.random_range(0..8));
    for step in 0..120 {
        let (left, right) = (user(&mut random), user(&mut random));
        match random.random_range(0..10) {
            0 if left != right => {
                // Both may be one already.
                if let Ok(merged) = merge(&clients, &left, &right).await {
                    merges.push(merged.fact.unwrap().fact_id);
                }
            }
            1 if !merges.is_empty() => {
                let merge = merges.swap_remove(random.random_range(0..merges.len()));
                unmerge(&clients, merge).await.unwrap();
            }
            2 => {
                let device = format!("anonymous_id:{}", device(&mut random));
                unlink(&clients, &device, &left).await.unwrap();
            }
            3 => {
                let device = format!("anonymous_id:{}", device(&mut random));
                let other = if random.random() { left } else { "email:a@x.io".to_owned() };
                link(&clients, &device, &other).await.unwrap();
            }
            _ => {
                let events = (0..random.random_range(1..4))
                    .map(|_| {
                        let minute = random.random_range(-100..0);
                        seen(&device(&mut random), &user(&mut random), minute)
                    })
                    .collect();
                suite.ingest("web", events).await;
            }
        }
        suite.clock.advance(chrono::TimeDelta::seconds(1));
        if step % 30 == 29 {
            equals_the_map_of_all_facts(&suite).await;
        }
    }
}

async fn equals_the_map_of_all_facts(suite: &Suite) {
    type Row = (
        i64,
        String,
        String,
        String,
        String,
        String,
        chrono::DateTime<chrono::Utc>,
        Option<i64>,
        Option<i64>,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT fact_id, verb, from_kind, from_value, to_kind, to_value, effective_at, position,
             undoes
         FROM ingestion.identity_facts",
    )
    .fetch_all(suite.superuser())
    .await
    .unwrap();
    let facts: Vec<Fact> = rows
        .into_iter()
        .map(|(id, verb, from_kind, from, to_kind, to, effective_at, position, undoes)| Fact {
            effective_at,
            id,
            verb: verb.parse::<Verb>().unwrap(),
            from: Identifier { kind: from_kind.parse().unwrap(), value: from },
            to: Identifier { kind: to_kind.parse().unwrap(), value: to },
            said_by: if position.is_some() { SaidBy::Event } else { SaidBy::Person },
            undoes,
        })
        .collect();
    let map = resolve_facts(&IdentityPolicy::default(), &facts);
    assert!(!map.subjects.is_empty());
    for (identifier, expected) in &map.subjects {
        let found = subject(suite, &identifier.to_string()).await;
        assert_eq!(found, expected.to_string(), "{identifier}");
    }
    // Versions have no gaps.
    let versions: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM ingestion.identity_changes ORDER BY version")
            .fetch_all(suite.superuser())
            .await
            .unwrap();
    assert_eq!(versions, (1..=versions.len() as i64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_preview_counts_both_sides_and_writes_nothing() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite
        .ingest(
            "web",
            vec![seen("phone", "ada", -9), seen("phone", "ada", -8), seen("laptop", "ada-2", -7)],
        )
        .await;
    let anonymous = pb::Event { user_id: String::new(), ..seen("laptop", "", -30) };
    suite.ingest("web", vec![anonymous]).await;
    let preview = async |from: &str, to: &str| {
        let request = pb::PreviewMergeRequest { from: Some(id(from)), to: Some(id(to)) };
        clients.subjects().preview_merge(request).await.unwrap().into_inner()
    };
    let found = preview("ada-2", "ada").await;
    let (from, to) = (found.from.unwrap(), found.to.unwrap());
    assert_eq!((from.events, to.events), (2, 2));
    assert_eq!(from.events_by_name["Signed Up"], 2);
    assert_eq!(from.identifiers, [id("anonymous_id:laptop")]);
    assert_eq!(from.first_event_time, Some(minutes(-30)));
    assert_eq!(found.changed_identifiers, 2);
    assert!(!found.already_one);
    assert!(!found.kpis_known, "no metrics service runs here");
    assert_eq!(subject(&suite, "ada-2").await, "user_id:ada-2");
    assert!(audited(&suite).await.is_empty());
    assert!(preview("anonymous_id:phone", "ada").await.already_one);
}

#[tokio::test]
async fn the_same_request_is_answered_once_and_every_change_is_audited_without_ids() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let request = pb::MergeSubjectsRequest {
        from: Some(id("ada-2")),
        to: Some(id("ada")),
        reason: "ticket 4711".to_owned(),
        request_id: Uuid::new_v4().to_string(),
        ..pb::MergeSubjectsRequest::default()
    };
    let first = clients.subjects().merge_subjects(request.clone()).await.unwrap().into_inner();
    let second = clients.subjects().merge_subjects(request.clone()).await.unwrap().into_inner();
    assert_eq!(first, second);
    let other = pb::MergeSubjectsRequest { reason: "another".to_owned(), ..request };
    let reused = clients.subjects().merge_subjects(other).await.unwrap_err();
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");
    link(&clients, "anonymous_id:phone", "ada").await.unwrap();
    unlink(&clients, "anonymous_id:phone", "ada").await.unwrap();
    unmerge(&clients, first.fact.unwrap().fact_id).await.unwrap();
    let entries = audited(&suite).await;
    let actions: Vec<_> = entries.iter().map(|entry| entry.0.as_str()).collect();
    assert_eq!(actions, ["subject.merge", "subject.link", "subject.unlink", "subject.unmerge"]);
    for (action, actor, detail) in entries {
        assert_eq!(actor, "northstar");
        assert!(detail.contains("reason"), "{action}: {detail}");
        assert!(!detail.contains("ada") && !detail.contains("phone"), "{action}: {detail}");
    }
}

#[tokio::test]
async fn wrong_statements_are_refused_by_their_field() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let blamed =
        async |from: &str, to: &str| blamed_fields(&link(&clients, from, to).await.unwrap_err());
    assert_eq!(blamed("ada", "ada").await, ["to"]);
    assert_eq!(blamed("null", "ada").await, ["from.value"]);
    assert_eq!(blamed("Nick Name:x", "ada").await, ["from.kind"]);
    assert_eq!(blamed("ssn:x", "ada").await, ["from.kind"]);
    assert_eq!(blamed("ada", "email:").await, ["to.value"]);
    let silent = pb::MergeSubjectsRequest {
        from: Some(id("ada")),
        to: Some(id("grace")),
        ..Default::default()
    };
    let refused = clients.subjects().merge_subjects(silent).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["reason"]);
    let one = merge(&clients, "ada", "ada").await.unwrap_err();
    assert_eq!(blamed_fields(&one), ["to"]);
    let future = pb::LinkIdentifiersRequest {
        from: Some(id("ada")),
        to: Some(id("email:a@x.io")),
        reason: "soon".to_owned(),
        effective_time: Some(minutes(5)),
        ..Default::default()
    };
    let refused = clients.subjects().link_identifiers(future).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["effective_time"]);
}

#[tokio::test]
async fn projects_do_not_know_each_others_subjects() {
    let suite = Suite::start().await;
    sqlx::query("INSERT INTO access.projects (name) VALUES ('other')")
        .execute(suite.superuser())
        .await
        .unwrap();
    let other = suite.clients().for_project(2);
    suite.ingest("web", vec![seen("phone", "ada", -9)]).await;
    let merged = merge(&suite.clients(), "ada", "grace").await.unwrap().fact.unwrap();
    let request =
        pb::ResolveSubjectRequest { identifier: "phone".to_owned(), ..Default::default() };
    let found = other.ingestion().resolve_subject(request).await.unwrap().into_inner();
    assert_eq!((found.subject.as_str(), found.identity_map_version), ("phone", 0));
    assert_eq!(reason(&unmerge(&other, merged.fact_id).await.unwrap_err()), "NOT_FOUND");
    let request =
        pb::ListIdentityFactsRequest { identifier: Some(id("ada")), ..Default::default() };
    let facts = other.subjects().list_identity_facts(request).await.unwrap().into_inner().facts;
    assert_eq!(facts, []);
}
