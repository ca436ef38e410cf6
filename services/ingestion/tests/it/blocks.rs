//! The log as it lies in the database: blocks of events.

use northstar_domain::ProjectId;
use northstar_store::Error;
use northstar_store::ingestion::log::{Erasable, read_after, rewrite};
use pb::EventOutcome::{Accepted, Duplicate};

use northstar_proto::ingestion::v1 as pb;

use crate::subscribe::read_from;
use crate::suite::{Suite, event};

const PROJECT: ProjectId = ProjectId(1);

fn batch(from: usize, to: usize) -> Vec<pb::Event> {
    (from..to)
        .map(|number| pb::Event { user_id: format!("u{number}"), ..event(number.to_string()) })
        .collect()
}

#[tokio::test]
async fn any_run_of_positions_is_read_whatever_the_blocks() {
    let suite = Suite::start().await;
    let mut sent = 0;
    for size in [1, 1, 5_000, 3, 1, 9_000, 1] {
        suite.ingest("web", batch(sent, sent + size)).await;
        sent += size;
    }
    let mut connection = suite.superuser().acquire().await.unwrap();
    for (after, limit) in [(0, 1), (0, 3), (1, 4_097), (4_097, 2), (14_000, 100), (5_000, 9_006)] {
        let events = read_after(&mut connection, PROJECT, after, limit).await.unwrap();
        let last = (after + limit).min(14_007);
        let positions: Vec<i64> = events.iter().map(|event| event.position).collect();
        assert_eq!(positions, (after + 1..=last).collect::<Vec<_>>(), "{limit} after {after}");
        for event in events {
            assert_eq!(event.user_id, format!("u{}", event.position - 1));
        }
    }
    assert!(read_after(&mut connection, PROJECT, 14_007, 10).await.unwrap().is_empty());
    assert!(read_after(&mut connection, ProjectId(2), 0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_corrupt_block_is_an_error_that_names_it_and_writing_goes_on() {
    let suite = Suite::start().await;
    suite.ingest("web", batch(0, 300)).await;
    sqlx::query(
        "UPDATE ingestion.event_blocks
         SET content = set_byte(content, length(content) / 2, get_byte(content, length(content) / 2) # 1)",
    )
    .execute(suite.superuser())
    .await
    .unwrap();
    let mut connection = suite.superuser().acquire().await.unwrap();
    match read_after(&mut connection, PROJECT, 0, 10).await {
        Err(Error::Corrupt { table: "ingestion.event_blocks", row, .. }) => {
            assert!(row.contains("positions 1 to 300"), "{row}");
        }
        other => panic!("{other:?}"),
    }
    let results = suite.ingest("web", batch(200, 301)).await;
    assert_eq!(results[0].outcome(), Duplicate);
    assert_eq!(results[100].outcome(), Accepted);
    let events = read_from(&suite.clients(), "reader", 300, 1).await;
    assert_eq!(events[0].position, 301);
}

#[tokio::test]
async fn a_rewritten_block_keeps_its_positions_and_everything_that_was_not_changed() {
    let suite = Suite::start().await;
    suite.ingest("web", batch(0, 50)).await;
    suite.ingest("web", batch(50, 60)).await;
    let mut connection = suite.superuser().acquire().await.unwrap();
    let before = read_after(&mut connection, PROJECT, 0, 100).await.unwrap();
    let erase = |_: i64, name: &str, event: &mut Erasable| {
        assert_eq!(name, "Signed Up");
        if event.user_id == "u7" {
            event.user_id = "erased".to_owned();
            event.properties = "{}".to_owned();
        }
    };
    let held = rewrite(&mut connection, PROJECT, 20, erase).await.unwrap();
    assert_eq!(held, Some(1..=50));
    assert_eq!(rewrite(&mut connection, PROJECT, 61, erase).await.unwrap(), None);
    let after = read_after(&mut connection, PROJECT, 0, 100).await.unwrap();
    assert_eq!(after.len(), 60);
    for (before, mut after) in before.into_iter().zip(after) {
        if before.user_id == "u7" {
            assert_eq!((after.user_id.as_str(), after.properties.as_str()), ("erased", "{}"));
            after.user_id = before.user_id.clone();
            after.properties = before.properties.clone();
        }
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
    }
    // What was erased is still not new.
    assert_eq!(suite.ingest("web", batch(7, 8)).await[0].outcome(), Duplicate);
}
