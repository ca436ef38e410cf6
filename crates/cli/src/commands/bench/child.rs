//! The suite as a process of its own, so that its memory is its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use northstar_client::Clients;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::connection::ContextFile;

/// How long the suite may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running suite; killed when dropped.
pub(super) struct Service {
    child: Child,
    pid: u32,
    ready: ContextFile,
    highest_peak: std::cell::Cell<f64>,
}

impl Service {
    /// Starts this program as a suite over a database.
    pub(super) async fn start(database_url: &str, folder: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program lies")?;
        let mut child = Command::new(program)
            .args(["up", "--ready-json", "--grpc-listen", "127.0.0.1:0"])
            .args(["--http-listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join("suite"))
            // Not as an argument, which other users could read.
            .env("DATABASE_URL", database_url)
            .env("NORTHSTAR_CONTEXT", folder.join("context.json"))
            .env("NORTHSTAR_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the suite does not start")?;
        let pid = child.id().context("the suite ended at once")?;
        let out = child.stdout.take().context("the suite's output")?;
        let mut lines = BufReader::new(out).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .context("the suite is not ready after a minute")??
            .context("the suite ended before it was ready")?;
        let ready = serde_json::from_str(&line).context("the suite's first line")?;
        Ok(Self { child, pid, ready, highest_peak: std::cell::Cell::new(0.0) })
    }

    /// Clients with connections of their own.
    pub(super) fn clients(&self) -> anyhow::Result<Clients> {
        Ok(Clients::connect(&self.ready.grpc, &self.ready.api_key)?)
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

    /// Stops the suite.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).context("a process id")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("the suite cannot be stopped")?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .context("the suite does not stop")??;
        if !status.success() {
            bail!("the suite ended with {status}");
        }
        Ok(())
    }
}
