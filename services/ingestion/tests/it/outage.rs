//! The database is away, and comes back.

use std::path::Path;

use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome::{Accepted, Duplicate, Retry};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use url::Url;

use crate::suite::{Suite, event, ingest, outcomes, reason};

/// A gate between a service and its database.
pub struct Gate {
    /// The database's URL, through the gate.
    pub url: String,
    open: watch::Sender<bool>,
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
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut state, behind) = (state.clone(), behind.clone());
                tokio::spawn(async move {
                    if *state.borrow() {
                        let mut server = UnixStream::connect(behind).await?;
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                            _ = state.wait_for(|open| !open) => {}
                        }
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        Self { url: url.into(), open, _folder: folder }
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
