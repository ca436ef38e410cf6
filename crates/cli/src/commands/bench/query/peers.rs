//! DuckDB and ClickHouse as a process of their own that answers the same
//! questions.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::data::Files;
use super::python::Python;
use super::questions::{Question, Rows};

/// What the process runs.
const PROGRAM: &str = include_str!("peers.py");
/// How long it may take to load the events, and to answer.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Another engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Peer {
    /// DuckDB.
    Duckdb,
    /// ClickHouse within a process.
    Chdb,
}

impl Peer {
    fn as_str(self) -> &'static str {
        match self {
            Self::Duckdb => "duckdb",
            Self::Chdb => "chdb",
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The running engines; killed when dropped.
pub(super) struct Peers {
    _child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What one table of one engine answered.
#[derive(Debug, Deserialize)]
pub(super) struct PeerAnswer {
    /// Name of the engine.
    pub(super) engine: String,
    pub(super) millis: f64,
    pub(super) rows: Rows,
}

impl Peers {
    /// Starts the engines and loads the events, unless an earlier run did.
    pub(super) async fn start(
        python: &Python,
        files: &Files,
        cache: &Path,
        peers: &[Peer],
    ) -> anyhow::Result<Self> {
        let names: Vec<&str> = peers.iter().map(|peer| peer.as_str()).collect();
        let mut child = Command::new(python.program())
            .args(["-c", PROGRAM])
            .arg(&files.by_time)
            .arg(&files.by_actor)
            .arg(cache)
            .arg(names.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the peers do not start")?;
        let questions = child.stdin.take().context("the peers' input")?;
        let answers = child.stdout.take().context("the peers' output")?;
        let mut started =
            Self { _child: child, questions, answers: BufReader::new(answers).lines() };
        started.line().await.context("the peers do not load the events")?;
        Ok(started)
    }

    /// Asks every engine once.
    pub(super) async fn ask(&mut self, question: Question) -> anyhow::Result<Vec<PeerAnswer>> {
        self.questions.write_all(format!("{}\n", question.name()).as_bytes()).await?;
        self.questions.flush().await?;
        let line = self.line().await.with_context(|| format!("the peers, asked {question}"))?;
        serde_json::from_str(&line).context("the answer of the peers")
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = tokio::time::timeout(PATIENCE, self.answers.next_line())
            .await
            .context("no answer within half an hour")??;
        line.context("the process ended; what it said stands above")
    }
}
