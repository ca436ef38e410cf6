//! Where the cluster and its socket are, and who may use them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use northstar_embedded::{Cluster, Listen};
use sqlx::{Connection as _, PgConnection};

use crate::helper::{ask, connect, folder, options};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_cluster_is_private() {
    let folder = folder();
    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    assert_eq!(cluster.home(), folder.path().canonicalize().unwrap().join("postgres"));
    assert_eq!(mode(cluster.home()), 0o700);
    assert_eq!(mode(&cluster.home().join("password")), 0o600);
    assert!(cluster.home().join(".s.PGSQL.5432").exists());
    assert!(cluster.log().is_file());

    let password = std::fs::read_to_string(cluster.home().join("password")).unwrap();
    assert_eq!(password.trim().len(), 32);
    let url = cluster.url("postgres").replace(password.trim(), "wrong");
    let refusal = PgConnection::connect(&url).await.unwrap_err();
    assert_eq!(refusal.as_database_error().unwrap().code().unwrap(), "28P01", "{refusal}");
    let stored = ask(
        &mut connect(&cluster).await,
        "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'",
    )
    .await;
    assert!(stored.starts_with("SCRAM-SHA-256$"), "{stored}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_moves_the_socket_not_the_cluster() {
    let folder = folder();
    let deep = folder.path().join("x".repeat(60)).join("y".repeat(60));
    let cluster = Cluster::start(options(&deep)).await.unwrap();
    assert!(cluster.home().starts_with(folder.path()));
    let mut connection = connect(&cluster).await;
    let socket_folder =
        ask(&mut connection, "SELECT trim('\"' FROM current_setting('unix_socket_directories'))")
            .await;
    assert!(socket_folder.len() <= 107 - "/.s.PGSQL.5432".len(), "{socket_folder}");
    assert_eq!(mode(Path::new(&socket_folder)), 0o700);
    drop(connection);
    cluster.stop().await.unwrap();
    assert!(!Path::new(&socket_folder).exists(), "the folder goes with the server");
}

#[tokio::test]
async fn a_folder_with_a_strange_name_works() {
    let folder = folder();
    let cluster =
        Cluster::start(options(&folder.path().join(r#"a b,'c'"d"\é%20+"#))).await.unwrap();
    let mut connection = connect(&cluster).await;
    assert_eq!(ask(&mut connection, "SELECT current_setting('listen_addresses')").await, "");
    drop(connection);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn on_loopback_the_port_is_random_and_survives_adoption() {
    let folder = folder();
    let mut options = options(folder.path());
    options.listen = Listen::Loopback;
    let cluster = Cluster::start(options.clone()).await.unwrap();
    let url = cluster.url("postgres");
    assert!(url.contains("@127.0.0.1:"), "{}", url.split('@').next_back().unwrap());
    assert!(!url.contains(":5432/"));
    assert_eq!(
        ask(&mut connect(&cluster).await, "SELECT host(inet_server_addr())").await,
        "127.0.0.1"
    );
    cluster.leave_running();

    let cluster = Cluster::start(options).await.unwrap();
    assert!(cluster.adopted());
    assert_eq!(cluster.url("postgres"), url);
    cluster.stop().await.unwrap();
}
