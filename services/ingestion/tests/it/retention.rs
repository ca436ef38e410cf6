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

/// A service that archives to a place.
fn archiving_to(url: &str) -> Config {
    Config {
        ingestion_archive_url: Some(url.to_owned()),
        ingestion_archive_check_milliseconds: 100,
        ..Config::default()
    }
}

fn url(folder: &std::path::Path) -> String {
    format!("file://{}", folder.display())
}

/// A log whose first partition holds ten events and whose second holds five.
async fn two_partitions(folder: &std::path::Path) -> Suite {
    partitions_of(&url(folder), |id| event(id.to_string())).await
}

/// The same with events of one's own.
async fn partitions_of(archive: &str, event: fn(i32) -> pb::Event) -> Suite {
    let suite = Suite::start_with(archiving_to(archive)).await;
    let events = |from: i32, to: i32| (from..to).map(event).collect();
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

/// Every second event is Ada's, with her name in its id.
fn of_ada_or_grace(id: i32) -> pb::Event {
    let user = if id % 2 == 0 { "ada-lovelace" } else { "grace" };
    pb::Event { user_id: user.to_owned(), ..event(format!("{user}/{id}")) }
}

async fn entered(suite: &Suite, user: &str) -> pb::Erasure {
    let request = pb::EraseSubjectRequest {
        identifier: Some(pb::Identifier { kind: "user_id".to_owned(), value: user.to_owned() }),
        reason: "article 17".to_owned(),
        proof: "ticket 4714".to_owned(),
        ..pb::EraseSubjectRequest::default()
    };
    suite.clients().subjects().erase_subject(request).await.unwrap().into_inner().erasure.unwrap()
}

/// How much an export of a subject sends.
async fn exported(suite: &Suite, user: &str) -> pb::ExportSummary {
    use pb::export_subject_response::Item;
    let request = pb::ExportSubjectRequest {
        identifier: Some(pb::Identifier { kind: "user_id".to_owned(), value: user.to_owned() }),
        reason: "article 15".to_owned(),
    };
    let mut stream = suite.clients().subjects().export_subject(request).await.unwrap().into_inner();
    while let Some(piece) = stream.message().await.unwrap() {
        if let Some(Item::Summary(summary)) = piece.item {
            return summary;
        }
    }
    panic!("the export has no end");
}

/// Waits until an erasure is as wanted.
async fn until(suite: &Suite, id: &str, wanted: fn(&pb::Erasure) -> bool) -> pb::Erasure {
    loop {
        let request = pb::GetErasureRequest { erasure_id: id.to_owned() };
        let found = suite.clients().subjects().get_erasure(request).await.unwrap().into_inner();
        let erasure = found.erasure.unwrap();
        if wanted(&erasure) {
            return erasure;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_done(erasure: &pb::Erasure) -> bool {
    erasure.state() == pb::ErasureState::Done
}

/// What an archived file holds.
async fn held(location: &str) -> Vec<northstar_archive::ArchivedEvent> {
    let content = northstar_archive::Archive::get(location).await.unwrap();
    let events = northstar_archive::ParquetEvents::open(content).unwrap();
    events.collect::<Result<_, _>>().unwrap()
}

/// That the one file of the archive has every event and nothing of Ada.
async fn is_clean(clients: &Clients, before: &pb::ArchivedFile) -> pb::ArchivedFile {
    let after = files(clients).await.files;
    assert_eq!(after.len(), 1);
    let after = after.into_iter().next().unwrap();
    assert_ne!((&after.location, &after.sha256), (&before.location, &before.sha256));
    assert_eq!(
        (after.first_position, after.last_position, after.events),
        (before.first_position, before.last_position, before.events)
    );
    let events = held(&after.location).await;
    assert_eq!(events.len(), 10);
    let pseudonyms: std::collections::BTreeSet<&str> = events
        .iter()
        .filter(|event| event.user_id != "grace")
        .map(|event| event.user_id.as_str())
        .collect();
    assert_eq!(pseudonyms.len(), 1);
    assert!(pseudonyms.iter().all(|pseudonym| pseudonym.starts_with("erased-")));
    for (number, event) in events.iter().enumerate() {
        let told = format!("{event:?}");
        assert!(!told.contains("ada-lovelace"), "{told}");
        // Nothing else was touched.
        if number % 2 == 1 {
            assert_eq!(event.message_id, format!("grace/{number}"));
            assert_eq!(event.properties, r#"{"plan":"pro"}"#);
        }
    }
    after
}

#[tokio::test]
async fn an_erasure_writes_archived_files_anew_and_deletes_the_old_ones() {
    let folder = tempfile::tempdir().unwrap();
    let suite = partitions_of(&url(folder.path()), of_ada_or_grace).await;
    let clients = suite.clients();
    suite.clock.advance(TimeDelta::days(31));
    apply(&clients, 30).await.unwrap();
    let before = archived(&clients).await.files.remove(0);
    assert_eq!(held(&before.location).await.len(), 10);

    sqlx::query(
        r#"INSERT INTO ingestion.event_notes (project_id, position, name, late, omitted)
           VALUES (1, 1, 'Signed Up', false, '{"phone":"0049-ada"}')"#,
    )
    .execute(suite.superuser())
    .await
    .unwrap();
    // Whoever asks for everything gets what is archived and what was kept aside.
    let sent = exported(&suite, "ada-lovelace").await;
    assert_eq!((sent.events, sent.archived_events, sent.kept_aside), (8, 5, 1));

    let erasure = entered(&suite, "ada-lovelace").await;
    let done = until(&suite, &erasure.erasure_id, is_done).await;
    assert_eq!((done.archived_events, done.archived_files, done.events), (5, 1, 3));
    let aside: Option<String> =
        sqlx::query_scalar("SELECT omitted::text FROM ingestion.event_notes")
            .fetch_one(suite.superuser())
            .await
            .unwrap();
    assert_eq!(aside, None);
    assert_eq!((done.followers.len(), done.problem.as_str()), (0, ""));
    let after = is_clean(&clients, &before).await;

    // Nothing else is left: no old file, no table that waits for the end of its grace.
    let path = after.location.strip_prefix("file://").unwrap();
    let beside = std::path::Path::new(path).parent().unwrap().read_dir().unwrap();
    let names: Vec<_> = beside.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names, [std::path::Path::new(path)]);
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'detached\\_0%'")
            .fetch_one(suite.superuser())
            .await
            .unwrap();
    assert_eq!(tables, 0);
    let detail: String =
        sqlx::query_scalar("SELECT detail FROM audit.entries WHERE action = 'subject.erased'")
            .fetch_one(suite.superuser())
            .await
            .unwrap();
    for digest in [&before.sha256, &after.sha256] {
        assert!(detail.contains(digest.as_str()), "{detail}");
    }
    // Another subject's erasure rewrites what this one wrote.
    let erasure = entered(&suite, "grace").await;
    until(&suite, &erasure.erasure_id, is_done).await;
    let last = files(&clients).await.files.remove(0);
    assert!(held(&last.location).await.iter().all(|event| event.user_id.starts_with("erased-")));
    assert!(!std::path::Path::new(path).exists());
}

#[tokio::test]
async fn an_erasure_waits_for_an_archive_that_is_away_and_changes_nothing_meanwhile() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("archive");
    std::fs::create_dir(&folder).unwrap();
    let suite = partitions_of(&url(&folder), of_ada_or_grace).await;
    let clients = suite.clients();
    suite.clock.advance(TimeDelta::days(31));
    apply(&clients, 30).await.unwrap();
    let before = archived(&clients).await.files.remove(0);
    let away = parent.path().join("away");
    std::fs::rename(&folder, &away).unwrap();

    let id = entered(&suite, "ada-lovelace").await.erasure_id;
    let waiting = until(&suite, &id, |erasure| !erasure.problem.is_empty()).await;
    assert_eq!(waiting.state(), pb::ErasureState::Running);
    assert!(waiting.problem.contains(&before.location), "{}", waiting.problem);
    let request = pb::ReadEventsRequest { after_position: PARTITION - 1, ..Default::default() };
    let mut read = clients.subscriptions().read_events(request).await.unwrap().into_inner();
    let users: Vec<String> = read
        .message()
        .await
        .unwrap()
        .unwrap()
        .events
        .into_iter()
        .map(|logged| logged.event.unwrap().user_id)
        .collect();
    assert!(users.contains(&"ada-lovelace".to_owned()), "{users:?}");

    std::fs::rename(&away, &folder).unwrap();
    let done = until(&suite, &id, is_done).await;
    assert_eq!(done.problem, "");
    is_clean(&clients, &before).await;
}

#[tokio::test]
async fn an_erasure_of_archived_files_that_was_killed_is_finished_by_whoever_comes_next() {
    let folder = tempfile::tempdir().unwrap();
    let suite = partitions_of(&url(folder.path()), of_ada_or_grace).await;
    let clients = suite.clients();
    suite.clock.advance(TimeDelta::days(31));
    apply(&clients, 30).await.unwrap();
    let before = archived(&clients).await.files.remove(0);
    let config = archiving_to(&url(folder.path()));
    let suite = suite.restart_with(config).await;

    // As a kill leaves it: a file half written under the name that it will have, nothing noted.
    let id = uuid::Uuid::now_v7();
    let old = std::path::Path::new(before.location.strip_prefix("file://").unwrap());
    let name =
        format!("events-{:012}-{:012}-{id}.parquet", before.first_position, before.last_position);
    std::fs::write(old.with_file_name(name), b"PAR1 and no more").unwrap();
    let mut entered = suite.superuser().begin().await.unwrap();
    for statement in [
        format!(
            "INSERT INTO ingestion.erasures (erasure_id, project_id, pseudonym, actor, reason,
                 proof, requested_at, last_position, position, stage, identifiers)
             VALUES ('{id}', 1, 'erased-x', 'dpo', 'r', 'p', now(), {0}, {0}, 'rewriting', 1)",
            PARTITION + 4
        ),
        format!(
            "INSERT INTO ingestion.erasure_identifiers
             VALUES ('{id}', 'user_id', 'ada-lovelace', 'erased-x')"
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *entered).await.unwrap();
    }
    entered.commit().await.unwrap();
    let done = until(&suite, &id.to_string(), is_done).await;
    assert_eq!((done.archived_files, done.archived_events), (1, 5));
    let after = is_clean(&suite.clients(), &before).await;
    assert!(!old.exists());

    // And after the new file took the place of the old one, which is still there.
    std::fs::write(old, b"the old file").unwrap();
    let mut entered = suite.superuser().begin().await.unwrap();
    for statement in [
        format!(
            "INSERT INTO ingestion.erasure_files VALUES
                 ('{id}', 1, '{}', '\\x00', '{}', 1, decode('{}', 'hex'), now(), 5, true)",
            before.location, after.location, after.sha256
        ),
        format!(
            "UPDATE ingestion.erasures SET stage = 'removing', finished_at = NULL
             WHERE erasure_id = '{id}'"
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *entered).await.unwrap();
    }
    entered.commit().await.unwrap();
    until(&suite, &id.to_string(), is_done).await;
    assert!(!old.exists());
    is_clean(&suite.clients(), &before).await;
}

#[test]
fn an_erasure_reaches_files_in_a_bucket() {
    let bucket = northstar_testkit::Bucket::start();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "retention::archives_and_erases", "--ignored", "--nocapture"])
        .envs(bucket.environment())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = bucket.names();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].starts_with("archive/log/project-1/events-000000000001-"), "{names:?}");
    let content = bucket.content(&names[0]).unwrap();
    let events = northstar_archive::ParquetEvents::open(bytes::Bytes::from(content)).unwrap();
    assert!(events.map(|event| event.unwrap()).all(|event| event.user_id != "ada-lovelace"));
}

#[tokio::test]
#[ignore = "run by the test above, with a bucket in its environment"]
async fn archives_and_erases() {
    let suite = partitions_of("s3://archive/log", of_ada_or_grace).await;
    let clients = suite.clients();
    suite.clock.advance(TimeDelta::days(31));
    apply(&clients, 30).await.unwrap();
    let before = archived(&clients).await.files.remove(0);
    let erasure = entered(&suite, "ada-lovelace").await;
    let done = until(&suite, &erasure.erasure_id, is_done).await;
    assert_eq!((done.archived_events, done.archived_files), (5, 1));
    is_clean(&clients, &before).await;
}

#[tokio::test]
async fn an_erasure_is_done_when_every_service_has_followed() {
    let config =
        Config { ingestion_erasure_followers: "metrics,approvals".to_owned(), ..Config::default() };
    let suite = Suite::start_with(config).await;
    suite.ingest("web", vec![of_ada_or_grace(2), of_ada_or_grace(3)]).await;
    let id = entered(&suite, "ada-lovelace").await.erasure_id;
    let is_following = |erasure: &pb::Erasure| erasure.state() == pb::ErasureState::Following;
    let following = until(&suite, &id, is_following).await;
    assert!(following.rewrite_time.is_some() && following.finish_time.is_none());
    let subjects = || suite.clients().subjects();
    let ask = async |service: &str| {
        let request = pb::FollowErasuresRequest { service: service.to_owned() };
        subjects().follow_erasures(request).await.map(tonic::Response::into_inner)
    };
    let report = async |service: &str, done: bool, note: &str| {
        let request = pb::ReportErasureRequest {
            erasure_id: id.clone(),
            service: service.to_owned(),
            done,
            records: 2,
            note: note.to_owned(),
        };
        let reported = subjects().report_erasure(request).await?.into_inner();
        Ok::<_, Status>(reported.erasure.unwrap())
    };
    assert_eq!(blamed_fields(&ask("console").await.unwrap_err()), ["service"]);
    assert_eq!(blamed_fields(&report("automations", true, "").await.unwrap_err()), ["service"]);
    let asked = ask("metrics").await.unwrap().erasures.remove(0);
    let identifier = asked.identifiers[0].clone();
    assert_eq!(identifier.identifier.unwrap().value, "ada-lovelace");
    assert!(identifier.pseudonym.starts_with("erased-"));
    assert!(asked.rewrite_position >= asked.last_position);

    let waiting = report("metrics", false, "waits for something").await.unwrap();
    assert_eq!(waiting.followers[1].note, "waits for something");
    assert_eq!(report("metrics", true, "").await.unwrap().state(), pb::ErasureState::Following);
    // What is done is done, and is asked for no more.
    let again = report("metrics", false, "not quite").await.unwrap();
    assert_eq!((again.followers[1].done, again.followers[1].records), (true, 4));
    assert!(ask("metrics").await.unwrap().erasures.is_empty());
    let known = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM ingestion.erasure_identifiers")
            .fetch_one(suite.superuser())
            .await
            .unwrap()
    };
    assert_eq!(known().await, 1);
    let done = report("approvals", true, "").await.unwrap();
    assert_eq!(done.state(), pb::ErasureState::Done);
    assert!(done.finish_time.is_some());
    assert_eq!(known().await, 0);

    // The log tells that it happened, not to whom.
    let read = crate::subscribe::read_all(&suite.clients(), "facts", 3).await;
    let fact = read[2].event.clone().unwrap();
    assert_eq!(fact.name, "northstar.subject.erased");
    assert_eq!(fact.anonymous_id, format!("erasure:{id}"));
    assert!(read.iter().all(|logged| !format!("{logged:?}").contains("ada-lovelace")));
}
