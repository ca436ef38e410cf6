//! A log of the layout with a row an event moves over into blocks.

use std::borrow::Cow;

use northstar_domain::ProjectId;
use northstar_store::MIGRATOR;
use northstar_store::ingestion::keys::{self, MessageKey, short_body_hash};
use northstar_store::ingestion::{SourceId, log};
use northstar_testkit::TestDatabase;
use sqlx::migrate::Migrator;
use sqlx::{Executor as _, PgPool};
use uuid::Uuid;

/// As it was before.
async fn old_database() -> TestDatabase {
    let old: Vec<_> = MIGRATOR.iter().filter(|one| one.version < 7).cloned().collect();
    let migrator = Migrator { migrations: Cow::Owned(old), ..Migrator::DEFAULT };
    TestDatabase::create(&migrator).await
}

async fn write_old(pool: &PgPool, events: i64) {
    let statement = format!(
        r#"INSERT INTO ingestion.sources (project_id, name) VALUES (1, 'web');
        INSERT INTO ingestion.log_heads (project_id, position, identity_version)
        VALUES (1, {events}, 0);
        INSERT INTO ingestion.events
        SELECT n, '2026-03-01T00:00:00.000001Z'::timestamptz + n * interval '1 s',
            CASE WHEN n % 2 = 0 THEN '1969-12-31T23:59:59.5Z'::timestamptz END,
            '2026-03-02T00:00:00Z', '2026-03-01T00:00:00Z', n, 1, 1, n % 3, 'm' || n, 'Signed "Up"',
            'u' || n % 7, CASE WHEN n % 5 = 0 THEN 'd' || n END, NULL, '{{"price":2.0,"x":{{"y":"ü"}}}}'
        FROM generate_series(1, {events}) AS n;
        INSERT INTO ingestion.event_keys (message_hash, body_hash, position, project_id, source_id)
        SELECT encode(substring(sha256(convert_to('m' || n, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid,
            '00000000-0000-0001-0000-000000000002', n, 1, 1
        FROM generate_series(1, {events}) AS n;"#
    );
    pool.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
}

#[tokio::test]
async fn every_event_and_every_key_moves_into_blocks() {
    let database = old_database().await;
    write_old(database.pool(), 2_345).await;
    MIGRATOR.run(database.pool()).await.unwrap();

    let mut connection = database.pool().acquire().await.unwrap();
    let events = log::read_after(&mut connection, ProjectId(1), 0, 10_000).await.unwrap();
    assert_eq!(events.len(), 2_345);
    for (position, event) in (1_i64..).zip(&events) {
        assert_eq!(event.position, position);
        assert_eq!(event.message_id, format!("m{position}"));
        assert_eq!(event.name, "Signed \"Up\"");
        assert_eq!(event.source, "web");
        assert_eq!(event.sequence, position);
        assert_eq!(
            event.occurred_at.timestamp_micros(),
            1_772_323_200_000_001 + position * 1_000_000
        );
        let sent = event.sent_at.map(|sent| sent.timestamp_micros());
        assert_eq!(sent, (position % 2 == 0).then_some(-500_000));
        let device = if position % 5 == 0 { format!("d{position}") } else { String::new() };
        assert_eq!(event.anonymous_id, device);
        assert_eq!(event.properties, r#"{"price":2.0,"x":{"y":"ü"}}"#);
        assert_eq!((event.region.as_str(), event.consent.as_str()), ("", ""));
    }

    let fresh = keys::fresh(&mut connection, ProjectId(1), 0, 100).await.unwrap();
    let known: Vec<_> = fresh.iter().flat_map(keys::FreshKeys::iter).collect();
    assert_eq!(known.len(), 2_345);
    let hash = northstar_domain::event::message_hash("m2345");
    let (key, of) = known[2_344];
    assert_eq!(key, MessageKey::new(SourceId(1), hash));
    assert_eq!(of.position, 2_345);
    assert_eq!(
        of.body,
        short_body_hash(Uuid::from_u128(0x0000_0000_0000_0001_0000_0000_0000_0002))
    );
}

#[tokio::test]
async fn a_log_with_a_gap_is_not_moved() {
    let database = old_database().await;
    write_old(database.pool(), 10).await;
    database.pool().execute("DELETE FROM ingestion.events WHERE position = 4").await.unwrap();
    let refused = MIGRATOR.run(database.pool()).await.unwrap_err();
    assert!(refused.to_string().contains("gap"), "{refused}");
}
