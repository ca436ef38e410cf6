//! Anonymous ids and the users they belong to.

use northstar_proto::ingestion::v1 as pb;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::suite::{Suite, event, minutes};

fn link(message_id: String, anonymous_id: &str, user_id: &str, occurred: i64) -> pb::Event {
    pb::Event {
        anonymous_id: anonymous_id.to_owned(),
        user_id: user_id.to_owned(),
        occurred_time: Some(minutes(occurred)),
        ..event(message_id)
    }
}

async fn resolve(suite: &Suite, identifier: &str) -> pb::ResolveSubjectResponse {
    let request =
        pb::ResolveSubjectRequest { identifier: identifier.to_owned(), ..Default::default() };
    suite.clients().ingestion().resolve_subject(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn an_event_with_both_ids_links_them() {
    let suite = Suite::start().await;
    let events = vec![
        link("1".to_owned(), "phone", "ada", -9),
        link("2".to_owned(), "laptop", "ada", -8),
        link("3".to_owned(), "laptop", "ada", -7),
        link("4".to_owned(), "kiosk", "undefined", -6),
        link("5".to_owned(), "Anonymous", "ada", -5),
    ];
    suite.ingest("web", events).await;
    let ada = resolve(&suite, "phone").await;
    assert_eq!(ada.subject, "ada");
    assert_eq!(ada.anonymous_ids, ["laptop", "phone"]);
    assert_eq!(ada.identity_map_version, 2);
    assert_eq!(resolve(&suite, "ada").await, ada);
    assert_eq!(resolve(&suite, "kiosk").await.subject, "kiosk");
    assert_eq!(resolve(&suite, "stranger").await.subject, "stranger");
}

#[tokio::test]
async fn the_map_does_not_depend_on_the_order_of_arrival() {
    // Two users of one device, devices of one user, equal times, repeats.
    let mut facts = Vec::new();
    for (number, (device, user, minute)) in [
        ("a", "u2", -5),
        ("a", "u1", -5),
        ("a", "u3", -4),
        ("b", "u1", -9),
        ("b", "u2", -10),
        ("b", "u1", -11),
        ("c", "u3", -1),
        ("c", "null", -99),
        ("d", "u9", -3),
        ("d", "u10", -3),
        ("d", "u9", -3),
        ("e", "u2", -8),
    ]
    .into_iter()
    .enumerate()
    {
        facts.push(link(number.to_string(), device, user, minute));
    }
    let expected = [("a", "u1"), ("b", "u1"), ("c", "u3"), ("d", "u10"), ("e", "u2")];
    let mut random = StdRng::seed_from_u64(7);
    let suite = Suite::start().await;
    for round in 0..12 {
        // Other devices each round, so that the map begins empty.
        let named = |device: &str| format!("{device} of round {round}");
        facts.shuffle(&mut random);
        let mut events: Vec<_> = facts
            .iter()
            .map(|fact| pb::Event {
                message_id: format!("{round}/{}", fact.message_id),
                anonymous_id: named(&fact.anonymous_id),
                ..fact.clone()
            })
            .collect();
        // Some together in one batch, some one by one.
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(1 + round % 5));
            suite.ingest("web", events).await;
            events = rest;
        }
        for (device, user) in expected {
            assert_eq!(resolve(&suite, &named(device)).await.subject, user, "{device} {round}");
        }
    }
}

#[tokio::test]
async fn a_reader_learns_what_changed_by_version() {
    let suite = Suite::start().await;
    let versions = async || -> Vec<(String, String, i64)> {
        sqlx::query_as(
            "SELECT DISTINCT ON (kind, value) value, subject, version
             FROM ingestion.identity_changes ORDER BY kind, value, version DESC",
        )
        .fetch_all(suite.superuser())
        .await
        .unwrap()
    };
    suite
        .ingest("web", vec![link("1".into(), "a", "u2", -5), link("2".into(), "b", "u1", -5)])
        .await;
    // Older proof of the same: no new version. An older user: one more.
    suite
        .ingest("web", vec![link("3".into(), "a", "u2", -6), link("4".into(), "b", "u3", -6)])
        .await;
    suite.ingest("web", vec![link("5".into(), "a", "u2", -1)]).await;
    let owned = |a: &str, b: &str, version| (a.to_owned(), b.to_owned(), version);
    assert_eq!(versions().await, [owned("a", "u2", 1), owned("b", "u3", 3)]);
    assert_eq!(resolve(&suite, "a").await.identity_map_version, 3);
}
