//! The cluster that all test processes of a workspace share; the README tells how.

use std::fs::{DirBuilder, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use northstar_embedded::{Cluster, Error, Options};
use tokio::sync::OnceCell;
use url::Url;

/// Between two renewals of the lease, and between two looks of the watcher.
const RENEWAL: Duration = Duration::from_secs(10);

static SHARED: OnceCell<Shared> = OnceCell::const_new();

/// The running cluster, as a test process sees it.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Address of the database `postgres`.
    url: Url,
}

impl Shared {
    /// The cluster of this workspace, started if need be and kept running while this process lives.
    pub(crate) async fn get() -> anyhow::Result<&'static Self> {
        SHARED
            .get_or_try_init(|| async {
                let folder = folder()?;
                let shared = open(&folder, RENEWAL).await?;
                std::thread::Builder::new()
                    .name("northstar-test-lease".to_owned())
                    .spawn(move || {
                        loop {
                            std::thread::sleep(RENEWAL);
                            // One renewal may fail; six in a row stop the cluster, and the tests say so.
                            let _ = renew(&folder);
                        }
                    })
                    .context("cannot start the thread that renews the lease")?;
                Ok(shared)
            })
            .await
    }

    /// The address of a database of the cluster.
    pub(crate) fn url(&self, database: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(database);
        url.into()
    }
}

/// The folder of this user and this workspace.
fn folder() -> anyhow::Result<PathBuf> {
    let workspace = xxhash_rust::xxh3::xxh3_64(env!("CARGO_MANIFEST_DIR").as_bytes());
    #[cfg(unix)]
    let user = nix::unistd::geteuid().as_raw();
    #[cfg(not(unix))]
    let user = 0;
    let folder = std::env::temp_dir().join(format!("northstar-test-{user}-{workspace:016x}"));
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot create {}", folder.display()));
        }
        _ => {}
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = folder
            .symlink_metadata()
            .with_context(|| format!("cannot read {}", folder.display()))?;
        ensure!(
            metadata.is_dir() && metadata.uid() == user,
            "{} is not a folder of ours; remove it",
            folder.display()
        );
    }
    Ok(folder)
}

/// Starts or adopts the cluster in `folder` and sees to it that a watcher, looking every `look` (whole seconds), stops it.
async fn open(folder: &Path, look: Duration) -> anyhow::Result<Shared> {
    let gate = lock_file(folder, "testkit.lock")?;
    // Blocks the thread: nothing else can be done in a test before there is a database.
    gate.lock().context("cannot lock testkit.lock")?;
    renew(folder)?;
    let watcher = lock_file(folder, "watcher.lock")?;
    let vacant = wait_for_closing(folder, &watcher).await?;
    let cluster = start(folder).await?;
    if vacant {
        let data = cluster.home().join("data");
        watch(folder, &data, look, watcher)
            .context("cannot start the watcher of the test cluster")?;
    }
    let url = Url::parse(&cluster.url("postgres")).context("the cluster has a strange address")?;
    cluster.leave_running();
    Ok(Shared { url })
}

/// Waits for a watcher that is stopping the cluster. Whether there is no watcher; if so, `watcher` is locked.
async fn wait_for_closing(folder: &Path, watcher: &File) -> anyhow::Result<bool> {
    let closing = folder.join("closing");
    loop {
        if watcher.try_lock().is_ok() {
            if closing.exists() {
                std::fs::remove_file(&closing)
                    .context("cannot remove the mark of a dead watcher")?;
            }
            return Ok(true);
        }
        if !closing.exists() {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts the cluster with durability off. One that such a cluster lost in a crash of the machine is made anew.
async fn start(folder: &Path) -> anyhow::Result<Cluster> {
    let options = || {
        Options::new(folder)
            .setting("fsync", "off")
            .setting("full_page_writes", "off")
            .setting("synchronous_commit", "off")
            .setting("shared_buffers", "128MB")
            .setting("max_connections", "500")
            // A test that is stuck in the middle of a handshake holds up every DROP DATABASE until this has passed.
            .setting("authentication_timeout", "10s")
    };
    match Cluster::start(options()).await {
        Err(Error::Start { .. } | Error::Lost { .. } | Error::NoPassword(_)) => {}
        started => return started.context("cannot start the cluster of the tests"),
    }
    let _ = std::fs::remove_dir_all(folder.join("postgres"));
    let record = folder.join("postgres.location");
    if let Ok(elsewhere) = std::fs::read_to_string(&record) {
        let _ = std::fs::remove_dir_all(elsewhere.trim_end_matches('\n'));
        let _ = std::fs::remove_file(record);
    }
    Cluster::start(options()).await.context("cannot start a new cluster of the tests")
}

/// Starts the watcher, away from the terminal and from the process group of the test runner.
fn watch(folder: &Path, data: &Path, look: Duration, locked: File) -> std::io::Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", include_str!("watcher.sh"), "northstar-test-watcher"]);
    command.arg(folder).arg(data).arg(look.as_secs().to_string());
    command.stdin(locked).stdout(Stdio::null()).stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map(drop)
}

/// Says that a test process lives.
fn renew(folder: &Path) -> anyhow::Result<()> {
    let lease = lock_file(folder, "lease")?;
    lease.set_modified(SystemTime::now()).context("cannot renew the lease")
}

fn lock_file(folder: &Path, name: &str) -> anyhow::Result<File> {
    let path = folder.join(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(all(test, target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
mod tests {
    use super::*;

    fn lives(pid: i32) -> bool {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok()
    }

    fn server(folder: &Path) -> i32 {
        let pid_file =
            std::fs::read_to_string(folder.join("postgres/data/postmaster.pid")).unwrap();
        pid_file.lines().next().unwrap().parse().unwrap()
    }

    fn watcher_of(folder: &Path) -> Option<i32> {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut pids =
            processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.find(|pid| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("northstar-test-watcher") && line.contains(folder.to_str().unwrap())
        })
    }

    async fn until(mut condition: impl FnMut() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test]
    async fn a_cluster_without_lease_is_stopped_and_the_next_process_starts_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let look = Duration::from_secs(1);
        let first = open(folder.path(), look).await.unwrap();
        let pid = server(folder.path());
        let second = open(folder.path(), look).await.unwrap();
        assert_eq!(server(folder.path()), pid, "a second process adopts the cluster");
        assert_eq!(first.url, second.url);

        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        lock_file(folder.path(), "lease").unwrap().set_modified(long_ago).unwrap();
        until(|| !lives(pid)).await;

        let third = open(folder.path(), look).await.unwrap();
        assert_ne!(server(folder.path()), pid);
        assert_eq!(first.url, third.url, "the password is kept");
        assert!(!folder.path().join("closing").exists());
        assert!(
            lock_file(folder.path(), "watcher.lock").unwrap().try_lock().is_err(),
            "a new watcher is on duty"
        );

        let pid = server(folder.path());
        lock_file(folder.path(), "lease").unwrap().set_modified(long_ago).unwrap();
        until(|| !lives(pid)).await;
    }

    #[tokio::test]
    async fn a_watcher_that_was_killed_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let look = Duration::from_secs(1);
        open(folder.path(), look).await.unwrap();
        let pid = server(folder.path());
        let mut watcher = None;
        until(|| {
            watcher = watcher_of(folder.path());
            watcher.is_some()
        })
        .await;
        std::fs::write(folder.path().join("closing"), "").unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(watcher.unwrap()),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();

        open(folder.path(), look).await.unwrap();
        assert_eq!(server(folder.path()), pid);
        assert!(!folder.path().join("closing").exists());
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        lock_file(folder.path(), "lease").unwrap().set_modified(long_ago).unwrap();
        until(|| !lives(pid)).await;
    }
}
