//! What becomes of quarantined events: patched, replayed once, discarded.

use std::collections::BTreeMap;

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::audit;
use pb::EventOutcome::{Accepted, Duplicate, Quarantined};
use pb::patch_quarantined_events_request::Change;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tonic::{Status, Streaming};

use crate::suite::{
    PROJECT, Suite, blamed_fields, clients, event, integer, minutes, noon, outcomes, reason,
};

async fn hold(clients: &Clients) {
    let contract = pb::Contract {
        name: "Signed Up".to_owned(),
        schema_version: "1-0-0".to_owned(),
        json_schema: r#"{"required": ["seats"], "properties": {"seats": {"type": "integer"}}}"#
            .to_owned(),
        mode: pb::ContractMode::Quarantine.into(),
        owner: "growth".to_owned(),
        ..pb::Contract::default()
    };
    let request = pb::ApplyContractRequest { contract: Some(contract), ..Default::default() };
    clients.ingestion().apply_contract(request).await.unwrap();
}

async fn last<R>(stream: Result<tonic::Response<Streaming<R>>, Status>) -> Result<R, Status> {
    let mut stream = stream?.into_inner();
    let mut last = None;
    while let Some(update) = stream.message().await? {
        last = Some(update);
    }
    Ok(last.unwrap())
}

fn told(progress: Option<pb::QuarantineProgress>) -> (i64, i64, BTreeMap<String, i64>) {
    let progress = progress.unwrap();
    assert!(progress.done);
    (progress.matched, progress.changed, progress.unchanged_by_reason)
}

fn none() -> BTreeMap<String, i64> {
    BTreeMap::new()
}

fn all() -> Option<pb::QuarantineFilter> {
    Some(pb::QuarantineFilter { all: true, ..Default::default() })
}

fn only(id: &str) -> Option<pb::QuarantineFilter> {
    Some(pb::QuarantineFilter { quarantine_ids: vec![id.to_owned()], ..Default::default() })
}

fn merge(filter: Option<pb::QuarantineFilter>, patch: &str) -> pb::PatchQuarantinedEventsRequest {
    pb::PatchQuarantinedEventsRequest {
        filter,
        change: Some(Change::MergePatchJson(patch.to_owned())),
        ..Default::default()
    }
}

async fn patch(
    clients: &Clients,
    request: pb::PatchQuarantinedEventsRequest,
) -> pb::PatchQuarantinedEventsResponse {
    last(clients.quarantine().patch_quarantined_events(request).await).await.unwrap()
}

async fn replay(
    clients: &Clients,
    filter: Option<pb::QuarantineFilter>,
) -> pb::ReplayQuarantinedEventsResponse {
    let request = pb::ReplayQuarantinedEventsRequest { filter, ..Default::default() };
    last(clients.quarantine().replay_quarantined_events(request).await).await.unwrap()
}

async fn search(clients: &Clients, filter: pb::QuarantineFilter) -> Vec<pb::QuarantinedEvent> {
    let request = pb::SearchQuarantinedEventsRequest { filter: Some(filter), ..Default::default() };
    let page = clients.quarantine().search_quarantined_events(request).await.unwrap();
    page.into_inner().events
}

async fn get(clients: &Clients, id: &str) -> pb::GetQuarantinedEventResponse {
    let request = pb::GetQuarantinedEventRequest { quarantine_id: id.to_owned() };
    clients.quarantine().get_quarantined_event(request).await.unwrap().into_inner()
}

async fn actions(suite: &Suite) -> Vec<String> {
    let mut connection = suite.superuser().acquire().await.unwrap();
    let size = northstar_store::page::PageSize::from_request(1000).unwrap();
    let project = northstar_domain::ProjectId(PROJECT);
    let entries = audit::list(&mut connection, project, 0, size).await.unwrap();
    assert_eq!(audit::verify(&mut connection, project).await.unwrap().first_invalid, None);
    // Tests look at the quarantine all the time; what they change is of interest here.
    let actions = entries.into_iter().map(|entry| entry.action);
    actions.filter(|action| action != "quarantine.read").collect()
}

#[tokio::test]
async fn whoever_looks_at_quarantined_events_is_written_down_but_not_what_was_seen() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    hold(&clients).await;
    let personal = pb::Event { user_id: "ada-lovelace".to_owned(), ..event("a") };
    suite.ingest("web", vec![personal, event("b")]).await;
    let found = search(&clients, Default::default()).await;
    get(&clients, &found[0].quarantine_id).await;
    let request = pb::ListQuarantinedEventsRequest::default();
    clients.ingestion().list_quarantined_events(request).await.unwrap();
    let none = pb::QuarantineFilter { source: "nobody".to_owned(), ..Default::default() };
    assert!(search(&clients, none).await.is_empty(), "nothing is seen, nothing is written");
    let read: Vec<(String, String)> = sqlx::query_as(
        "SELECT resource, detail FROM audit.entries WHERE action = 'quarantine.read'
         ORDER BY sequence",
    )
    .fetch_all(suite.superuser())
    .await
    .unwrap();
    let one = format!("quarantine/{}", found[0].quarantine_id);
    let told =
        |resource: &str, events: i64| (resource.to_owned(), format!("{{\"events\":{events}}}"));
    assert_eq!(read, [told("quarantine", 2), told(&one, 1), told("quarantine", 2)]);
}

#[tokio::test]
async fn a_patched_event_is_replayed_with_the_time_it_was_received() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    hold(&clients).await;
    suite.ingest("web", vec![event("a"), event("b")]).await;
    let [waiting, other] = search(&clients, Default::default()).await.try_into().unwrap();
    assert_eq!(waiting.failure_type, "schema_violation");
    let id = waiting.quarantine_id.as_str();
    let check = get(&clients, id).await.check.unwrap();
    assert_eq!((check.outcome(), check.field.as_str()), (Quarantined, "properties.seats"));

    suite.clock.advance(chrono::TimeDelta::hours(30));
    let request = merge(only(id), r#"{"properties": {"seats": 3}}"#);
    let patched = patch(&clients, request).await;
    assert_eq!(patched.check.unwrap().outcome(), Accepted);
    assert_eq!(told(patched.progress), (1, 1, none()));
    let found = get(&clients, id).await.event.unwrap();
    assert_eq!(found.state(), pb::QuarantineState::Patched);
    assert_eq!(found.event, waiting.event, "what was sent is kept");

    let replayed = replay(&clients, all()).await;
    let stays = [("schema_violation".to_owned(), 1)].into();
    assert_eq!(told(replayed.progress), (2, 1, stays));
    assert_eq!(replayed.log_position, 1);
    assert!(!replayed.kpis_unknown.is_empty(), "there is no metrics service here");
    let found = get(&clients, id).await;
    assert_eq!(found.event.as_ref().unwrap().state(), pb::QuarantineState::Replayed);
    assert_eq!(found.event.unwrap().position, 1);
    assert_eq!(found.check, None);
    assert_eq!(suite.counts("web").await, [2, 1, 0, 1, 0]);

    let request = pb::SubscribeRequest { group: "test".to_owned(), ..Default::default() };
    let mut stream = clients.ingestion().subscribe(request).await.unwrap().into_inner();
    let [logged] = stream.message().await.unwrap().unwrap().events.try_into().unwrap();
    assert_eq!(logged.received_time.unwrap().seconds, noon().timestamp());
    assert_eq!(logged.effective_time, Some(minutes(-1)));
    assert_eq!(logged.event.unwrap().properties["seats"], integer(3));

    // Again: nothing is left to do for it, and the other still waits.
    let again = replay(&clients, only(id)).await;
    assert_eq!(told(again.progress), (0, 0, none()));
    assert_eq!(
        get(&clients, &other.quarantine_id).await.event.unwrap().state(),
        pb::QuarantineState::Open
    );
    // The producer's second delivery is known.
    assert_eq!(
        outcomes(&suite.ingest("web", vec![event("a")]).await),
        [(Duplicate, "already_quarantined")]
    );
    let expected = ["contract.apply", "quarantine.patch", "quarantine.replay"];
    assert_eq!(actions(&suite).await, expected);
}

#[tokio::test]
async fn work_on_many_picks_by_every_condition_and_may_be_tried_first() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    hold(&clients).await;
    for source in ["web", "app"] {
        let events = (0..150).map(|number| pb::Event {
            user_id: format!("u{number}"),
            ..event(format!("{number}"))
        });
        suite.ingest(source, events.collect()).await;
        suite.clock.advance(chrono::TimeDelta::hours(1));
    }
    let filter = pb::QuarantineFilter {
        source: "web".to_owned(),
        reason: "schema_violation".to_owned(),
        event_name: "Signed Up".to_owned(),
        received_from_time: Some(minutes(0)),
        received_until_time: Some(minutes(1)),
        condition: "event.user_id != 'u7' && properties.plan == 'pro'".to_owned(),
        ..Default::default()
    };
    let mut request = merge(Some(filter.clone()), r#"{"properties": {"seats": 1}}"#);
    request.dry_run = true;
    assert_eq!(told(patch(&clients, request.clone()).await.progress), (149, 149, none()));
    let patched = pb::QuarantineState::Patched.into();
    let patched = pb::QuarantineFilter { states: vec![patched], ..pb::QuarantineFilter::default() };
    assert_eq!(search(&clients, patched.clone()).await, []);
    request.dry_run = false;
    assert_eq!(told(patch(&clients, request).await.progress), (149, 149, none()));

    let mut trial =
        pb::ReplayQuarantinedEventsRequest { filter: all(), dry_run: true, ..Default::default() };
    let stays: BTreeMap<_, _> = [("schema_violation".to_owned(), 151)].into();
    let tried = last(clients.quarantine().replay_quarantined_events(trial.clone()).await).await;
    assert_eq!(told(tried.unwrap().progress), (300, 149, stays.clone()));
    assert_eq!(suite.counts("web").await, [150, 0, 0, 150, 0]);
    trial.dry_run = false;
    let done = last(clients.quarantine().replay_quarantined_events(trial).await).await.unwrap();
    assert_eq!(told(done.progress), (300, 149, stays));
    assert_eq!(suite.counts("web").await, [150, 149, 0, 1, 0]);
    assert_eq!(search(&clients, patched).await, []);

    let discard = pb::DiscardQuarantinedEventsRequest {
        filter: Some(pb::QuarantineFilter { source: "app".to_owned(), ..Default::default() }),
        reason: "the app is retired".to_owned(),
        ..Default::default()
    };
    let done = last(clients.quarantine().discard_quarantined_events(discard).await).await.unwrap();
    assert_eq!(told(done.progress), (150, 150, none()));
    let discarded = pb::QuarantineFilter {
        states: vec![pb::QuarantineState::Discarded.into()],
        ..Default::default()
    };
    let found = search(&clients, discarded).await;
    assert_eq!(found[0].discard_reason, "the app is retired");
    assert!(!found[0].changed_by.is_empty());
    assert_eq!(told(replay(&clients, only(&found[0].quarantine_id)).await.progress).0, 0);
    // Counts by reason tell what waits.
    let listed = clients
        .ingestion()
        .list_quarantined_events(pb::ListQuarantinedEventsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.counts_by_reason, [("schema_violation".to_owned(), 1)].into());
}

#[tokio::test]
async fn a_widened_contract_lets_events_pass_as_they_were_sent() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    hold(&clients).await;
    suite.ingest("web", vec![event("a"), event("b")]).await;
    let contract = pb::Contract {
        name: "Signed Up".to_owned(),
        schema_version: "1-0-1".to_owned(),
        json_schema: r#"{"properties": {"seats": {"type": "integer"}}}"#.to_owned(),
        mode: pb::ContractMode::Quarantine.into(),
        owner: "growth".to_owned(),
        ..pb::Contract::default()
    };
    let request = pb::ApplyContractRequest { contract: Some(contract), ..Default::default() };
    clients.ingestion().apply_contract(request).await.unwrap();
    // One of them comes by another delivery first.
    assert_eq!(outcomes(&suite.ingest("web", vec![event("a")]).await), [(Accepted, "")]);
    assert_eq!(told(replay(&clients, all()).await.progress), (2, 2, none()));
    // Three deliveries, two events, none waits.
    assert_eq!(suite.counts("web").await, [3, 2, 1, 0, 0]);
}

#[tokio::test]
async fn a_conflict_of_ids_is_resolved_either_way() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let other = |sequence| pb::Event { sequence, ..event("a") };
    suite.ingest("web", vec![event("a"), other(1), other(2)]).await;
    let [first, second] = search(&clients, Default::default()).await.try_into().unwrap();
    let stays = [("id_conflict".to_owned(), 2)].into();
    assert_eq!(told(replay(&clients, all()).await.progress), (2, 0, stays));

    let resolve = |filter, resolution: pb::IdConflictResolution| pb::ResolveIdConflictsRequest {
        filter,
        resolution: resolution.into(),
        ..Default::default()
    };
    let mut quarantine = clients.quarantine();
    let keep_first = resolve(only(&first.quarantine_id), pb::IdConflictResolution::KeepFirst);
    let done = last(quarantine.resolve_id_conflicts(keep_first).await).await.unwrap();
    assert_eq!(told(done.progress), (1, 1, none()));
    let keep_both = resolve(all(), pb::IdConflictResolution::KeepBoth);
    let done = last(quarantine.resolve_id_conflicts(keep_both).await).await.unwrap();
    assert_eq!(told(done.progress), (1, 1, none()));
    let found = get(&clients, &second.quarantine_id).await.event.unwrap();
    let message_id = found.patched_event.unwrap().message_id;
    assert_eq!(message_id, format!("a~{}", second.quarantine_id));
    assert_eq!(suite.counts("web").await, [3, 2, 0, 1, 0]);

    let none = resolve(all(), pb::IdConflictResolution::Unspecified);
    let status = quarantine.resolve_id_conflicts(none).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["resolution"]);
}

#[tokio::test]
async fn a_record_that_is_no_event_becomes_one_by_a_whole_patch() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let record = pb::MalformedRecord {
        message_id: "row 1".to_owned(),
        raw: b"u1,yesterday".to_vec(),
        reason: "invalid_timestamp".to_owned(),
        ..Default::default()
    };
    let request =
        pb::QuarantineRecordsRequest { source: "orders".to_owned(), records: vec![record] };
    clients.ingestion().quarantine_records(request).await.unwrap();
    let [waiting] = search(&clients, Default::default()).await.try_into().unwrap();
    assert_eq!(waiting.failure_type, "adapter_failure");
    let id = &waiting.quarantine_id;
    let stays = [("not_an_event".to_owned(), 1)].into();
    assert_eq!(told(replay(&clients, all()).await.progress), (1, 0, stays));

    let partly = patch(&clients, merge(only(id), r#"{"name": "Ordered"}"#)).await;
    assert_eq!(told(partly.progress).2, [("missing_occurred_time".to_owned(), 1)].into());
    let whole = pb::PatchQuarantinedEventsRequest {
        filter: only(id),
        change: Some(Change::Event(event("row 1"))),
        ..Default::default()
    };
    assert_eq!(told(patch(&clients, whole).await.progress), (1, 1, none()));
    assert_eq!(told(replay(&clients, all()).await.progress), (1, 1, none()));
    assert_eq!(get(&clients, id).await.event.unwrap().raw, b"u1,yesterday");
    assert_eq!(suite.counts("orders").await, [1, 1, 0, 0, 0]);
}

#[tokio::test]
async fn a_replay_that_was_killed_is_finished_by_the_next() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    hold(&clients).await;
    suite.ingest("web", vec![event("a"), event("b"), event("c")]).await;
    patch(&clients, merge(all(), r#"{"properties": {"seats": 3}}"#)).await;
    let killed = async |statement: &'static str| {
        sqlx::query(statement).execute(suite.superuser()).await.unwrap();
    };
    // Killed before the log was written: on its way, and not there.
    killed("UPDATE ingestion.quarantine SET state = 'replaying'").await;
    let found = search(&clients, Default::default()).await;
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].state(), pb::QuarantineState::Patched);
    let stays: BTreeMap<_, _> = [("replay_under_way".to_owned(), 3)].into();
    let late = patch(&clients, merge(all(), r#"{"properties": {"seats": 4}}"#)).await;
    assert_eq!(told(late.progress).2, stays);
    assert_eq!(told(replay(&clients, all()).await.progress), (3, 3, none()));
    assert_eq!(suite.counts("web").await, [3, 3, 0, 0, 0]);

    // Killed after it was written and before that was noted: the service had
    // counted the delivery and not yet taken it back.
    killed("UPDATE ingestion.quarantine SET state = 'replaying', position = NULL").await;
    killed(
        "UPDATE ingestion.source_counts SET received = received + 3, quarantined = quarantined + 3",
    )
    .await;
    assert_eq!(told(replay(&clients, all()).await.progress), (3, 3, none()));
    assert_eq!(suite.counts("web").await, [3, 3, 0, 0, 0]);
    let sources = clients.ingestion().list_sources(pb::ListSourcesRequest {}).await.unwrap();
    assert_eq!(sources.into_inner().log_position, 3);
}

#[tokio::test]
async fn patched_and_replayed_in_any_order_an_event_is_in_the_log_once() {
    const EVENTS: i64 = 5;
    let suite = Suite::start().await;
    let other = suite.start_another().await;
    let hosts = [suite.clients(), clients(&other)];
    hold(&hosts[0]).await;
    for seed in 0..6 {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let source = format!("source {seed}");
        let events = (0..EVENTS).map(|number| event(number.to_string()));
        suite.ingest(&source, events.collect()).await;
        let of_source = pb::QuarantineFilter { source: source.clone(), ..Default::default() };
        let ids: Vec<String> = search(&hosts[0], of_source.clone())
            .await
            .into_iter()
            .map(|waiting| waiting.quarantine_id)
            .collect();
        for _ in 0..20 {
            let id = ids.choose(&mut random).unwrap();
            let filter = if random.random_bool(0.3) { Some(of_source.clone()) } else { only(id) };
            let seats: i64 = random.random_range(1..100);
            let change = format!(r#"{{"properties": {{"seats": {seats}}}}}"#);
            let [here, there] = &hosts;
            match random.random_range(0..4) {
                0 => _ = patch(here, merge(filter, &change)).await,
                1 => _ = replay(there, filter).await,
                2 => {
                    _ = tokio::join!(replay(here, filter.clone()), replay(there, filter));
                }
                _ => {
                    _ = tokio::join!(
                        patch(here, merge(filter.clone(), &change)),
                        replay(there, filter)
                    );
                }
            }
        }
        patch(&hosts[0], merge(Some(of_source.clone()), r#"{"properties": {"seats": 0}}"#)).await;
        replay(&hosts[0], Some(of_source.clone())).await;

        let [received, accepted, duplicate, quarantined, rejected] = suite.counts(&source).await;
        assert_eq!((accepted, quarantined, rejected), (EVENTS, 0, 0), "seed {seed}");
        assert_eq!(received, EVENTS + duplicate);
        let done = pb::QuarantineFilter {
            states: vec![pb::QuarantineState::Replayed.into()],
            ..of_source
        };
        let mut positions: Vec<i64> =
            search(&hosts[0], done).await.into_iter().map(|done| done.position).collect();
        positions.sort_unstable();
        positions.dedup();
        assert_eq!(positions.len() as i64, EVENTS, "seed {seed}");
    }
    other.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_with_a_request_id_is_done_once() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    hold(&clients).await;
    suite.ingest("web", vec![event("a")]).await;
    let request = |reason: &str| pb::DiscardQuarantinedEventsRequest {
        filter: all(),
        reason: reason.to_owned(),
        request_id: "0198c7e0-0000-7000-8000-000000000009".to_owned(),
        ..Default::default()
    };
    let mut quarantine = clients.quarantine();
    let first = last(quarantine.discard_quarantined_events(request("old")).await).await.unwrap();
    let again = last(quarantine.discard_quarantined_events(request("old")).await).await.unwrap();
    assert_eq!(told(first.progress.clone()), (1, 1, none()));
    assert_eq!(first, again);
    let reused = last(quarantine.discard_quarantined_events(request("other")).await).await;
    assert_eq!(reason(&reused.unwrap_err()), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn what_a_call_does_not_say_well_is_refused() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let mut quarantine = clients.quarantine();
    let nothing = merge(None, "{}");
    let status = quarantine.patch_quarantined_events(nothing).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["filter"]);
    let status = quarantine.patch_quarantined_events(merge(all(), "[")).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["merge_patch_json"]);
    let condition =
        pb::QuarantineFilter { condition: "properties.plan = 1".to_owned(), ..Default::default() };
    let status =
        quarantine.patch_quarantined_events(merge(Some(condition), "{}")).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_EXPRESSION");
    let whole = pb::PatchQuarantinedEventsRequest {
        filter: all(),
        change: Some(Change::Event(event("a"))),
        ..Default::default()
    };
    let status = quarantine.patch_quarantined_events(whole).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["filter.quarantine_ids"]);
    let silent = pb::DiscardQuarantinedEventsRequest { filter: all(), ..Default::default() };
    let status = quarantine.discard_quarantined_events(silent).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["reason"]);
    let unknown = pb::GetQuarantinedEventRequest { quarantine_id: "x".to_owned() };
    let status = quarantine.get_quarantined_event(unknown).await.unwrap_err();
    assert_eq!(reason(&status), "NOT_FOUND");
}
