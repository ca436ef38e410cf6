//! The service and its database are killed at random moments under load; what was acknowledged is there, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::load::{Client, Key, Ledger, apply_contract, event};
use crate::setting;
use crate::stage::{PATIENCE, Stage, ingest};

const CLIENTS: usize = 8;
const BATCHES: usize = 12;
/// Rounds when nobody asks for more: one of each kind of fault.
const ROUNDS: u64 = 4;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Service,
    Postgres,
    /// One session of PostgreSQL.
    Session,
    /// The service, and PostgreSQL before it is back.
    Both,
}

const FAULTS: [Fault; 4] = [Fault::Service, Fault::Postgres, Fault::Session, Fault::Both];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_in_the_log_once_whoever_is_killed() {
    let seed = setting("NORTHSTAR_FAULT_SEED").unwrap_or_else(rand::random);
    let rounds = setting("NORTHSTAR_FAULT_ROUNDS").unwrap_or(ROUNDS);
    let repeat = format!("NORTHSTAR_FAULT_SEED={seed} NORTHSTAR_FAULT_ROUNDS={rounds}");
    println!("{repeat}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut stage = Stage::start().await;
    apply_contract(&stage.clients()).await;
    let mut books = Books::default();
    for round in 0..rounds {
        let fault = FAULTS[round as usize % FAULTS.len()];
        let played = play(&mut stage, round, fault, &mut random);
        let ledger = tokio::time::timeout(PATIENCE, played).await.unwrap_or_else(|_| {
            panic!("round {round} ({fault:?}) hangs; {repeat}; {}", stage.told())
        });
        println!(
            "round {round}: {fault:?}, {} events sent, {} acknowledged, failed calls {:?}",
            ledger.sent.len(),
            ledger.acknowledged.len(),
            ledger.failures
        );
        books.check(&stage.clients(), ledger, round).await;
    }
    stage.stop().await;
}

/// Sends from all clients, strikes in the middle, repairs, and waits until every client is done.
async fn play(stage: &mut Stage, round: u64, fault: Fault, random: &mut StdRng) -> Ledger {
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client {
                clients: stage.clients(),
                source: format!("client {number}"),
                round,
                seed: random.random(),
                batches: BATCHES,
                answered: Arc::clone(&answered),
            };
            tokio::spawn(client.run())
        })
        .collect();
    let moment = random.random_range(0..CLIENTS * BATCHES / 2);
    while answered.load(Ordering::SeqCst) < moment {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
    match fault {
        Fault::Service => {
            stage.kill_service();
            stage.start_service().await;
        }
        Fault::Postgres => {
            stage.kill_postgres();
            stage.start_postgres().await;
        }
        Fault::Session => stage.kill_a_session(random),
        Fault::Both => {
            stage.kill_service();
            stage.kill_postgres();
            stage.start_postgres().await;
            stage.start_service().await;
        }
    }
    let mut ledger = Ledger::default();
    for client in clients {
        ledger.absorb(client.await.expect("a client ends"));
    }
    assert!(stage.service_lives(), "the service ended by itself: {}", stage.told());
    ledger
}

/// The log as it was read so far, and what must be in it.
#[derive(Default)]
struct Books {
    position: i64,
    logged: BTreeMap<Key, i64>,
    sent: BTreeMap<Key, i64>,
    quarantined: BTreeSet<Key>,
}

impl Books {
    /// Reads what is new in the log and compares it with the ledger of a round.
    async fn check(&mut self, clients: &Clients, ledger: Ledger, round: u64) {
        let end = self.mark_the_end(clients, round).await;
        self.sent.extend(ledger.sent.clone());
        self.quarantined.extend(ledger.quarantined.clone());
        self.read_up_to(clients, end).await;
        for (key, position) in &ledger.acknowledged {
            assert_eq!(
                self.logged.get(key),
                Some(position),
                "{key:?} was acknowledged in round {round}"
            );
        }
        let kept = self.quarantine(clients).await;
        for key in &self.quarantined {
            assert!(kept.contains(key), "{key:?} was acknowledged as quarantined");
        }
        self.accounts(clients, &kept).await;
    }

    /// An event after which nothing of the round can come.
    async fn mark_the_end(&mut self, clients: &Clients, round: u64) -> i64 {
        let end = event(format!("end {round}"), 0);
        self.sent.insert(("auditor".to_owned(), end.message_id.clone()), 0);
        let response = ingest(clients, "auditor", vec![end]).await.expect("the service is back");
        response.results[0].position
    }

    /// Follows a consumer group from where it was committed last.
    async fn read_up_to(&mut self, clients: &Clients, end: i64) {
        let mut ingestion = clients.ingestion();
        let group = pb::SubscribeRequest { group: "auditor".to_owned(), ..Default::default() };
        let mut stream = ingestion.subscribe(group).await.expect("a subscription").into_inner();
        while self.position < end {
            let response = stream.message().await.expect("a message").expect("an endless stream");
            for logged in response.events {
                assert_eq!(
                    logged.position,
                    self.position + 1,
                    "a position is left out or given twice"
                );
                self.position = logged.position;
                let event = logged.event.expect("an event");
                let key = (logged.source, event.message_id.clone());
                let number = self.sent.get(&key);
                assert_eq!(number, Some(&event.sequence), "{key:?} was never sent like this");
                let property = event.properties.get("number").and_then(|value| value.kind.clone());
                assert_eq!(property, Some(pb::value::Kind::IntValue(event.sequence)), "{key:?}");
                let earlier = self.logged.insert(key.clone(), logged.position);
                assert_eq!(earlier, None, "{key:?} is in the log twice");
            }
        }
        let commit =
            pb::CommitCursorRequest { group: "auditor".to_owned(), position: self.position };
        ingestion.commit_cursor(commit).await.expect("a cursor");
    }

    /// Everything in quarantine; each once.
    async fn quarantine(&self, clients: &Clients) -> BTreeSet<Key> {
        let mut kept = BTreeSet::new();
        let mut page_token = String::new();
        loop {
            let request = pb::ListQuarantinedEventsRequest {
                page_size: 1000,
                page_token,
                ..Default::default()
            };
            let page = clients
                .ingestion()
                .list_quarantined_events(request)
                .await
                .expect("a page")
                .into_inner();
            for record in page.events {
                let key = (record.source, record.event.unwrap_or_default().message_id);
                assert!(self.sent.contains_key(&key), "{key:?} was never sent");
                assert!(kept.insert(key.clone()), "{key:?} is in quarantine twice");
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return kept;
            }
        }
    }

    /// The accounting equation, and that it counts what is there.
    async fn accounts(&self, clients: &Clients, kept: &BTreeSet<Key>) {
        let sources = clients.ingestion().list_sources(pb::ListSourcesRequest {}).await;
        let sources = sources.expect("sources").into_inner();
        assert_eq!(sources.log_position, self.position, "somebody else writes");
        for source in sources.sources {
            let pb::Source { name, received, accepted, duplicate, quarantined, rejected, .. } =
                source;
            assert_eq!(received, accepted + duplicate + quarantined + rejected, "{name}");
            let logged = self.logged.keys().filter(|(source, _)| *source == name).count();
            assert_eq!(accepted, logged as i64, "accepted of {name}");
            let kept = kept.iter().filter(|(source, _)| *source == name).count();
            assert_eq!(quarantined, kept as i64, "quarantined of {name}");
        }
    }
}
