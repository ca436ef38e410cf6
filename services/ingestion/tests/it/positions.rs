//! Positions under concurrent writers: in order, without gaps, each once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Host;
use pb::EventOutcome;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::suite::{Suite, clients, event, ingest};

const WRITERS: u64 = 8;
const BATCHES: usize = 30;

/// Sends batches, now and then one that another writer sends as well, and
/// returns the positions it was told.
async fn write(clients: Clients, writer: u64) -> Vec<(String, i64)> {
    let mut random = StdRng::seed_from_u64(writer);
    let mut told = Vec::new();
    for batch in 0..BATCHES {
        tokio::time::sleep(Duration::from_micros(random.random_range(0..4_000))).await;
        let owner = if random.random_bool(0.3) { "shared".to_owned() } else { writer.to_string() };
        let size = random.random_range(1..20);
        let events =
            (0..size).map(|number| event(format!("{owner}/{batch}/{number}"))).collect::<Vec<_>>();
        let ids: Vec<_> = events.iter().map(|event| event.message_id.clone()).collect();
        let response = ingest(&clients, "web", events).await.unwrap();
        for (id, result) in ids.into_iter().zip(response.results) {
            let known = [EventOutcome::Accepted, EventOutcome::Duplicate];
            assert!(known.contains(&result.outcome()), "{result:?}");
            assert!(result.position <= response.log_position);
            told.push((id, result.position));
        }
    }
    told
}

/// Follows the log by the rule that readers go by: what comes after the last
/// position seen.
async fn tail(suite: &Suite, stop: Arc<AtomicBool>) -> Vec<i64> {
    let mut connection = suite.superuser().acquire().await.unwrap();
    let project = northstar_domain::ProjectId(1);
    let mut seen = Vec::new();
    loop {
        let stopping = stop.load(Ordering::SeqCst);
        let after = seen.last().copied().unwrap_or(0);
        let read = northstar_store::ingestion::log::read_after(&mut connection, project, after, 17);
        let events = read.await.unwrap();
        if events.is_empty() && stopping {
            return seen;
        }
        seen.extend(events.into_iter().map(|event| event.position));
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_every_position_once_and_in_order_while_two_processes_write() {
    let suite = Suite::start().await;
    let other = suite.start_another().await;
    write_from_both_and_read(Arc::new(suite), other).await;
}

/// As above, while both processes seal the keys that the other looks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_is_in_the_log_once_while_two_processes_seal_its_key() {
    let suite = Suite::start_sealing_often().await;
    let other = suite.start_another_sealing_often().await;
    write_from_both_and_read(Arc::new(suite), other).await;
}

async fn write_from_both_and_read(suite: Arc<Suite>, other: Host) {
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (suite, stop) = (Arc::clone(&suite), Arc::clone(&stop));
            tokio::spawn(async move { tail(&suite, stop).await })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let clients = if writer % 2 == 0 { suite.clients() } else { clients(&other) };
            tokio::spawn(write(clients, writer))
        })
        .collect();

    let mut position_of = BTreeMap::new();
    for writer in writers {
        for (id, position) in writer.await.unwrap() {
            // Whoever sent an event is told the same position.
            assert_eq!(*position_of.entry(id).or_insert(position), position);
        }
    }
    stop.store(true, Ordering::SeqCst);
    let mut positions: Vec<_> = position_of.into_values().collect();
    positions.sort_unstable();
    let all: Vec<i64> = (1..=i64::try_from(positions.len()).unwrap()).collect();
    assert_eq!(positions, all, "no position is left out or given twice");
    for reader in readers {
        assert_eq!(reader.await.unwrap(), all, "a reader that goes by its last position");
    }
    let [received, accepted, duplicate, ..] = suite.counts("web").await;
    assert_eq!(accepted, i64::try_from(all.len()).unwrap());
    assert_eq!(received, accepted + duplicate);
    other.stop().await.unwrap();
}
