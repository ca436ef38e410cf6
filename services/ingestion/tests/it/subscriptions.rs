//! Consumer groups whose members share the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use northstar_client::{Clients, Consumer};
use northstar_proto::ingestion::v1 as pb;
use pb::consume_request::Kind;
use pb::log_place::Place;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::suite::{Suite, blamed_fields, clients, event, ingest, minutes, reason};

/// A member that a test drives by hand.
struct Member {
    requests: mpsc::Sender<pb::ConsumeRequest>,
    responses: Streaming<pb::ConsumeResponse>,
}

fn join(group: &str, member: &str) -> pb::JoinGroup {
    pb::JoinGroup {
        group: group.to_owned(),
        member_id: member.to_owned(),
        ..pb::JoinGroup::default()
    }
}

impl Member {
    async fn join(clients: &Clients, join: pb::JoinGroup) -> Self {
        let (requests, outgoing) = mpsc::channel(64);
        let kind = Some(Kind::Join(join));
        requests.send(pb::ConsumeRequest { kind }).await.unwrap();
        let responses = clients.subscriptions().consume(ReceiverStream::new(outgoing)).await;
        Self { requests, responses: responses.unwrap().into_inner() }
    }

    async fn next(&mut self) -> Result<pb::ConsumeResponse, Status> {
        Ok(self.responses.message().await?.expect("the stream goes on"))
    }

    async fn send(&self, kind: Kind) {
        self.requests.send(pb::ConsumeRequest { kind: Some(kind) }).await.unwrap();
    }

    async fn acknowledge(&self, positions: Vec<(i32, i64)>) {
        let positions = positions
            .into_iter()
            .map(|(partition, position)| pb::PartitionPosition { partition, position })
            .collect();
        self.send(Kind::Acknowledge(pb::Acknowledge { positions })).await;
    }

    /// Reads until so many events have come.
    async fn events(&mut self, count: usize) -> Vec<pb::DeliveredEvent> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.unwrap().events);
        }
        events
    }

    /// Reads until the stream fails, and returns why.
    async fn failure(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

fn position(delivered: &pb::DeliveredEvent) -> i64 {
    delivered.event.as_ref().unwrap().position
}

fn positions(events: &[pb::DeliveredEvent]) -> BTreeSet<i64> {
    events.iter().map(position).collect()
}

/// The highest position of each partition.
fn all_of(events: &[pb::DeliveredEvent]) -> Vec<(i32, i64)> {
    let mut highest = BTreeMap::new();
    for delivered in events {
        highest.insert(delivered.partition, position(delivered));
    }
    highest.into_iter().collect()
}

/// Events of as many people.
fn people(from: i32, to: i32) -> Vec<pb::Event> {
    (from..to)
        .map(|number| pb::Event {
            user_id: format!("user {}", number % 40),
            sequence: number.into(),
            ..event(number.to_string())
        })
        .collect()
}

async fn list(clients: &Clients) -> Vec<pb::Subscription> {
    let request = pb::ListSubscriptionsRequest::default();
    clients.subscriptions().list_subscriptions(request).await.unwrap().into_inner().subscriptions
}

/// What the members of a group, together, were told that they acknowledged.
#[derive(Default)]
struct Told {
    /// Position and user, in the order of the answers.
    acknowledged: Mutex<Vec<(i64, String)>>,
    /// Sent by members that died before they heard an answer.
    unknown: Mutex<BTreeSet<i64>>,
    enough: AtomicBool,
}

impl Told {
    fn count(&self) -> usize {
        let mut all: BTreeSet<i64> = self.unknown.lock().unwrap().clone();
        all.extend(self.acknowledged.lock().unwrap().iter().map(|(position, _)| *position));
        all.len()
    }
}

/// One stay: reads, acknowledges some of what it has, and leaves or dies.
async fn stay(clients: Clients, id: String, seed: u64, told: Arc<Told>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let request = pb::JoinGroup { credits: rng.random_range(1..200), ..join("crowd", &id) };
    let mut member = Member::join(&clients, request).await;
    let dies = rng.random_bool(0.3);
    let responses = rng.random_range(3..15);
    // Sent to us, by partition; and acknowledged by us without an answer yet.
    let mut held: HashMap<i32, Vec<(i64, String)>> = HashMap::new();
    let mut asked: HashMap<i32, i64> = HashMap::new();
    for number in 0.. {
        let leaving = number >= responses || told.enough.load(Ordering::Relaxed);
        if leaving && (dies || asked.is_empty()) {
            break;
        }
        let wait = tokio::time::timeout(Duration::from_millis(300), member.next()).await;
        let Ok(Ok(response)) = wait else {
            if matches!(wait, Ok(Err(_))) || (leaving && dies) {
                break;
            }
            continue;
        };
        for at in response.acknowledged {
            if asked.get(&at.partition) == Some(&at.position) {
                asked.remove(&at.partition);
            }
            let events = held.entry(at.partition).or_default();
            let done = events.iter().take_while(|(position, _)| *position <= at.position).count();
            told.acknowledged.lock().unwrap().extend(events.drain(..done));
        }
        for at in response.fenced {
            asked.remove(&at.partition);
            held.remove(&at.partition);
        }
        for delivered in response.events {
            let event = delivered.event.unwrap();
            let user = event.event.unwrap().user_id;
            let events = held.entry(delivered.partition).or_default();
            // A partition that was lost and came back begins again.
            events.retain(|(position, _)| *position < event.position);
            events.push((event.position, user));
        }
        if leaving {
            continue;
        }
        let mut batch = Vec::new();
        for (partition, events) in &held {
            if asked.contains_key(partition) || events.is_empty() || rng.random_bool(0.2) {
                continue;
            }
            let upto = events[rng.random_range(0..events.len())].0;
            batch.push((*partition, upto));
            asked.insert(*partition, upto);
        }
        if !batch.is_empty() {
            member.acknowledge(batch).await;
        }
    }
    let mut unknown = told.unknown.lock().unwrap();
    for (partition, upto) in asked {
        let events = held.remove(&partition).unwrap_or_default();
        unknown.extend(events.into_iter().map(|(at, _)| at).filter(|at| *at <= upto));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_come_and_go_skip_nothing_and_acknowledge_nothing_twice() {
    const EVENTS: i32 = 2_400;
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let suite = Suite::start().await;
    let other = suite.start_another().await;
    let doors = [suite.clients(), clients(&other)];
    let told = Arc::new(Told::default());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let door = doors[writer % 2].clone();
            tokio::spawn(async move {
                let share = EVENTS / 4;
                for start in (0..share).step_by(50) {
                    let first = writer as i32 * share + start;
                    ingest(&door, "web", people(first, first + 50)).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    let members: Vec<_> = (0..5_u64)
        .map(|slot| {
            let door = doors[slot as usize % 2].clone();
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                for round in 0.. {
                    if told.enough.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = format!("member {slot}");
                    let seed = seed.wrapping_add(slot * 1_000 + round);
                    stay(door.clone(), id, seed, Arc::clone(&told)).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let all = async {
        while told.count() < EVENTS as usize {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let complete = tokio::time::timeout(Duration::from_secs(60), all).await;
    told.enough.store(true, Ordering::Relaxed);
    for member in members {
        member.await.unwrap();
    }
    assert!(complete.is_ok(), "only {} of {EVENTS} were acknowledged", told.count());

    let acknowledged = told.acknowledged.lock().unwrap();
    let mut seen = BTreeSet::new();
    let mut last: HashMap<&str, i64> = HashMap::new();
    for (position, user) in acknowledged.iter() {
        assert!(seen.insert(*position), "{position} was acknowledged twice");
        let before = last.insert(user, *position);
        assert!(before < Some(*position), "{user}: {position} came after {before:?}");
    }
    seen.extend(told.unknown.lock().unwrap().iter());
    assert_eq!(seen, (1..=i64::from(EVENTS)).collect());
}

#[tokio::test]
async fn what_a_killed_process_held_is_sent_to_another_member() {
    let suite = Suite::start().await;
    suite.ingest("web", people(0, 60)).await;
    // A process of its own, as far as tasks go: it ends between two of them.
    let url = suite.database_url().to_owned();
    let clock = Arc::clone(&suite.clock);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let process =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    process.spawn(async move {
        let host = crate::suite::serve(&url, clock).await;
        let mut member = Member::join(&clients(&host), join("g", "doomed")).await;
        let events = member.events(60).await;
        let (first, last) = all_of(&events)[0];
        let handled = events.iter().filter(|delivered| delivered.partition == first).count();
        member.acknowledge(vec![(first, last)]).await;
        while member.next().await.unwrap().acknowledged.is_empty() {}
        sender.send((host, member, first, handled)).ok();
        std::future::pending::<()>().await;
    });
    let (_host, _member, acknowledged, handled) = receiver.await.unwrap();
    process.shutdown_background();

    let clients = suite.clients();
    assert_eq!(list(&clients).await[0].members, ["doomed"], "nobody said that it is gone");
    suite.clock.advance(TimeDelta::seconds(31));
    let mut heir = Member::join(&clients, join("g", "heir")).await;
    let mut found = Vec::new();
    while found.len() < 60 - handled {
        found.extend(heir.next().await.unwrap().events);
    }
    assert!(found.iter().all(|delivered| delivered.partition != acknowledged));
    assert_eq!(positions(&found).len(), 60 - handled);
}

#[tokio::test]
async fn who_holds_events_without_a_sign_of_life_loses_them() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", people(0, 40)).await;
    let mut hung = Member::join(&clients, join("g", "hung")).await;
    assert_eq!(hung.events(40).await.len(), 40);
    let mut other = Member::join(&clients, join("g", "other")).await;
    suite.clock.advance(TimeDelta::seconds(31));
    assert_eq!(reason(&hung.failure().await), "LEASE_LOST");
    // The other was idle, which is no offence; it may have been taken out at the
    // same moment, though, and then joins again.
    let again = async {
        let mut found = BTreeSet::new();
        while found.len() < 40 {
            match other.next().await {
                Ok(response) => found.extend(positions(&response.events)),
                Err(_) => other = Member::join(&clients, join("g", "other")).await,
            }
        }
        found
    };
    assert_eq!(again.await, (1..=40).collect());
}

#[tokio::test]
async fn a_consumer_that_stops_reading_affects_nobody() {
    let suite = Suite::start().await;
    let door = suite.clients();
    let _deaf = Member::join(&door, pb::JoinGroup { credits: 10_000, ..join("deaf", "d") }).await;
    // A connection of its own: the other's window is full of what nobody reads.
    let quick = clients(&suite.host);
    let mut consumer = Consumer::new(quick, join("quick", "q"));
    let mut seen = BTreeSet::new();
    for batch in 0..20 {
        let big = "x".repeat(2_000);
        let events = people(batch * 100, batch * 100 + 100)
            .into_iter()
            .map(|event| pb::Event {
                properties: [("big".to_owned(), crate::suite::text(&big))].into(),
                ..event
            })
            .collect();
        ingest(&door, "web", events).await.unwrap();
    }
    while seen.len() < 2_000 {
        let batch = consumer.next().await.unwrap();
        seen.extend(positions(&batch.events));
        assert_eq!(consumer.acknowledge(&batch).await.unwrap(), Vec::<i32>::new());
    }
    assert_eq!(seen, (1..=2_000).collect());
}

#[tokio::test]
async fn no_more_is_sent_than_there_are_credits() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", people(0, 100)).await;
    let mut member = Member::join(&clients, pb::JoinGroup { credits: 7, ..join("g", "m") }).await;
    let mut open: Vec<pb::DeliveredEvent> = Vec::new();
    let mut seen = 0;
    while seen < 100 {
        let response = member.next().await.unwrap();
        for at in &response.acknowledged {
            open.retain(|held| held.partition != at.partition || position(held) > at.position);
        }
        seen += response.events.len();
        open.extend(response.events);
        assert!(open.len() <= 7, "{} are open", open.len());
        if open.len() == 7 || seen == 100 {
            member.acknowledge(all_of(&open)).await;
        }
    }
    // Nothing is sent to whoever has no credits.
    member.send(Kind::SetCredits(pb::SetCredits { credits: 0 })).await;
    suite.ingest("web", people(100, 110)).await;
    let quiet = tokio::time::timeout(Duration::from_millis(600), member.events(1)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    member.send(Kind::SetCredits(pb::SetCredits { credits: 100 })).await;
    assert_eq!(member.events(10).await.len(), 10);
}

#[tokio::test]
async fn a_member_that_joins_again_takes_its_own_place() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", people(0, 40)).await;
    let mut first = Member::join(&clients, join("g", "pod")).await;
    let events = first.events(40).await;
    let mut second = Member::join(&clients, join("g", "pod")).await;
    assert_eq!(positions(&second.events(40).await), positions(&events));
    // The first may not know yet; what it acknowledges changes nothing.
    first.acknowledge(all_of(&events)).await;
    assert_eq!(reason(&first.failure().await), "LEASE_LOST");
    assert_eq!(list(&clients).await[0].members, ["pod"]);
    assert_eq!(list(&clients).await[0].lag_positions, 40);
}

#[tokio::test]
async fn a_group_that_is_set_back_gets_everything_again_and_fences_what_was_out() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", people(0, 30)).await;
    let mut member = Member::join(&clients, join("g", "m")).await;
    let events = member.events(30).await;
    let seek = pb::SeekSubscriptionRequest {
        group: "g".to_owned(),
        place: Some(pb::LogPlace { place: Some(Place::Position(10)) }),
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    let sought = clients.subscriptions().seek_subscription(seek.clone()).await.unwrap();
    assert_eq!(sought.into_inner().position, 10);
    member.acknowledge(all_of(&events)).await;
    let mut again = BTreeSet::new();
    let mut fenced = 0;
    while again.len() < 20 || fenced == 0 {
        let response = member.next().await.unwrap();
        again.extend(positions(&response.events));
        fenced += response.fenced.len();
        assert_eq!(response.acknowledged, []);
    }
    assert_eq!(again, (11..=30).collect());
    // The same request again changes nothing more.
    clients.subscriptions().seek_subscription(seek).await.unwrap();
    let actions: Vec<String> = sqlx::query_scalar("SELECT action FROM audit.entries")
        .fetch_all(suite.superuser())
        .await
        .unwrap();
    assert_eq!(actions, ["subscription.seek"]);
}

#[tokio::test]
async fn a_group_starts_where_it_is_told_and_keeps_its_filter() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", people(0, 5)).await;
    suite.clock.advance(TimeDelta::minutes(10));
    suite.ingest("app", people(5, 10)).await;
    let start = |place| Some(pb::LogPlace { place: Some(place) });
    for (group, place, expected) in [
        ("position", Place::Position(3), 4..=10),
        ("time", Place::Time(minutes(5)), 6..=10),
        ("beginning", Place::Position(0), 1..=10),
    ] {
        let request = pb::JoinGroup { start: start(place), ..join(group, "m") };
        let mut member = Member::join(&clients, request).await;
        let count = expected.clone().count();
        assert_eq!(positions(&member.events(count).await), expected.collect(), "{group}");
    }
    let filter = "event.source == 'app'".to_owned();
    let request = pb::JoinGroup { start: start(Place::Now(true)), filter, ..join("now", "m") };
    let mut member = Member::join(&clients, request).await;
    suite.ingest("web", people(10, 12)).await;
    suite.ingest("app", people(12, 15)).await;
    assert_eq!(positions(&member.events(3).await), (13..=15).collect());

    let other = pb::JoinGroup { filter: "event.source == 'x'".to_owned(), ..join("now", "n") };
    let refused = Member::join(&clients, other).await.failure().await;
    assert_eq!(blamed_fields(&refused), ["join.filter"]);
    let broken = pb::JoinGroup { filter: "event.source =".to_owned(), ..join("b", "n") };
    let refused = Member::join(&clients, broken).await.failure().await;
    assert_eq!(reason(&refused), "INVALID_EXPRESSION");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_field() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", people(0, 5)).await;
    for (request, field) in [
        (join("", "m"), "join.group"),
        (join("g", ""), "join.member_id"),
        (pb::JoinGroup { credits: 10_001, ..join("g", "m") }, "join.credits"),
        (pb::JoinGroup { lease_seconds: 1, ..join("g", "m") }, "join.lease_seconds"),
        (
            pb::JoinGroup {
                start: Some(pb::LogPlace { place: Some(Place::Position(6)) }),
                ..join("g", "m")
            },
            "join.start.position",
        ),
    ] {
        let refused = Member::join(&clients, request).await.failure().await;
        assert_eq!(blamed_fields(&refused), [field]);
    }
    let mut member = Member::join(&clients, join("g", "m")).await;
    member.events(5).await;
    member.acknowledge(vec![(64, 1)]).await;
    let refused = member.failure().await;
    assert_eq!(blamed_fields(&refused), ["acknowledge.positions[0].partition"]);
    // A group of one cursor is another thing.
    let commit = pb::CommitCursorRequest { group: "single".to_owned(), position: 2 };
    clients.ingestion().commit_cursor(commit).await.unwrap();
    let refused = Member::join(&clients, join("single", "m")).await.failure().await;
    assert_eq!(blamed_fields(&refused), ["join.group"]);
}

#[tokio::test]
async fn groups_of_both_kinds_are_listed_with_their_lag_and_removed() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", people(0, 10)).await;
    let commit = pb::CommitCursorRequest { group: "single".to_owned(), position: 4 };
    clients.ingestion().commit_cursor(commit).await.unwrap();
    let mut member = Member::join(&clients, join("many", "m")).await;
    let events = member.events(10).await;
    member.acknowledge(all_of(&events)).await;
    while member.next().await.unwrap().acknowledged.is_empty() {}
    suite.clock.advance(TimeDelta::seconds(90));
    member.send(Kind::Heartbeat(pb::Heartbeat {})).await;
    // Partitions without an event follow within some seconds of the clock.
    let many = loop {
        let groups = list(&clients).await;
        assert_eq!(groups[1].group, "single");
        assert_eq!((groups[1].lag_positions, groups[1].lag_seconds), (6, 90.0));
        if groups[0].lag_positions == 0 {
            break groups.into_iter().next().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((many.group.as_str(), many.position, many.lag_seconds), ("many", 10, 0.0));
    assert!(many.partitioned);

    for group in ["single", "many"] {
        let request = pb::DeleteSubscriptionRequest {
            group: group.to_owned(),
            request_id: uuid::Uuid::now_v7().to_string(),
        };
        clients.subscriptions().delete_subscription(request).await.unwrap();
    }
    assert_eq!(reason(&member.failure().await), "LEASE_LOST");
    assert_eq!(list(&clients).await, []);
    let request =
        pb::DeleteSubscriptionRequest { group: "many".to_owned(), request_id: String::new() };
    let gone = clients.subscriptions().delete_subscription(request).await.unwrap_err();
    assert_eq!(reason(&gone), "NOT_FOUND");
}

#[tokio::test]
async fn the_log_is_read_by_position_and_ends_where_it_ended() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", people(0, 1_500)).await;
    let read = async |request: pb::ReadEventsRequest| {
        let mut stream = clients.subscriptions().read_events(request).await.unwrap().into_inner();
        let (mut found, mut last) = (Vec::new(), 0);
        while let Some(response) = stream.message().await.unwrap() {
            found.extend(response.events.into_iter().map(|event| event.position));
            last = response.position;
        }
        (found, last)
    };
    let all = read(pb::ReadEventsRequest::default()).await;
    assert_eq!(all, ((1..=1_500).collect(), 1_500));
    let some = pb::ReadEventsRequest { after_position: 10, to_position: 20, ..Default::default() };
    assert_eq!(read(some).await, ((11..=20).collect(), 20));
    let filter = "event.user_id == 'user 7'".to_owned();
    let some = pb::ReadEventsRequest { to_position: 90, filter, ..Default::default() };
    assert_eq!(read(some).await, (vec![8, 48, 88], 90));
    let beyond = pb::ReadEventsRequest { to_position: 1_501, ..Default::default() };
    let refused = clients.subscriptions().read_events(beyond).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["to_position"]);
}

#[tokio::test]
async fn how_far_a_group_is_behind_is_on_metrics() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let suite = Suite::start().await;
    suite.ingest("web", people(0, 9)).await;
    let commit = pb::CommitCursorRequest { group: "lagging".to_owned(), position: 2 };
    suite.clients().ingestion().commit_cursor(commit).await.unwrap();
    suite.clock.advance(TimeDelta::seconds(45));
    let read = async || {
        let mut stream = tokio::net::TcpStream::connect(suite.host.http).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let value = |text: &str, name: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(name) && line.contains("group=\"lagging\""))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    loop {
        let text = read().await;
        let found = ["northstar_subscription_lag_positions", "northstar_subscription_lag_seconds"]
            .map(|name| value(&text, name));
        if found == [Some(7.0), Some(45.0)] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
