//! Clients that send and send again until they are told, and a ledger of what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::stage::ingest;

/// Source and message id.
pub type Key = (String, String);

/// What clients sent and what they were told.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Everything that ever left a client, and the number it carries.
    pub sent: BTreeMap<Key, i64>,
    /// Positions that were acknowledged.
    pub acknowledged: BTreeMap<Key, i64>,
    /// Events that break their contract: acknowledged as quarantined.
    pub quarantined: BTreeSet<Key>,
    /// Calls that failed, by what they said.
    pub failures: BTreeMap<String, usize>,
}

impl Ledger {
    pub fn absorb(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.quarantined.extend(other.quarantined);
        for (key, position) in other.acknowledged {
            self.acknowledge(key, position);
        }
        for (said, times) in other.failures {
            *self.failures.entry(said).or_default() += times;
        }
    }

    fn acknowledge(&mut self, key: Key, position: i64) {
        assert!(position > 0, "{key:?} was acknowledged without a position");
        let known = *self.acknowledged.entry(key.clone()).or_insert(position);
        assert_eq!(known, position, "{key:?} was acknowledged at two positions");
    }

    /// A failed call is honest: it says that the service or its database is away, and never blames the caller.
    fn fail(&mut self, status: &Status) {
        let details = status.get_error_details();
        let said = match details.error_info() {
            Some(info) => {
                let honest =
                    ["DEPENDENCY_UNAVAILABLE", "OVERLOADED", "DRAINING", "DEADLINE_EXCEEDED"];
                let reason = info.reason.trim_start_matches("ERROR_REASON_").to_owned();
                assert!(honest.contains(&reason.as_str()), "{status:?}");
                reason
            }
            // Without details it is the connection that broke, not the service that answered.
            None => {
                let broken = [
                    Code::Unavailable,
                    Code::Unknown,
                    Code::Cancelled,
                    Code::Internal,
                    Code::DeadlineExceeded,
                ];
                assert!(broken.contains(&status.code()), "{status:?}");
                format!("{:?}", status.code())
            }
        };
        *self.failures.entry(said).or_default() += 1;
    }
}

/// One client of a round.
pub struct Client {
    pub clients: Clients,
    /// Its source, and so its name space of message ids.
    pub source: String,
    /// Which round, so that no id comes twice by accident.
    pub round: u64,
    pub seed: u64,
    /// How many batches it sends.
    pub batches: usize,
    /// Batches that any client of the round was answered.
    pub answered: Arc<AtomicUsize>,
}

impl Client {
    /// Sends every batch until it is answered; now and then one gives up, or sends an old one again.
    pub async fn run(self) -> Ledger {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut ledger = Ledger::default();
        for batch in 0..self.batches {
            let again = batch > 0 && random.random_bool(0.15);
            let batch = if again { random.random_range(0..batch) } else { batch };
            let gives_up = random.random_bool(0.1);
            self.send(batch, gives_up, &mut ledger, &mut random).await;
        }
        ledger
    }

    async fn send(&self, batch: usize, gives_up: bool, ledger: &mut Ledger, random: &mut StdRng) {
        let events = self.events(batch);
        let key = |event: &pb::Event| (self.source.clone(), event.message_id.clone());
        ledger.sent.extend(events.iter().map(|event| (key(event), event.sequence)));
        loop {
            match ingest(&self.clients, &self.source, events.clone()).await {
                Ok(response) => {
                    assert_eq!(response.results.len(), events.len());
                    let mut complete = true;
                    for (event, result) in events.iter().zip(&response.results) {
                        complete &= self.note(key(event), event, result, ledger);
                    }
                    if complete {
                        break;
                    }
                }
                Err(status) => {
                    ledger.fail(&status);
                    if gives_up {
                        return;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(2..60))).await;
        }
        self.answered.fetch_add(1, Ordering::SeqCst);
    }

    /// Writes down what became of an event; whether it was acknowledged.
    fn note(
        &self,
        key: Key,
        event: &pb::Event,
        result: &pb::EventResult,
        ledger: &mut Ledger,
    ) -> bool {
        let (broken, nobody) = (event.name == BROKEN, event.user_id.is_empty());
        match result.outcome() {
            EventOutcome::Retry => return false,
            EventOutcome::Rejected if nobody => {}
            EventOutcome::Quarantined if broken => _ = ledger.quarantined.insert(key),
            EventOutcome::Duplicate if broken => {
                assert_eq!(result.reason, "already_quarantined", "{result:?}");
                ledger.quarantined.insert(key);
            }
            EventOutcome::Accepted | EventOutcome::Duplicate if !broken && !nobody => {
                ledger.acknowledge(key, result.position);
            }
            _ => panic!("{key:?} was answered {result:?}"),
        }
        true
    }

    /// The same batch has the same events, however often it is made.
    fn events(&self, batch: usize) -> Vec<pb::Event> {
        let mut random = StdRng::seed_from_u64(self.seed ^ (batch as u64) << 32);
        (0..random.random_range(1..40))
            .map(|number: i64| {
                let number = batch as i64 * 1_000 + number;
                let mut event = event(format!("{}/{number}", self.round), number);
                match random.random_range(0..20) {
                    0 => event.name = BROKEN.to_owned(),
                    1 => event.user_id.clear(),
                    _ => {}
                }
                event
            })
            .collect()
    }
}

/// Name of the events that break their contract.
pub const BROKEN: &str = "Broken";

/// The contract that no event fulfils.
pub async fn apply_contract(clients: &Clients) {
    let contract = pb::Contract {
        name: BROKEN.to_owned(),
        schema_version: "1-0-0".to_owned(),
        json_schema: r#"{"type": "object", "required": ["what is never sent"]}"#.to_owned(),
        mode: pb::ContractMode::Quarantine.into(),
        owner: "tests".to_owned(),
        description: "An event that waits in quarantine".to_owned(),
        ..pb::Contract::default()
    };
    let request = pb::ApplyContractRequest { contract: Some(contract), ..Default::default() };
    clients.ingestion().apply_contract(request).await.expect("a contract");
}

/// An event that carries its number twice.
pub fn event(message_id: String, number: i64) -> pb::Event {
    let value = pb::Value { kind: Some(pb::value::Kind::IntValue(number)) };
    pb::Event {
        user_id: format!("user {}", number % 97),
        message_id,
        name: "Sent".to_owned(),
        occurred_time: Some(prost_types::Timestamp { seconds: 1_770_000_000 + number, nanos: 0 }),
        sequence: number,
        properties: [("number".to_owned(), value)].into(),
        ..pb::Event::default()
    }
}
