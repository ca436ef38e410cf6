//! Random questions over random histories: the engine and the plain one must agree, however the events arrived.

use std::collections::{BTreeMap, HashMap};

use northstar_engine::{
    Answer, Dataset, Detail, Dimension, EventSelector, Filter, Grain, MetricSpec, Outcome, Partial,
    Query, Return, StickinessSpec, VariantQuery,
};
use proptest::{prelude::*, strategy::ValueTree};

use crate::{
    naive::{Expected, Key, World, bucket},
    world::{
        DAY, EPOCH, Event, MINUTE, aggregate, by_events, conversion, events, funnel, play, query,
        selector, steps, stickiness, time_to_event,
    },
};

pub fn near(left: Option<f64>, right: Option<f64>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => {
            (left - right).abs() <= 1e-9 * (1.0 + left.abs().max(right.abs()))
        }
        (left, right) => left == right,
    }
}

fn rows_of(answer: &Answer, query: &Query) -> BTreeMap<Key, Expected> {
    answer
        .rows
        .iter()
        .map(|row| {
            let name = row
                .bucket_start
                .map_or_else(String::new, |start| bucket(start, query.zone, query.grain));
            assert_eq!(row.bucket_start.is_none(), query.grain == Grain::Total);
            let (mut counts, mut medians) = (Vec::new(), Vec::new());
            match &row.detail {
                Detail::None => {}
                Detail::Funnel(steps) => {
                    counts.extend(steps.iter().map(|step| step.count));
                    medians.extend(steps[1..].iter().map(|step| step.median_seconds));
                }
                Detail::Retention(cells) => {
                    counts.extend(cells.iter().flat_map(|cell| [cell.eligible, cell.retained]));
                    assert!(cells.iter().all(|cell| cell.retained <= cell.eligible));
                }
                Detail::Durations(durations) => counts.extend([durations.entered, durations.n]),
                Detail::Stickiness(histogram) => counts.extend(histogram),
                Detail::Lifecycle(found) => {
                    counts.extend([found.new, found.returning, found.resurrecting, found.dormant])
                }
            }
            (
                (name, row.dimensions.clone()),
                Expected { value: row.value, n: row.n, counts, medians },
            )
        })
        .collect()
}

/// The engine gives every expected row, and beyond them only empty buckets.
pub fn assert_same(answer: &Answer, query: &Query, expected: &BTreeMap<Key, Expected>) {
    let found = rows_of(answer, query);
    assert_eq!(found.len(), answer.rows.len(), "two rows for one cell");
    for (key, expected) in expected {
        let found =
            found.get(key).unwrap_or_else(|| panic!("no row for {key:?}; expected {expected:?}"));
        assert!(
            near(found.value, expected.value),
            "{key:?}: value {:?}, expected {:?}",
            found.value,
            expected.value
        );
        assert_eq!((found.n, &found.counts), (expected.n, &expected.counts), "{key:?}");
        assert_eq!(found.medians.len(), expected.medians.len());
        for (found, expected) in found.medians.iter().zip(&expected.medians) {
            assert!(near(*found, *expected), "{key:?}: median {found:?}, expected {expected:?}");
        }
    }
    for (key, row) in &found {
        if !expected.contains_key(key) {
            assert!(query.breakdowns.is_empty(), "unexpected row {key:?} {row:?}");
            assert!(
                row.n == 0 && row.counts.iter().all(|count| *count == 0),
                "unexpected row {key:?} {row:?}"
            );
        }
    }
}

pub fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        selector().prop_map(|event| Outcome::Did { event }),
        selector().prop_map(|event| Outcome::Count { event }),
        selector().prop_map(|event| Outcome::Sum { event, property: "x".to_owned() }),
        selector().prop_map(|event| Outcome::Mean { event, property: "x".to_owned() }),
    ]
}

/// Outcomes for which the order of events matters.
pub fn journey() -> impl Strategy<Value = Outcome> {
    let mode = proptest::sample::select(vec![Return::On, Return::OnOrAfter]);
    prop_oneof![
        2 => funnel().prop_map(|funnel| Outcome::Completed {
            steps: funnel.steps,
            window_micros: funnel.window_micros,
            anchor: funnel.anchor,
            ties: funnel.ties,
        }),
        1 => (selector(), selector(), 0u32..4, mode).prop_map(|(start, returning, days, mode)| {
            Outcome::Returned { start, returning, days, mode }
        }),
        1 => conversion().prop_map(Outcome::Converted),
        1 => selector().prop_map(|event| Outcome::Score { event, property: "x".to_owned() }),
        1 => (selector(), aggregate())
            .prop_map(|(event, aggregate)| Outcome::PerSubject { event, aggregate }),
        1 => stickiness().prop_map(|spec| {
            let StickinessSpec { event, interval, measure } = spec;
            Outcome::Active { event, interval, measure }
        }),
        1 => time_to_event().prop_map(|times| Outcome::Elapsed {
            from: times.from,
            to: times.to,
            window_micros: times.window_micros,
            ties: times.ties,
        }),
    ]
}

/// The same events in two data sets, no subject in both.
pub fn shards(events: &[Event], links: &HashMap<String, String>) -> [Dataset; 2] {
    let dir = std::env::temp_dir().join("northstar-engine-shards-are-never-written");
    [0, 1].map(|shard| {
        let mut dataset = Dataset::new(&dir).expect("a folder");
        let belongs = |event: &&Event| {
            event
                .subject(links)
                .map_or(0, |subject| subject.bytes().map(usize::from).sum::<usize>() % 2)
                == shard
        };
        dataset.append(events.iter().filter(belongs).map(Event::record)).expect("an append");
        dataset.relink(links);
        dataset
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn every_metric_agrees_with_the_plain_computation(
        events in events(120), steps in steps(), queries in proptest::collection::vec(query(), 6)
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let snapshot = dataset.snapshot().expect("a snapshot");
        let world = World { events: &events, links: &links };
        for query in queries {
            let answer = snapshot.query(&query).expect("an answer");
            assert_same(&answer, &query, &world.answer(&query, &query.metric));
            prop_assert_eq!(answer.watermark, events.last().map_or(i64::MIN, |event| event.position));
        }
    }

    #[test]
    fn a_view_up_to_a_position_does_not_know_what_came_later(
        events in events(120), steps in steps(), queries in proptest::collection::vec(query(), 3)
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let position = events.get(events.len() / 2).map_or(0, |event| event.position);
        let view = dataset.snapshot().expect("a snapshot").up_to(position);
        let known: Vec<Event> =
            events.iter().filter(|event| event.position <= position).cloned().collect();
        let world = World { events: &known, links: &links };
        for query in queries {
            let answer = view.query(&query).expect("an answer");
            assert_same(&answer, &query, &world.answer(&query, &query.metric));
            prop_assert_eq!(answer.watermark, known.last().map_or(i64::MIN, |event| event.position));
        }
    }

    #[test]
    fn a_row_of_a_breakdown_is_the_answer_to_a_filter_on_its_value(
        events in events(120), steps in steps(), mut query in query(), metric in by_events()
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, _) = play(&events, &steps, dir.path());
        let snapshot = dataset.snapshot().expect("a snapshot");
        query.metric = metric;
        let latest = snapshot.effective_range().map_or(query.from_micros, |range| range.1 + 1);
        query.as_of_micros = query.as_of_micros.or(Some(latest));
        query.breakdowns = vec![Dimension::Property("plan.name".to_owned())];
        let rows = snapshot.query(&query).expect("an answer").rows;
        for plan in ["free", "pro"] {
            let on_plan = format!("properties.plan.name == {plan:?}");
            let source = match &query.filter {
                Some(filter) => format!("({}) && {on_plan}", filter.source()),
                None => on_plan,
            };
            let filtered = Query {
                breakdowns: Vec::new(),
                filter: Some(Filter::parse(&source).expect("a filter")),
                ..query.clone()
            };
            for expected in snapshot.query(&filtered).expect("an answer").rows {
                let row = rows.iter().find(|row| {
                    row.bucket_start == expected.bucket_start
                        && row.dimensions == [Some(plan.to_owned())]
                });
                match row {
                    Some(row) => {
                        prop_assert!(near(row.value, expected.value), "{row:?} {expected:?}");
                        prop_assert_eq!((row.n, &row.detail), (expected.n, &expected.detail));
                    }
                    None => prop_assert_eq!(expected.n, 0),
                }
            }
        }
    }

    #[test]
    fn variant_statistics_agree_with_the_plain_computation(
        events in events(120), steps in steps(), exposure in selector(),
        (outcome, denominator) in prop_oneof![
            (outcome(), proptest::option::of(outcome())),
            (journey(), Just(None)),
        ], window in proptest::option::of(0i64..6 * 1_440), pre in 0i64..4 * 1_440,
        from in 0i64..3 * 1_440, property in proptest::sample::select(vec!["plan.name", "flag", "x"]),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let query = VariantQuery {
            exposure,
            variant_property: property.to_owned(),
            from_micros: EPOCH + from * MINUTE,
            to_micros: EPOCH + 7 * DAY,
            window_micros: window.map(|minutes| minutes * MINUTE),
            as_of_micros: Some(EPOCH + 8 * DAY),
            require_full_window: false,
            outcome,
            denominator,
            pre_micros: pre * MINUTE,
        };
        let answer = dataset.snapshot().expect("a snapshot").variant_stats(&query).expect("an answer");
        let (arms, multiple) = World { events: &events, links: &links }.variants(&query, property);
        prop_assert_eq!(answer.multiple_exposures, multiple);
        let found: BTreeMap<_, _> = answer.variants.iter().map(|arm| (arm.variant.clone(), arm.moments)).collect();
        prop_assert_eq!(found.keys().collect::<Vec<_>>(), arms.keys().collect::<Vec<_>>());
        for (name, (n, sums)) in arms {
            let moments = found[&name];
            prop_assert_eq!(moments.n, n);
            let found = [moments.y, moments.yy, moments.d, moments.yd, moments.x, moments.xy];
            for (found, expected) in found.into_iter().zip(sums) {
                prop_assert!(near(Some(found), Some(expected)), "{}: {:?}, expected {:?}", name, found, expected);
            }
        }
    }

    #[test]
    fn partial_answers_of_disjoint_subjects_travel_and_merge(
        events in events(80), steps in steps(), mut query in query()
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        query.as_of_micros = Some(EPOCH + 7 * DAY);
        let whole = dataset.snapshot().expect("a snapshot").query(&query).expect("an answer");
        let [mut left, right] = shards(&events, &links).map(|shard| {
            let partial = shard.snapshot().expect("a snapshot").partial(&query, 1).expect("a partial answer");
            let json = serde_json::to_string(&partial).expect("json");
            serde_json::from_str::<Partial>(&json).expect("the same partial answer")
        });
        left.merge(right);
        let merged = left.finish(&query).expect("an answer");
        prop_assert_eq!(rows_of(&merged, &query).len(), rows_of(&whole, &query).len());
        for (merged, whole) in merged.rows.iter().zip(&whole.rows) {
            prop_assert_eq!((merged.bucket_start, &merged.dimensions, merged.n), (whole.bucket_start, &whole.dimensions, whole.n));
            prop_assert!(near(merged.value, whole.value));
            prop_assert_eq!(&merged.detail, &whole.detail);
            prop_assert_eq!(merged.complete, whole.complete);
        }
    }
}

#[test]
fn an_answer_does_not_depend_on_the_number_of_threads() {
    // Enough events that several threads take part.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let base = events(200).new_tree(&mut runner).expect("events").current();
    let mut many = Vec::new();
    for round in 0..1_500i64 {
        many.extend(base.iter().map(|event| Event {
            position: event.position + round * 1_000,
            time: event.time + round * 7_919,
            user: event.user.as_ref().map(|user| format!("{user}-{}", round % 97)),
            anonymous: event.anonymous.as_ref().map(|device| format!("{device}-{}", round % 89)),
            ..event.clone()
        }));
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    dataset.append(many.iter().map(Event::record)).expect("an append");
    assert!(dataset.len() > 60_000, "{} events", dataset.len());
    let snapshot = dataset.snapshot().expect("a snapshot");
    for _ in 0..60 {
        let query = query().new_tree(&mut runner).expect("a query").current();
        let one = snapshot.query_on(&query, 1).expect("an answer");
        assert_eq!(one, snapshot.query_on(&query, 2).expect("an answer"));
        assert_eq!(one, snapshot.query_on(&query, 5).expect("an answer"));
    }
}

#[test]
fn a_question_that_contradicts_itself_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let snapshot = Dataset::new(dir.path()).expect("a folder").snapshot().expect("a snapshot");
    let query = |metric| Query {
        metric,
        from_micros: 0,
        to_micros: DAY,
        zone: chrono_tz::UTC,
        grain: Grain::Day,
        breakdowns: Vec::new(),
        filter: None,
        as_of_micros: None,
    };
    let count = || MetricSpec::Count { event: EventSelector::all() };
    assert_eq!(snapshot.query(&query(count())).expect("zero").rows[0].value, Some(0.0));
    let mut backwards = query(count());
    backwards.to_micros = -1;
    let deep = (0..20).fold(count(), |inner, _| MetricSpec::Ratio {
        numerator: Box::new(inner),
        denominator: Box::new(count()),
    });
    let no_steps: MetricSpec = serde_json::from_str(
        r#"{"funnel":{"steps":[],"window_micros":null,"anchor":"first_touch","entry":"per_bucket","ties":"by_order"}}"#,
    )
    .expect("a funnel");
    for wrong in [backwards, query(deep), query(no_steps)] {
        snapshot.query(&wrong).expect_err("refused");
    }
}

/// Values with a long tail, so that the middle and the ends differ by orders of magnitude.
fn skewed(at: i64) -> f64 {
    let share = (at * 7_919 % 30_011) as f64 / 30_011.0;
    (share * 12.0).exp()
}

#[test]
fn an_approximate_percentile_is_near_the_exact_one_by_rank() {
    let properties: Vec<serde_json::Value> =
        (0..30_000).map(|at| serde_json::json!({ "x": skewed(at) })).collect();
    let record = |at: usize| northstar_engine::EventRecord {
        position: at as i64 + 1,
        name: "a",
        source: "web",
        actor: northstar_engine::Actor { user_id: Some("u"), anonymous_id: None },
        account_id: None,
        effective_micros: EPOCH + at as i64,
        sequence: 0,
        properties: &properties[at],
    };
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    let mut other = Dataset::new(dir.path().join("other")).expect("a folder");
    dataset.append((0..20_000).map(record)).expect("an append");
    other.append((20_000..30_000).map(record)).expect("an append");
    let mut sorted: Vec<f64> = (0..30_000).map(skewed).collect();
    sorted.sort_by(f64::total_cmp);
    for quantile in [0.01, 0.25, 0.5, 0.9, 0.99, 0.999] {
        let query = Query {
            metric: MetricSpec::Percentile {
                event: EventSelector::all(),
                property: "x".to_owned(),
                quantile,
                approximate: true,
            },
            from_micros: EPOCH,
            to_micros: EPOCH + DAY,
            zone: chrono_tz::UTC,
            grain: Grain::Total,
            breakdowns: Vec::new(),
            filter: None,
            as_of_micros: None,
        };
        let partial = |dataset: &mut Dataset| {
            dataset.snapshot().expect("a snapshot").partial(&query, 2).expect("a partial answer")
        };
        let mut merged = partial(&mut dataset);
        merged.merge(partial(&mut other));
        let json = serde_json::to_string(&merged).expect("json");
        assert!(json.len() < 20_000, "a digest of {} bytes is no summary", json.len());
        let row = &merged.finish(&query).expect("an answer").rows[0];
        assert_eq!(row.n, 30_000);
        let value = row.value.expect("a value");
        let rank = sorted.partition_point(|number| *number < value) as f64 / 30_000.0;
        // Of the numbers on the nearer side, a few in a hundred; a t-digest is most exact at the ends.
        let tolerance = 0.03 * quantile.min(1.0 - quantile) + 1e-4;
        assert!((rank - quantile).abs() < tolerance, "{quantile}: rank {rank} of {value}");
    }
}
