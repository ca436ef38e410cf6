//! The database is away, and comes back; or it is slow.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome::{Accepted, Duplicate, Retry};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use url::Url;

use crate::suite::{Suite, event, ingest, outcomes, reason};

/// Passes bytes on, each time after the delay of the moment.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    delayed: &watch::Receiver<Duration>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        let delay = *delayed.borrow();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        to.write_all(&bytes[..read]).await?;
    }
}

/// A gate between a service and its database.
pub struct Gate {
    /// The database's URL, through the gate.
    pub url: String,
    open: watch::Sender<bool>,
    delay: watch::Sender<Duration>,
    _folder: TempDir,
}

impl Gate {
    /// An open gate before a database that listens on a Unix socket, as those of
    /// the tests do.
    pub fn before(database_url: &str) -> Self {
        let mut url: Url = database_url.parse().unwrap();
        let socket = format!(".s.PGSQL.{}", url.port().unwrap_or(5432));
        let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let folder = TempDir::new().unwrap();
        let (_, host) = pairs.iter_mut().find(|(name, _)| name == "host").unwrap();
        let behind = Path::new(host).join(&socket);
        *host = folder.path().to_str().unwrap().to_owned();
        url.query_pairs_mut().clear().extend_pairs(pairs);

        let listener = UnixListener::bind(folder.path().join(socket)).unwrap();
        let (open, state) = watch::channel(true);
        let (delay, delayed) = watch::channel(Duration::ZERO);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut state, behind) = (state.clone(), behind.clone());
                let delayed = delayed.clone();
                tokio::spawn(async move {
                    if *state.borrow() {
                        let mut server = UnixStream::connect(behind).await?;
                        let (mut from_client, mut to_client) = client.split();
                        let (mut from_server, mut to_server) = server.split();
                        tokio::select! {
                            _ = pass(&mut from_client, &mut to_server, &delayed) => {}
                            _ = pass(&mut from_server, &mut to_client, &delayed) => {}
                            _ = state.wait_for(|open| !open) => {}
                        }
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        Self { url: url.into(), open, delay, _folder: folder }
    }

    /// Holds back whatever passes, for so long each time.
    fn slow_down(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }

    /// Cuts every connection and refuses new ones.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    fn open(&self) {
        self.open.send_replace(true);
    }
}

#[tokio::test]
async fn a_call_fails_while_the_database_is_away_and_succeeds_when_it_is_back() {
    let (suite, gate) = Suite::start_behind_a_gate().await;
    suite.ingest("web", vec![event("a")]).await;
    gate.close();
    let status = ingest(&suite.clients(), "web", vec![event("a"), event("b")]).await.unwrap_err();
    assert_eq!(reason(&status), "DEPENDENCY_UNAVAILABLE", "{status:?}");
    gate.open();
    let results = suite.ingest("web", vec![event("a"), event("b")]).await;
    assert_eq!(outcomes(&results), [(Duplicate, ""), (Accepted, "")]);
    assert_eq!(results[1].position, 2);
    assert_eq!(suite.counts("web").await, [3, 2, 1, 0, 0]);
}

#[tokio::test]
async fn a_stream_asks_for_a_retry_while_the_database_is_away() {
    let (suite, gate) = Suite::start_behind_a_gate().await;
    let mut ingestion = suite.clients().ingestion();
    let (requests, outgoing) = tokio::sync::mpsc::channel(4);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut answers = ingestion.stream_events(outgoing).await.unwrap().into_inner();
    let request = |sequence| pb::StreamEventsRequest {
        sequence,
        source: "web".to_owned(),
        events: vec![event("a"), event("b")],
        ..pb::StreamEventsRequest::default()
    };
    gate.close();
    requests.send(request(1)).await.unwrap();
    let answer = answers.next().await.unwrap().unwrap();
    let unavailable = (Retry, "unavailable");
    assert_eq!(outcomes(&answer.results), [unavailable, unavailable]);
    gate.open();
    requests.send(request(2)).await.unwrap();
    let answer = answers.next().await.unwrap().unwrap();
    assert_eq!(outcomes(&answer.results), [(Accepted, ""), (Accepted, "")]);
}

/// Sends batches until each is acknowledged, as a patient producer does; what it was told.
async fn insist(clients: northstar_client::Clients, writer: usize) -> Vec<(String, i64)> {
    let mut told = Vec::new();
    for batch in 0..4 {
        let ids: Vec<String> = (0..50).map(|number| format!("{writer}/{batch}/{number}")).collect();
        let results = loop {
            let events = ids.iter().cloned().map(event).collect();
            match ingest(&clients, "web", events).await {
                Ok(answer) => break answer.results,
                Err(status) => {
                    let reason = reason(&status);
                    let honest = ["OVERLOADED", "DEPENDENCY_UNAVAILABLE", "DEADLINE_EXCEEDED"];
                    assert!(honest.contains(&reason.as_str()), "{status:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        told.extend(ids.into_iter().zip(results.into_iter().map(|result| result.position)));
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_database_slows_everybody_down_and_loses_nothing() {
    let (suite, gate) = Suite::start_behind_a_gate().await;
    suite.ingest("web", vec![event("first")]).await;
    gate.slow_down(Duration::from_millis(40));
    let writers: Vec<_> =
        (0..8).map(|writer| tokio::spawn(insist(suite.clients(), writer))).collect();
    let mut told = BTreeMap::new();
    for writer in writers {
        told.extend(writer.await.unwrap());
    }
    assert_eq!(told.len(), 8 * 4 * 50);
    // The same process is as fast as before once the database is.
    gate.slow_down(Duration::ZERO);
    suite.ingest("web", vec![event("last")]).await;
    let events = crate::subscribe::read_all(&suite.clients(), "all", told.len() + 2).await;
    let held: BTreeMap<String, i64> = events
        .into_iter()
        .map(|logged| (logged.event.unwrap().message_id, logged.position))
        .filter(|(id, _)| id != "first" && id != "last")
        .collect();
    assert_eq!(held, told);
    let [received, accepted, duplicate, quarantined, rejected] = suite.counts("web").await;
    assert_eq!((accepted, quarantined, rejected), (told.len() as i64 + 2, 0, 0));
    assert_eq!(received, accepted + duplicate);
}
