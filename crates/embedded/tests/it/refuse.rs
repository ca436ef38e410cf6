//! What is refused, and in which words.

use northstar_embedded::{Cluster, Error};

use crate::helper::{Northstar, folder, options};

#[tokio::test]
async fn a_second_northstar_on_one_data_folder_is_refused() {
    let folder = folder();
    let mut first = Northstar::start(folder.path(), None);
    first.wait_until_ready();
    let refusal = Cluster::start(options(folder.path())).await.unwrap_err();
    assert!(matches!(refusal, Error::InUse { holder: Some(_), .. }), "{refusal}");
    assert!(refusal.to_string().contains("stop it, or choose another data folder"), "{refusal}");
    assert!(first.end(), "the first is not disturbed");

    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    let refusal = Cluster::start(options(folder.path())).await.unwrap_err();
    assert!(matches!(refusal, Error::InUse { .. }), "also within one process: {refusal}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn without_programs_the_error_says_where_it_looked_and_what_to_do() {
    let folder = folder();
    let mut options = options(folder.path());
    options.bin_dir = Some(folder.path().join("no-such-folder"));
    let refusal = Cluster::start(options).await.unwrap_err();
    let text = refusal.to_string();
    assert!(matches!(refusal, Error::NoPostgres { .. }), "{text}");
    for part in [
        "no usable PostgreSQL 15 or newer",
        "no-such-folder: no pg_ctl in it",
        "install",
        "DATABASE_URL",
        "download",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_the_end_of_its_log() {
    let folder = folder();
    let refusal = Cluster::start(options(folder.path()).setting("shared_buffers", "a lot"))
        .await
        .unwrap_err();
    let text = refusal.to_string();
    assert!(matches!(refusal, Error::Start { .. }), "{text}");
    assert!(text.contains(r#"invalid value for parameter "shared_buffers""#), "{text}");
}

#[tokio::test]
async fn a_lost_password_is_reported_not_replaced() {
    let folder = folder();
    let cluster = Cluster::start(options(folder.path())).await.unwrap();
    let password = cluster.home().join("password");
    cluster.stop().await.unwrap();
    std::fs::remove_file(&password).unwrap();
    let refusal = Cluster::start(options(folder.path())).await.unwrap_err();
    assert!(matches!(&refusal, Error::NoPassword(path) if *path == password), "{refusal}");
}
