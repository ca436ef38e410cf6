//! What persons say about subjects: link, unlink, merge, unmerge, consent.

use std::collections::BTreeSet;

use northstar_client::Clients;
use northstar_domain::identity::{
    Fact, Identifier, IdentityPolicy, SaidBy, Verb, resolve as resolve_facts,
};
use northstar_proto::ingestion::v1 as pb;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::suite::{Suite, blamed_fields, event, minutes, reason};

fn id(text: &str) -> pb::Identifier {
    let (kind, value) = text.split_once(':').unwrap_or(("user_id", text));
    pb::Identifier { kind: kind.to_owned(), value: value.to_owned() }
}

fn shown(identifier: Option<&pb::Identifier>) -> String {
    identifier.map(|found| format!("{}:{}", found.kind, found.value)).unwrap()
}

fn seen(device: &str, user: &str, minute: i64) -> pb::Event {
    pb::Event {
        anonymous_id: device.to_owned(),
        user_id: user.to_owned(),
        occurred_time: Some(minutes(minute)),
        ..event(Uuid::now_v7().to_string())
    }
}

async fn resolve_at(suite: &Suite, text: &str, version: i64) -> pb::ResolveSubjectResponse {
    let identifier = id(text);
    let request = pb::ResolveSubjectRequest {
        identifier: identifier.value,
        identifier_kind: identifier.kind,
        identity_map_version: version,
        as_known_time: None,
    };
    suite.clients().ingestion().resolve_subject(request).await.unwrap().into_inner()
}

async fn subject(suite: &Suite, text: &str) -> String {
    let found = resolve_at(suite, text, 0).await;
    format!("{}:{}", found.subject_kind, found.subject)
}

async fn merge(
    clients: &Clients,
    from: &str,
    to: &str,
) -> Result<pb::MergeSubjectsResponse, Status> {
    let request = pb::MergeSubjectsRequest {
        from: Some(id(from)),
        to: Some(id(to)),
        reason: "the same person".to_owned(),
        request_id: Uuid::new_v4().to_string(),
    };
    clients.subjects().merge_subjects(request).await.map(tonic::Response::into_inner)
}

async fn unmerge(clients: &Clients, fact_id: i64) -> Result<pb::UnmergeSubjectsResponse, Status> {
    let request = pb::UnmergeSubjectsRequest {
        fact_id,
        reason: "two people".to_owned(),
        request_id: String::new(),
    };
    clients.subjects().unmerge_subjects(request).await.map(tonic::Response::into_inner)
}

async fn link(clients: &Clients, from: &str, to: &str) -> Result<String, Status> {
    let request = pb::LinkIdentifiersRequest {
        from: Some(id(from)),
        to: Some(id(to)),
        reason: "said so".to_owned(),
        ..Default::default()
    };
    let response = clients.subjects().link_identifiers(request).await?.into_inner();
    Ok(shown(response.subject.as_ref()))
}

async fn unlink(clients: &Clients, from: &str, to: &str) -> Result<String, Status> {
    let request = pb::UnlinkIdentifiersRequest {
        from: Some(id(from)),
        to: Some(id(to)),
        reason: "a shared device".to_owned(),
        ..Default::default()
    };
    let response = clients.subjects().unlink_identifiers(request).await?.into_inner();
    Ok(shown(response.subject.as_ref()))
}

async fn history(suite: &Suite, text: &str) -> Vec<pb::IdentityFact> {
    let mut facts = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            pb::ListIdentityFactsRequest { identifier: Some(id(text)), page_size: 2, page_token };
        let page =
            suite.clients().subjects().list_identity_facts(request).await.unwrap().into_inner();
        assert!(page.facts.len() <= 2);
        facts.extend(page.facts);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return facts;
        }
    }
}

async fn audited(suite: &Suite) -> Vec<(String, String, String)> {
    sqlx::query_as("SELECT action, actor, detail FROM audit.entries ORDER BY sequence")
        .fetch_all(suite.superuser())
        .await
        .unwrap()
}

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
    while erasure.state() == pb::ErasureState::Running {
        tokio::task::yield_now().await;
        let request = pb::GetErasureRequest { erasure_id: erasure.erasure_id };
        let found = suite.clients().subjects().get_erasure(request).await.unwrap().into_inner();
        erasure = found.erasure.unwrap();
    }
    erasure
}

/// Every row of every table that a service may hold data in, as text.
async fn everything_held(suite: &Suite) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
         WHERE schemaname IN ('ingestion', 'metrics', 'access', 'audit') ORDER BY 1",
    )
    .fetch_all(suite.superuser())
    .await
    .unwrap();
    let mut held = String::new();
    for table in tables {
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT row_to_json(t)::text FROM {table} t"
        )))
        .fetch_all(suite.superuser())
        .await
        .unwrap();
        for row in rows {
            held.push_str(&row);
            held.push('\n');
        }
    }
    // The log as it reads, beside its bytes.
    for event in logged(suite).await {
        held.push_str(&format!("{event:?}\n"));
    }
    held
}

/// The events of the log.
async fn logged(suite: &Suite) -> Vec<northstar_store::ingestion::log::LoggedEvent> {
    let mut connection = suite.superuser().acquire().await.unwrap();
    let project = northstar_domain::ProjectId(1);
    let read = northstar_store::ingestion::log::read_after(&mut connection, project, 0, 1_000);
    read.await.unwrap()
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
