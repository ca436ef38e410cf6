//! What is measured, as a process of its own, so that its memory is its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::access;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::postgres::Postgres;
use crate::connection::ContextFile;
use crate::suite::create_api_key;

/// Name of the project; that of the suite, which then reads what was sent.
const PROJECT: &str = "default";
/// How long it may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running service, or suite; killed when dropped.
pub(super) struct Service {
    child: Child,
    pid: u32,
    ready: ContextFile,
    highest_peak: std::cell::Cell<f64>,
}

impl Service {
    /// Starts ingestion alone over a database, with a key of a project of its own.
    pub(super) async fn start_ingestion(
        database: &mut Postgres,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let project = access::ensure_project(&mut database.connection, PROJECT).await?;
        let principal = "bench";
        let api_key =
            create_api_key(&mut database.connection, project, principal, Role::Admin).await?;
        let (grpc, http) = (free_address()?, free_address()?);
        let child = command(database.url(), folder)?
            .args(["serve", "ingestion", "--grpc-listen", &grpc.to_string()])
            .args(["--http-listen", &http.to_string()])
            .spawn()
            .context("the service does not start")?;
        let (grpc, http) = (format!("http://{grpc}"), format!("http://{http}"));
        let service = Self::of(child, ContextFile { grpc, http, api_key })?;
        let mut ingestion = service.clients()?.ingestion();
        let deadline = Instant::now() + PATIENCE;
        while let Err(status) = ingestion.list_sources(pb::ListSourcesRequest {}).await {
            ensure!(Instant::now() < deadline, "the service is not ready: {}", status.message());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(service)
    }

    /// Starts the whole suite over a database.
    pub(super) async fn start_suite(database_url: &str, folder: &Path) -> anyhow::Result<Self> {
        let mut child = command(database_url, folder)?
            .args(["up", "--ready-json", "--grpc-listen", "127.0.0.1:0"])
            .args(["--http-listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join("suite"))
            .stdout(Stdio::piped())
            .spawn()
            .context("the suite does not start")?;
        let out = child.stdout.take().context("the suite's output")?;
        let mut lines = BufReader::new(out).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .context("the suite is not ready after a minute")??
            .context("the suite ended before it was ready")?;
        Self::of(child, serde_json::from_str(&line).context("the suite's first line")?)
    }

    fn of(child: Child, ready: ContextFile) -> anyhow::Result<Self> {
        let pid = child.id().context("it ended at once")?;
        Ok(Self { child, pid, ready, highest_peak: std::cell::Cell::new(0.0) })
    }

    /// Clients with connections of their own.
    pub(super) fn clients(&self) -> anyhow::Result<Clients> {
        Ok(Clients::connect(&self.ready.grpc, &self.ready.api_key)?)
    }

    /// Makes such clients elsewhere, as on a thread of their own.
    pub(super) fn connector(&self) -> impl Fn() -> anyhow::Result<Clients> + Send + use<> {
        let (grpc, api_key) = (self.ready.grpc.clone(), self.ready.api_key.clone());
        move || Ok(Clients::connect(&grpc, &api_key)?)
    }

    /// Where HTTP is answered, and the key.
    pub(super) fn http(&self) -> (&str, &str) {
        (&self.ready.http, &self.ready.api_key)
    }

    /// Forgets the peak of the memory so far.
    pub(super) fn reset_peak(&self) {
        // Where the kernel does not let us, the peak stays that of all of the
        // run, which is no less honest.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5");
    }

    /// Most memory since [`Self::reset_peak`], in MiB.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub(super) fn peak_mebibytes(&self) -> anyhow::Result<f64> {
        let peak = self.memory("VmHWM:")?;
        self.highest_peak.set(self.highest_peak.get().max(peak));
        Ok(peak)
    }

    /// Memory now, mapped files that were read included, in MiB.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub(super) fn resident_mebibytes(&self) -> anyhow::Result<f64> {
        self.memory("VmRSS:")
    }

    /// A figure of the process, in MiB.
    fn memory(&self, figure: &str) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/status", self.pid);
        let status = std::fs::read_to_string(&path).context(path)?;
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix(figure))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
            .with_context(|| format!("the kernel does not tell the {figure} of the memory"))?;
        Ok(kibibytes / 1024.0)
    }

    /// Most memory of all of the run, in MiB.
    pub(super) fn highest_peak_mebibytes(&self) -> anyhow::Result<f64> {
        Ok(self.peak_mebibytes()?.max(self.highest_peak.get()))
    }

    /// Stops it.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).context("a process id")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("it cannot be stopped")?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .context("it does not stop")??;
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(())
    }
}

/// This program over a database, without its arguments.
fn command(database_url: &str, folder: &Path) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("where this program lies")?;
    let mut command = Command::new(program);
    command
        // Not as an argument, which other users could read.
        .env("DATABASE_URL", database_url)
        .env("NORTHSTAR_CONTEXT", folder.join("context.json"))
        .env("NORTHSTAR_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
