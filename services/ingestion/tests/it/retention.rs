//! Partitions of the log that go to the archive.

use std::time::Duration;

use chrono::TimeDelta;
use northstar_client::Clients;
use northstar_ingestion::Config;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::{Service, connect};
use pb::log_place::Place;
use tonic::Status;

use crate::suite::{Suite, blamed_fields, event, outcomes, reason};

const PARTITION: i64 = 20_000_000;

async fn apply(clients: &Clients, days: i64) -> Result<pb::RetentionPolicy, Status> {
    let day = |days| Some(prost_types::Duration { seconds: days * 86_400, nanos: 0 });
    let policy = pb::RetentionPolicy {
        name: "log".to_owned(),
        owner: "data".to_owned(),
        archive_after: day(days),
        drop_after: day(2),
        ..pb::RetentionPolicy::default()
    };
    let request = pb::ApplyRetentionPolicyRequest {
        retention_policy: Some(policy),
        ..pb::ApplyRetentionPolicyRequest::default()
    };
    let applied = clients.retention().apply_retention_policy(request).await?.into_inner();
    Ok(applied.retention_policy.unwrap())
}

async fn files(clients: &Clients) -> pb::ListArchivedFilesResponse {
    let request = pb::ListArchivedFilesRequest::default();
    clients.retention().list_archived_files(request).await.unwrap().into_inner()
}

async fn head(suite: &Suite, position: i64) {
    sqlx::query(
        "WITH passed AS (
             INSERT INTO ingestion.fresh_keys (project_id, first_position, last_position, keys)
             SELECT project_id, position + 1, $1, ''::bytea FROM ingestion.log_heads
         )
         UPDATE ingestion.log_heads SET position = $1",
    )
    .bind(position)
    .execute(suite.superuser())
    .await
    .unwrap();
}

/// A log whose first partition holds ten events and whose second holds five.
async fn two_partitions(folder: &std::path::Path) -> Suite {
    let config = Config {
        ingestion_archive_url: Some(format!("file://{}", folder.display())),
        ingestion_archive_check_milliseconds: 100,
        ..Config::default()
    };
    let suite = Suite::start_with(config).await;
    let events = |from: i32, to: i32| (from..to).map(|id| event(id.to_string())).collect();
    suite.ingest("web", events(0, 5)).await;
    head(&suite, PARTITION - 6).await;
    suite.ingest("app", events(5, 10)).await;
    suite.ingest("web", events(10, 15)).await;
    suite
}

async fn archived(clients: &Clients) -> pb::ListArchivedFilesResponse {
    loop {
        let found = files(clients).await;
        if found.archived_through_position > 0 {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_old_partition_is_archived_verified_detached_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let suite = two_partitions(folder.path()).await;
    let clients = suite.clients();
    suite.clock.advance(TimeDelta::days(31));
    apply(&clients, 30).await.unwrap();
    let found = archived(&clients).await;
    assert_eq!(found.archived_through_position, PARTITION - 1);
    assert_eq!(found.files.len(), 1);
    let file = &found.files[0];
    assert_eq!((file.first_position, file.last_position, file.events), (1, PARTITION - 1, 10));
    let path = file.location.strip_prefix("file://").unwrap();
    let archived = northstar_archive::ParquetEvents::open(std::fs::File::open(path).unwrap());
    let ids: Vec<String> = archived.unwrap().map(|event| event.unwrap().message_id).collect();
    assert_eq!(ids, (0..10).map(|id: i32| id.to_string()).collect::<Vec<_>>());

    let left: i64 = sqlx::query_scalar(
        "SELECT sum(last_position - first_position + 1)::bigint FROM ingestion.event_blocks",
    )
    .fetch_one(suite.superuser())
    .await
    .unwrap();
    assert_eq!(left, 5);
    // What was archived is still known: it is a duplicate for ever.
    let again = suite.ingest("web", vec![event("3")]).await;
    assert_eq!(outcomes(&again)[0].0, pb::EventOutcome::Duplicate);

    let tables = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'detached\\_0%'")
            .fetch_one(suite.superuser())
            .await
            .unwrap()
    };
    assert_eq!(tables().await, 1, "it is kept for its grace");
    suite.clock.advance(TimeDelta::days(2));
    while tables().await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action FROM audit.entries ORDER BY sequence")
            .fetch_all(suite.superuser())
            .await
            .unwrap();
    assert_eq!(actions, ["retention_policy.apply", "log.archive"]);
}

#[tokio::test]
async fn the_beginning_is_what_the_log_still_holds_and_before_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let suite = two_partitions(folder.path()).await;
    let clients = suite.clients();
    suite.clock.advance(TimeDelta::days(31));
    apply(&clients, 30).await.unwrap();
    archived(&clients).await;
    let find = async |place| {
        let request = pb::FindPositionRequest { place: Some(pb::LogPlace { place: Some(place) }) };
        clients.subscriptions().find_position(request).await
    };
    let beginning = find(Place::Position(0)).await.unwrap().into_inner();
    assert_eq!(beginning.position, PARTITION - 1);
    let refused = find(Place::Position(3)).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["place.position"]);
    let read = pb::ReadEventsRequest { after_position: 3, ..Default::default() };
    let refused = clients.subscriptions().read_events(read).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["after_position"]);
    let events = crate::subscribe::read_all(&clients, "late", 5).await;
    assert_eq!(events[0].position, PARTITION);
    let request = pb::SubscribeRequest {
        group: "early".to_owned(),
        start_position: 3,
        ..pb::SubscribeRequest::default()
    };
    let refused = clients.ingestion().subscribe(request).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["start_position"]);
}

#[tokio::test]
async fn nothing_leaves_while_a_group_has_to_read_it_or_a_project_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let suite = two_partitions(folder.path()).await;
    let clients = suite.clients();
    let commit = pb::CommitCursorRequest { group: "slow".to_owned(), position: 4 };
    clients.ingestion().commit_cursor(commit).await.unwrap();
    suite.clock.advance(TimeDelta::days(31));
    apply(&clients, 30).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(files(&clients).await, pb::ListArchivedFilesResponse::default());
    let commit = pb::CommitCursorRequest { group: "slow".to_owned(), position: PARTITION - 1 };
    clients.ingestion().commit_cursor(commit).await.unwrap();
    archived(&clients).await;
}

#[tokio::test]
async fn the_service_may_not_detach_what_is_not_archived() {
    let suite = Suite::start().await;
    suite.ingest("web", vec![event("a")]).await;
    head(&suite, PARTITION + 5).await;
    let pool = connect(suite.database_url(), 1, Service::Ingestion).await.unwrap();
    let refused = async |statement: &'static str| {
        let error = sqlx::query(statement).execute(&pool).await.unwrap_err();
        error.to_string()
    };
    let detach = "SELECT ingestion.detach_partition(0, now(), now())";
    assert!(refused(detach).await.contains("0 of 1 events of partition 0 are archived"));
    for statement in [
        "ALTER TABLE ingestion.event_blocks DETACH PARTITION ingestion.event_blocks_000000",
        "DROP TABLE ingestion.event_blocks_000000",
        "UPDATE ingestion.archived_files SET detached_at = now()",
        "INSERT INTO ingestion.detached_partitions VALUES ('event_blocks_000000', 0, now(), now())",
    ] {
        let message = refused(statement).await;
        assert!(
            message.contains("must be owner") || message.contains("permission denied"),
            "{statement}: {message}"
        );
    }
}

#[tokio::test]
async fn a_project_has_one_policy() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let policy = apply(&clients, 30).await.unwrap();
    assert_eq!(
        blamed_fields(&apply(&clients, 0).await.unwrap_err()),
        ["retention_policy.archive_after"]
    );
    let other = pb::ApplyRetentionPolicyRequest {
        retention_policy: Some(pb::RetentionPolicy { name: "other".to_owned(), ..policy.clone() }),
        ..pb::ApplyRetentionPolicyRequest::default()
    };
    let refused = clients.retention().apply_retention_policy(other).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["retention_policy.name"]);
    let list = clients
        .retention()
        .list_retention_policies(pb::ListRetentionPoliciesRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.retention_policies, [policy]);
    let delete = |name: &str| pb::DeleteRetentionPolicyRequest {
        name: name.to_owned(),
        ..pb::DeleteRetentionPolicyRequest::default()
    };
    let gone = clients.retention().delete_retention_policy(delete("other")).await.unwrap_err();
    assert_eq!(reason(&gone), "NOT_FOUND");
    clients.retention().delete_retention_policy(delete("log")).await.unwrap();
    let get = pb::GetRetentionPolicyRequest { name: "log".to_owned() };
    let gone = clients.retention().get_retention_policy(get).await.unwrap_err();
    assert_eq!(reason(&gone), "NOT_FOUND");
}
