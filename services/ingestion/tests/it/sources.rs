//! What sources owe, and whether they deliver.

use std::time::Duration;

use chrono::TimeDelta;
use northstar_client::Clients;
use northstar_ingestion::Config;
use northstar_proto::ingestion::v1 as pb;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::suite::{Suite, blamed_fields, event, ingest, outcomes, reason};

fn hours(count: i32) -> Option<pb::Threshold> {
    let unit = pb::PeriodUnit::Hour.into();
    Some(pb::Threshold { off: false, after: Some(pb::Period { count, unit }) })
}

/// A document: warn after six hours, breached after twelve.
fn web() -> pb::SourceDefinition {
    pb::SourceDefinition {
        name: "web".to_owned(),
        owner: "growth".to_owned(),
        freshness: Some(pb::FreshnessRule {
            warn_after: hours(6),
            error_after: hours(12),
            ..pb::FreshnessRule::default()
        }),
        ..pb::SourceDefinition::default()
    }
}

async fn apply(
    clients: &Clients,
    source: pb::SourceDefinition,
) -> Result<pb::SourceDefinition, Status> {
    let request =
        pb::ApplySourceRequest { source: Some(source), ..pb::ApplySourceRequest::default() };
    Ok(clients.sources().apply_source(request).await?.into_inner().source.unwrap())
}

async fn standing(clients: &Clients, name: &str) -> pb::SourceStanding {
    let request = pb::ListSourceStatesRequest { source: name.to_owned() };
    let found = clients.sources().list_source_states(request).await.unwrap().into_inner();
    found.sources.into_iter().next().unwrap()
}

fn named(id: &str, name: &str) -> pb::Event {
    pb::Event { name: name.to_owned(), ..event(id) }
}

fn equation(accounting: &Option<pb::Accounting>) -> [i64; 5] {
    let counts = accounting.unwrap();
    let all =
        [counts.received, counts.accepted, counts.duplicate, counts.quarantined, counts.rejected];
    assert_eq!(all[0], all[1..].iter().sum::<i64>(), "the accounting equation");
    all
}

#[tokio::test]
async fn the_equation_holds_for_every_event_name_of_a_source() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let refused = pb::Event { user_id: String::new(), ..named("c", "Cart Viewed") };
    let conflict = pb::Event { sequence: 7, ..named("a", "Signed Up") };
    let batch = vec![
        named("a", "Signed Up"),
        named("a", "Signed Up"),
        named("b", "Signed Up"),
        refused,
        conflict,
        named("d", "Cart Viewed"),
    ];
    let results = suite.ingest("web", batch).await;
    assert_eq!(outcomes(&results).len(), 6);
    let web = standing(&clients, "web").await;
    assert_eq!(equation(&web.accounting), [6, 3, 1, 1, 1]);
    let events: Vec<_> =
        web.events.iter().map(|event| (event.name.as_str(), equation(&event.accounting))).collect();
    assert_eq!(events, [("Cart Viewed", [2, 1, 0, 0, 1]), ("Signed Up", [4, 2, 1, 1, 0])]);
    assert_eq!(web.state(), pb::SourceState::Off, "nothing is asked of it");
}

#[tokio::test]
async fn names_beyond_a_thousand_count_together() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    for batch in 0..3_i32 {
        let events = (0..900)
            .map(|number| {
                let id = format!("{batch}/{number}");
                named(&id, &format!("event {id}"))
            })
            .collect();
        ingest(&clients, "web", events).await.unwrap();
    }
    // Known names stay known, in another process too.
    let other = suite.start_another().await;
    let again = vec![named("x", "event 0/17"), named("y", "event 2/17")];
    ingest(&crate::suite::clients(&other), "web", again).await.unwrap();
    let web = standing(&clients, "web").await;
    assert_eq!(web.events.len(), 1_001);
    assert_eq!(web.events[0].name, "");
    assert_eq!(equation(&web.events[0].accounting)[1], 1_701);
    let known = web.events.iter().find(|event| event.name == "event 0/17").unwrap();
    assert_eq!(equation(&known.accounting)[1], 2);
    assert_eq!(equation(&web.accounting)[1], 2_702);
}

#[tokio::test]
async fn a_name_that_is_refused_takes_no_place() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let bad = |name: &str| pb::Event { user_id: String::new(), ..named(name, name) };
    suite.ingest("web", vec![bad("a"), bad("b"), named("c", "Signed Up")]).await;
    let web = standing(&clients, "web").await;
    let names: Vec<_> = web.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["", "Signed Up"]);
    assert_eq!(equation(&web.events[0].accounting), [2, 0, 0, 0, 2]);
}

#[tokio::test]
async fn a_silent_source_warns_and_then_is_breached() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", vec![event("a")]).await;
    apply(&clients, web()).await.unwrap();
    let state = async || standing(&clients, "web").await.state();
    assert_eq!(state().await, pb::SourceState::Fresh);
    suite.clock.advance(TimeDelta::hours(7));
    assert_eq!(state().await, pb::SourceState::Warn);
    suite.clock.advance(TimeDelta::hours(6));
    let breached = standing(&clients, "web").await;
    assert_eq!(breached.state(), pb::SourceState::Breached);
    assert_eq!(breached.reason, "no event since 2026-03-02T12:00:00Z, error_after is 12h");
    assert_eq!(breached.owner, "growth");
    // What is refused or sent again does not make a source fresh.
    suite.ingest("web", vec![event("a"), pb::Event { user_id: String::new(), ..event("b") }]).await;
    assert_eq!(state().await, pb::SourceState::Breached);
    suite.ingest("web", vec![event("c")]).await;
    assert_eq!(state().await, pb::SourceState::Fresh);
}

#[tokio::test]
async fn a_source_that_looks_at_some_events_is_not_fresh_by_others() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let mut document = web();
    document.freshness.as_mut().unwrap().events = vec!["Order Placed".to_owned()];
    apply(&clients, document).await.unwrap();
    suite.clock.advance(TimeDelta::hours(13));
    suite.ingest("web", vec![named("a", "Cart Viewed")]).await;
    assert_eq!(standing(&clients, "web").await.state(), pb::SourceState::Breached);
    suite.ingest("web", vec![named("b", "Order Placed")]).await;
    assert_eq!(standing(&clients, "web").await.state(), pb::SourceState::Fresh);
}

#[tokio::test]
async fn too_few_events_in_the_last_full_hours_breach_a_source() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let volume = pb::VolumeRule {
        expected: 10,
        every: Some(pb::Period { count: 2, unit: pb::PeriodUnit::Hour.into() }),
        warn_below: Some(0.9),
        error_below: Some(0.5),
        ..pb::VolumeRule::default()
    };
    let document = pb::SourceDefinition { freshness: None, volume: Some(volume), ..web() };
    apply(&clients, document).await.unwrap();
    let mut next = 0;
    let mut send = async |count: i32| {
        let events = (0..count)
            .map(|_| {
                next += 1;
                event(next.to_string())
            })
            .collect();
        suite.ingest("web", events).await;
    };
    // Noon to two: eight events. Two to four: four.
    send(8).await;
    suite.clock.advance(TimeDelta::hours(2));
    let after_two = standing(&clients, "web").await;
    send(4).await;
    suite.clock.advance(TimeDelta::hours(2));
    let after_four = standing(&clients, "web").await;
    assert_eq!(after_two.state(), pb::SourceState::Warn);
    assert_eq!(after_two.reason, "8 of 10 events in 2h");
    assert_eq!(after_four.state(), pb::SourceState::Breached);
    assert_eq!(after_four.reason, "4 of 10 events in 2h");
}

#[tokio::test]
async fn an_event_with_rules_of_its_own_makes_its_source_no_better_than_itself() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let rules = pb::SourceEventRules {
        freshness: Some(pb::FreshnessRule { error_after: hours(1), ..Default::default() }),
        ..pb::SourceEventRules::default()
    };
    let document =
        pb::SourceDefinition { events: [("Order Placed".to_owned(), rules)].into(), ..web() };
    apply(&clients, document).await.unwrap();
    suite.ingest("web", vec![named("a", "Order Placed"), named("b", "Cart Viewed")]).await;
    suite.clock.advance(TimeDelta::hours(2));
    let web = standing(&clients, "web").await;
    assert_eq!((web.own_state(), web.state()), (pb::SourceState::Fresh, pb::SourceState::Breached));
    let states: Vec<_> = web.events.iter().map(|event| (&*event.name, event.state())).collect();
    assert_eq!(
        states,
        [("Cart Viewed", pb::SourceState::Off), ("Order Placed", pb::SourceState::Breached)]
    );
}

#[tokio::test]
async fn every_change_of_state_is_in_the_log_once() {
    let config = Config { ingestion_source_check_milliseconds: 100, ..Config::default() };
    let suite = Suite::start_with(config.clone()).await;
    let clients = suite.clients();
    // Two processes watch.
    let _other = suite.start_another_with(config).await;
    suite.ingest("web", vec![event("a")]).await;
    apply(&clients, web()).await.unwrap();
    let request = pb::SubscribeRequest {
        group: "changes".to_owned(),
        filter: "event.source == 'northstar'".to_owned(),
        ..pb::SubscribeRequest::default()
    };
    let mut stream = clients.ingestion().subscribe(request).await.unwrap().into_inner();
    let mut changes = Vec::new();
    let mut next = async || loop {
        if let Some(logged) = stream.message().await.unwrap().unwrap().events.into_iter().next() {
            return logged.event.unwrap();
        }
    };
    suite.clock.advance(TimeDelta::hours(7));
    changes.push(next().await);
    suite.clock.advance(TimeDelta::hours(6));
    changes.push(next().await);
    suite.ingest("web", vec![event("b")]).await;
    changes.push(next().await);
    let text = |event: &pb::Event, name: &str| match event.properties[name].kind.clone() {
        Some(pb::value::Kind::StringValue(text)) => text,
        other => panic!("{name}: {other:?}"),
    };
    let told: Vec<_> = changes
        .iter()
        .map(|event| {
            assert_eq!(event.name, "Source State Changed");
            assert_eq!(text(event, "source"), "web");
            (text(event, "previous_state"), text(event, "state"))
        })
        .collect();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(told[1..], [pair("warn", "breached"), pair("breached", "fresh")]);
    // Whether a look came while it was fresh is a matter of chance.
    assert!([pair("fresh", "warn"), pair("off", "warn")].contains(&told[0]), "{:?}", told[0]);
    // Both had time to look again and neither had anything to say.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(suite.counts("northstar").await[1], 3);
}

#[tokio::test]
async fn documents_are_kept_paged_audited_and_removed() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let first = apply(&clients, web()).await.unwrap();
    assert_eq!(first.updated_by, "northstar");
    let changed = pb::SourceDefinition { owner: "data".to_owned(), ..web() };
    let second = apply(&clients, changed.clone()).await.unwrap();
    assert_ne!(second.etag, first.etag);
    let stale = pb::SourceDefinition { etag: first.etag, ..web() };
    assert_eq!(reason(&apply(&clients, stale).await.unwrap_err()), "ETAG_MISMATCH");
    apply(&clients, pb::SourceDefinition { name: "app".to_owned(), ..web() }).await.unwrap();

    let request = pb::ListSourceDefinitionsRequest { page_size: 1, ..Default::default() };
    let page =
        clients.sources().list_source_definitions(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.sources[0].name, "app");
    let next = pb::ListSourceDefinitionsRequest { page_token: page.next_page_token, ..request };
    let page = clients.sources().list_source_definitions(next).await.unwrap().into_inner();
    assert_eq!(page.sources, [second]);
    assert_eq!(page.next_page_token, "");

    let delete = pb::DeleteSourceRequest {
        name: "web".to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..pb::DeleteSourceRequest::default()
    };
    clients.sources().delete_source(delete.clone()).await.unwrap();
    clients.sources().delete_source(delete).await.unwrap();
    let get = pb::GetSourceRequest { name: "web".to_owned() };
    let gone = clients.sources().get_source(get).await.unwrap_err();
    assert_eq!(reason(&gone), "NOT_FOUND");
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action || ' ' || resource FROM audit.entries ORDER BY sequence")
            .fetch_all(suite.superuser())
            .await
            .unwrap();
    assert_eq!(
        actions,
        [
            "source.apply sources/web",
            "source.apply sources/web",
            "source.apply sources/app",
            "source.delete sources/web"
        ]
    );
}

#[tokio::test]
async fn a_document_that_breaks_rules_is_refused_with_every_field() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let mut bad = pb::SourceDefinition { owner: String::new(), ..web() };
    bad.freshness.as_mut().unwrap().warn_after = hours(24);
    let status = apply(&clients, bad).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["source.owner", "source.freshness.warn_after"]);
    let check = pb::ApplySourceRequest {
        source: Some(web()),
        validate_only: true,
        ..pb::ApplySourceRequest::default()
    };
    clients.sources().apply_source(check).await.unwrap();
    let get = pb::GetSourceRequest { name: "web".to_owned() };
    assert_eq!(reason(&clients.sources().get_source(get).await.unwrap_err()), "NOT_FOUND");
}

#[tokio::test]
async fn a_source_whose_events_fail_is_told_until_they_have_passed() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let document = pb::SourceDefinition {
        freshness: None,
        failures: Some(pb::FailuresRule {
            every: Some(pb::Period { count: 1, unit: pb::PeriodUnit::Hour.into() }),
            warn_above: Some(0.1),
            error_above: Some(0.5),
            least: 2,
            ..pb::FailuresRule::default()
        }),
        ..web()
    };
    let applied = apply(&clients, document.clone()).await.unwrap();
    assert_eq!(applied.failures, document.failures);

    // An id that is used again for something else, and a name that is none.
    let fails = |count: usize, from: usize| -> Vec<pb::Event> {
        (from..from + count).map(|index| named(&format!("bad{index}"), "")).collect()
    };
    let fine: Vec<_> = (0..9).map(|index| event(format!("m{index}"))).collect();
    suite.ingest("web", fine.clone()).await;
    suite.ingest("web", [fails(1, 0), fine].concat()).await;
    assert_eq!(standing(&clients, "web").await.state(), pb::SourceState::Fresh, "one is too few");
    suite.ingest("web", vec![named("m0", "Other")]).await;
    let found = standing(&clients, "web").await;
    assert_eq!(found.state(), pb::SourceState::Warn);
    assert_eq!(found.reason, "2 of 11 events failed in 1h");
    suite.ingest("web", fails(8, 1)).await;
    assert_eq!(standing(&clients, "web").await.state(), pb::SourceState::Breached);

    // It is told for the hour that runs and a full one after it.
    suite.clock.advance(TimeDelta::minutes(61));
    assert_eq!(standing(&clients, "web").await.state(), pb::SourceState::Breached);
    suite.clock.advance(TimeDelta::minutes(60));
    assert_eq!(standing(&clients, "web").await.state(), pb::SourceState::Fresh);

    let refused = pb::SourceDefinition {
        failures: Some(pb::FailuresRule { least: -1, ..document.failures.unwrap() }),
        ..document
    };
    let status = apply(&clients, refused).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["source.failures.least"]);
}

#[tokio::test]
async fn a_source_that_sends_more_than_it_may_is_told_when_to_try_again() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let limited = pb::SourceDefinition {
        limit: Some(pb::RateLimit { events_per_second: 1, burst: 1 }),
        ..web()
    };
    let applied = apply(&clients, limited.clone()).await.unwrap();
    assert_eq!(applied.limit, limited.limit);

    let many: Vec<_> = (0..2_000).map(|index| event(format!("m{index}"))).collect();
    let results = ingest(&clients, "web", many.clone()).await.unwrap().results;
    assert!(results.iter().all(|result| result.outcome() == pb::EventOutcome::Accepted));
    // It now owes half an hour.
    let status = ingest(&clients, "web", vec![event("late")]).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "OVERLOADED"));
    let details = status.get_error_details();
    let delay = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(delay > Duration::from_secs(60), "{delay:?}");
    assert_eq!(details.error_info().unwrap().metadata["source"], "web");

    // Neither its state nor another source knows of it.
    assert_eq!(suite.counts("web").await, [2_000, 2_000, 0, 0, 0]);
    ingest(&clients, "app", many.clone()).await.unwrap();
    ingest(&clients, "app", many).await.unwrap();
    apply(&clients, web()).await.unwrap();
    ingest(&clients, "web", vec![event("late")]).await.unwrap();
}
