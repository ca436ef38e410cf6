//! The server process: is one running on the cluster, how it is started, how it is stopped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions as _, Connection as _};

use crate::Error;
use crate::command::{command, run, tail};
use crate::discover::Binaries;
use crate::endpoint::Endpoint;
use crate::home::Home;

/// How long a server may take to recover, start or answer: replaying `max_wal_size` on a slow disk takes minutes.
const PATIENCE_SECONDS: u64 = 600;

/// How long a server that runs may refuse connections before it counts as hung.
const HUNG: Duration = Duration::from_secs(60);

/// What `postmaster.pid` says.
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/utils/pidfile.h>
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: u32,
    /// `None` until the server has opened its socket.
    pub(crate) endpoint: Option<Endpoint>,
}

impl PidFile {
    fn read(data: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let port = lines.nth(2).and_then(|line| line.trim().parse().ok());
        let dir = lines.next().map(str::trim_end).filter(|dir| !dir.is_empty());
        let address = lines.next().is_some_and(|address| !address.trim().is_empty());
        let endpoint = match (port, dir) {
            (Some(port), Some(dir)) => Some(Endpoint::Socket { dir: PathBuf::from(dir), port }),
            (Some(port), None) if address => Some(Endpoint::Loopback { port }),
            _ => None,
        };
        Some(Self { pid, endpoint })
    }
}

/// The cluster's programs and place: all that is needed to run its server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) binaries: Binaries,
    pub(crate) home: Home,
}

impl Server {
    /// A command with one of the programs, as the user that runs the server, in the home. Its arguments name files
    /// relative to the home, since `pg_ctl` hands them to a shell in double quotes and no more.
    pub(crate) fn program(&self, name: &str) -> Command {
        command(&self.binaries.program(name), &self.home.path, self.home.account.as_ref())
    }

    /// The server that runs on this cluster, if one does.
    ///
    /// A process id alone proves nothing: after a crash of the machine or in a new container it may be another's.
    pub(crate) async fn running(&self) -> Option<PidFile> {
        let data = self.home.data();
        let found = PidFile::read(&data)?;
        if cfg!(target_os = "linux") && Path::new("/proc/self/cwd").exists() {
            // The server works in its data folder, so its working directory tells whose it is.
            let at = std::fs::read_link(format!("/proc/{}/cwd", found.pid)).ok()?;
            return (Some(at) == std::fs::canonicalize(&data).ok()).then_some(found);
        }
        let mut status = self.program("pg_ctl");
        status.args(["status", "-D", "data"]);
        run(status).await.ok().map(|_| found)
    }

    /// The server that an earlier Northstar left running, once it answers; `None` when there is none (any more).
    ///
    /// One that recovers or stops is waited for. One that does not answer in a minute is stopped.
    pub(crate) async fn adopt(&self, password: &str) -> Result<Option<(u32, Endpoint)>, Error> {
        let began = Instant::now();
        while let Some(found) = self.running().await {
            if let Some(endpoint) = found.endpoint
                && self.answers(&endpoint, password).await.is_ok()
            {
                return Ok(Some((found.pid, endpoint)));
            }
            if began.elapsed() > HUNG {
                tracing::warn!(
                    postgres.pid = found.pid,
                    "stopping a postgresql server that does not answer"
                );
                self.stop().await?;
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(None)
    }

    /// Starts the server and waits until it takes connections. Nothing may run on the cluster.
    pub(crate) async fn launch(&self) -> Result<u32, Error> {
        self.clear_stale_files().await?;
        let log = self.home.log();
        keep_log_small(&log);
        let began = Instant::now();
        loop {
            let logged = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
            let mut start = self.program("pg_ctl");
            start
                .args(["start", "--silent", "--wait", "--timeout"])
                .arg(PATIENCE_SECONDS.to_string());
            start.args(["-D", "data", "-l", "server.log"]);
            let failure = match run(start).await {
                Ok(_) => break,
                Err(Error::Failed { output, .. }) => output,
                Err(error) => return Err(error),
            };
            let tail = end_of_log(&log, logged).unwrap_or(failure);
            // Sessions of a server that was killed hold its memory until they notice.
            let leftovers =
                tail.contains("shared memory block") && began.elapsed() < Duration::from_secs(20);
            if !leftovers {
                return Err(Error::Start { log, tail });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.running().await.map(|found| found.pid).ok_or_else(|| Error::Start {
            tail: end_of_log(&log, 0).unwrap_or_default(),
            log: log.clone(),
        })
    }

    /// A fast shutdown, then an immediate one if sessions do not end within a minute. No server is no error.
    pub(crate) async fn stop(&self) -> Result<(), Error> {
        if run(self.stop_command("fast", HUNG)).await.is_ok() || self.running().await.is_none() {
            return Ok(());
        }
        tracing::warn!(
            "postgresql did not stop within a minute; stopping it at once, it recovers at its next start"
        );
        run(self.stop_command("immediate", HUNG)).await.map(drop)
    }

    /// The command that stops the server and waits for at most `patience`.
    pub(crate) fn stop_command(&self, mode: &str, patience: Duration) -> Command {
        let mut stop = self.program("pg_ctl");
        stop.args(["stop", "--silent", "--wait", "--mode", mode, "--timeout"])
            .arg(patience.as_secs().to_string());
        stop.args(["-D", "data"]);
        stop
    }

    /// Whether the server at `endpoint` takes connections with `password`.
    pub(crate) async fn answers(&self, endpoint: &Endpoint, password: &str) -> Result<(), Error> {
        let failed =
            |doing| move |source| Error::Connect { at: endpoint.to_string(), doing, source };
        let mut connection = endpoint
            .connect_options("postgres", password)
            .connect()
            .await
            .map_err(failed("connect"))?;
        let _: i32 = sqlx::query_scalar("SELECT 1")
            .fetch_one(&mut connection)
            .await
            .map_err(failed("ask whether it is alive"))?;
        connection.close().await.map_err(failed("close the connection"))
    }

    /// Removes what a dead server left, if PostgreSQL would not do so itself: it takes any living process of its own
    /// user for the server when that has the process id in the file.
    async fn clear_stale_files(&self) -> Result<(), Error> {
        let data = self.home.data();
        let Some(left) = PidFile::read(&data).filter(|left| exists(left.pid)) else {
            return Ok(());
        };
        if self.running().await.is_some() {
            return Ok(());
        }
        let mut stale = vec![data.join("postmaster.pid")];
        if let Some(Endpoint::Socket { dir, port }) = left.endpoint {
            stale.push(dir.join(format!(".s.PGSQL.{port}")));
            stale.push(dir.join(format!(".s.PGSQL.{port}.lock")));
        }
        for path in stale {
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    tracing::info!(file.path = %path.display(), "removed a file of a dead postgresql server")
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::file("remove", &path)(error)),
            }
        }
        Ok(())
    }
}

/// Whether a process has this id, whosoever it is.
fn exists(pid: u32) -> bool {
    #[cfg(unix)]
    {
        let Ok(pid) = i32::try_from(pid) else { return false };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None)
            != Err(nix::errno::Errno::ESRCH)
    }
    #[cfg(not(unix))]
    {
        let _ = pid;
        false
    }
}

/// Keeps at most one old log, so that the folder does not grow for ever.
fn keep_log_small(log: &Path) {
    const LARGE_BYTES: u64 = 10 << 20;
    if std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > LARGE_BYTES) {
        // A log that cannot be moved grows on; that is no reason not to start.
        let _ = std::fs::rename(log, log.with_extension("log.1"));
    }
}

/// The last lines of what was logged after the first `skip` bytes.
fn end_of_log(log: &Path, skip: u64) -> Option<String> {
    let bytes = std::fs::read(log).ok()?;
    let new = bytes.get(usize::try_from(skip).ok()?..)?;
    Some(tail(&String::from_utf8_lossy(new), 12)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_says_where_the_server_listens() {
        let socket = "4711\n/d/data\n1700000000\n5432\n/d\n\n  123  456\nready   \n";
        let endpoint = Endpoint::Socket { dir: "/d".into(), port: 5432 };
        assert_eq!(PidFile::parse(socket), Some(PidFile { pid: 4711, endpoint: Some(endpoint) }));
        let loopback = "4711\n/d/data\n1700000000\n40123\n\n127.0.0.1\n  123  456\nready   \n";
        let endpoint = Endpoint::Loopback { port: 40123 };
        assert_eq!(PidFile::parse(loopback), Some(PidFile { pid: 4711, endpoint: Some(endpoint) }));
    }

    #[test]
    fn a_pid_file_of_a_server_that_has_just_begun_says_nothing_yet() {
        assert_eq!(
            PidFile::parse("4711\n/d/data\n1700000000\n5432\n"),
            Some(PidFile { pid: 4711, endpoint: None })
        );
        assert_eq!(PidFile::parse(""), None);
        assert_eq!(PidFile::parse("not a number\n"), None);
    }
}
