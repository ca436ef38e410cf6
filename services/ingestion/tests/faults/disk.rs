//! The disk of PostgreSQL is full: clear errors, nothing lost, and no restart of the service needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome;
use tempfile::TempDir;
use tonic_types::StatusExt as _;

use crate::load::event;
use crate::stage::{PATIENCE, Stage, ingest};

/// Enough for a new cluster and little more.
const DISK_MEBIBYTES: u32 = 192;
const EVENTS: i64 = 400;

/// A small file system of its own.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// `None` for whoever may not mount one.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // PostgreSQL runs as another user than root.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
            .expect("rights");
        let size = format!("size={DISK_MEBIBYTES}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self { folder })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("a file");
        for size in [1 << 20, 1 << 12] {
            let block = vec![0u8; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).expect("the ballast is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

/// A batch of about 1 MB that does not compress.
fn batch(number: i64) -> Vec<pb::Event> {
    (0..EVENTS)
        .map(|at| {
            let filler: String =
                (0..40).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
            let filler = pb::Value { kind: Some(pb::value::Kind::StringValue(filler)) };
            let mut event = event(format!("{number}/{at}"), number * EVENTS + at);
            event.properties.insert("filler".to_owned(), filler);
            event
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_once_there_is_room_everything_goes_on() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: only root may mount a small file system");
        return;
    };
    let mut stage = Stage::start_in(&disk.folder.path().join("postgres")).await;
    assert!(stage.postgres_home().starts_with(disk.folder.path()), "PostgreSQL lies elsewhere");
    let (process, clients) = (stage.service_pid(), stage.clients());
    disk.fill();

    let mut acknowledged: BTreeMap<String, i64> = BTreeMap::new();
    let mut note = |events: &[pb::Event], response: pb::IngestEventsResponse| {
        for (event, result) in events.iter().zip(response.results) {
            let known = [EventOutcome::Accepted, EventOutcome::Duplicate];
            assert!(known.contains(&result.outcome()), "{result:?}");
            let position = *acknowledged.entry(event.message_id.clone()).or_insert(result.position);
            assert_eq!(position, result.position, "acknowledged at two positions");
        }
    };
    // What PostgreSQL set aside before lasts for a while.
    let mut number = 0;
    let (refused, status) = loop {
        let events = batch(number);
        match ingest(&clients, "disk", events.clone()).await {
            Ok(response) => note(&events, response),
            Err(status) => break (events, status),
        }
        number += 1;
        assert!(number < 4 * i64::from(DISK_MEBIBYTES), "the disk is never full");
    };
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    assert_eq!(reason, Some("ERROR_REASON_DEPENDENCY_UNAVAILABLE"), "{status:?}");
    assert!(details.retry_info().is_some(), "{status:?}");

    disk.empty();
    // Without room for its own log PostgreSQL stops, and needs whoever runs it.
    stage.revive_postgres().await;
    let again = tokio::time::timeout(PATIENCE, async {
        loop {
            match ingest(&clients, "disk", refused.clone()).await {
                Ok(response) => return response,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    note(&refused, again.await.unwrap_or_else(|_| panic!("no recovery: {}", stage.told())));
    assert!(
        stage.service_lives() && stage.service_pid() == process,
        "the service was not restarted"
    );

    let end = *acknowledged.values().max().expect("something was acknowledged");
    let group = pb::SubscribeRequest { group: "reader".to_owned(), ..Default::default() };
    let mut stream =
        clients.ingestion().subscribe(group).await.expect("a subscription").into_inner();
    let mut logged = BTreeMap::new();
    while logged.len() < end as usize {
        for event in stream.message().await.expect("a message").expect("an endless stream").events {
            let id = event.event.unwrap_or_default().message_id;
            assert_eq!(logged.insert(id, event.position), None, "an event is in the log twice");
        }
    }
    for (id, position) in acknowledged {
        assert_eq!(logged.get(&id), Some(&position), "{id} was acknowledged");
    }
    stage.stop().await;
}
