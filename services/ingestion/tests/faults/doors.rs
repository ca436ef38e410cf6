//! What no honest client sends over HTTP: every door answers, none grows without bound, and none falls.

use std::io::Write as _;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stage::{PATIENCE, Stage};

/// Every door that takes a body.
const DOORS: [&str; 12] = [
    "/v1/track",
    "/v1/identify",
    "/v1/page",
    "/v1/group",
    "/v1/alias",
    "/v1/batch",
    "/v1/import",
    "/v1/cloudevents",
    "/v1/traces",
    "/v1/metrics",
    "/v1/logs",
    "/v1/webhooks/default/nobody",
];

const CONTENT_TYPES: [&str; 5] = [
    "application/json",
    "application/x-protobuf",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "text/plain",
];

/// Most a process may take, unoptimised.
const MOST_MEBIBYTES: u64 = 300;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("a vector grows");
    encoder.finish().expect("a vector grows")
}

/// Bodies and whether they claim to be gzip.
fn bodies(random: &mut StdRng) -> Vec<(String, Vec<u8>, bool)> {
    let mut noise = vec![0u8; 4_096];
    random.fill(&mut noise[..]);
    let long = "k".repeat(64 * 1024);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let mut cut = gzip(br#"{"userId": "u", "event": "e"}"#);
    cut.truncate(cut.len() / 2);
    let text = |text: &str| text.as_bytes().to_vec();
    let plain: Vec<(&str, Vec<u8>)> = vec![
        ("noise", noise.clone()),
        ("nothing", Vec::new()),
        ("null", text("null")),
        ("a list", text("[]")),
        ("an object", text("{}")),
        ("a text", text("\"x\"")),
        ("deep lists", vec![b'['; 100_000]),
        ("deep objects", text(&"{\"a\":".repeat(50_000))),
        ("a deep property", {
            let deep = "[".repeat(5_000) + &"]".repeat(5_000);
            text(&format!(r#"{{"userId": "u", "event": "e", "properties": {{"p": {deep}}}}}"#))
        }),
        ("a huge number", text(r#"{"userId": "u", "event": "e", "properties": {"n": 1e400}}"#)),
        (
            "a long number",
            text(&format!(
                r#"{{"userId": "u", "event": "e", "properties": {{"n": {}}}}}"#,
                "9".repeat(10_000)
            )),
        ),
        ("invalid UTF-8", b"{\"userId\": \"\xff\xfe\", \"event\": \"e\"}".to_vec()),
        ("NUL", text(r#"{"userId": "u\u0000", "event": "\u0000", "messageId": "\u0000"}"#)),
        ("half a surrogate", text(r#"{"userId": "u", "event": "\ud800"}"#)),
        (
            "a long key",
            text(&format!(r#"{{"userId": "u", "event": "e", "properties": {{"{long}": 1}}}}"#)),
        ),
        ("a long name", text(&format!(r#"{{"userId": "u", "event": "{long}"}}"#))),
        (
            "a time that is none",
            text(r#"{"userId": "u", "event": "e", "timestamp": "99999-99-99T99:99:99Z"}"#),
        ),
        ("the same key twice", text(r#"{"userId": "u", "userId": ["v"], "event": {"a": 1}}"#)),
        ("a batch of nothing", text(r#"{"batch": [null, 1, "x", [], {}]}"#)),
        ("a batch of itself", text(r#"{"batch": [{"type": "batch", "batch": []}]}"#)),
        (
            "no OTLP",
            text(
                r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "99999999999999999999"}]}]}]}"#,
            ),
        ),
    ];
    let mut bodies: Vec<_> =
        plain.into_iter().map(|(name, body)| (name.to_owned(), body, false)).collect();
    bodies.push(("a zip bomb".to_owned(), bomb, true));
    bodies.push(("half of a gzip".to_owned(), cut, true));
    bodies.push(("noise as gzip".to_owned(), noise, true));
    bodies
}

/// One request over a connection of its own; the status, or `None` when the door hung up instead.
async fn post(
    stage: &Stage,
    path: &str,
    content_type: &str,
    body: &[u8],
    zipped: bool,
) -> Option<u16> {
    let mut connection = TcpStream::connect(stage.http_address()).await.expect("a connection");
    let encoding = if zipped { "content-encoding: gzip\r\n" } else { "" };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: northstar\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n{encoding}{}\r\n",
        body.len(),
        stage.http_credentials(),
    );
    connection.write_all(head.as_bytes()).await.expect("a head");
    // A door may answer, and close, before it has read everything.
    let _ = connection.write_all(body).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "{path} does not answer");
    let status = String::from_utf8_lossy(&answer);
    status.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_makes_a_door_fall_or_blame_itself() {
    let mut stage = Stage::start().await;
    let mut random = StdRng::seed_from_u64(11);
    for (name, body, zipped) in bodies(&mut random) {
        for path in DOORS {
            let content_type = CONTENT_TYPES[random.random_range(0..CONTENT_TYPES.len())];
            let status = post(&stage, path, content_type, &body, zipped).await;
            let honest = status.is_none_or(|status| (200..500).contains(&status) || status == 503);
            assert!(
                honest,
                "{path} answers {status:?} to {name} as {content_type}: {}",
                stage.told()
            );
        }
    }
    assert!(stage.service_lives(), "{}", stage.told());
    if let Some(peak) = stage.peak_mebibytes() {
        assert!(peak < MOST_MEBIBYTES, "{peak} MiB");
    }
    let good = br#"{"userId": "ada", "event": "Signed Up", "messageId": "1"}"#;
    assert_eq!(post(&stage, "/v1/track", "application/json", good, false).await, Some(200));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_end_are_given_up_and_hold_up_nobody() {
    let stage = Stage::start().await;
    let mut slow = Vec::new();
    for number in 0..100 {
        let mut connection = TcpStream::connect(stage.http_address()).await.expect("a connection");
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: northstar\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n{}\r\n{{",
            DOORS[number % DOORS.len()],
            stage.http_credentials(),
        );
        // Half of them do not even finish their head.
        let said = if number % 2 == 0 { head.as_str() } else { &head[..20] };
        connection.write_all(said.as_bytes()).await.expect("a beginning");
        slow.push(connection);
    }
    for number in 0..10 {
        let good = format!(r#"{{"userId": "ada", "event": "Signed Up", "messageId": "{number}"}}"#);
        let status = post(&stage, "/v1/track", "application/json", good.as_bytes(), false).await;
        assert_eq!(status, Some(200));
    }
    for mut connection in slow {
        let mut answer = [0u8; 512];
        let closed = tokio::time::timeout(PATIENCE, async {
            while connection.read(&mut answer).await.is_ok_and(|read| read > 0) {}
        });
        closed.await.expect("a connection that does not go on is closed");
    }
    stage.stop().await;
}
