//! A data set over its life: appends, snapshots, compactions, crashes.

use std::fs;

use northstar_engine::{
    Anchor, Cancel, Dataset, Detail, Dimension, DistinctOf, Entry, Error, EventSelector,
    FunnelSpec, Grain, MetricSpec, Query, Snapshot, Ties,
};
use serde_json::json;

use crate::world::{DAY, EPOCH, Event};

fn event(position: i64) -> Event {
    Event {
        position,
        name: "a",
        source: "web",
        user: Some(format!("u{}", position % 50)),
        anonymous: None,
        account: None,
        time: EPOCH + position,
        sequence: 0,
        properties: json!({ "position": position }),
    }
}

fn append(dataset: &mut Dataset, positions: std::ops::Range<i64>) {
    let events: Vec<Event> = positions.map(event).collect();
    dataset.append(events.iter().map(Event::record)).expect("an append");
}

fn everything(metric: MetricSpec) -> Query {
    Query {
        metric,
        from_micros: EPOCH,
        to_micros: EPOCH + DAY,
        zone: chrono_tz::UTC,
        grain: Grain::Total,
        breakdowns: Vec::new(),
        filter: None,
        as_of_micros: None,
    }
}

fn count(snapshot: &Snapshot) -> u64 {
    snapshot
        .query(&everything(MetricSpec::Count { event: EventSelector::all() }))
        .expect("an answer")
        .rows[0]
        .n
}

#[test]
fn a_snapshot_stays_as_it_was_while_the_data_set_moves_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    append(&mut dataset, 0..1_000);
    let before = dataset.snapshot().expect("a snapshot");
    append(&mut dataset, 1_000..1_500);
    let first = dataset.compact().expect("a compaction").expect("a segment");
    append(&mut dataset, 1_500..3_000);
    let between = dataset.snapshot().expect("a snapshot");
    let second = dataset.compact().expect("a compaction").expect("a segment");
    assert_eq!(second.removed, [first.added]);
    dataset.remove_files(&second.removed).expect("removal");
    dataset.remove_files(&second.removed).expect("removal of what is gone");
    assert_eq!((count(&before), count(&between)), (1_000, 3_000));
    assert_eq!((before.watermark(), between.watermark()), (999, 2_999));
    let files = fs::read_dir(dir.path()).expect("a folder").count();
    assert_eq!((files, dataset.manifest().len()), (1, 1));
}

#[test]
fn a_compaction_runs_beside_appends_and_snapshots() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    assert!(dataset.plan_compaction().expect("a plan").is_none(), "nothing to compact");
    append(&mut dataset, 0..1_000);
    let job = dataset.plan_compaction().expect("a plan").expect("a job");
    append(&mut dataset, 1_000..1_010);
    assert_eq!(count(&dataset.snapshot().expect("a snapshot")), 1_010);
    append(&mut dataset, 1_010..1_020);
    let finished = std::thread::spawn(move || job.run()).join().expect("no panic").expect("a file");
    let compacted = dataset.install(finished).expect("installed");
    assert_eq!((compacted.added.events, compacted.added.last_position), (1_000, 999));
    assert_eq!(
        (dataset.persisted_watermark(), dataset.watermark(), dataset.tail_len()),
        (999, 1_019, 20)
    );
    assert_eq!(count(&dataset.snapshot().expect("a snapshot")), 1_020);
}

#[test]
fn a_compaction_that_failed_or_was_dropped_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path().join("data")).expect("a folder");
    append(&mut dataset, 0..100);
    drop(dataset.plan_compaction().expect("a plan"));
    append(&mut dataset, 100..200);
    fs::remove_dir_all(dataset.dir()).expect("removal");
    assert!(matches!(dataset.compact(), Err(Error::Io { .. })));
    assert_eq!(count(&dataset.snapshot().expect("a snapshot")), 200);
    fs::create_dir(dataset.dir()).expect("a folder");
    let first = dataset.plan_compaction().expect("a plan").expect("a job");
    let second = dataset.plan_compaction().expect("a plan").expect("a job");
    let (first, second) = (first.run().expect("a file"), second.run().expect("a file"));
    assert_eq!(dataset.install(first).expect("installed").added.events, 200);
    assert!(matches!(dataset.install(second), Err(Error::Manifest(_))));
    assert_eq!(count(&dataset.snapshot().expect("a snapshot")), 200);
}

#[test]
fn segments_grow_in_levels_and_a_reopened_data_set_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    append(&mut dataset, 0..20_000);
    dataset.compact().expect("a compaction");
    for round in 0..40 {
        append(&mut dataset, 20_000 + round * 100..20_100 + round * 100);
        let compacted = dataset.compact().expect("a compaction").expect("a segment");
        dataset.remove_files(&compacted.removed).expect("removal");
        let manifest = dataset.manifest();
        assert!(manifest.len() <= 5, "{} segments", manifest.len());
        assert_eq!(manifest[0].first_position, 0);
    }
    dataset.advance(50_000);
    append(&mut dataset, 24_000..24_001);
    assert_eq!(
        (dataset.len(), dataset.watermark()),
        (24_000, 50_000),
        "what lies below the watermark is known"
    );
    let mut reopened = Dataset::open(dir.path(), dataset.manifest()).expect("opens");
    assert_eq!((reopened.len(), reopened.watermark()), (24_000, 23_999));
    append(&mut reopened, 23_990..24_010);
    assert_eq!(count(&reopened.snapshot().expect("a snapshot")), 24_010);
}

#[test]
fn an_event_that_is_no_object_is_refused_and_the_ones_before_stay() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    let good = event(1);
    let bad = Event { properties: json!([1]), ..event(2) };
    let result = dataset.append([good.record(), bad.record()]);
    assert!(matches!(result, Err(Error::PropertiesNotAnObject { position: 2 })));
    assert_eq!((dataset.len(), dataset.watermark()), (1, 1));
    append(&mut dataset, 2..5);
    assert_eq!(count(&dataset.snapshot().expect("a snapshot")), 4);
}

#[test]
fn events_of_one_instant_are_ordered_by_sequence_wherever_they_lie() {
    let names = ["a", "b", "c"];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        // Which of the three come from the device, and after which of them the tail is written to a segment.
        for (devices, compactions) in
            (0..8).flat_map(|devices| (0..8).map(move |compactions| (devices, compactions)))
        {
            let dir = tempfile::tempdir().expect("a folder");
            let mut dataset = Dataset::new(dir.path()).expect("a folder");
            dataset.link("device", "user");
            for (at, step) in order.into_iter().enumerate() {
                let by_device = devices & (1 << at) != 0;
                let event = Event {
                    name: names[step],
                    user: (!by_device).then(|| "user".to_owned()),
                    anonymous: by_device.then(|| "device".to_owned()),
                    time: EPOCH,
                    sequence: step as i64,
                    ..event(at as i64)
                };
                dataset.append([event.record()]).expect("an append");
                dataset.snapshot().expect("a snapshot");
                if compactions & (1 << at) != 0 {
                    dataset.compact().expect("a compaction");
                }
            }
            let snapshot = dataset.snapshot().expect("a snapshot");
            for (ties, reached) in
                [(Ties::ByOrder, 3), (Ties::AnyOrder, 3), (Ties::StrictlyLater, 1)]
            {
                let funnel = MetricSpec::Funnel(FunnelSpec {
                    steps: names.map(EventSelector::named).to_vec(),
                    window_micros: Some(0),
                    anchor: Anchor::FirstTouch,
                    entry: Entry::FirstInRange,
                    ties,
                });
                let answer = snapshot.query(&everything(funnel)).expect("an answer");
                let Detail::Funnel(steps) = &answer.rows[0].detail else { panic!("no funnel") };
                let counts: Vec<u64> = steps.iter().map(|step| step.count).collect();
                let expected: Vec<u64> = (0..3).map(|step| u64::from(step < reached)).collect();
                assert_eq!(counts, expected, "{order:?} {devices:b} {compactions:b} {ties:?}");
            }
        }
    }
}

#[test]
fn properties_without_end_take_no_more_columns_and_cost_no_event() {
    const NAMES: i64 = 24_000;
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    // Every event has one property of its own, and one that all of them have.
    let odd = |position: i64| Event {
        properties: json!({ "plan": 2, (format!("key {position}")): 1 }),
        ..event(position)
    };
    let sum = |snapshot: &Snapshot, property: &str| {
        let metric = MetricSpec::Sum { event: EventSelector::all(), property: property.to_owned() };
        snapshot.query(&everything(metric)).expect("an answer").rows[0].value
    };
    for half in [0..NAMES / 2, NAMES / 2..NAMES] {
        let events: Vec<Event> = half.map(odd).collect();
        dataset.append(events.iter().map(Event::record)).expect("an append");
        dataset.compact().expect("a compaction");
    }
    let snapshot = dataset.snapshot().expect("a snapshot");
    assert_eq!(count(&snapshot), 24_000);
    assert_eq!(sum(&snapshot, "plan"), Some(48_000.0));
    let kept = (0..NAMES)
        .step_by(100)
        .filter(|number| sum(&snapshot, &format!("key {number}")) == Some(1.0));
    let kept = kept.count();
    assert!((1..=150).contains(&kept), "{kept} of 240 names are kept, of which about 100 fit");
}

#[test]
fn a_question_that_is_taken_back_has_no_answer_and_others_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    append(&mut dataset, 0..100);
    let snapshot = dataset.snapshot().expect("a snapshot");
    let cancel = Cancel::default();
    let asked = snapshot.cancelled_by(&cancel);
    assert_eq!(count(&asked), 100);
    cancel.cancel();
    let query = everything(MetricSpec::Count { event: EventSelector::all() });
    assert!(matches!(asked.query(&query), Err(Error::Cancelled)));
    assert_eq!(count(&snapshot), 100);
}

#[test]
fn distinct_values_are_the_same_in_one_pass_and_in_many() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    append(&mut dataset, 0..3_000);
    dataset.compact().expect("a compaction");
    append(&mut dataset, 3_000..5_000);
    let snapshot = dataset.snapshot().expect("a snapshot");
    let of = DistinctOf::Property("position".to_owned());
    let query = everything(MetricSpec::Unique { event: EventSelector::all(), of });
    let at_once = snapshot.query(&query).expect("an answer");
    assert_eq!(at_once.rows[0].n, 5_000);
    for bytes in [1_000_000, 50_000, 5_000] {
        assert_eq!(snapshot.within_memory(bytes).query(&query).expect("an answer"), at_once);
    }
}

#[test]
fn an_answer_that_is_too_large_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    append(&mut dataset, 0..5_000);
    let snapshot = dataset.snapshot().expect("a snapshot").within_memory(100_000);
    let mut query = everything(MetricSpec::Count { event: EventSelector::all() });
    assert_eq!(snapshot.query(&query).expect("an answer").rows[0].n, 5_000);
    query.breakdowns = vec![Dimension::Property("position".to_owned())];
    let refusal = snapshot.query(&query).expect_err("5,000 rows");
    assert!(matches!(refusal, Error::AnswerTooLarge { bytes: 100_000 }), "{refusal}");
}
