//! What every HTTP door does before its handler, and instead of it.

use std::io::Write as _;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, StatusCode};
use northstar_domain::Role;
use northstar_server::door::{Body, Door, Keys, Limits, Refusal};
use northstar_server::{Caller, Config, Context, Host, Service};
use northstar_testkit::TestDatabase;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Gate, SUITE_KEY, get, key};

const LIMITS: Limits =
    Limits { body_bytes: 6 << 20, decoded_bytes: 6 << 20, read_time: Duration::from_millis(300) };

struct Fixture {
    database: TestDatabase,
    gate: Gate,
    host: Host,
}

impl Fixture {
    async fn start() -> Self {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        let mut config = Config::for_tests(database.url(), SUITE_KEY, "unused".into());
        config.http_bodies_mebibytes = 12;
        let gate = Gate::new();
        let (tracks, others) = (gate.clone(), gate.clone());
        let host = Host::start(config, async |context| {
            let door = Door::new(tracks)
                .limits(LIMITS)
                .cors()
                .post("/v1/track", count)
                .post("/v1/page", hold)
                .post("/v1/group", broken);
            let worded = Door::new(others).refusals(word).post("/v1/cloudevents", count);
            Ok(vec![service(&context).await?.door(door).door(worded)])
        });
        let host = host.await.unwrap();
        Self { database, gate, host }
    }

    async fn key(&self, role: Role) -> String {
        key(self.database.pool(), role).await
    }

    async fn post(&self, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        send(&self.host, "POST", path, headers, body).await
    }
}

async fn service(context: &Context) -> anyhow::Result<Service> {
    let pool = northstar_store::connect(
        &context.database_url,
        context.connections,
        northstar_store::Service::Approvals,
    );
    Ok(Service::new("approvals").pool(pool.await?))
}

/// Says who sent how much.
async fn count(
    State(_): State<Gate>,
    caller: Option<Caller>,
    keys: Keys,
    body: Body,
) -> Result<String, Refusal> {
    let caller = match caller {
        Some(caller) => caller,
        None => keys.caller(std::str::from_utf8(body.bytes()).ok()).await?,
    };
    Ok(format!("{} sent {} bytes", caller.principal, body.bytes().len()))
}

/// Keeps its body until the gate is opened.
async fn hold(State(gate): State<Gate>, _: Caller, body: Body) -> String {
    gate.pass().await;
    body.bytes().len().to_string()
}

async fn broken(State(_): State<Gate>) -> String {
    panic!("as asked")
}

fn word(_: &HeaderMap, refusal: &Refusal) -> Response {
    (StatusCode::IM_A_TEAPOT, refusal.failure().message().to_owned()).into_response()
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The reason of a refusal, without what all of them begin with.
    fn reason(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        assert_eq!(body["error"]["code"], self.status, "{self:?}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{self:?}");
        body["error"]["reason"].as_str().unwrap().trim_start_matches("ERROR_REASON_").to_owned()
    }
}

async fn send(host: &Host, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(host.http).await.unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // What is refused need not be read to its end.
    let _ = stream.write_all(body).await;
    answer(stream).await
}

async fn answer(mut stream: TcpStream) -> Answer {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_key_is_taken_from_either_scheme_or_where_the_protocol_has_it() {
    let fixture = Fixture::start().await;
    let key = fixture.key(Role::Ingest).await;
    let basic = format!("authorization: Basic {}", BASE64_STANDARD.encode(format!("{key}:")));
    for headers in [&[bearer(&key).as_str()][..], &[basic.as_str()]] {
        let answer = fixture.post("/v1/track", headers, b"12345").await;
        assert_eq!((answer.status, &*answer.body), (200, "a ingest sent 5 bytes"));
    }
    let answer = fixture.post("/v1/track", &[], key.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn who_holds_no_key_of_the_right_role_is_refused_with_a_reason() {
    let fixture = Fixture::start().await;
    let viewer = bearer(&fixture.key(Role::Viewer).await);
    for (headers, body, status, reason) in [
        (&[][..], &b""[..], 401, "UNAUTHENTICATED"),
        (&[], b"nobody's key", 401, "UNAUTHENTICATED"),
        (&["authorization: Bearer wrong"], b"", 401, "UNAUTHENTICATED"),
        (&["authorization: Basic %%"], b"", 401, "UNAUTHENTICATED"),
        (&[viewer.as_str()], b"", 403, "ROLE_REQUIRED"),
    ] {
        let answer = fixture.post("/v1/track", headers, body).await;
        assert_eq!((answer.status, answer.reason()), (status, reason.to_owned()), "{headers:?}");
    }
    // A key that must be in a header is not looked for elsewhere.
    let key = fixture.key(Role::Ingest).await;
    let answer = fixture.post("/v1/page", &[], key.as_bytes()).await;
    assert_eq!((answer.status, answer.reason()), (401, "UNAUTHENTICATED".to_owned()));
    let answer = fixture.post("/v1/nowhere", &[], b"").await;
    assert_eq!((answer.status, answer.reason()), (404, "NOT_FOUND".to_owned()));
    let answer = send(&fixture.host, "PUT", "/v1/track", &[], b"").await;
    assert_eq!((answer.status, answer.reason()), (405, "NOT_FOUND".to_owned()));
    assert!(answer.head.to_ascii_lowercase().contains("\r\nallow: post\r\n"), "{}", answer.head);
}

#[tokio::test]
async fn a_body_is_read_within_its_limits_only() {
    let fixture = Fixture::start().await;
    let key = bearer(&fixture.key(Role::Ingest).await);
    let gzipped = "content-encoding: gzip";

    let answer = fixture.post("/v1/track", &[&key, gzipped], &gzip(&[b'a'; 1_000])).await;
    assert_eq!((answer.status, &*answer.body), (200, "a ingest sent 1000 bytes"));
    let bomb = gzip(&vec![0; 50 << 20]);
    assert!(bomb.len() < 100_000);
    let large = vec![b'a'; (6 << 20) + 1];
    for (headers, body, status, reason) in [
        (&[key.as_str(), gzipped][..], bomb.as_slice(), 413, "BATCH_TOO_LARGE"),
        (&[&key], large.as_slice(), 413, "BATCH_TOO_LARGE"),
        (&[&key, gzipped], b"not gzip", 400, "INVALID_FIELD"),
        (&[&key, "content-encoding: br"], b"...", 415, "INVALID_FIELD"),
    ] {
        let answer = fixture.post("/v1/track", headers, body).await;
        assert_eq!((answer.status, answer.reason()), (status, reason.to_owned()));
    }
}

#[tokio::test]
async fn a_client_that_does_not_go_on_is_not_waited_for() {
    let fixture = Fixture::start().await;
    let key = bearer(&fixture.key(Role::Ingest).await);
    let mut stream = TcpStream::connect(fixture.host.http).await.unwrap();
    let head = format!(
        "POST /v1/track HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n{key}\r\n\
         connection: close\r\n\r\nhalf"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = answer(stream).await;
    assert_eq!((answer.status, answer.reason()), (408, "DEADLINE_EXCEEDED".to_owned()));
}

#[tokio::test]
async fn bodies_that_take_too_much_together_are_put_off() {
    let fixture = Fixture::start().await;
    let key = bearer(&fixture.key(Role::Ingest).await);
    let body = vec![b'a'; 5 << 20];
    let headers = [key.as_str()];
    let held = fixture.post("/v1/page", &headers, &body);
    let meanwhile = async {
        fixture.gate.entered().await;
        let refused = fixture.post("/v1/track", &headers, &body).await;
        fixture.gate.open();
        refused
    };
    let (held, refused) = tokio::join!(held, meanwhile);
    assert_eq!((held.status, held.body), (200, body.len().to_string()));
    assert_eq!((refused.status, refused.reason()), (429, "OVERLOADED".to_owned()));
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    let answer = fixture.post("/v1/track", &headers, &body).await;
    assert_eq!(answer.status, 200, "the room is given back");
}

#[tokio::test]
async fn a_page_of_another_origin_may_send() {
    let fixture = Fixture::start().await;
    let asked = [
        "origin: http://shop.example",
        "access-control-request-method: POST",
        "access-control-request-headers: authorization, content-type",
    ];
    let answer = send(&fixture.host, "OPTIONS", "/v1/track", &asked, b"").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("access-control-allow-origin: http://shop.example"), "{answer:?}");
    assert!(
        answer.head.contains("access-control-allow-headers: authorization, content-type"),
        "{answer:?}"
    );
    // Refusals too, or the page could not tell what is wrong.
    let answer = fixture.post("/v1/track", &["origin: http://shop.example"], b"").await;
    assert_eq!(answer.status, 401);
    assert!(answer.head.contains("access-control-allow-origin: http://shop.example"), "{answer:?}");
    let answer = send(&fixture.host, "OPTIONS", "/v1/cloudevents", &asked, b"").await;
    assert!(!answer.head.contains("access-control-allow-origin"), "this door has no CORS");
}

#[tokio::test]
async fn a_door_words_its_refusals_itself_those_of_the_layers_too() {
    let fixture = Fixture::start().await;
    let answer = fixture.post("/v1/cloudevents", &[], b"").await;
    assert_eq!(answer.status, 418);
    assert!(answer.body.contains("API key"), "{answer:?}");
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_own_request_and_every_request_is_counted() {
    let fixture = Fixture::start().await;
    let key = bearer(&fixture.key(Role::Ingest).await);
    let answer = fixture.post("/v1/group", &[&key, "northstar-request-id: abc.1"], b"").await;
    assert_eq!((answer.status, answer.reason()), (500, "INTERNAL".to_owned()));
    assert!(answer.head.contains("northstar-request-id: abc.1"), "{answer:?}");
    let (_, metrics) = get(fixture.host.http, "/metrics").await;
    let counted = metrics.lines().any(|line| {
        line.starts_with("http_server_request_duration_seconds_count")
            && line.contains(r#"http_route="/v1/group""#)
            && line.contains(r#"http_response_status_code="500""#)
    });
    assert!(counted, "{metrics}");
}

#[tokio::test]
async fn a_route_that_is_not_in_the_table_is_not_served() {
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    let config = Config::for_tests(database.url(), SUITE_KEY, "unused".into());
    let mut host = Host::start(config, async |context| {
        let door = Door::new(()).post("/v1/anything", async || "open to all");
        Ok(vec![service(&context).await?.door(door)])
    })
    .await
    .unwrap();
    let error = host.ready().await.unwrap_err().to_string();
    assert!(error.contains("POST /v1/anything"), "{error}");
}
