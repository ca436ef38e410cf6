//! Segments on disk: written, used again after a restart, made again when lost.

use std::path::PathBuf;

use northstar_archive::{ArchivedEvent, ParquetWriter};
use northstar_metrics::Config;
use northstar_proto::metrics::v1 as pb;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::suite::{Event, Suite, count, event, question, sum, unique};

/// Writes to a segment as soon as there is an event, and looks every second.
fn eager() -> Config {
    Config {
        metrics_compact_events: 1.try_into().unwrap(),
        metrics_follow_seconds: 1,
        ..Config::default()
    }
}

fn purchases(from: usize, to: usize) -> Vec<Event> {
    (from..to)
        .map(|n| {
            event("Paid", &format!("user-{}", n % 17), "2026-03-02T09:00:00Z").with(
                json!({"amount": 0.1 * n as f64, "plan": if n % 3 == 0 { "pro" } else { "free" }}),
            )
        })
        .collect()
}

fn segment_files(suite: &Suite) -> Vec<PathBuf> {
    let folder = suite.folder.path().join("segments/1");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

async fn manifest(suite: &Suite) -> Vec<(String, i64)> {
    let rows = sqlx::query_as("SELECT file, last_position FROM metrics.segments ORDER BY file");
    rows.fetch_all(suite.superuser()).await.unwrap()
}

/// Waits until the manifest covers a position.
async fn persisted(suite: &Suite, position: i64) {
    while manifest(suite).await.iter().all(|(_, last)| *last < position) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn answers(suite: &Suite) -> Vec<pb::QueryMetricResponse> {
    let mut answers = Vec::new();
    for metric in ["payments", "payers", "revenue"] {
        let request = pb::QueryMetricRequest {
            breakdowns: vec!["plan".to_owned()],
            ..question(metric, "2026-03-01", "2026-04-01")
        };
        answers.push(suite.query(request).await.unwrap());
    }
    answers
}

/// What must not change: the numbers and the digest over them.
fn essence(answers: &[pb::QueryMetricResponse]) -> Vec<(String, String)> {
    answers
        .iter()
        .map(|answer| {
            let values: Vec<_> = answer
                .rows
                .iter()
                .map(|row| format!("{:?} {:.9}", row.dimensions, row.value.unwrap()))
                .collect();
            (values.join("; "), answer.provenance.as_ref().unwrap().digest.clone())
        })
        .collect()
}

async fn shop(config: Config) -> Suite {
    let suite = Suite::start_with(config).await;
    suite.metric("payments", count("Paid")).await;
    suite.metric("payers", unique("Paid")).await;
    suite.metric("revenue", sum("Paid", "amount")).await;
    suite
}

#[tokio::test]
async fn a_restart_on_segments_gives_the_same_answers() {
    let mut suite = shop(eager()).await;
    suite.ingest(purchases(0, 500)).await;
    persisted(&suite, 500).await;
    suite.ingest(purchases(500, 600)).await;
    let before = answers(&suite).await;
    persisted(&suite, 600).await;
    assert_eq!(essence(&answers(&suite).await), essence(&before));
    suite.restart().await;
    assert_eq!(essence(&answers(&suite).await), essence(&before));
    assert_eq!(segment_files(&suite).len(), manifest(&suite).await.len());
}

#[tokio::test]
async fn a_corrupt_segment_is_made_again_from_the_log() {
    let mut suite = shop(eager()).await;
    suite.ingest(purchases(0, 500)).await;
    persisted(&suite, 500).await;
    let before = answers(&suite).await;
    suite.stop().await;
    let file = segment_files(&suite).pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&file, bytes).unwrap();
    suite.restart().await;
    assert_eq!(essence(&answers(&suite).await), essence(&before));
    persisted(&suite, 500).await;
}

#[tokio::test]
async fn a_lost_segment_is_made_again_and_a_stray_file_is_deleted() {
    let mut suite = shop(eager()).await;
    suite.ingest(purchases(0, 500)).await;
    persisted(&suite, 500).await;
    let before = answers(&suite).await;
    suite.stop().await;
    let file = segment_files(&suite).pop().unwrap();
    std::fs::remove_file(&file).unwrap();
    let stray = file.with_file_name("stray.seg");
    std::fs::write(&stray, b"left by a crash").unwrap();
    suite.restart().await;
    assert_eq!(essence(&answers(&suite).await), essence(&before));
    assert!(!stray.exists());
}

/// What `/health/readyz` says.
async fn readiness(suite: &Suite) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(suite.http()).await.unwrap();
    let request = b"GET /health/readyz HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_lost_folder_is_made_again_while_questions_wait_no_longer_than_they_may() {
    let mut suite = shop(eager()).await;
    suite.ingest(purchases(0, 500)).await;
    persisted(&suite, 500).await;
    let before = answers(&suite).await;
    suite.stop().await;
    std::fs::remove_dir_all(suite.folder.path().join("segments")).unwrap();

    // Nothing can be read until the test lets go.
    let mut held = suite.superuser().begin().await.unwrap();
    sqlx::query("LOCK TABLE metrics.segments IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *held)
        .await
        .unwrap();
    suite.restart().await;
    let mut request = tonic::Request::new(question("payments", "2026-03-01", "2026-04-01"));
    request.set_timeout(std::time::Duration::from_millis(200));
    let late = suite.analyst.metrics().query_metric(request).await.unwrap_err();
    // Whichever side looks at its clock first.
    let in_time = [tonic::Code::DeadlineExceeded, tonic::Code::Cancelled];
    assert!(in_time.contains(&late.code()), "{late}");
    loop {
        let unready = readiness(&suite).await;
        assert!(unready.contains("503"), "{unready}");
        // Before the services are asked for the first time, none is named.
        if unready.contains("read models are being made from the log") {
            break;
        }
        assert!(unready.contains("\"services\":[]"), "{unready}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (released, waited) = tokio::join!(held.rollback(), answers(&suite));
    released.unwrap();
    assert_eq!(essence(&waited), essence(&before));
    while !readiness(&suite).await.contains("200 OK") {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    persisted(&suite, 500).await;
    assert!(!segment_files(&suite).is_empty());
}

/// Archives the first partition and takes it out of the log, as ingestion does.
/// Returns the file.
async fn archive(suite: &Suite, folder: &std::path::Path) -> PathBuf {
    let mut connection = suite.superuser().acquire().await.unwrap();
    let project = northstar_domain::ProjectId(1);
    let held = northstar_store::ingestion::log::read_after(&mut connection, project, 0, 19_999_999);
    let events: Vec<ArchivedEvent> = held
        .await
        .unwrap()
        .into_iter()
        .map(|event| ArchivedEvent {
            position: event.position,
            source: event.source,
            message_id: event.message_id,
            name: event.name,
            user_id: event.user_id,
            anonymous_id: event.anonymous_id,
            account_id: event.account_id,
            occurred_at: event.occurred_at,
            sent_at: event.sent_at,
            received_at: event.received_at,
            effective_at: event.effective_at,
            correction: "none".to_owned(),
            sequence: event.sequence,
            region: String::new(),
            consent: None,
            properties: event.properties,
        })
        .collect();
    let path = folder.join("events.parquet");
    let mut writer = ParquetWriter::new(std::fs::File::create(&path).unwrap()).unwrap();
    writer.write(&events).unwrap();
    writer.finish().unwrap();
    let last = events.last().unwrap().position;
    sqlx::query(
        "INSERT INTO ingestion.archived_files
             (project_id, first_position, last_position, partition_number, events, bytes,
              location, sha256, verified_at)
         VALUES (1, 1, $1, 0, $2, 0, $3, $4, now())",
    )
    .bind(last)
    .bind(events.len() as i64)
    .bind(format!("file://{}", path.display()))
    .bind(Sha256::digest(std::fs::read(&path).unwrap()).to_vec())
    .execute(suite.superuser())
    .await
    .unwrap();
    sqlx::query("SELECT ingestion.detach_partition(0, now(), now())")
        .execute(suite.superuser())
        .await
        .unwrap();
    path
}

#[tokio::test]
async fn numbers_stay_when_events_leave_the_log_for_the_archive() {
    let mut suite = shop(Config::default()).await;
    suite.ingest(purchases(0, 3_000)).await;
    pass_the_first_partition(&suite).await;
    suite.ingest(purchases(3_000, 3_010)).await;
    let before = essence(&answers(&suite).await);
    let folder = tempfile::tempdir().unwrap();
    let file = archive(&suite, folder.path()).await;
    suite.restart().await;
    assert_eq!(essence(&answers(&suite).await), before);

    // Without its events a number would be wrong, so there is none.
    std::fs::remove_file(file).unwrap();
    suite.restart().await;
    let refused = suite.query(question("payments", "2026-03-01", "2026-04-01")).await.unwrap_err();
    assert_eq!(crate::suite::reason(&refused), "DEPENDENCY_UNAVAILABLE");
}

#[tokio::test]
async fn numbers_stay_when_a_subject_is_erased_from_archived_files() {
    let mut suite = shop(Config::default()).await;
    suite.ingest(purchases(0, 3_000)).await;
    pass_the_first_partition(&suite).await;
    suite.ingest(purchases(3_000, 3_040)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = archive(&suite, folder.path()).await;
    suite.restart().await;
    let totals = async |suite: &Suite| {
        let mut totals = Vec::new();
        for metric in ["payments", "payers", "revenue"] {
            let total = suite.total(metric, "2026-03-01", "2026-04-01").await.unwrap();
            totals.push(format!("{total:.6}"));
        }
        totals
    };
    let before = totals(&suite).await;
    assert_eq!(before[..2], ["3040.000000", "17.000000"]);
    let erasure = suite.erase("user-3").await;
    assert_eq!(erasure.archived_files, 1);
    assert_eq!(erasure.archived_events, purchases_of("user-3", 0, 3_000));
    assert_eq!(erasure.events, purchases_of("user-3", 3_000, 3_040));
    assert!(!file.exists());
    assert_eq!(totals(&suite).await, before);
    // Made anew from nothing but the new file and the log.
    suite.restart_anew().await;
    assert_eq!(totals(&suite).await, before);
}

/// How many of some purchases are a user's.
fn purchases_of(user: &str, from: usize, to: usize) -> i64 {
    purchases(from, to).iter().filter(|event| event.user == user).count() as i64
}

/// Moves the head to where the second partition begins.
async fn pass_the_first_partition(suite: &Suite) {
    sqlx::query(
        "WITH passed AS (
             INSERT INTO ingestion.fresh_keys (project_id, first_position, last_position, keys)
             SELECT project_id, position + 1, 20000000, ''::bytea FROM ingestion.log_heads
         )
         UPDATE ingestion.log_heads SET position = 20000000",
    )
    .execute(suite.superuser())
    .await
    .unwrap();
    // Whoever wrote so far would have made the partition beyond.
    sqlx::query("SELECT ingestion.ensure_partition(20000001)")
        .execute(suite.superuser())
        .await
        .unwrap();
}
