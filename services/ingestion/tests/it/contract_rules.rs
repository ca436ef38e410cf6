//! Versions of contracts, and what their rules make of events.

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome::{Accepted, Quarantined, Rejected};
use tonic::Status;

use crate::suite::{
    Suite, blamed_fields, clients, event, ingest, integer, minutes, outcomes, reason, text,
};

const PLAN: &str = r#"{"type": "object", "required": ["plan"], "properties": {
    "plan": {"type": "string"}, "seats": {"type": "integer"}, "$schema_version": {}}}"#;

fn contract(version: &str, json_schema: &str) -> pb::Contract {
    pb::Contract {
        name: "Signed Up".to_owned(),
        schema_version: version.to_owned(),
        json_schema: json_schema.to_owned(),
        mode: pb::ContractMode::Quarantine.into(),
        owner: "growth".to_owned(),
        ..pb::Contract::default()
    }
}

async fn apply(clients: &Clients, contract: pb::Contract) -> Result<pb::Contract, Status> {
    let request = pb::ApplyContractRequest {
        contract: Some(contract),
        ..pb::ApplyContractRequest::default()
    };
    Ok(clients.ingestion().apply_contract(request).await?.into_inner().contract.unwrap())
}

async fn get(clients: &Clients) -> pb::Contract {
    let request = pb::GetContractRequest { name: "Signed Up".to_owned() };
    clients.ingestion().get_contract(request).await.unwrap().into_inner().contract.unwrap()
}

async fn notes(clients: &Clients) -> Vec<pb::EventNote> {
    let request = pb::ListEventNotesRequest::default();
    clients.contracts().list_event_notes(request).await.unwrap().into_inner().notes
}

fn with(message_id: &str, properties: &[(&str, pb::Value)]) -> pb::Event {
    let properties =
        properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    pb::Event { properties, ..event(message_id) }
}

/// The properties of everything in the log, in its order.
async fn logged(clients: &Clients) -> Vec<pb::Event> {
    let request = pb::SubscribeRequest { group: "test".to_owned(), ..Default::default() };
    let mut stream = clients.ingestion().subscribe(request).await.unwrap().into_inner();
    let response = stream.message().await.unwrap().unwrap();
    response.events.into_iter().map(|logged| logged.event.unwrap()).collect()
}

#[tokio::test]
async fn a_version_that_understates_its_change_is_refused() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    apply(&clients, contract("1-0-0", PLAN)).await.unwrap();
    let stricter = PLAN.replace(r#"["plan"]"#, r#"["plan", "seats"]"#);
    let status = apply(&clients, contract("1-0-1", &stricter)).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    assert_eq!(blamed_fields(&status), ["contract.schema_version"]);

    let request = pb::CheckContractRequest { contract: Some(contract("1-0-1", &stricter)) };
    let found = clients.contracts().check_contract(request).await.unwrap().into_inner();
    assert_eq!(found.current_version, "1-0-0");
    assert_eq!(found.bump(), pb::SchemaBump::Revision);
    assert_eq!(found.least_version, "1-1-0");
    assert_eq!(found.changes[0].property, "seats");
    assert!(found.version_problem.contains("at least 1-1-0"), "{}", found.version_problem);

    apply(&clients, contract("1-1-0", &stricter)).await.unwrap();
    let status = apply(&clients, contract("1-0-9", &stricter)).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["contract.schema_version"]);
}

#[tokio::test]
async fn everything_a_contract_said_is_kept() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    apply(&clients, contract("1-0-0", PLAN)).await.unwrap();
    let described = PLAN.replacen("{", r#"{"description": "more words", "#, 1);
    apply(&clients, contract("1-0-1", &described)).await.unwrap();
    let observing =
        pb::Contract { mode: pb::ContractMode::Observe.into(), ..contract("1-0-1", &described) };
    apply(&clients, observing).await.unwrap();

    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListContractVersionsRequest {
            name: "Signed Up".to_owned(),
            page_size: 2,
            page_token,
        };
        let page = clients.contracts().list_contract_versions(request).await.unwrap().into_inner();
        found.extend(page.versions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let told: Vec<_> = found
        .iter()
        .map(|version| {
            let contract = version.contract.as_ref().unwrap();
            (version.revision, contract.schema_version.as_str(), version.bump())
        })
        .collect();
    use pb::SchemaBump::{Addition, None};
    assert_eq!(told, [(3, "1-0-1", None), (2, "1-0-1", Addition), (1, "1-0-0", None)]);
    let first = found[2].contract.as_ref().unwrap();
    let schema: serde_json::Value = serde_json::from_str(&first.json_schema).unwrap();
    assert_eq!(schema, serde_json::from_str::<serde_json::Value>(PLAN).unwrap());
    assert!(!found[2].applied_by.is_empty());
}

#[tokio::test]
async fn what_breaks_a_rule_may_be_left_out_and_is_kept_aside() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let rules = pb::Contract {
        mode: pb::ContractMode::Omit.into(),
        unplanned_properties: pb::ContractMode::Omit.into(),
        properties: [(
            "password".to_owned(),
            pb::PropertyRule { mode: pb::ContractMode::Reject.into(), ..Default::default() },
        )]
        .into(),
        ..contract("1-0-0", PLAN)
    };
    apply(&clients, rules).await.unwrap();
    let pro = ("plan", text("pro"));
    let events = vec![
        with("a", &[pro.clone(), ("seats", text("many")), ("extra", integer(7))]),
        with("b", &[pro.clone(), ("password", text("secret"))]),
        with("c", &[("plan", integer(1))]),
        with("d", &[pro]),
    ];
    let results = suite.ingest("web", events.clone()).await;
    assert_eq!(
        outcomes(&results),
        [
            (Accepted, "omitted_properties"),
            (Rejected, "unplanned_property"),
            (Quarantined, "schema_violation"),
            (Accepted, "")
        ]
    );
    assert!(results[0].message.contains("extra, seats"), "{}", results[0].message);

    let properties: Vec<Vec<String>> = logged(&clients)
        .await
        .into_iter()
        .map(|event| event.properties.into_keys().collect())
        .collect();
    assert_eq!(properties, [["plan"], ["plan"]]);
    let [note] = notes(&clients).await.try_into().unwrap();
    assert_eq!(note.omitted_json, r#"{"extra":7,"seats":"many"}"#);
    assert_eq!((note.position, note.late), (1, false));
    // Who saw it is written down, and not what it was.
    let read: Vec<(String, String)> =
        sqlx::query_as("SELECT actor, detail FROM audit.entries WHERE action = 'event_notes.read'")
            .fetch_all(suite.superuser())
            .await
            .unwrap();
    assert_eq!(read.len(), 1);
    assert!(!read[0].1.contains("many"), "{read:?}");
    assert_eq!(get(&clients).await.omitted_events, 1);
    // The second delivery is known by what was sent, not by what was kept.
    let again = suite.ingest("web", events).await;
    assert_eq!(again[0].outcome(), pb::EventOutcome::Duplicate);
    assert_eq!(suite.counts("web").await, [8, 2, 3, 1, 2]);
}

#[tokio::test]
async fn late_clients_are_welcome_as_long_as_their_version_is_superseded() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let old = r#"{"type": "object", "required": ["tier"]}"#;
    apply(&clients, contract("1-0-0", old)).await.unwrap();
    let strict = contract("2-0-0", PLAN);
    let welcoming = pb::Contract { supersedes: vec!["1-0-0".to_owned()], ..strict.clone() };
    apply(&clients, welcoming).await.unwrap();
    let (tier, plan) = (("tier", text("pro")), ("plan", text("pro")));
    let named = |version: &str| ("$schema_version", text(version));
    let results = suite
        .ingest(
            "app",
            vec![
                with("a", std::slice::from_ref(&tier)),
                with("b", &[tier.clone(), named("1-0-0")]),
                with("c", &[plan.clone(), named("1-0-0")]),
                with("d", &[tier.clone(), named("2-0-0")]),
                with("e", &[plan.clone(), named("3-0-0")]),
            ],
        )
        .await;
    assert_eq!(
        outcomes(&results),
        [
            (Accepted, "superseded_contract"),
            (Accepted, "superseded_contract"),
            (Accepted, ""),
            (Quarantined, "schema_violation"),
            (Quarantined, "stale_contract"),
        ]
    );
    assert_eq!(get(&clients).await.superseded_events, 2);
    assert_eq!(notes(&clients).await[0].validated_with, "1-0-0");

    // Without the word of welcome, only who names the old version is held to it.
    apply(&clients, strict).await.unwrap();
    let results = suite
        .ingest(
            "app",
            vec![with("f", std::slice::from_ref(&tier)), with("g", &[tier, named("1-0-0")])],
        )
        .await;
    let expected = [(Quarantined, "schema_violation"), (Accepted, "superseded_contract")];
    assert_eq!(outcomes(&results), expected);
}

#[tokio::test]
async fn late_events_are_flagged_and_events_from_the_future_may_wait() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let rules = pb::Contract {
        late_after: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        future: pb::FutureRule::Quarantine.into(),
        ..contract("1-0-0", PLAN)
    };
    apply(&clients, rules).await.unwrap();
    let at = |message_id: &str, time| pb::Event {
        occurred_time: Some(minutes(time)),
        ..event(message_id)
    };
    let days = 24 * 60;
    let results = suite.ingest("web", vec![at("a", -60), at("b", -61), at("c", 2 * days)]).await;
    assert_eq!(
        outcomes(&results),
        [(Accepted, ""), (Accepted, "late"), (Quarantined, "future_time")]
    );
    let [note] = notes(&clients).await.try_into().unwrap();
    assert!(note.late && note.position == 2);
    assert_eq!(get(&clients).await.late_events, 1);
}

#[tokio::test]
async fn names_without_a_contract_may_be_held_back() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let mut contracts = clients.contracts();
    let set = |mode: pb::ContractMode| pb::SetUnplannedEventsRuleRequest {
        mode: mode.into(),
        ..Default::default()
    };
    let status = contracts.set_unplanned_events_rule(set(pb::ContractMode::Omit)).await;
    assert_eq!(blamed_fields(&status.unwrap_err()), ["mode"]);
    assert_eq!(outcomes(&suite.ingest("web", vec![event("a")]).await), [(Accepted, "")]);
    contracts.set_unplanned_events_rule(set(pb::ContractMode::Quarantine)).await.unwrap();
    let results = suite.ingest("web", vec![event("b")]).await;
    assert_eq!(outcomes(&results), [(Quarantined, "unplanned_event")]);
    let rule = contracts
        .get_unplanned_events_rule(pb::GetUnplannedEventsRuleRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(rule.mode(), pb::ContractMode::Quarantine);
    apply(&clients, contract("1-0-0", PLAN)).await.unwrap();
    assert_eq!(outcomes(&suite.ingest("web", vec![event("c")]).await), [(Accepted, "")]);
}

#[tokio::test]
async fn a_contract_is_proposed_from_what_was_seen() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let request = |name: &str| pb::InferContractRequest {
        name: name.to_owned(),
        owner: "growth".to_owned(),
        ..Default::default()
    };
    let none = clients.contracts().infer_contract(request("Signed Up")).await.unwrap_err();
    assert_eq!(reason(&none), "NOT_FOUND");
    let events = (0..1_500).map(|number| {
        let name = if number % 3 == 0 { "Signed Up" } else { "Other" };
        let plan = if number % 2 == 0 { "pro" } else { "free" };
        pb::Event {
            name: name.to_owned(),
            ..with(&number.to_string(), &[("plan", text(plan)), ("seats", integer(number))])
        }
    });
    suite.ingest("web", events.collect()).await;
    let found =
        clients.contracts().infer_contract(request("Signed Up")).await.unwrap().into_inner();
    assert_eq!((found.events, found.scanned_positions), (500, 1_500));
    let proposed = found.contract.unwrap();
    let schema: serde_json::Value = serde_json::from_str(&proposed.json_schema).unwrap();
    assert_eq!(schema["required"], serde_json::json!(["plan", "seats"]));
    assert_eq!(schema["properties"]["plan"]["enum"], serde_json::json!(["free", "pro"]));
    assert_eq!(proposed.schema_version, "1-0-0");
    // The proposal is a contract, and what it was made from keeps it.
    let strict = pb::Contract { mode: pb::ContractMode::Reject.into(), ..proposed };
    apply(&clients, strict).await.unwrap();
    let seen = with("new", &[("plan", text("pro")), ("seats", integer(3))]);
    assert_eq!(outcomes(&suite.ingest("web", vec![seen]).await), [(Accepted, "")]);
}

#[tokio::test]
async fn contracts_of_another_project_say_nothing() {
    let suite = Suite::start().await;
    sqlx::query("INSERT INTO access.projects (name) VALUES ('other')")
        .execute(suite.superuser())
        .await
        .unwrap();
    let other = suite.host.clients(crate::suite::SUITE_KEY).unwrap().for_project(2);
    apply(&other, contract("1-0-0", PLAN)).await.unwrap();
    let bare = with("a", &[]);
    assert_eq!(outcomes(&suite.ingest("web", vec![bare.clone()]).await), [(Accepted, "")]);
    let held = ingest(&other, "web", vec![bare]).await.unwrap().results;
    assert_eq!(outcomes(&held), [(Quarantined, "schema_violation")]);
    let waiting = clients(&suite.host)
        .quarantine()
        .search_quarantined_events(pb::SearchQuarantinedEventsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(waiting.events, []);
}

#[tokio::test]
async fn an_event_as_the_log_holds_it_is_a_duplicate_of_what_was_sent_first() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let rules = pb::Contract {
        unplanned_properties: pb::ContractMode::Omit.into(),
        ..contract("1-0-0", PLAN)
    };
    apply(&clients, rules).await.unwrap();
    let sent = || with("m1", &[("plan", text("pro")), ("card", text("4111"))]);
    let results = suite.ingest("web", vec![sent()]).await;
    assert_eq!(results[0].outcome(), Accepted);

    // Sent again it is known by what was sent, read back by what is kept; anything
    // else under its id is a conflict, at another time too.
    let kept = with("m1", &[("plan", text("pro"))]);
    let later = pb::Event { occurred_time: Some(minutes(-3)), ..kept.clone() };
    let other = with("m1", &[("plan", text("free"))]);
    let results = suite.ingest("web", vec![sent(), kept.clone(), later, other, kept]).await;
    let found: Vec<_> = outcomes(&results);
    assert_eq!(
        found,
        [
            (pb::EventOutcome::Duplicate, ""),
            (pb::EventOutcome::Duplicate, ""),
            (Quarantined, "id_conflict"),
            (Quarantined, "id_conflict"),
            (pb::EventOutcome::Duplicate, ""),
        ]
    );
    assert!(results.iter().take(2).all(|result| result.position == 1), "{results:?}");
    assert_eq!(suite.counts("web").await, [6, 1, 3, 2, 0]);
}

#[tokio::test]
async fn values_kept_aside_are_sealed_when_there_is_a_key() {
    let key = |byte: char| {
        let key: String = std::iter::repeat_n(byte, 43).chain(['=']).collect();
        northstar_ingestion::Config {
            webhook_sealing_key: Some(northstar_server::Secret::from(key)),
            ..northstar_ingestion::Config::default()
        }
    };
    let suite = Suite::start_with(key('A')).await;
    let contract = pb::Contract {
        name: "Signed Up".to_owned(),
        schema_version: "1-0-0".to_owned(),
        json_schema: r#"{"type":"object","properties":{"plan":{"type":"string"}}}"#.to_owned(),
        mode: pb::ContractMode::Quarantine.into(),
        unplanned_properties: pb::ContractMode::Omit.into(),
        owner: "growth".to_owned(),
        ..pb::Contract::default()
    };
    let request = pb::ApplyContractRequest { contract: Some(contract), ..Default::default() };
    suite.clients().ingestion().apply_contract(request).await.unwrap();
    let mut personal = event("a");
    personal.properties.insert("passport".to_owned(), text("L01X00T47"));
    let results = suite.ingest("web", vec![personal]).await;
    assert_eq!(outcomes(&results), [(Accepted, "omitted_properties")]);
    assert!(results[0].message.contains("passport"), "{}", results[0].message);

    let [note] = notes(&suite.clients()).await.try_into().unwrap();
    assert_eq!(note.omitted_json, r#"{"passport":"L01X00T47"}"#);
    assert!(!note.omitted_unreadable);
    let (omitted, sealed): (Option<String>, Vec<u8>) =
        sqlx::query_as("SELECT omitted::text, sealed FROM ingestion.event_notes")
            .fetch_one(suite.superuser())
            .await
            .unwrap();
    assert_eq!(omitted, None);
    assert!(!sealed.windows(9).any(|part| part == b"L01X00T47"));

    // With another key, or without one, the values are not shown and not lost.
    let suite = suite.restart_with(key('E')).await;
    let [note] = notes(&suite.clients()).await.try_into().unwrap();
    assert_eq!((note.omitted_json.as_str(), note.omitted_unreadable), ("", true));
    let suite = suite.restart_with(key('A')).await;
    let [note] = notes(&suite.clients()).await.try_into().unwrap();
    assert_eq!(note.omitted_json, r#"{"passport":"L01X00T47"}"#);
}

#[tokio::test]
async fn values_that_may_be_kept_nowhere_are_not_in_quarantine_either() {
    let config = northstar_ingestion::Config {
        ingestion_pseudonym_key: Some(northstar_server::Secret::from(
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned(),
        )),
        ..northstar_ingestion::Config::default()
    };
    let suite = Suite::start_with(config).await;
    let clients = suite.clients();
    let concealing = || pb::Contract {
        properties: [(
            "email".to_owned(),
            pb::PropertyRule { pseudonym: true, ..pb::PropertyRule::default() },
        )]
        .into(),
        ..contract("1-0-0", PLAN)
    };
    apply(&clients, concealing()).await.unwrap();
    let told = |id: &str, plan: &str, email: &str| {
        with(id, &[("plan", text(plan)), ("email", text(email))])
    };
    let ada = "ada@example.com";
    let events = vec![
        told("a", "pro", ada),
        told("b", "free", ada),
        told("c", "pro", "bob@example.com"),
        // Another body under the id of the first.
        told("a", "free", ada),
        with("d", &[("email", text(ada))]),
    ];
    let results = suite.ingest("web", events.clone()).await;
    assert_eq!(
        outcomes(&results),
        [
            (Accepted, ""),
            (Accepted, ""),
            (Accepted, ""),
            (Quarantined, "id_conflict"),
            (Rejected, "schema_violation"),
        ]
    );
    let again = suite.ingest("web", events[..1].to_vec()).await;
    assert_eq!(again[0].outcome(), pb::EventOutcome::Duplicate, "known by what was sent");

    let emails: Vec<_> = logged(&clients)
        .await
        .into_iter()
        .map(|mut event| event.properties.remove("email").unwrap())
        .collect();
    assert_eq!(emails[0], emails[1]);
    assert_ne!(emails[0], emails[2]);
    // Nowhere in the database is the value.
    let waiting: Vec<Vec<u8>> = sqlx::query_scalar("SELECT event FROM ingestion.quarantine")
        .fetch_all(suite.superuser())
        .await
        .unwrap();
    assert_eq!(waiting.len(), 1);
    assert!(!waiting[0].windows(ada.len()).any(|part| part == ada.as_bytes()));
    assert!(waiting[0].windows(3).any(|part| part == b"pn_"));

    // A process without the key does not take such a contract.
    let other = suite.start_another().await;
    let keyless = crate::suite::clients(&other);
    let changed = pb::Contract { description: "changed".to_owned(), ..concealing() };
    let status = apply(&keyless, changed).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["contract.properties.email.pseudonym"]);
}
