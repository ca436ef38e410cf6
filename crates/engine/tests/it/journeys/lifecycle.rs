//! Lifecycles, against sets of who was active when.

use std::collections::{BTreeMap, BTreeSet};

use northstar_engine::{
    Grain, Lifecycle, LifecyclePartial,
    calendar::Buckets,
    journeys::{LifecycleCell, LifecycleQuery},
};
use proptest::prelude::*;

use super::{all_pages, histories, name, scope, whole};
use crate::{
    differential::shards,
    naive::{bucket, passes, selected},
    world::{DAY, events, play, selector, steps},
};

fn lifecycle_query() -> impl Strategy<Value = LifecycleQuery> {
    let period = proptest::sample::select(vec![Grain::Hour, Grain::Day, Grain::Week, Grain::Month]);
    (scope(0), selector(), period).prop_map(|(scope, event, period)| LifecycleQuery {
        scope,
        event,
        period,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn a_lifecycle_agrees_with_sets_of_the_active(
        events in events(120), steps in steps(), queries in proptest::collection::vec(lifecycle_query(), 5)
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let snapshot = dataset.snapshot().expect("a snapshot");
        for query in queries {
            let (histories, _) = histories(&events, &links, &query.scope);
            let mut active: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
            for (subject, history) in &histories {
                for event in history {
                    if passes(event, query.scope.filter.as_ref()) && selected(event, &query.event) {
                        let period = bucket(event.time, query.scope.zone, query.period);
                        active.entry(period).or_default().insert(subject);
                    }
                }
            }
            let nobody = BTreeSet::new();
            let at = |instant: i64| active.get(&bucket(instant, query.scope.zone, query.period)).unwrap_or(&nobody);
            let answer = snapshot.lifecycle(&query).expect("an answer");
            for row in &answer.rows {
                let start = row.bucket_start;
                let (now, before) = (at(start), at(start - 1));
                // Everybody who was active in a period that ended by the start of this one.
                let earlier: BTreeSet<&str> = histories
                    .iter()
                    .filter(|(_, history)| history.iter().any(|event| {
                        event.time < start && passes(event, query.scope.filter.as_ref()) && selected(event, &query.event)
                    }))
                    .map(|(subject, _)| subject.as_str())
                    .collect();
                let new: BTreeSet<&str> = now.difference(&earlier).copied().collect();
                let returning: BTreeSet<&str> = now.intersection(before).copied().collect();
                let dormant: BTreeSet<&str> = before.difference(now).copied().collect();
                prop_assert_eq!((row.new, row.returning, row.dormant), (new.len() as u64, returning.len() as u64, dormant.len() as u64));
                prop_assert_eq!(row.active(), now.len() as u64, "new, returning and resurrecting are the active");
                prop_assert_eq!(row.dormant + row.returning, before.len() as u64);
                for (state, members) in [(Lifecycle::New, new), (Lifecycle::Dormant, dormant)] {
                    let cell = LifecycleCell { bucket_start: start, state };
                    let found = all_pages(|page| snapshot.lifecycle_members(&query, &cell, page).expect("members"));
                    let mut named: Vec<_> = members.into_iter().map(name).collect();
                    named.sort();
                    prop_assert_eq!(found, named);
                }
            }
            let buckets = Buckets::covering(query.scope.from_micros, query.scope.to_micros, query.scope.zone, query.period).expect("buckets");
            let begun = (0..buckets.len()).filter(|at| buckets.start(*at) < answer.coverage.as_of_micros);
            prop_assert_eq!(answer.rows.iter().map(|row| row.bucket_start).collect::<Vec<_>>(), begun.map(|at| buckets.start(at)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn lifecycles_of_disjoint_subjects_travel_and_merge(events in events(80), mut query in lifecycle_query()) {
        query.scope.as_of_micros = Some(query.scope.to_micros + DAY);
        let [left, right] = shards(&events, &std::collections::HashMap::new());
        let [whole, mut left, right] = [whole(&events), left, right].map(|part| {
            let snapshot = part.snapshot().expect("a snapshot");
            let partial = snapshot.lifecycle_partial(&query, 1).expect("a partial answer");
            let json = serde_json::to_string(&partial).expect("json");
            serde_json::from_str::<LifecyclePartial>(&json).expect("the same partial answer")
        });
        left.merge(right);
        prop_assert_eq!(left.finish(&query).expect("rows").rows, whole.finish(&query).expect("rows").rows);
    }
}
