//! The service is killed in the middle of what takes several transactions: an erasure, a replay. Whoever comes next
//! finishes it, once.

use std::collections::BTreeMap;
use std::time::Duration;

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::load::event;
use crate::setting;
use crate::stage::{PATIENCE, Stage, ingest};

/// Rounds when nobody asks for more.
const ROUNDS: u64 = 3;
/// Commits of a round, which are as many blocks of the log.
const COMMITS: u64 = 40;
/// Events of one that are the subject's, and as many of others.
const EVENTS: u64 = 5;
/// Events that wait for a replay.
const WAITING: u64 = 300;
/// Name of events that wait in quarantine until they are patched.
const HELD: &str = "Held";

/// How many rounds, the randomness of all of them, and how to have the same again.
fn rounds() -> (u64, StdRng, String) {
    let seed = setting("NORTHSTAR_FAULT_SEED").unwrap_or_else(rand::random);
    let rounds = setting("NORTHSTAR_FAULT_ROUNDS").unwrap_or(ROUNDS);
    let repeat = format!("NORTHSTAR_FAULT_SEED={seed} NORTHSTAR_FAULT_ROUNDS={rounds}");
    (rounds, StdRng::seed_from_u64(seed), repeat)
}

/// The events after a position, up to the end of the log.
async fn read_after(clients: &Clients, mut position: i64) -> Vec<pb::LoggedEvent> {
    let sources = clients.ingestion().list_sources(pb::ListSourcesRequest {}).await;
    let end = sources.expect("sources").into_inner().log_position;
    let group = format!("reader {}", rand::random::<u32>());
    let request =
        pb::SubscribeRequest { group, start_position: position, ..pb::SubscribeRequest::default() };
    let stream = clients.ingestion().subscribe(request).await;
    let mut stream = stream.expect("a subscription").into_inner();
    let mut events = Vec::new();
    while position < end {
        for logged in stream.message().await.expect("a message").expect("no end").events {
            assert_eq!(logged.position, position + 1, "a position is left out or given twice");
            position = logged.position;
            events.push(logged);
        }
    }
    events
}

async fn patiently<T>(stage: &Stage, what: &str, done: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, done).await;
    done.unwrap_or_else(|_| panic!("{what} hangs: {}", stage.told()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_erasure_that_is_killed_midway_is_finished_and_takes_nothing_else() {
    let (rounds, mut random, repeat) = rounds();
    println!("{repeat}");
    let mut stage = Stage::start().await;
    let mut end = 0;
    for round in 0..rounds {
        let clients = stage.clients();
        let leaver = format!("leaver {round}");
        for commit in 0..COMMITS {
            let events = (0..2 * EVENTS).map(|number| {
                let number = i64::try_from(commit * 2 * EVENTS + number).expect("a small number");
                let mut event = event(format!("{round}/{number}"), number);
                if number % 2 == 0 {
                    event.user_id.clone_from(&leaver);
                }
                event
            });
            ingest(&clients, "app", events.collect()).await.expect("events");
        }
        let identifier = pb::Identifier { kind: "user_id".to_owned(), value: leaver.clone() };
        let request = pb::EraseSubjectRequest {
            identifier: Some(identifier),
            reason: "article 17".to_owned(),
            proof: "ticket".to_owned(),
            ..pb::EraseSubjectRequest::default()
        };
        let erasure = clients.subjects().erase_subject(request).await.expect("an erasure");
        let erasure = erasure.into_inner().erasure.expect("an erasure");
        tokio::time::sleep(Duration::from_micros(random.random_range(0..120_000))).await;
        stage.kill_service();
        stage.start_service().await;
        let clients = stage.clients();
        let at_restart = state(&clients, &erasure.erasure_id).await;
        let finished = async {
            loop {
                let found = state(&clients, &erasure.erasure_id).await;
                assert!(found.position >= at_restart.position, "it went back");
                if found.state() == pb::ErasureState::Done {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let finished = patiently(&stage, "the erasure", finished).await;
        println!(
            "round {round}: killed at position {} of {}, {} events erased",
            at_restart.position, finished.last_position, finished.events
        );
        let events = read_after(&clients, end).await;
        assert_eq!(events.len() as u64, 2 * EVENTS * COMMITS);
        for logged in &events {
            end = logged.position;
            let event = logged.event.as_ref().expect("an event");
            assert_ne!(event.user_id, leaver);
            if event.sequence % 2 == 0 {
                assert!(event.user_id.starts_with("erased-"), "{event:?}");
            } else {
                assert_eq!(event.user_id, format!("user {}", event.sequence % 97));
                assert!(event.properties.contains_key("number"), "{event:?}");
            }
        }
    }
    stage.stop().await;
}

async fn state(clients: &Clients, id: &str) -> pb::Erasure {
    let request = pb::GetErasureRequest { erasure_id: id.to_owned() };
    let found = clients.subjects().get_erasure(request).await.expect("an erasure");
    found.into_inner().erasure.expect("an erasure")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replay_that_is_killed_midway_is_finished_by_the_next_and_adds_every_event_once() {
    let (rounds, mut random, repeat) = rounds();
    println!("{repeat}");
    let mut stage = Stage::start().await;
    hold(&stage.clients()).await;
    let mut end = 0;
    for round in 0..rounds {
        let clients = stage.clients();
        let source = format!("source {round}");
        let events: Vec<pb::Event> = (0..WAITING)
            .map(|number| {
                let number = i64::try_from(number).expect("a small number");
                pb::Event { name: HELD.to_owned(), ..event(number.to_string(), number) }
            })
            .collect();
        ingest(&clients, &source, events).await.expect("events");
        let filter = pb::QuarantineFilter { source: source.clone(), ..Default::default() };
        let patch = pb::PatchQuarantinedEventsRequest {
            filter: Some(filter.clone()),
            change: Some(pb::patch_quarantined_events_request::Change::MergePatchJson(
                r#"{"properties": {"mended": true}}"#.to_owned(),
            )),
            ..pb::PatchQuarantinedEventsRequest::default()
        };
        let patched = clients.quarantine().patch_quarantined_events(patch).await;
        let mut patched = patched.expect("a patch").into_inner();
        while patched.message().await.expect("progress").is_some() {}

        let replay = pb::ReplayQuarantinedEventsRequest {
            filter: Some(filter.clone()),
            ..pb::ReplayQuarantinedEventsRequest::default()
        };
        let cut_off = {
            let (clients, replay) = (clients.clone(), replay.clone());
            tokio::spawn(async move {
                let Ok(stream) = clients.quarantine().replay_quarantined_events(replay).await
                else {
                    return false;
                };
                let mut stream = stream.into_inner();
                while let Ok(update) = stream.message().await {
                    if update.is_none() {
                        return true;
                    }
                }
                false
            })
        };
        tokio::time::sleep(Duration::from_micros(random.random_range(0..120_000))).await;
        stage.kill_service();
        stage.start_service().await;
        let clients = stage.clients();
        let complete = cut_off.await.expect("the call ends");
        let before = read_after(&clients, end).await.len();

        let again = clients.quarantine().replay_quarantined_events(replay).await;
        let mut again = again.expect("a replay").into_inner();
        while patiently(&stage, "the replay", again.message()).await.expect("progress").is_some() {}
        println!(
            "round {round}: complete before it was killed: {complete}; {before} were replayed"
        );

        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for logged in read_after(&clients, end).await {
            end = logged.position;
            assert_eq!(logged.source, source);
            let event = logged.event.expect("an event");
            assert!(event.properties.contains_key("mended"), "{event:?}");
            *found.entry(event.message_id).or_default() += 1;
        }
        assert_eq!(found.len() as u64, WAITING);
        assert!(found.values().all(|times| *times == 1), "{found:?}");
        let sources = clients.ingestion().list_sources(pb::ListSourcesRequest {}).await;
        let sources = sources.expect("sources").into_inner().sources;
        let counts = sources.iter().find(|found| found.name == source).expect("the source");
        assert_eq!(counts.received, i64::try_from(WAITING).expect("a small number"));
        assert_eq!((counts.accepted, counts.quarantined), (counts.received, 0), "{counts:?}");
    }
    stage.stop().await;
}

/// A contract that an event keeps once it is patched.
async fn hold(clients: &Clients) {
    let contract = pb::Contract {
        name: HELD.to_owned(),
        schema_version: "1-0-0".to_owned(),
        json_schema: r#"{"type": "object", "required": ["mended"]}"#.to_owned(),
        mode: pb::ContractMode::Quarantine.into(),
        owner: "tests".to_owned(),
        ..pb::Contract::default()
    };
    let request = pb::ApplyContractRequest { contract: Some(contract), ..Default::default() };
    clients.ingestion().apply_contract(request).await.expect("a contract");
}
