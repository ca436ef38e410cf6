//! Message ids: known for ever, in memory or in sealed runs, by whichever process.

use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome::{Accepted, Duplicate, Quarantined};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::suite::{Suite, clients, event, ingest};

async fn count(suite: &Suite, of: &str) -> i64 {
    let select = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM ingestion.{of}"));
    sqlx::query_scalar(select).fetch_one(suite.superuser()).await.unwrap()
}

async fn send(clients: &northstar_client::Clients, ids: &[usize]) -> Vec<pb::EventResult> {
    let events = ids.iter().map(|id| event(format!("id-{id}"))).collect();
    ingest(clients, "web", events).await.unwrap().results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_id_is_known_after_it_is_sealed_and_after_a_restart() {
    let suite = Suite::start_sealing_often().await;
    let mut random = StdRng::seed_from_u64(3);
    let mut position_of = vec![0; 1_500];
    let ids: Vec<usize> = (0..position_of.len()).collect();
    for (number, batch) in ids.chunks(30).enumerate() {
        for (id, result) in batch.iter().zip(send(&suite.clients(), batch).await) {
            assert_eq!(result.outcome(), Accepted, "{result:?}");
            position_of[*id] = result.position;
        }
        // Sealing goes on beside the writing: each 300 keys wait for a run of their own.
        let mut looks = 0;
        while number % 10 == 9 && count(&suite, "key_runs").await < (number as i64 + 1) / 10 {
            looks += 1;
            assert!(looks < 600, "no run was sealed although there are 300 keys for it");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    let fresh = count(&suite, "fresh_keys WHERE project_id = 1").await;
    assert!(fresh < 45, "{fresh} of 50 commits have fresh keys left");

    let another = suite.start_another_sealing_often().await;
    for host in [&suite.host, &another] {
        let clients = clients(host);
        let mut again = ids.clone();
        again.shuffle(&mut random);
        for batch in again.chunks(400) {
            for (id, result) in batch.iter().zip(send(&clients, batch).await) {
                assert_eq!((result.outcome(), result.position), (Duplicate, position_of[*id]));
            }
        }
        // Another body under a sealed id is a conflict, and the same id of
        // another source is another event.
        let other = pb::Event { name: "Other".to_owned(), ..event("id-7") };
        let results = ingest(&clients, "web", vec![other]).await.unwrap().results;
        assert!([Quarantined, Duplicate].contains(&results[0].outcome()), "{results:?}");
        assert_eq!(results[0].position, 0);
    }
    let results = ingest(&suite.clients(), "ios", vec![event("id-7")]).await.unwrap().results;
    assert_eq!((results[0].outcome(), results[0].position), (Accepted, 1_501));
    another.stop().await.unwrap();
}

/// Two processes get the same ids at the same time, again and again, and restart in
/// between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_race_for_the_same_ids_agree_who_was_first() {
    let suite = Suite::start_sealing_often().await;
    let mut random = StdRng::seed_from_u64(11);
    let mut position_of: Vec<Option<i64>> = vec![None; 400];
    for _ in 0..4 {
        let another = suite.start_another_sealing_often().await;
        for _ in 0..10 {
            let mut pick = || -> Vec<usize> {
                (0..random.random_range(1..60))
                    .map(|_| random.random_range(0..position_of.len()))
                    .collect()
            };
            let (left, right, third) = (pick(), pick(), pick());
            let (here, there) = (suite.clients(), clients(&another));
            let answers =
                tokio::join!(send(&here, &left), send(&there, &right), send(&there, &third));
            let told = [(left, answers.0), (right, answers.1), (third, answers.2)];
            for (id, result) in told.into_iter().flat_map(|(ids, all)| ids.into_iter().zip(all)) {
                assert!([Accepted, Duplicate].contains(&result.outcome()), "{result:?}");
                let first = *position_of[id].get_or_insert(result.position);
                assert_eq!(first, result.position, "id-{id}");
            }
        }
        another.stop().await.unwrap();
    }
    let mut positions: Vec<i64> = position_of.into_iter().flatten().collect();
    positions.sort_unstable();
    assert_eq!(positions, (1..=positions.len() as i64).collect::<Vec<_>>());
    assert_eq!(suite.counts("web").await[1], positions.len() as i64);
}
