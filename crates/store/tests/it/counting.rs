//! What appends counted is told at once, and added up once.

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::ProjectId;
use northstar_domain::event::{Event, message_hash};
use northstar_domain::time_correction::TimeCorrection;
use northstar_store::ingestion::accounting::{self, Appendix, EventCounts};
use northstar_store::ingestion::keys::NewKeys;
use northstar_store::ingestion::log::{self, Appended, Blocks, EncodedEvents, HeadAt, NewEvent};
use northstar_store::ingestion::sources::{self, Counts};
use northstar_store::ingestion::{SourceId, heads};
use northstar_store::{MIGRATOR, PgConnection};
use northstar_testkit::TestDatabase;
use sqlx::PgPool;

const PROJECT: ProjectId = ProjectId(1);
const HOUR: TimeDelta = TimeDelta::hours(1);

fn at(hours: i32) -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_323_200, 0).unwrap() + HOUR * hours
}

fn head(position: i64, erasures: Option<i64>) -> HeadAt {
    HeadAt { project: PROJECT, position, erasures }
}

fn counts(accepted: i64, duplicate: i64, rejected: i64, received: i32) -> EventCounts {
    let effective = (accepted > 0).then(|| at(received - 24));
    EventCounts {
        counts: Counts {
            accepted,
            duplicate,
            quarantined: 0,
            rejected,
            last_received_at: Some(at(received)),
            last_effective_at: effective,
        },
        last_accepted_at: effective.map(|_| at(received)),
    }
}

/// Appends as many events as these counts accept, and leaves the counts.
async fn append(
    connection: &mut PgConnection,
    source: SourceId,
    counted: &[(&str, i32, EventCounts)],
) {
    let after = heads::read(connection, PROJECT).await.unwrap().position;
    let accepted: i64 = counted.iter().map(|(_, _, counts)| counts.counts.accepted).sum();
    let (mut encoded, mut keys) = (EncodedEvents::default(), NewKeys::default());
    for number in 0..accepted {
        let message_id = format!("m{}", after + number);
        encoded.push(&NewEvent {
            project: PROJECT,
            source,
            event: Event {
                message_id: &message_id,
                name: "click",
                user_id: "u",
                anonymous_id: "",
                account_id: "",
                occurred_at: at(0),
                sent_at: None,
                sequence: 0,
                properties: "{}",
                region: "",
                consent: "",
            },
            received_at: at(0),
            effective_at: at(0),
            correction: TimeCorrection::None,
        });
        keys.push(source, message_hash(&message_id), message_hash(&message_id));
    }
    let events = (0..usize::try_from(accepted).unwrap()).map(|index| (&encoded, index));
    let blocks = Blocks::encode(after, events);
    let mut appendix = Appendix::default();
    for (name, hour, counts) in counted {
        appendix.push(name, at(*hour), counts);
    }
    let counted = (source, &appendix);
    let appended =
        log::append_and_count(connection, head(after, None), &blocks, &keys, counted).await;
    assert_eq!(appended.unwrap(), Appended::At { identity_version: 0, erasure_version: 0 });
}

/// Everything that is told: by source, by source and name, by name in two hours.
async fn told(connection: &mut PgConnection) -> String {
    let by_source = sources::list(connection, PROJECT).await.unwrap();
    let by_name = accounting::totals(connection, PROJECT, None).await.unwrap();
    let mut by_hour = Vec::new();
    for hour in [1, 2] {
        let (from, to) = (at(hour), at(hour + 1));
        let received = accounting::received_between(connection, PROJECT, "web", from, to).await;
        let mut accepted: Vec<(String, i64)> =
            received.unwrap().into_iter().map(|of| (of.name, of.accepted)).collect();
        accepted.sort_unstable();
        by_hour.push(accepted);
    }
    format!("{by_source:#?}\n{by_name:#?}\n{by_hour:?}")
}

async fn numbers(pool: &PgPool, columns_of: &str) -> Vec<i64> {
    let statement = sqlx::AssertSqlSafe(format!("SELECT {columns_of}"));
    sqlx::query_scalar(statement).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn what_is_told_does_not_change_when_it_is_added_up() {
    let database = TestDatabase::create(&MIGRATOR).await;
    let mut connection = database.pool().acquire().await.unwrap();
    heads::ensure(&mut connection, PROJECT).await.unwrap();
    heads::ensure_partition(&mut connection, 0).await.unwrap();
    let web = sources::ensure(&mut connection, PROJECT, "web").await.unwrap();
    let app = sources::ensure(&mut connection, PROJECT, "app").await.unwrap();

    append(&mut connection, web, &[("click", 1, counts(2, 1, 0, 1))]).await;
    append(&mut connection, app, &[("click", 1, counts(1, 0, 3, 1))]).await;
    append(
        &mut connection,
        web,
        &[
            ("", 2, counts(0, 0, 4, 2)),
            ("click", 2, counts(1, 0, 0, 2)),
            ("open", 2, counts(5, 0, 0, 2)),
        ],
    )
    .await;
    let first = told(&mut connection).await;
    assert!(first.contains(r#"[[("click", 2)], [("click", 1), ("open", 5)]]"#), "{first}");
    let list = sources::list(&mut connection, PROJECT).await.unwrap();
    let of_web = list.iter().find(|source| source.name == "web").unwrap();
    assert_eq!((of_web.counts.received(), of_web.counts.accepted), (13, 8));
    assert_eq!(of_web.counts.last_received_at, Some(at(2)));
    assert_eq!(
        numbers(database.pool(), "sum(received)::bigint FROM ingestion.source_counts").await,
        [0]
    );

    // Two at once, as two processes do, and once more when nothing is left.
    assert_eq!(accounting::uncounted(&mut connection).await.unwrap(), [PROJECT]);
    let mut other = database.pool().acquire().await.unwrap();
    let (one, two) = tokio::join!(
        accounting::count_appended(&mut connection, PROJECT),
        accounting::count_appended(&mut other, PROJECT),
    );
    one.and(two).unwrap();
    accounting::count_appended(&mut connection, PROJECT).await.unwrap();
    assert!(accounting::uncounted(&mut connection).await.unwrap().is_empty());
    assert_eq!(told(&mut connection).await, first);
    assert_eq!(
        numbers(database.pool(), "sum(received)::bigint FROM ingestion.source_counts").await,
        [17]
    );
    assert_eq!(numbers(database.pool(), "count(*) FROM ingestion.uncounted").await, [0]);

    // What is forgotten of the keys was counted before.
    append(&mut connection, web, &[("open", 2, counts(3, 0, 0, 2))]).await;
    let second = told(&mut connection).await;
    assert!(second.contains(r#"("open", 8)"#), "{second}");
    sqlx::query("INSERT INTO ingestion.key_runs VALUES (1, 1, 12, '')")
        .execute(&mut *connection)
        .await
        .unwrap();
    assert_eq!(numbers(database.pool(), "ingestion.forget_sealed_keys(1)").await, [4]);
    assert_eq!(told(&mut connection).await, second);
    assert_eq!(
        numbers(database.pool(), "sum(accepted)::bigint FROM ingestion.event_hours").await,
        [12]
    );
}

#[tokio::test]
async fn a_head_that_is_elsewhere_or_an_erasure_leaves_no_count() {
    let database = TestDatabase::create(&MIGRATOR).await;
    let mut connection = database.pool().acquire().await.unwrap();
    heads::ensure(&mut connection, PROJECT).await.unwrap();
    heads::ensure_partition(&mut connection, 0).await.unwrap();
    let web = sources::ensure(&mut connection, PROJECT, "web").await.unwrap();
    append(&mut connection, web, &[("click", 1, counts(1, 0, 0, 1))]).await;
    let before = told(&mut connection).await;
    let (blocks, keys, nothing) = (Blocks::default(), NewKeys::default(), Appendix::default());
    for (after, erasures) in [(0, None), (1, Some(1))] {
        let counted = (web, &nothing);
        let appended =
            log::append_and_count(&mut connection, head(after, erasures), &blocks, &keys, counted);
        assert_eq!(appended.await.unwrap(), Appended::HeadMoved);
    }
    assert_eq!(told(&mut connection).await, before);
}
