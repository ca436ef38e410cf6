//! A bucket, as far as an archive needs one.
//!
//! The bucket's address comes from the environment, which a test may not change for others; so the archive runs in a
//! process of its own, which is this program once more.

use std::process::Command;

use bytes::Bytes;
use northstar_archive::Archive;
use northstar_testkit::Bucket;

#[test]
fn files_are_put_into_a_bucket_read_back_listed_and_deleted() {
    let bucket = Bucket::start();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "puts_and_gets", "--ignored", "--nocapture"])
        .envs(bucket.environment())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(bucket.names(), ["logs/2026/1-20-anew.parquet"]);
}

#[tokio::test]
#[ignore = "run by the test above, with a bucket in its environment"]
async fn puts_and_gets() {
    let archive = Archive::open("s3://logs/2026").unwrap();
    let location = archive.put("1-20.parquet", Bytes::from_static(b"PAR1")).await.unwrap();
    assert_eq!(location, "s3://logs/2026/1-20.parquet");
    assert_eq!(Archive::get(&location).await.unwrap(), b"PAR1".as_slice());
    assert!(Archive::get("s3://logs/2026/21-40.parquet").await.is_err());
    assert!(Archive::open("s3:///folder").is_err() && Archive::open("ftp://host/a").is_err());

    let anew = Bytes::from_static(b"PAR2");
    let beside = Archive::put_beside(&location, "1-20-anew.parquet", anew).await.unwrap();
    assert_eq!(beside, "s3://logs/2026/1-20-anew.parquet");
    let sizes = archive.sizes().await.unwrap();
    assert_eq!(sizes, [("1-20-anew.parquet".to_owned(), 4), ("1-20.parquet".to_owned(), 4)]);
    Archive::delete(&location).await.unwrap();
    Archive::delete(&location).await.unwrap();
    assert_eq!(archive.find("1-20.parquet").await.unwrap(), None);
    assert_eq!(archive.find("1-20-anew.parquet").await.unwrap().unwrap(), b"PAR2".as_slice());
}
