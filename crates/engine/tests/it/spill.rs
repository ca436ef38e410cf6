//! Answers whose partial results do not fit into the memory of a question.

use northstar_engine::{
    Aggregate, Anchor, ConversionMeasure, ConversionSpec, CumulativeEnd, CumulativeSpec,
    CumulativeWindow, Dataset, DerivedInput, Dimension, DistinctOf, Entry, Error, EventSelector,
    Formula, FunnelSpec, Grain, Lifecycle, LifecycleSpec, Maturity, MetricSpec, PerSubjectSpec,
    Period, Query, RetentionSpec, Return, Span, SpanUnit, Statistic, StickinessMeasure,
    StickinessSpec, Ties, TimeToEventSpec,
    journeys::{
        Bracket, Clock, Cohorts, FunnelQuery, FunnelStep, RetentionMode, RetentionQuery, Scope,
        Unit,
    },
};
use serde_json::json;

use crate::world::{DAY, EPOCH, Event};

/// What a cell of a partial result and a row of an answer count for.
const ROW: u64 = 300;

const EVENTS: i64 = 6_000;

/// Events of 150 people with a property of 90 values.
fn event(position: i64) -> Event {
    let mixed = (position * 2_654_435_761) % 1_000_003;
    Event {
        position,
        name: ["a", "b", "c"][(mixed / 90 % 3) as usize],
        source: "web",
        user: Some(format!("u{}", mixed / 270 % 150)),
        anonymous: None,
        account: Some(format!("account {}", mixed % 40)),
        time: EPOCH + position * 14 * DAY / EVENTS,
        sequence: 0,
        properties: json!({ "group": format!("g{}", mixed % 90), "amount": mixed % 11 }),
    }
}

fn metrics() -> Vec<(&'static str, MetricSpec)> {
    let named = |name: &'static str| EventSelector::named(name);
    let amount = || "amount".to_owned();
    let unique = |of| MetricSpec::Unique { event: EventSelector::all(), of };
    let percentile = |approximate| MetricSpec::Percentile {
        event: EventSelector::all(),
        property: amount(),
        quantile: 0.9,
        approximate,
    };
    let per_subject = |aggregate, statistic| {
        MetricSpec::PerSubject(PerSubjectSpec { event: EventSelector::all(), aggregate, statistic })
    };
    let cumulative = |metric, window| {
        MetricSpec::Cumulative(CumulativeSpec {
            metric: Box::new(metric),
            window,
            end: CumulativeEnd::BucketEnd,
        })
    };
    let trailing = || CumulativeWindow::Trailing(Span { count: 3, unit: SpanUnit::Day });
    let count = |name: &'static str| MetricSpec::Count { event: named(name) };
    let all = || MetricSpec::Count { event: EventSelector::all() };
    let input = |metric| DerivedInput { metric, offset: None };
    let formula = Formula::parse("a / everything", &["a", "everything"]).expect("a formula");
    vec![
        ("count", all()),
        ("subjects", unique(DistinctOf::Subject)),
        ("accounts", unique(DistinctOf::Account)),
        ("values", unique(DistinctOf::Property(amount()))),
        ("sum", MetricSpec::Sum { event: EventSelector::all(), property: amount() }),
        ("mean", MetricSpec::Mean { event: EventSelector::all(), property: amount() }),
        ("min", MetricSpec::Min { event: EventSelector::all(), property: amount() }),
        ("max", MetricSpec::Max { event: EventSelector::all(), property: amount() }),
        ("percentile", percentile(false)),
        ("approximate percentile", percentile(true)),
        ("score", MetricSpec::Nps { event: EventSelector::all(), property: amount() }),
        (
            "funnel",
            MetricSpec::Funnel(FunnelSpec {
                steps: vec![named("a"), named("b"), named("c")],
                window_micros: Some(5 * DAY),
                anchor: Anchor::BestAttempt,
                entry: Entry::PerBucket,
                ties: Ties::ByOrder,
            }),
        ),
        (
            "time to event",
            MetricSpec::TimeToEvent(TimeToEventSpec {
                from: named("a"),
                to: named("b"),
                window_micros: None,
                entry: Entry::PerBucket,
                ties: Ties::ByOrder,
                statistic: Statistic::P90,
            }),
        ),
        (
            "retention",
            MetricSpec::Retention(RetentionSpec {
                start: named("a"),
                returning: EventSelector::all(),
                period: Period::Day,
                offsets: vec![0, 1, 2, 5],
                headline: 1,
                mode: Return::On,
                maturity: Maturity::PeriodStarted,
                entry: Entry::PerBucket,
            }),
        ),
        (
            "stickiness",
            MetricSpec::Stickiness(StickinessSpec {
                event: EventSelector::all(),
                interval: Period::Day,
                measure: StickinessMeasure::Ratio,
            }),
        ),
        (
            "lifecycle",
            MetricSpec::Lifecycle(LifecycleSpec {
                event: EventSelector::all(),
                state: Lifecycle::Returning,
            }),
        ),
        ("events of a subject", per_subject(Aggregate::Count, Statistic::P50)),
        ("amount of a subject", per_subject(Aggregate::Sum(amount()), Statistic::Mean)),
        (
            "conversion",
            MetricSpec::Conversion(ConversionSpec {
                base: named("a"),
                conversion: named("b"),
                window_micros: Some(DAY),
                constants: Vec::new(),
                measure: ConversionMeasure::Rate,
            }),
        ),
        ("rolling count", cumulative(all(), trailing())),
        ("rolling subjects", cumulative(unique(DistinctOf::Subject), trailing())),
        ("accounts to date", cumulative(unique(DistinctOf::Account), CumulativeWindow::AllTime)),
        ("rolling percentile", cumulative(percentile(false), trailing())),
        (
            "ratio",
            MetricSpec::Ratio { numerator: Box::new(count("a")), denominator: Box::new(all()) },
        ),
        ("derived", MetricSpec::Derived { formula, inputs: vec![input(count("a")), input(all())] }),
    ]
}

fn query(metric: MetricSpec, grain: Grain) -> Query {
    Query {
        metric,
        from_micros: EPOCH,
        to_micros: EPOCH + 14 * DAY,
        zone: chrono_tz::UTC,
        grain,
        breakdowns: vec![Dimension::Property("group".to_owned())],
        filter: None,
        as_of_micros: Some(EPOCH + 14 * DAY),
    }
}

fn dataset(dir: &std::path::Path) -> Dataset {
    let mut dataset = Dataset::new(dir).expect("a folder");
    for half in [0..EVENTS / 2, EVENTS / 2..EVENTS] {
        let events: Vec<Event> = half.map(event).collect();
        dataset.append(events.iter().map(Event::record)).expect("an append");
        dataset.compact().expect("a compaction");
    }
    dataset
}

#[test]
fn a_breakdown_that_fits_only_as_an_answer_is_answered_like_any_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let dataset = dataset(dir.path());
    let snapshot = dataset.snapshot().expect("a snapshot");
    let files = std::fs::read_dir(dir.path()).expect("a folder").count();
    for grain in [Grain::Total, Grain::Week] {
        for (name, metric) in metrics() {
            let query = query(metric, grain);
            let unbounded = snapshot.query(&query).expect("an answer");
            let rows = unbounded.rows.len() as u64;
            assert!(rows >= 50, "{name}: {rows} rows");
            // The answer fits, and no more: while they are gathered, cells may take half of that.
            let little = snapshot.within_memory(rows * ROW);
            assert_eq!(little.query(&query).expect(name), unbounded, "{name} by {grain:?}");
            let less = snapshot.within_memory(rows * ROW / 2).query(&query);
            assert!(matches!(less, Err(Error::AnswerTooLarge { .. })), "{name}: {less:?}");
        }
    }
    let left = std::fs::read_dir(dir.path()).expect("a folder").count();
    assert_eq!(left, files, "no file is left behind");
}

#[test]
fn a_retention_table_that_fits_only_as_an_answer_is_answered() {
    let dir = tempfile::tempdir().expect("a folder");
    let dataset = dataset(dir.path());
    let snapshot = dataset.snapshot().expect("a snapshot");
    let scope = Scope {
        from_micros: EPOCH,
        to_micros: EPOCH + 14 * DAY,
        zone: chrono_tz::UTC,
        filter: None,
        breakdowns: vec![Dimension::Property("group".to_owned())],
        as_of_micros: None,
        position: None,
    };
    let query = RetentionQuery {
        scope,
        start: EventSelector::named("a"),
        returning: EventSelector::all(),
        entry: Entry::PerBucket,
        cohorts: Cohorts::By(Grain::Week),
        unit: Unit::Day,
        clock: Clock::Calendar,
        brackets: (0..5).map(Bracket::at).collect(),
        mode: RetentionMode::On,
        value: Some("amount".to_owned()),
        same_values: false,
    };
    let unbounded = snapshot.retention(&query).expect("an answer");
    let rows = unbounded.cohorts.len() as u64;
    assert!(rows > 90, "{rows} rows");
    let little = snapshot.within_memory(rows * ROW);
    assert_eq!(little.retention(&query).expect("an answer"), unbounded);
    let less = snapshot.within_memory(rows * ROW / 2).retention(&query);
    assert!(matches!(less, Err(Error::AnswerTooLarge { .. })), "{less:?}");
}

#[test]
fn a_funnel_whose_groups_do_not_fit_tells_the_largest_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let dataset = dataset(dir.path());
    let snapshot = dataset.snapshot().expect("a snapshot");
    let scope = Scope {
        breakdowns: vec![Dimension::Property("group".to_owned())],
        ..Scope::of(EPOCH, EPOCH + 14 * DAY)
    };
    let steps = ["a", "b"].map(FunnelStep::named).to_vec();
    for (max_groups, trend) in [(7, None), (7, Some(Grain::Week)), (50, Some(Grain::Day))] {
        let query =
            FunnelQuery { max_groups, trend, ..FunnelQuery::new(scope.clone(), steps.clone()) };
        let unbounded = snapshot.funnel(&query).expect("an answer");
        assert_eq!(unbounded.groups.len(), max_groups + 1, "the others are one group");
        for bytes in [1_000, 20_000] {
            let little = snapshot.within_memory(bytes);
            assert_eq!(little.funnel(&query).expect("an answer"), unbounded, "{bytes} bytes");
        }
    }
}
