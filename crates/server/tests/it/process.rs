//! A whole process: its exit codes and what it says on the way out.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use northstar_domain::Role;
use northstar_server::{Context, Service};
use northstar_testkit::TestDatabase;

use crate::support::{Gate, SUITE_KEY, echo, key};

/// Arguments of the service, for the child below.
const ARGUMENTS: &str = "NORTHSTAR_TEST_ARGUMENTS";

/// Loopback ports of the system's choice.
pub const ANY_PORT: &str = "--grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0";

#[derive(clap::Args)]
struct NoConfig {}

async fn build(_: NoConfig, context: Context) -> anyhow::Result<Service> {
    echo(context, Gate::new()).await
}

/// Not a test by itself: the process that the others start.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let arguments = std::iter::once("echo").chain(arguments.split_whitespace());
    let code = northstar_server::run("echo", arguments.map(Into::into), build);
    std::process::exit(code.into());
}

/// A process that runs, and what it told on its standard error.
pub struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    told: String,
}

impl Running {
    pub fn start(arguments: &str, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["process::child", "--exact", "--nocapture", "--test-threads=1"])
            .env_clear()
            .env(ARGUMENTS, arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr, told: String::new() }
    }

    /// Waits until it listens; gives the line that says where.
    pub fn listening(&mut self) -> String {
        loop {
            let start = self.told.len();
            let read = self.stderr.read_line(&mut self.told).unwrap();
            assert_ne!(read, 0, "the process ended: {}", self.told);
            let line = &self.told[start..];
            if line.contains("listening") {
                return line.to_owned();
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Exit code, and all it told.
    pub fn outcome(mut self) -> (Option<i32>, String) {
        self.stderr.read_to_string(&mut self.told).unwrap();
        (self.child.wait().unwrap().code(), self.told)
    }
}

#[test]
fn bad_configuration_exits_64_with_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, " \n").unwrap();
    let empty = empty.to_str().unwrap();
    let url = "postgres://postgres@localhost/none";
    for (arguments, environment, sentence) in [
        ("", &[][..], "DATABASE_URL is not set"),
        ("--grpc-listen nowhere", &[], "invalid value 'nowhere' for '--grpc-listen <ADDR>'"),
        ("--no-such-flag", &[], "unexpected argument '--no-such-flag'"),
        ("", &[("DATABASE_URL", url), ("DATABASE_URL_FILE", empty)], "are both set"),
        ("", &[("DATABASE_URL_FILE", empty)], "which is empty"),
        ("", &[("DATABASE_URL_FILE", "/no/such/file")], "cannot be read"),
        ("", &[("DATABASE_URL", url), ("NORTHSTAR_SUITE_KEY", "two words")], "visible ASCII"),
        ("--ingestion-url ftp://x", &[("DATABASE_URL", url)], "http://host:port"),
        ("--default-deadline-seconds 0", &[("DATABASE_URL", url)], "0 is not in 1.."),
        ("--log-filter =x=", &[("DATABASE_URL", url)], "NORTHSTAR_LOG"),
        ("--otlp-endpoint ftp://x", &[("DATABASE_URL", url)], "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ] {
        let (code, told) = Running::start(arguments, environment).outcome();
        let sentences: Vec<_> = told.lines().filter(|line| line.starts_with("echo: ")).collect();
        assert_eq!(code, Some(64), "{arguments} {environment:?}: {told}");
        assert_eq!(sentences.len(), 1, "{told}");
        assert!(sentences[0].contains(sentence), "{arguments} {environment:?}: {told}");
    }
}

#[tokio::test]
async fn nothing_listens_beyond_loopback_before_somebody_holds_a_key() {
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    let arguments = "--grpc-listen 0.0.0.0:0 --http-listen 127.0.0.1:0";
    let environment = [("DATABASE_URL", database.url())];
    let (code, told) = Running::start(arguments, &environment).outcome();
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("is reachable from other machines"), "{told}");

    key(database.pool(), Role::Viewer).await;
    let mut process = Running::start(arguments, &environment);
    process.listening();
    process.signal(Signal::SIGTERM);
    let (code, told) = process.outcome();
    assert_eq!(code, Some(0), "{told}");
}

#[tokio::test]
async fn a_signal_stops_the_process_cleanly() {
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    let arguments = format!("{ANY_PORT} --log-format json");
    let environment = [("DATABASE_URL", database.url()), ("NORTHSTAR_SUITE_KEY", SUITE_KEY)];
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut process = Running::start(&arguments, &environment);
        process.listening();
        process.signal(signal);
        let (code, told) = process.outcome();
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains(signal.as_str()), "{told}");
        assert!(!told.contains(SUITE_KEY), "{told}");
    }
}

#[tokio::test]
async fn a_signal_stops_a_process_that_waits_for_its_database() {
    // Takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://postgres@{}/none", silent.local_addr().unwrap());
    let process = Running::start(ANY_PORT, &[("DATABASE_URL", &url)]);
    let _connection = silent.accept().unwrap();
    process.signal(Signal::SIGTERM);
    let (code, told) = process.outcome();
    assert_eq!(code, Some(0), "{told}");
}
