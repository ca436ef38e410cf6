//! Every cell of every answer fits the subjects and the events behind it.

use std::collections::{BTreeSet, HashMap};

use northstar_engine::{Cell, DistinctOf, Filter, MetricSpec, Query};
use proptest::prelude::*;

use crate::{
    naive::World,
    world::{Event, events, play, query, steps},
};

/// The subjects over whose events alone the metric has the cell with something in it.
fn expected(
    events: &[Event],
    links: &HashMap<String, String>,
    query: &Query,
    metric: &MetricSpec,
    key: &(String, Vec<Option<String>>),
) -> BTreeSet<String> {
    if let MetricSpec::Ratio { numerator, denominator } = metric {
        let mut both = expected(events, links, query, numerator, key);
        both.extend(expected(events, links, query, denominator, key));
        return both;
    }
    let answer = |world: &World<'_>| match metric {
        // Whoever is behind an input, in its own time.
        MetricSpec::Derived { inputs, .. } => {
            inputs.iter().map(|input| world.input(query, input)).collect()
        }
        metric => vec![world.answer(query, metric)],
    };
    let subjects: BTreeSet<String> =
        events.iter().filter_map(|event| event.subject(links)).collect();
    let contributes = |subject: &String| {
        let is_own = |event: &&Event| event.subject(links).as_ref() == Some(subject);
        let own: Vec<Event> = events.iter().filter(is_own).cloned().collect();
        let answers = answer(&World { events: &own, links });
        answers.iter().any(|rows| rows.get(key).is_some_and(|row| row.n > 0))
    };
    subjects.into_iter().filter(contributes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_subjects_and_events_behind_a_cell_are_those_that_make_its_number(
        events in events(80), steps in steps(), queries in proptest::collection::vec(query(), 4)
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let snapshot = dataset.snapshot().expect("a snapshot");
        for query in queries {
            let latest = snapshot.effective_range().map_or(query.from_micros, |range| range.1 + 1);
            let query = Query { as_of_micros: query.as_of_micros.or(Some(latest)), ..query };
            let answer = snapshot.query(&query).expect("an answer");
            for row in answer.rows.iter().take(4) {
                let bucket_start = row.bucket_start;
                let cell = Cell { bucket_start, dimensions: row.dimensions.clone() };
                let name = bucket_start
                    .map_or_else(String::new, |at| crate::naive::bucket(at, query.zone, query.grain));
                let behind = snapshot.behind(&query, &cell).expect("subjects");
                let named: BTreeSet<String> = snapshot
                    .names(&behind)
                    .iter()
                    .map(|name| format!("{} {}", name.kind.trim_end_matches("_id"), name.value))
                    .collect();
                let key = (name, row.dimensions.clone());
                let subjects = expected(&events, &links, &query, &query.metric, &key);
                prop_assert_eq!(&named, &subjects, "{:?}", &query);
                prop_assert_eq!(behind.len(), named.len() as u64);

                let found = snapshot.contributions(&query, &cell).expect("events");
                prop_assert!(found.events.is_sorted_by_key(|event| event.position));
                let of_events: BTreeSet<String> = found
                    .events
                    .iter()
                    .map(|event| found.event(event))
                    .filter_map(|event| event.subject)
                    .map(|name| format!("{} {}", name.kind.trim_end_matches("_id"), name.value))
                    .collect();
                prop_assert_eq!(&of_events, &subjects, "events of {:?}", &query);
                match &query.metric {
                    MetricSpec::Count { .. }
                    | MetricSpec::Sum { .. }
                    | MetricSpec::Mean { .. }
                    | MetricSpec::Min { .. }
                    | MetricSpec::Max { .. }
                    | MetricSpec::Percentile { .. }
                    | MetricSpec::Nps { .. } => {
                        prop_assert_eq!(found.events.len() as u64, row.n);
                    }
                    MetricSpec::Unique { of: DistinctOf::Subject, .. }
                    | MetricSpec::Funnel(_)
                    | MetricSpec::Retention(_)
                    | MetricSpec::TimeToEvent(_)
                    | MetricSpec::Stickiness(_)
                    | MetricSpec::Lifecycle(_)
                    | MetricSpec::PerSubject(_) => prop_assert_eq!(behind.len(), row.n),
                    MetricSpec::Unique { .. }
                    | MetricSpec::Ratio { .. }
                    | MetricSpec::Derived { .. }
                    | MetricSpec::Cumulative(_)
                    | MetricSpec::Conversion(_) => {}
                }
                for event in &found.events {
                    let original =
                        events.iter().find(|other| other.position == event.position).expect("it");
                    let event = found.event(event);
                    prop_assert_eq!(
                        (event.name.as_str(), event.effective_micros),
                        (original.name, original.time)
                    );
                    let x = original.properties.get("x");
                    prop_assert_eq!(event.properties.get("x"), x);
                }
            }
        }
    }
}

#[test]
fn what_was_left_out_is_counted_by_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = northstar_engine::Dataset::new(dir.path()).expect("a folder");
    let event = |position: i64, user: Option<&str>, properties| Event {
        position,
        name: "paid",
        source: "web",
        user: user.map(str::to_owned),
        anonymous: None,
        account: None,
        time: crate::world::EPOCH + position,
        sequence: 0,
        properties,
    };
    let events = [
        event(1, Some("ada"), serde_json::json!({"amount": 2, "test": false})),
        event(2, Some("ada"), serde_json::json!({"amount": 3, "test": true})),
        event(3, Some("grace"), serde_json::json!({"amount": 5})),
        event(4, None, serde_json::json!({"amount": 7})),
        event(5, Some("ada"), serde_json::json!({"amount": "a lot"})),
    ];
    dataset.append(events.iter().map(Event::record)).expect("an append");
    dataset.set_purposes(&[("analytics", false)]);
    dataset.word(("user_id", "grace"), "analytics", 1, false);
    let snapshot = dataset.snapshot().expect("a snapshot");
    let event = northstar_engine::EventSelector::named("paid")
        .filtered(Filter::parse("!properties.test").expect("a filter"));
    let query = Query {
        metric: MetricSpec::Sum { event, property: "amount".to_owned() },
        from_micros: crate::world::EPOCH,
        to_micros: crate::world::EPOCH + crate::world::DAY,
        zone: chrono_tz::UTC,
        grain: northstar_engine::Grain::Total,
        breakdowns: Vec::new(),
        filter: None,
        as_of_micros: None,
    };
    let found = snapshot.contributions(&query, &Cell::default()).expect("events");
    let positions: Vec<i64> = found.events.iter().map(|event| event.position).collect();
    assert_eq!(positions, [1, 4]);
    assert_eq!((found.without_consent, found.filtered, found.without_value), (1, 1, 1));
    assert_eq!(found.after(1), &found.events[1..]);
    assert_eq!(snapshot.query(&query).expect("an answer").rows[0].value, Some(9.0));
}
