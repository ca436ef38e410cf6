//! Paths, against paths that are walked one by one, and what must hold of any flow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use northstar_engine::{
    Dimension, PathsPartial,
    journeys::{Direction, OTHER, PathStart, PathsAnswer, PathsCell, PathsQuery, PathsStep},
};
use proptest::prelude::*;

use super::{all_pages, histories, name, scope, values, whole};
use crate::{
    differential::shards,
    naive::{passes, selected},
    world::{Event, MINUTE, events, play, selector, steps},
};

/// A subject, the steps of its path with their times, and whether the path ended early.
type Walked = (String, Vec<(PathsStep, i64)>, bool);

/// Every path, walked from its anchor.
fn walk(events: &[Event], links: &HashMap<String, String>, query: &PathsQuery) -> Vec<Walked> {
    let (histories, as_of) = histories(events, links, &query.scope);
    let mut paths = Vec::new();
    for (subject, mut history) in histories {
        history.retain(|event| passes(event, query.scope.filter.as_ref()));
        let until = query.scope.to_micros.min(as_of);
        let mut anchors: Vec<usize> = (0..history.len())
            .filter(|at| selected(history[*at], &query.anchor))
            .filter(|at| (query.scope.from_micros..until).contains(&history[*at].time))
            .collect();
        if query.start == PathStart::FirstPerSubject {
            anchors.truncate(1);
        }
        let step = |event: &Event| PathsStep {
            event: event.name.to_owned(),
            value: query
                .group_by
                .as_ref()
                .and_then(|dimension| values(event, std::slice::from_ref(dimension)).remove(0)),
        };
        for anchor in anchors {
            let rest: Vec<&Event> = match query.direction {
                Direction::After => history[anchor + 1..].to_vec(),
                Direction::Before => history[..anchor].iter().rev().copied().collect(),
            };
            let mut path = vec![(step(history[anchor]), history[anchor].time)];
            let mut last = history[anchor].time;
            for event in rest {
                let excluded = query.exclude.iter().any(|selector| selected(event, selector));
                if excluded || !selected(event, &query.steps) {
                    continue;
                }
                let apart = (event.time - last).abs();
                if query.session_gap_micros.is_some_and(|gap| apart >= gap) {
                    break;
                }
                last = event.time;
                if query.collapse_repeats && path[path.len() - 1].0 == step(event) {
                    continue;
                }
                path.push((step(event), event.time));
                if path.len() > query.depth as usize {
                    break;
                }
            }
            let dropped = path.len() <= query.depth as usize;
            paths.push((subject.clone(), path, dropped));
        }
    }
    paths
}

fn paths_query() -> impl Strategy<Value = PathsQuery> {
    let start = proptest::sample::select(vec![PathStart::FirstPerSubject, PathStart::Every]);
    let direction = proptest::sample::select(vec![Direction::After, Direction::Before]);
    let gap = proptest::option::of((1i64..40).prop_map(|hours| hours * 60 * MINUTE));
    let group_by = proptest::option::of(Just(Dimension::Property("plan.name".to_owned())));
    (
        (scope(0), selector(), start, direction, 1u32..6),
        (selector(), proptest::collection::vec(selector(), 0..2), group_by, any::<bool>(), gap),
        (1usize..5, 1u64..4),
    )
        .prop_map(
            |(
                (scope, anchor, start, direction, depth),
                (steps, exclude, group_by, collapse_repeats, session_gap_micros),
                (max_nodes, min_edge_count),
            )| PathsQuery {
                scope,
                anchor,
                start,
                direction,
                depth,
                steps,
                exclude,
                group_by,
                collapse_repeats,
                session_gap_micros,
                max_nodes,
                min_edge_count,
            },
        )
}

/// What comes in is what is there, and what is there goes on or ends.
fn check_flow(answer: &PathsAnswer, query: &PathsQuery) {
    let anchors: u64 =
        answer.nodes.iter().filter(|node| node.distance == 0).map(|node| node.count).sum();
    assert_eq!(anchors, answer.paths);
    for node in &answer.nodes {
        let incoming: u64 = answer
            .edges
            .iter()
            .filter(|edge| edge.distance + 1 == node.distance && edge.to == node.step)
            .map(|edge| edge.count)
            .sum();
        let outgoing: u64 = answer
            .edges
            .iter()
            .filter(|edge| edge.distance == node.distance && edge.from == node.step)
            .map(|edge| edge.count)
            .sum();
        if node.distance > 0 {
            assert_eq!(incoming + node.pruned_in, node.count, "{node:?}");
        }
        if node.distance < query.depth {
            assert_eq!(outgoing + node.pruned_out + node.dropped, node.count, "{node:?}");
        } else {
            assert_eq!((outgoing, node.dropped), (0, 0));
        }
    }
    assert!(answer.edges.iter().all(|edge| edge.count >= query.min_edge_count));
    for distance in 0..=query.depth {
        let named = answer.nodes.iter().filter(|node| node.distance == distance);
        assert!(named.filter(|node| node.step.event != OTHER).count() <= query.max_nodes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn paths_agree_with_paths_walked_one_by_one(
        events in events(120), steps in steps(), queries in proptest::collection::vec(paths_query(), 6)
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let snapshot = dataset.snapshot().expect("a snapshot");
        for mut query in queries {
            check_flow(&snapshot.paths(&query).expect("an answer"), &query);
            // Every node and every edge.
            (query.max_nodes, query.min_edge_count) = (10_000, 1);
            let answer = snapshot.paths(&query).expect("an answer");
            check_flow(&answer, &query);
            let walked = walk(&events, &links, &query);
            prop_assert_eq!(answer.paths, walked.len() as u64);
            let mut nodes: BTreeMap<(u32, PathsStep), (u64, u64, BTreeSet<String>)> = BTreeMap::new();
            let mut edges: BTreeMap<(u32, PathsStep, PathsStep), Vec<i64>> = BTreeMap::new();
            for (subject, path, dropped) in &walked {
                for (at, (step, _)) in path.iter().enumerate() {
                    let node = nodes.entry((at as u32, step.clone())).or_default();
                    node.0 += 1;
                    node.1 += u64::from(*dropped && at + 1 == path.len());
                    node.2.insert(subject.clone());
                }
                for (at, pair) in path.windows(2).enumerate() {
                    let key = (at as u32, pair[0].0.clone(), pair[1].0.clone());
                    edges.entry(key).or_default().push((pair[1].1 - pair[0].1).abs());
                }
            }
            prop_assert_eq!(answer.nodes.len(), nodes.len());
            for node in &answer.nodes {
                let (count, dropped, subjects) = &nodes[&(node.distance, node.step.clone())];
                prop_assert_eq!((node.count, node.dropped), (*count, *dropped));
                let cell = PathsCell { distance: node.distance, step: node.step.clone(), to: None, dropped: false };
                let found = all_pages(|page| snapshot.paths_members(&query, &cell, page).expect("members"));
                let mut named: Vec<_> = subjects.iter().map(|subject| name(subject)).collect();
                named.sort();
                prop_assert_eq!(found, named);
            }
            prop_assert_eq!(answer.edges.len(), edges.len());
            for edge in &answer.edges {
                let mut micros = edges[&(edge.distance, edge.from.clone(), edge.to.clone())].clone();
                micros.sort_unstable();
                prop_assert_eq!(edge.count, micros.len() as u64);
                prop_assert!((edge.time.max - micros[micros.len() - 1] as f64 / 1e6).abs() < 1e-6);
                prop_assert!((edge.time.min - micros[0] as f64 / 1e6).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn paths_of_disjoint_subjects_travel_and_merge(events in events(80), mut query in paths_query()) {
        query.scope.as_of_micros = Some(query.scope.to_micros);
        let [left, right] = shards(&events, &HashMap::new());
        let [whole, mut left, right] = [whole(&events), left, right].map(|part| {
            let snapshot = part.snapshot().expect("a snapshot");
            let partial = snapshot.paths_partial(&query, 1).expect("a partial answer");
            let json = serde_json::to_string(&partial).expect("json");
            serde_json::from_str::<PathsPartial>(&json).expect("the same partial answer")
        });
        left.merge(right);
        let (merged, whole) = (left.finish(&query), whole.finish(&query));
        prop_assert_eq!(merged.nodes, whole.nodes);
        prop_assert_eq!(merged.edges.len(), whole.edges.len());
    }
}
