//! Folders, connections, and a second Northstar in a process of its own that tests can kill.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use northstar_embedded::{Cluster, Options};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

/// Tells the helper process what to do; its value is the data folder.
const DATA_DIR: &str = "NORTHSTAR_EMBEDDED_HELPER_DATA_DIR";

/// A temporary folder that every user can pass through.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Options for a small cluster that never downloads.
pub fn options(data_dir: &Path) -> Options {
    let mut options = Options::new(data_dir).setting("shared_buffers", "16MB");
    options.download = false;
    options
}

pub async fn connect(cluster: &Cluster) -> PgConnection {
    PgConnection::connect(&cluster.url("postgres")).await.unwrap()
}

/// One value of the only column, as text.
pub async fn ask(connection: &mut PgConnection, question: &'static str) -> String {
    sqlx::query_scalar(question).fetch_one(connection).await.unwrap()
}

/// Whether a process lives (a zombie does not).
pub fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// The postmasters that work in the data folder of `home`.
pub fn postmasters(home: &Path) -> Vec<u32> {
    let data = home.join("data").canonicalize().unwrap();
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let at_work: Vec<u32> = pids
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data))
        .collect();
    // The server's own children work in the same folder.
    at_work
        .iter()
        .copied()
        .filter(|pid| parent(*pid).is_some_and(|parent| !at_work.contains(&parent)))
        .collect()
}

/// A second Northstar: this test binary, running [`holds_a_cluster`] only.
pub struct Northstar {
    child: Child,
    ready: PathBuf,
}

impl Northstar {
    /// Starts one on `data_dir`, as another user if told to.
    pub fn start(data_dir: &Path, user: Option<u32>) -> Self {
        Self::start_program(&std::env::current_exe().unwrap(), data_dir, user)
    }

    /// The same with a copy of this test binary.
    pub fn start_program(program: &Path, data_dir: &Path, user: Option<u32>) -> Self {
        let mut command = Command::new(program);
        command
            .args(["--exact", "helper::holds_a_cluster", "--ignored", "--nocapture"])
            .env(DATA_DIR, data_dir)
            .env_remove("XDG_CACHE_HOME")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        if let Some(user) = user {
            command.uid(user).gid(user).env("HOME", "/nonexistent");
        }
        Self { child: command.spawn().unwrap(), ready: data_dir.join("ready") }
    }

    /// Waits until its cluster runs; returns the process id of the server.
    pub fn wait_until_ready(&mut self) -> u32 {
        loop {
            if let Ok(text) = std::fs::read_to_string(&self.ready)
                && let Some(pid) = text.strip_suffix('\n')
            {
                return pid.parse().unwrap();
            }
            assert_eq!(
                self.child.try_wait().unwrap(),
                None,
                "the helper ended before its cluster ran"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and returns whether it did so well.
    pub fn end(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().success()
    }
}

#[tokio::test]
#[ignore = "not a test: the second Northstar of other tests"]
async fn holds_a_cluster() {
    let Some(data_dir) = std::env::var_os(DATA_DIR).map(PathBuf::from) else { return };
    let cluster = Cluster::start(options(&data_dir)).await.unwrap();
    std::fs::write(data_dir.join("ready"), format!("{}\n", cluster.pid())).unwrap();
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    cluster.stop().await.unwrap();
}
