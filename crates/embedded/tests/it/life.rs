//! Start, stop, crash and recovery.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use northstar_embedded::Cluster;

use crate::helper::{Northstar, ask, connect, folder, lives, options, postmasters};

#[tokio::test]
async fn a_cluster_keeps_its_data_and_password_over_a_restart() {
    let folder = folder();
    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    assert!(!cluster.adopted());
    let url = cluster.url("events");
    cluster.create_database("events").await.unwrap();
    cluster.create_database("events").await.unwrap();
    let mut connection = connect(&cluster).await;
    sqlx::query("CREATE TABLE kept AS SELECT 'here' AS word")
        .execute(&mut connection)
        .await
        .unwrap();
    let pid = cluster.pid();
    cluster.stop().await.unwrap();
    assert!(!lives(pid));

    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    assert_eq!(cluster.url("events"), url);
    assert_eq!(ask(&mut connect(&cluster).await, "SELECT word FROM kept").await, "here");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn durability_is_on_and_the_settings_of_the_job_are_in_force() {
    let folder = folder();
    let cluster =
        Cluster::start(options(folder.path()).setting("log_line_prefix", r#"it's "a\b" "#))
            .await
            .unwrap();
    let mut connection = connect(&cluster).await;
    for (name, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("max_connections", "100"),
        ("max_wal_size", "2GB"),
        ("shared_buffers", "16MB"),
        ("TimeZone", "UTC"),
        ("log_line_prefix", r#"it's "a\b" "#),
        ("listen_addresses", ""),
    ] {
        let found: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(found, value, "{name}");
    }
    assert_ne!(ask(&mut connection, "SELECT current_setting('wal_compression')").await, "off");
    drop(connection);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn names_of_databases_are_names_not_sql() {
    let folder = folder();
    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    let name = r#"a "b"; drop database postgres -- é"#;
    cluster.create_database(name).await.unwrap();
    cluster.create_database(name).await.unwrap();
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(&cluster.url(name)).await.unwrap();
    assert_eq!(ask(&mut connection, "SELECT current_database()::text").await, name);
    drop(connection);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn after_kill_9_of_northstar_the_same_server_is_adopted_with_its_data() {
    let folder = folder();
    let mut first = Northstar::start(folder.path(), None);
    let pid = first.wait_until_ready();
    first.kill();
    assert!(lives(pid), "the server survives its Northstar");

    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    assert!(cluster.adopted());
    assert_eq!(cluster.pid(), pid);
    assert_eq!(postmasters(cluster.home()), [pid]);
    let mut connection = connect(&cluster).await;
    sqlx::query("CREATE TABLE kept AS SELECT 'here' AS word")
        .execute(&mut connection)
        .await
        .unwrap();
    cluster.stop().await.unwrap();
    assert!(!lives(pid), "an adopted server is stopped on exit");

    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    assert_eq!(ask(&mut connect(&cluster).await, "SELECT word FROM kept").await, "here");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn kill_9_at_any_moment_of_the_first_start_leaves_a_folder_that_starts() {
    for milliseconds in [40, 150, 300, 500, 700, 900, 1100, 1400] {
        let folder = folder();
        let northstar = Northstar::start(folder.path(), None);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        northstar.kill();
        let cluster = Cluster::start(options(folder.path())).await.unwrap();
        assert_eq!(postmasters(cluster.home()), [cluster.pid()], "killed after {milliseconds} ms");
        connect(&cluster).await;
        cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn after_kill_9_of_everything_committed_data_is_recovered() {
    let folder = folder();
    let mut first = Northstar::start(folder.path(), None);
    let pid = first.wait_until_ready();
    first.kill();
    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    let mut connection = connect(&cluster).await;
    sqlx::query("CREATE TABLE kept AS SELECT 'here' AS word")
        .execute(&mut connection)
        .await
        .unwrap();
    cluster.leave_running();
    kill_9(pid);

    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    assert!(!cluster.adopted());
    assert_eq!(ask(&mut connect(&cluster).await, "SELECT word FROM kept").await, "here");
    assert_eq!(postmasters(cluster.home()), [cluster.pid()]);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_stale_pid_file_is_recognised_even_if_the_process_id_is_in_use_again() {
    let folder = folder();
    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    let home = cluster.home().to_owned();
    let owner = home.metadata().unwrap();
    let pid_file = home.join("data/postmaster.pid");
    let text = std::fs::read_to_string(&pid_file).unwrap();
    let (pid, rest) = text.split_once('\n').unwrap();
    let lock_file = home.join(".s.PGSQL.5432.lock");
    let lock_text = std::fs::read_to_string(&lock_file).unwrap();
    cluster.stop().await.unwrap();

    // PostgreSQL itself would take a living process of its own user for a server.
    let mut stranger =
        Command::new("sleep").arg("600").uid(owner.uid()).gid(owner.gid()).spawn().unwrap();
    for process in [pid.to_owned(), stranger.id().to_string()] {
        std::fs::write(&pid_file, format!("{process}\n{rest}")).unwrap();
        std::fs::write(&lock_file, lock_text.replacen(pid, &process, 1)).unwrap();
        std::fs::write(home.join(".s.PGSQL.5432"), "").unwrap();
        let cluster = Cluster::start(options(folder.path())).await.unwrap();
        assert!(!cluster.adopted());
        assert_eq!(postmasters(&home), [cluster.pid()]);
        cluster.stop().await.unwrap();
    }
    assert_eq!(stranger.try_wait().unwrap(), None, "a stranger is left alone");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn dropping_a_cluster_stops_its_server() {
    let folder = folder();
    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    let pid = cluster.pid();
    drop(cluster);
    assert!(!lives(pid));
}

#[tokio::test]
async fn the_server_is_out_of_reach_of_ctrl_c() {
    let folder = folder();
    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    let server = nix::unistd::Pid::from_raw(cluster.pid().try_into().unwrap());
    assert_ne!(nix::unistd::getpgid(Some(server)).unwrap(), nix::unistd::getpgrp());
    assert_ne!(nix::unistd::getsid(Some(server)).unwrap(), nix::unistd::getsid(None).unwrap());
    cluster.stop().await.unwrap();
}

fn kill_9(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}
