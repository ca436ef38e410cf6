//! What no honest client sends: every event gets a clear answer, its neighbours are stored, and nothing grows without
//! bound.

use bytes::{Buf, BufMut, Bytes};
use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome;
use pb::value::Kind;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

use crate::load::event;
use crate::stage::{PATIENCE, Stage, ingest};

fn value(kind: Kind) -> pb::Value {
    pb::Value { kind: Some(kind) }
}

fn text(text: impl Into<String>) -> pb::Value {
    value(Kind::StringValue(text.into()))
}

fn with(key: impl Into<String>, value: pb::Value) -> pb::Event {
    let mut event = event(String::new(), 1);
    event.properties.insert(key.into(), value);
    event
}

fn nested(levels: usize) -> pb::Value {
    (0..levels).fold(text("deep"), |inner, level| {
        if level % 2 == 0 {
            let fields = [("n".to_owned(), inner)].into();
            value(Kind::StructValue(pb::StructValue { fields }))
        } else {
            value(Kind::ListValue(pb::ListValue { values: vec![inner] }))
        }
    })
}

/// Events that are wrong or extreme, each in its own way.
fn oddities() -> Vec<(&'static str, pb::Event)> {
    let plain = || event(String::new(), 1);
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let long = || "x".repeat(64 * 1024);
    let names = (0..5_000).map(|number| (format!("key {number}"), text(""))).collect();
    vec![
        ("NUL in the name", pb::Event { name: "a\0b".into(), ..plain() }),
        ("NUL in the user", pb::Event { user_id: "a\0b".into(), ..plain() }),
        ("NUL in the device", pb::Event { anonymous_id: "\0".into(), ..plain() }),
        ("NUL in the account", pb::Event { account_id: "a\0".into(), ..plain() }),
        ("NUL in a key", with("a\0b", text("x"))),
        ("NUL in a value", with("k", text("a\0b"))),
        ("a long name", pb::Event { name: long(), ..plain() }),
        ("a long user", pb::Event { user_id: long(), ..plain() }),
        ("a long device", pb::Event { anonymous_id: long(), ..plain() }),
        ("a long account", pb::Event { account_id: long(), ..plain() }),
        ("a long key", with(long(), text("x"))),
        ("a long value", with("k", text(long()))),
        ("an empty key", with("", text("x"))),
        ("a key of dots", with("...", text("x"))),
        ("a key that is a path", with("a.b.c", text("x"))),
        ("a prototype", with("__proto__", nested(1))),
        ("thousands of keys", pb::Event { properties: names, ..plain() }),
        ("not a number", with("k", value(Kind::DoubleValue(f64::NAN)))),
        ("infinity", with("k", value(Kind::DoubleValue(f64::INFINITY)))),
        ("minus infinity", with("k", value(Kind::DoubleValue(f64::NEG_INFINITY)))),
        ("the largest double", with("k", value(Kind::DoubleValue(f64::MAX)))),
        ("the smallest double", with("k", value(Kind::DoubleValue(5e-324)))),
        ("minus zero", with("k", value(Kind::DoubleValue(-0.0)))),
        ("the largest integer", with("k", value(Kind::IntValue(i64::MAX)))),
        ("the smallest integer", with("k", value(Kind::IntValue(i64::MIN)))),
        ("sixteen levels", with("k", nested(16))),
        ("an unset value", with("k", pb::Value { kind: None })),
        ("no name", pb::Event { name: String::new(), ..plain() }),
        ("white space for a name", pb::Event { name: " \u{2028}\t".into(), ..plain() }),
        ("text that runs backwards", pb::Event { name: "\u{202e}evil".into(), ..plain() }),
        ("a byte order mark", pb::Event { user_id: "\u{feff}u".into(), ..plain() }),
        ("the last character", with("k", text("\u{10ffff}\u{fffe}\u{ffff}"))),
        ("no actor", pb::Event { user_id: String::new(), ..plain() }),
        ("no time", pb::Event { occurred_time: None, ..plain() }),
        ("the end of time", pb::Event { occurred_time: time(i64::MAX, 0), ..plain() }),
        ("the beginning of time", pb::Event { occurred_time: time(i64::MIN, 0), ..plain() }),
        ("negative nanoseconds", pb::Event { occurred_time: time(1_770_000_000, -1), ..plain() }),
        (
            "too many nanoseconds",
            pb::Event { occurred_time: time(1_770_000_000, i32::MAX), ..plain() },
        ),
        ("sent at the end of time", pb::Event { sent_time: time(i64::MAX, i32::MAX), ..plain() }),
        ("the last sequence", pb::Event { sequence: i64::MAX, ..plain() }),
        ("the first sequence", pb::Event { sequence: i64::MIN, ..plain() }),
    ]
}

/// Sends an event between two good ones; what became of it. The good ones are stored whatever it is.
async fn among_good_ones(clients: &Clients, name: &str, odd: pb::Event) -> pb::EventResult {
    let good = |side: &str| event(format!("{name}, {side}"), 0);
    let events = vec![good("before"), odd, good("after")];
    let response = ingest(clients, "odd", events).await;
    let response = response.unwrap_or_else(|status| panic!("{name} fails its batch: {status:?}"));
    let [before, odd, after]: [pb::EventResult; 3] =
        response.results.try_into().expect("three results");
    for good in [before, after] {
        assert_eq!(good.outcome(), EventOutcome::Accepted, "beside {name}");
    }
    odd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_event_is_answered_and_costs_its_neighbours_nothing() {
    let stage = Stage::start().await;
    let clients = stage.clients();
    for (name, odd) in oddities() {
        let odd = pb::Event { message_id: name.to_owned(), ..odd };
        let first = among_good_ones(&clients, name, odd.clone()).await;
        match first.outcome() {
            EventOutcome::Accepted => assert!(first.position > 0, "{name}: {first:?}"),
            EventOutcome::Quarantined | EventOutcome::Rejected => {
                assert!(!first.reason.is_empty() && !first.message.is_empty(), "{name}: {first:?}");
                assert!(
                    first.message.len() < 2_000,
                    "{name}: a message of {} bytes",
                    first.message.len()
                );
            }
            other => panic!("{name} is {other:?}: {first:?}"),
        }
        // Whatever was decided is decided again.
        let again = ingest(&clients, "odd", vec![odd]).await.expect("an answer").results.remove(0);
        match first.outcome() {
            EventOutcome::Rejected => assert_eq!(again.outcome(), EventOutcome::Rejected, "{name}"),
            _ => assert_eq!(again.outcome(), EventOutcome::Duplicate, "{name}"),
        }
    }
    for (number, id) in ["\0", "a\0b", &"x".repeat(64 * 1024), "", " "].into_iter().enumerate() {
        let odd = pb::Event { message_id: id.to_owned(), ..event(String::new(), 1) };
        let result = among_good_ones(&clients, &format!("id {number}"), odd).await;
        if result.outcome() != EventOutcome::Accepted {
            assert!(!result.reason.is_empty(), "{result:?}");
        }
    }
    // So deep that it cannot even be decoded: clear, whether for the event or for its batch.
    let bottomless = pb::Event { message_id: "bottomless".to_owned(), ..with("k", nested(40)) };
    match ingest(&clients, "odd", vec![bottomless]).await {
        Ok(response) => assert_eq!(response.results[0].outcome(), EventOutcome::Rejected),
        Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{status:?}"),
    }
    // Every accepted one can be read again, and every quarantined one listed.
    let head = ingest(&clients, "odd", vec![event("end".to_owned(), 0)]).await.expect("an answer");
    let group = pb::SubscribeRequest { group: "reader".to_owned(), ..Default::default() };
    let mut stream =
        clients.ingestion().subscribe(group).await.expect("a subscription").into_inner();
    while stream.message().await.expect("a message").expect("a stream").position < head.log_position
    {
    }
    let all = pb::ListQuarantinedEventsRequest { page_size: 1000, ..Default::default() };
    clients.ingestion().list_quarantined_events(all).await.expect("a page");
    stage.stop().await;
}

/// Bytes as they are, whatever they mean.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Breaks a message a little, so that it is neither right nor plain noise.
fn mutated(bytes: &[u8], random: &mut StdRng) -> Bytes {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..bytes.len().max(1));
        match random.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random(),
            2 => bytes.truncate(at),
            3 => bytes.insert(at.min(bytes.len()), random.random()),
            _ => {
                let end = bytes.len().min(at + random.random_range(0..20));
                let copied = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.extend(copied);
            }
        }
    }
    bytes.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_message_are_refused_and_harm_nothing() {
    let mut stage = Stage::start().await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let events =
        oddities().into_iter().map(|(_, event)| event).filter(|event| event.encoded_len() < 2_000);
    let ingest_events =
        pb::IngestEventsRequest { source: "raw".to_owned(), events: events.collect() };
    let records = vec![pb::MalformedRecord {
        raw: vec![0xff; 9],
        reason: "x".to_owned(),
        ..Default::default()
    }];
    let quarantine = pb::QuarantineRecordsRequest { source: "raw".to_owned(), records };
    let subscribe = pb::SubscribeRequest {
        group: "raw".to_owned(),
        filter: "true".to_owned(),
        ..Default::default()
    };
    let list = pb::ListQuarantinedEventsRequest {
        page_size: 2,
        page_token: "7".to_owned(),
        ..Default::default()
    };
    let messages = [
        ("IngestEvents", ingest_events.encode_to_vec()),
        ("QuarantineRecords", quarantine.encode_to_vec()),
        ("ListQuarantinedEvents", list.encode_to_vec()),
        ("Subscribe", subscribe.encode_to_vec()),
    ];
    let mut refused = 0;
    for round in 0..400 {
        let (method, message) = &messages[round % messages.len()];
        let path = format!("/northstar.ingestion.v1.IngestionService/{method}");
        let sent = mutated(message, &mut random);
        let Err(status) = stage.call_raw(&path, sent.clone(), Raw).await else { continue };
        refused += 1;
        let honest = [Code::InvalidArgument, Code::NotFound, Code::DeadlineExceeded];
        assert!(honest.contains(&status.code()), "{method} with {sent:?}: {status:?}");
        assert!(!status.message().contains("server's log"), "{method} with {sent:?}: {status:?}");
    }
    assert!(refused > 0, "every broken message was taken");
    assert!(stage.service_lives(), "{}", stage.told());
    let response = ingest(&stage.clients(), "raw", vec![event("good".to_owned(), 0)]).await;
    assert_eq!(response.expect("an answer").results[0].outcome(), EventOutcome::Accepted);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_connect_and_say_nothing_are_dropped_and_hold_up_nobody() {
    let stage = Stage::start().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut silent = Vec::new();
    for said in (0..200).map(|number| number % preface.len()) {
        let mut connection = TcpStream::connect(stage.address()).await.expect("a connection");
        connection.write_all(&preface[..said]).await.expect("a few bytes");
        silent.push(connection);
    }
    for number in 0..10 {
        let response =
            ingest(&stage.clients(), "web", vec![event(number.to_string(), number)]).await;
        assert_eq!(response.expect("an answer").results[0].outcome(), EventOutcome::Accepted);
    }
    for mut connection in silent {
        let mut nothing = [0u8; 64];
        let closed = tokio::time::timeout(PATIENCE, async {
            // What it is told before it is dropped, if anything, ends.
            while connection.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
        });
        closed.await.expect("a silent connection is closed");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_begin_and_never_say_what_they_want_end_and_hold_up_nobody() {
    // Calls without a deadline of their own get this one.
    let mut stage = Stage::start_with(&[("NORTHSTAR_DEFAULT_DEADLINE_SECONDS", "5")]).await;
    let silent = (0..200).map(|number| {
        let method = ["IngestEvents", "IngestColumns", "QuarantineRecords"][number % 3];
        let path = format!("/northstar.ingestion.v1.IngestionService/{method}");
        let stage = &stage;
        async move { stage.call_silent(&path, Raw).await }
    });
    let others = async {
        for number in 0..10 {
            let response =
                ingest(&stage.clients(), "web", vec![event(number.to_string(), number)]).await;
            let results = response.expect("an answer").results;
            assert_eq!(results[0].outcome(), EventOutcome::Accepted);
        }
    };
    let all = async { tokio::join!(futures::future::join_all(silent), others).0 };
    let ended = tokio::time::timeout(PATIENCE, all).await.expect("every call ends");
    for status in ended {
        let status = status.expect_err("nothing was asked");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
    assert!(stage.service_lives(), "{}", stage.told());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_names_and_keys_takes_no_more_memory() {
    let names = std::env::var("NORTHSTAR_FAULT_NAMES")
        .ok()
        .map_or(40_000, |text| text.parse().expect("a number"));
    let stage = Stage::start().await;
    let clients = stage.clients();
    let send = async |from: u64, to: u64| {
        let events = (from..to).map(|number| pb::Event {
            name: format!("Name {number}"),
            properties: [(format!("key {number}"), text("x"))].into(),
            ..event(number.to_string(), 1)
        });
        let response = ingest(&clients, "names", events.collect()).await.expect("an answer");
        assert!(response.results.iter().all(|result| result.outcome() == EventOutcome::Accepted));
    };
    // Whatever grows with the load has grown after some batches.
    const BATCH: u64 = 2_000;
    for batch in 0..4 {
        send(batch * BATCH, (batch + 1) * BATCH).await;
    }
    let before = stage.peak_mebibytes();
    for batch in 4..names / BATCH {
        send(batch * BATCH, (batch + 1) * BATCH).await;
    }
    if let (Some(before), Some(after)) = (before, stage.peak_mebibytes()) {
        assert!(after < before + 64, "{before} MiB became {after} MiB over {names} names");
    }
    stage.stop().await;
}
