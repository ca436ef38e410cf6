//! Cohorts against a plain computation, and questions about their members only.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use northstar_engine::{
    CohortRule, Dimension, EventSelector, Filter, FirstEvent, MetricSpec, Query, Side, SubjectName,
    Take,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    differential::{assert_same, near},
    naive::{World, dimension, selected},
    world::{DAY, EPOCH, Event, MINUTE, events, play, query, selector, steps},
};

fn condition() -> impl Strategy<Value = Filter> {
    let sources =
        [r#"properties.x > 0"#, r#"properties.plan.name in ["pro", "other"] || properties.flag"#];
    proptest::sample::select(sources.to_vec())
        .prop_map(|source| Filter::parse(source).expect("a filter"))
}

fn within() -> impl Strategy<Value = Option<i64>> {
    proptest::option::of((1i64..9 * 24).prop_map(|hours| hours * 60 * MINUTE))
}

fn rule() -> impl Strategy<Value = CohortRule> {
    let property = (selector(), condition(), any::<bool>()).prop_map(|(event, condition, any)| {
        CohortRule::Property {
            event,
            property: "x".to_owned(),
            condition,
            take: if any { Take::Any } else { Take::Latest },
        }
    });
    let did = (selector(), 0u64..4, proptest::option::of(0u64..4), within()).prop_map(
        |(event, at_least, at_most, within_micros)| CohortRule::Did {
            event,
            at_least,
            at_most,
            within_micros,
        },
    );
    let sequence = (proptest::collection::vec(selector(), 1..4), within(), within()).prop_map(
        |(steps, window_micros, within_micros)| CohortRule::Sequence {
            steps,
            window_micros,
            within_micros,
        },
    );
    let first = (selector(), 0i64..9 * 1_440, 0i64..9 * 1_440).prop_map(|(event, from, to)| {
        CohortRule::FirstTime {
            event,
            from_micros: EPOCH + from * MINUTE,
            to_micros: EPOCH + to * MINUTE,
        }
    });
    let leaf = prop_oneof![2 => property, 3 => did, 2 => sequence, 1 => first];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(CohortRule::All),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(CohortRule::Any),
            inner.prop_map(|rule| CohortRule::Not(Box::new(rule))),
        ]
    })
}

/// Whether a rule holds for a subject with this history, which is in order.
fn holds(rule: &CohortRule, history: &[&Event], instant: i64) -> bool {
    let recent = |within: &Option<i64>| {
        let from = within.map_or(i64::MIN, |within| instant - within);
        history.iter().filter(|event| event.time >= from).copied().collect::<Vec<_>>()
    };
    match rule {
        CohortRule::All(parts) => parts.iter().all(|part| holds(part, history, instant)),
        CohortRule::Any(parts) => parts.iter().any(|part| holds(part, history, instant)),
        CohortRule::Not(part) => !holds(part, history, instant),
        CohortRule::Property { event, property, condition, take } => {
            let passes = EventSelector::all().filtered(condition.clone());
            let mut looked_at = history.iter().filter(|found| selected(found, event));
            match take {
                Take::Any => looked_at.any(|found| selected(found, &passes)),
                Take::Latest => looked_at
                    .rfind(|found| found.properties.get(property).is_some())
                    .is_some_and(|found| selected(found, &passes)),
            }
        }
        CohortRule::Did { event, at_least, at_most, within_micros } => {
            let recent = recent(within_micros);
            let times = recent.iter().filter(|found| selected(found, event)).count() as u64;
            times >= *at_least && at_most.is_none_or(|most| times <= most)
        }
        CohortRule::Sequence { steps, window_micros, within_micros } => {
            let recent = recent(within_micros);
            (0..recent.len()).any(|start| {
                let deadline = window_micros.map_or(i64::MAX, |window| recent[start].time + window);
                let mut wanted = steps.iter().peekable();
                for (at, event) in recent[start..].iter().enumerate() {
                    let next = wanted.peek().is_some_and(|step| selected(event, step));
                    if next && event.time <= deadline {
                        wanted.next();
                    } else if at == 0 {
                        return false;
                    }
                }
                wanted.next().is_none()
            })
        }
        CohortRule::FirstTime { event, from_micros, to_micros } => history
            .iter()
            .find(|found| selected(found, event))
            .is_some_and(|first| first.time >= *from_micros && first.time < *to_micros),
    }
}

/// The histories of the subjects, each in order.
fn histories<'a>(
    events: &'a [Event],
    links: &HashMap<String, String>,
) -> BTreeMap<String, Vec<&'a Event>> {
    let mut histories: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in events {
        if let Some(subject) = event.subject(links) {
            histories.entry(subject).or_default().push(event);
        }
    }
    for history in histories.values_mut() {
        history.sort_by_key(|event| (event.time, event.sequence, event.position));
    }
    histories
}

/// A subject as the plain computation calls it.
fn text(name: &SubjectName) -> String {
    format!("{} {}", name.kind.trim_end_matches("_id"), name.value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_cohort_agrees_with_the_plain_computation_at_every_instant(
        events in events(100), steps in steps(), rules in proptest::collection::vec(rule(), 4),
        mut instants in proptest::collection::vec(0i64..10 * 1_440, 1..5)
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let snapshot = dataset.snapshot().expect("a snapshot");
        instants.sort_unstable();
        let instants: Vec<i64> = instants.iter().map(|minute| EPOCH + minute * MINUTE).collect();
        let histories = histories(&events, &links);
        for rule in rules {
            let members = |instant: i64| -> BTreeSet<&str> {
                histories
                    .iter()
                    .filter_map(|(subject, history)| {
                        let known = history.partition_point(|event| event.time < instant);
                        let is_member = known > 0 && holds(&rule, &history[..known], instant);
                        is_member.then_some(subject.as_str())
                    })
                    .collect()
            };
            let cohort = snapshot.cohort(&rule, &instants).expect("a cohort");
            let sizes: Vec<u64> = instants.iter().map(|at| members(*at).len() as u64).collect();
            prop_assert_eq!(&cohort.sizes, &sizes, "{:?}", rule);
            prop_assert_eq!(cohort.members.len(), sizes[sizes.len() - 1]);
            let names = snapshot.names(&cohort.members);
            prop_assert!(names.is_sorted());
            let named: BTreeSet<String> = names.iter().map(text).collect();
            let expected: BTreeSet<String> =
                members(instants[instants.len() - 1]).into_iter().map(str::to_owned).collect();
            prop_assert_eq!(named, expected, "{:?}", rule);

            // As if the log had ended in the middle.
            let position = events.get(events.len() / 2).map_or(0, |event| event.position);
            let known: Vec<Event> =
                events.iter().filter(|event| event.position <= position).cloned().collect();
            let histories = crate::cohorts::histories(&known, &links);
            let sizes = instants.iter().map(|instant| {
                let is_member = |history: &&Vec<&Event>| {
                    let known = history.partition_point(|event| event.time < *instant);
                    known > 0 && holds(&rule, &history[..known], *instant)
                };
                histories.values().filter(is_member).count() as u64
            });
            let then = snapshot.cohort_up_to(&rule, &instants, Some(position)).expect("a cohort");
            prop_assert_eq!(then.sizes, sizes.collect::<Vec<_>>(), "{:?}", rule);
        }
    }

    #[test]
    fn a_cohort_at_first_events_knows_nothing_of_what_followed(
        events in events(100), steps in steps(), rules in proptest::collection::vec(rule(), 4),
        event in selector(), property in proptest::option::of(Just("x".to_owned())),
        from in 0i64..6 * 1_440, length in 0i64..9 * 1_440,
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let snapshot = dataset.snapshot().expect("a snapshot");
        let from_micros = EPOCH + from * MINUTE;
        let to_micros = from_micros + length * MINUTE;
        let first = FirstEvent { event, property, from_micros, to_micros };
        let is_first = |found: &&&Event| {
            selected(found, &first.event)
                && (from_micros..to_micros).contains(&found.time)
                && first.property.as_ref().is_none_or(|path| found.properties.get(path).is_some())
        };
        let histories = histories(&events, &links);
        let plan = Dimension::Property("plan.name".to_owned());
        let mut expected: BTreeMap<Option<String>, BTreeSet<String>> = BTreeMap::new();
        for (subject, history) in &histories {
            let Some(instant) = history.iter().find(is_first).map(|event| event.time) else {
                continue;
            };
            let mut before = history.iter().rev().filter(|event| event.time < instant);
            let value = before.find_map(|event| dimension(event, &plan));
            expected.entry(value).or_default().insert(subject.clone());
        }
        let segments = snapshot.segments(&plan, &first).expect("segments").into_iter();
        let segments: BTreeMap<Option<String>, BTreeSet<String>> = segments
            .map(|(value, subjects)| (value, snapshot.names(&subjects).iter().map(text).collect()))
            .collect();
        prop_assert_eq!(segments, expected);
        for rule in rules {
            let is_member = |history: &[&Event]| {
                let Some(instant) = history.iter().find(is_first).map(|event| event.time) else {
                    return false;
                };
                let known = history.partition_point(|event| event.time < instant);
                known > 0 && holds(&rule, &history[..known], instant)
            };
            let expected: BTreeSet<String> = histories
                .iter()
                .filter(|(_, history)| is_member(history))
                .map(|(subject, _)| subject.clone())
                .collect();
            let members = snapshot.cohort_at_first(&rule, &first).expect("a cohort");
            let named: BTreeSet<String> = snapshot.names(&members).iter().map(text).collect();
            prop_assert_eq!(named, expected, "{:?}", rule);

            // Its two sides are everybody, and nobody is on both.
            let cohorts = BTreeMap::from([("c".to_owned(), members.clone())]);
            let divided = snapshot.with_cohorts(cohorts);
            let subjects = |side| divided.part_of("c", side).expect("a side").subjects();
            prop_assert_eq!(subjects(Side::Within), members.len());
            prop_assert_eq!(
                subjects(Side::Within) + subjects(Side::Without), snapshot.subjects()
            );
            prop_assert!(divided.part_of("d", Side::Within).is_err());
        }
    }

    #[test]
    fn a_question_about_a_cohort_is_a_question_about_the_events_of_its_members(
        events in events(100), steps in steps(), rule in rule(),
        queries in proptest::collection::vec(query(), 5)
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let snapshot = dataset.snapshot().expect("a snapshot");
        let as_of = EPOCH + 20 * DAY;
        let members = snapshot.cohort(&rule, &[as_of]).expect("a cohort").members;
        let named: BTreeSet<String> = snapshot.names(&members).iter().map(text).collect();
        let own: Vec<Event> = events
            .iter()
            .filter(|event| event.subject(&links).is_some_and(|subject| named.contains(&subject)))
            .cloned()
            .collect();
        let only = snapshot.only(&members);
        let cohorts = BTreeMap::from([("c".to_owned(), members)]);
        let divided = snapshot.with_cohorts(cohorts);
        for query in queries {
            let latest = snapshot.effective_range().map_or(query.from_micros, |range| range.1 + 1);
            let query = Query { as_of_micros: query.as_of_micros.or(Some(latest)), ..query };
            let expected = World { events: &own, links: &links }.answer(&query, &query.metric);
            assert_same(&only.query(&query).expect("an answer"), &query, &expected);

            // Members and all others together are everybody.
            let whole = snapshot.query(&query).expect("an answer");
            let by_cohort =
                Query { breakdowns: vec![Dimension::Cohort("c".to_owned())], ..query.clone() };
            let rows = divided.query(&by_cohort).expect("an answer").rows;
            let dimension = |value: &str| vec![Some(value.to_owned())];
            prop_assert!(rows.iter().all(|row| row.dimensions == dimension(Dimension::IN)
                || row.dimensions == dimension(Dimension::OUT)));
            if query.breakdowns.is_empty()
                && matches!(query.metric, MetricSpec::Count { .. } | MetricSpec::Sum { .. })
            {
                for row in &whole.rows {
                    let parts = rows.iter().filter(|part| part.bucket_start == row.bucket_start);
                    let sum = parts.filter_map(|part| part.value).sum::<f64>();
                    prop_assert!(near(Some(sum), row.value), "{sum} {row:?}");
                }
            }
            let within = Query { breakdowns: Vec::new(), ..query.clone() };
            let alone = only.query(&within).expect("an answer");
            for row in alone.rows.iter().filter(|row| row.n > 0) {
                let part = rows.iter().find(|part| {
                    part.bucket_start == row.bucket_start
                        && part.dimensions == dimension(Dimension::IN)
                });
                prop_assert!(part.is_some_and(|part| near(part.value, row.value) && part.n == row.n));
            }
        }
    }
}

#[test]
fn a_list_names_subjects_by_any_of_their_identifiers() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = northstar_engine::Dataset::new(dir.path()).expect("a folder");
    let event = |position: i64, user: &str| Event {
        position,
        name: "a",
        source: "web",
        user: Some(user.to_owned()),
        anonymous: None,
        account: None,
        time: EPOCH + position,
        sequence: 0,
        properties: json!({}),
    };
    let events = [event(1, "ada"), event(2, "ada-2"), event(3, "grace")];
    dataset.append(events.iter().map(Event::record)).expect("an append");
    dataset.point(("user_id", "ada-2"), ("user_id", "ada"));
    dataset.point(("user_id", "grace"), ("email", "grace@example.com"));
    let list = [
        ("user_id", "ada"),
        ("user_id", "ada-2"),
        ("email", "grace@example.com"),
        ("user_id", "nobody"),
    ];
    let members = dataset.subjects_named(list);
    assert_eq!(members.len(), 2);
    let snapshot = dataset.snapshot().expect("a snapshot");
    let names: Vec<String> = snapshot.names(&members).into_iter().map(|name| name.value).collect();
    assert_eq!(names, ["grace@example.com", "ada"]);
    assert_eq!(snapshot.only(&members).subjects(), 2);
    let rule = CohortRule::All(
        (0..40)
            .map(|number| CohortRule::Did {
                event: EventSelector::named(number.to_string()),
                at_least: 1,
                at_most: None,
                within_micros: None,
            })
            .collect(),
    );
    let refused = snapshot.cohort(&rule, &[i64::MAX]).unwrap_err().to_string();
    assert!(refused.contains("40 conditions"), "{refused}");
}

#[test]
fn null_is_a_value_of_a_property() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = northstar_engine::Dataset::new(dir.path()).expect("a folder");
    let event = |position: i64, plan: Value| Event {
        position,
        name: "a",
        source: "web",
        user: Some("ada".to_owned()),
        anonymous: None,
        account: None,
        time: EPOCH + position,
        sequence: 0,
        properties: json!({ "plan": plan }),
    };
    let events = [event(1, json!("pro")), event(2, json!(null))];
    dataset.append(events.iter().map(Event::record)).expect("an append");
    let rule = |take| CohortRule::Property {
        event: EventSelector::all(),
        property: "plan".to_owned(),
        condition: Filter::parse("properties.plan == \"pro\"").expect("a filter"),
        take,
    };
    let snapshot = dataset.snapshot().expect("a snapshot");
    let size =
        |take| snapshot.cohort(&rule(take), &[EPOCH + 2, EPOCH + 3]).expect("a cohort").sizes;
    assert_eq!((size(Take::Latest), size(Take::Any)), (vec![1, 0], vec![1, 1]));
}
