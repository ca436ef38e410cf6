//! Root runs the server as another user; a normal user runs it as itself.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use nix::unistd::{User, geteuid};
use northstar_embedded::{Cluster, Error};

use crate::helper::{Northstar, connect, folder, lives, options};

/// Whether the test can do its work; says so if not.
fn root() -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: needs to be root");
    }
    root
}

#[tokio::test]
async fn the_server_never_runs_as_root() {
    let folder = folder();
    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    let uid = std::fs::metadata(format!("/proc/{}", cluster.pid())).unwrap().uid();
    assert_ne!(uid, 0);
    assert_eq!(cluster.home().metadata().unwrap().uid(), uid);
    assert_eq!(
        folder.path().metadata().unwrap().uid(),
        geteuid().as_raw(),
        "the data folder stays ours"
    );
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_private_data_folder_opens_just_enough_for_the_server() {
    if !root() {
        return;
    }
    let folder = folder();
    let data_dir = folder.path().join("data");
    std::fs::create_dir(&data_dir).unwrap();
    std::fs::set_permissions(&data_dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    let cluster = Cluster::start(options(&data_dir)).await.unwrap();
    assert!(cluster.home().starts_with(&data_dir));
    assert_eq!(data_dir.metadata().unwrap().permissions().mode() & 0o777, 0o701);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_data_folder_the_server_cannot_reach_keeps_a_record_of_where_the_cluster_is() {
    if !root() {
        return;
    }
    let barred = tempfile::tempdir().unwrap();
    std::fs::set_permissions(barred.path(), std::fs::Permissions::from_mode(0o700)).unwrap(); // as /root
    let data_dir = barred.path().join("data");
    let cluster = Cluster::start(options(&data_dir)).await.unwrap();
    let home = cluster.home().to_owned();
    assert!(!home.starts_with(barred.path()));
    let record = data_dir.join("postgres.location");
    assert_eq!(PathBuf::from(std::fs::read_to_string(&record).unwrap().trim()), home);
    assert_eq!(
        barred.path().metadata().unwrap().permissions().mode() & 0o777,
        0o700,
        "nothing above is opened"
    );
    cluster.stop().await.unwrap();

    let cluster = Cluster::start(options(&data_dir)).await.unwrap();
    assert_eq!(cluster.home(), home);
    cluster.stop().await.unwrap();

    std::fs::remove_dir_all(&home).unwrap();
    let refusal = Cluster::start(options(&data_dir)).await.unwrap_err();
    assert!(
        matches!(&refusal, Error::Lost { .. }),
        "a cluster that is gone is not silently begun anew: {refusal}"
    );
}

#[tokio::test]
async fn a_normal_user_runs_the_server_as_itself_and_root_keeps_it_so() {
    if !root() {
        return;
    }
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let folder = folder();
    // The folder of the test binary may be closed to that user.
    let program = folder.path().join("northstar");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let data_dir = folder.path().join("data");
    std::fs::create_dir(&data_dir).unwrap();
    std::os::unix::fs::chown(&data_dir, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw()))
        .unwrap();

    let mut northstar = Northstar::start_program(&program, &data_dir, Some(nobody.uid.as_raw()));
    let pid = northstar.wait_until_ready();
    assert_eq!(std::fs::metadata(format!("/proc/{pid}")).unwrap().uid(), nobody.uid.as_raw());
    assert!(northstar.end());
    assert!(!lives(pid));

    let cluster = Cluster::start(options(&data_dir)).await.unwrap();
    let uid = std::fs::metadata(format!("/proc/{}", cluster.pid())).unwrap().uid();
    assert_eq!(uid, nobody.uid.as_raw(), "the cluster keeps its owner");
    connect(&cluster).await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_cluster_of_another_user_is_refused() {
    if !root() {
        return;
    }
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let folder = folder();
    let program = folder.path().join("northstar");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let data_dir = folder.path().join("data");
    std::fs::create_dir_all(data_dir.join("postgres")).unwrap();
    std::os::unix::fs::chown(&data_dir, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw()))
        .unwrap();
    let northstar = Northstar::start_program(&program, &data_dir, Some(nobody.uid.as_raw()));
    assert!(!northstar.end(), "root's folder is not nobody's to use");
}
