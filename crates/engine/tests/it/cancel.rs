//! A question that is taken back does no work, whichever question it is, and leaves nothing wrong behind.

use std::fmt::Debug;

use northstar_engine::{
    AdoptionQuery, Anchor, Cancel, Cell, CohortRule, ConversionMeasure, ConversionSpec, DayZero,
    Dimension, DistinctOf, Entry, Error, EventSelector, FirstEvent, FunnelSpec, Grain, Lifecycle,
    LifecycleSpec, Maturity, MetricSpec, Outcome, Period, PurchaseQuery, Query, RetentionSpec,
    Return, Snapshot, Statistic, Ties, TimeToEventSpec, VariantQuery,
    journeys::{
        Bracket, Clock, Cohorts, FunnelCell, FunnelQuery, FunnelStep, LifecycleCell,
        LifecycleQuery, MemberPage, PathsCell, PathsQuery, PathsStep, RetentionCellKey,
        RetentionMode, RetentionQuery, StepOutcome, Unit,
    },
};
use serde_json::json;

use crate::{
    journeys::{dataset, ten_days},
    world::{DAY, EPOCH},
};

/// What questions answer, or why they do not.
type Answers = Vec<(String, Result<String, Error>)>;

fn put<T: Debug>(answers: &mut Answers, name: impl Into<String>, answer: Result<T, Error>) {
    answers.push((name.into(), answer.map(|answer| format!("{answer:?}"))));
}

fn event() -> EventSelector {
    EventSelector::named("a")
}

fn other() -> EventSelector {
    EventSelector::named("b")
}

fn metrics() -> [MetricSpec; 10] {
    let x = || "x".to_owned();
    let count = || Box::new(MetricSpec::Count { event: event() });
    let funnel = FunnelSpec {
        steps: vec![event(), other()],
        window_micros: None,
        anchor: Anchor::BestAttempt,
        entry: Entry::PerBucket,
        ties: Ties::ByOrder,
    };
    let time = TimeToEventSpec {
        from: event(),
        to: other(),
        window_micros: None,
        statistic: Statistic::P50,
        entry: Entry::PerBucket,
        ties: Ties::ByOrder,
    };
    let retention = RetentionSpec {
        start: event(),
        returning: event(),
        period: Period::Day,
        offsets: vec![1],
        headline: 1,
        mode: Return::On,
        maturity: Maturity::PeriodEnded,
        entry: Entry::PerBucket,
    };
    let conversion = ConversionSpec {
        base: event(),
        conversion: other(),
        window_micros: None,
        constants: Vec::new(),
        measure: ConversionMeasure::Rate,
    };
    [
        *count(),
        MetricSpec::Unique { event: event(), of: DistinctOf::Subject },
        MetricSpec::Unique { event: event(), of: DistinctOf::Property(x()) },
        MetricSpec::Sum { event: event(), property: x() },
        MetricSpec::Ratio { numerator: count(), denominator: count() },
        MetricSpec::Funnel(funnel),
        MetricSpec::TimeToEvent(time),
        MetricSpec::Retention(retention),
        MetricSpec::Lifecycle(LifecycleSpec { event: event(), state: Lifecycle::New }),
        MetricSpec::Conversion(conversion),
    ]
}

/// Asks about metrics, and about what lies behind a cell of each.
fn ask_metrics(snapshot: &Snapshot, answers: &mut Answers) {
    for metric in metrics() {
        let query = Query {
            metric,
            from_micros: EPOCH,
            to_micros: EPOCH + 10 * DAY,
            zone: chrono_tz::UTC,
            grain: Grain::Day,
            breakdowns: vec![Dimension::Property("plan".to_owned())],
            filter: None,
            as_of_micros: None,
        };
        let cell = Cell { bucket_start: Some(EPOCH), dimensions: vec![Some("pro".to_owned())] };
        let name = format!("{:?}", query.metric);
        put(answers, &name, snapshot.query(&query));
        let subjects = snapshot.behind(&query, &cell).map(|subjects| snapshot.names(&subjects));
        put(answers, format!("subjects of {name}"), subjects);
        let events = snapshot.contributions(&query, &cell).map(|found| found.events);
        put(answers, format!("events of {name}"), events);
    }
}

/// Asks about subjects.
fn ask_subjects(snapshot: &Snapshot, answers: &mut Answers) {
    let (from_micros, to_micros) = (EPOCH, EPOCH + 10 * DAY);
    let did = CohortRule::Did { event: event(), at_least: 2, at_most: None, within_micros: None };
    put(answers, "cohort", snapshot.cohort(&did, &[to_micros]).map(|cohort| cohort.sizes));
    let first = FirstEvent { event: event(), property: None, from_micros, to_micros };
    let members = snapshot.cohort_at_first(&did, &first);
    put(answers, "cohort at first events", members.map(|members| snapshot.names(&members)));
    let plan = Dimension::Property("plan".to_owned());
    put(answers, "segments", snapshot.segments(&plan, &first));
    let adoption = AdoptionQuery {
        adoption: other(),
        from_micros,
        to_micros,
        period_micros: DAY,
        periods_before: 1,
        periods_after: 1,
        outcome: Outcome::Count { event: event() },
        denominator: None,
        counts: Vec::new(),
        properties: Vec::new(),
        day_zero: DayZero::Drawn,
        minimum_history_micros: 0,
        as_of_micros: None,
    };
    put(answers, "adoption", snapshot.adoption(&adoption));
    let purchases = PurchaseQuery {
        purchase: event(),
        amount: Some("x".to_owned()),
        from_micros,
        to_micros,
        zone: chrono_tz::UTC,
        cohorts: Vec::new(),
    };
    put(answers, "purchases", snapshot.purchases(&purchases));
    let variants = VariantQuery {
        exposure: event(),
        variant_property: "plan".to_owned(),
        from_micros,
        to_micros,
        window_micros: None,
        as_of_micros: None,
        require_full_window: false,
        outcome: Outcome::Count { event: other() },
        denominator: None,
        pre_micros: 0,
    };
    put(answers, "variants", snapshot.variant_stats(&variants));
}

/// Asks about journeys, and who is behind a number of each.
fn ask_journeys(snapshot: &Snapshot, answers: &mut Answers) {
    let page = MemberPage { after: None, limit: 10 };
    let funnel = FunnelQuery::new(ten_days(), ["a", "b"].map(FunnelStep::named).to_vec());
    let entered =
        FunnelCell { step: 0, outcome: StepOutcome::Reached, bucket_start: None, dimensions: None };
    put(answers, "funnel", snapshot.funnel(&funnel));
    put(answers, "of funnel", snapshot.funnel_members(&funnel, &entered, &page));
    let retention = RetentionQuery {
        scope: ten_days(),
        start: event(),
        returning: event(),
        entry: Entry::PerBucket,
        cohorts: Cohorts::One,
        unit: Unit::Day,
        clock: Clock::Calendar,
        brackets: vec![Bracket::at(1)],
        mode: RetentionMode::On,
        value: None,
        same_values: false,
    };
    let everybody = RetentionCellKey {
        bucket_start: None,
        dimensions: Vec::new(),
        bracket: None,
        retained: true,
    };
    put(answers, "retention", snapshot.retention(&retention));
    put(answers, "of retention", snapshot.retention_members(&retention, &everybody, &page));
    let lifecycle = LifecycleQuery { scope: ten_days(), event: event(), period: Grain::Day };
    let new = LifecycleCell { bucket_start: EPOCH, state: Lifecycle::New };
    put(answers, "lifecycle", snapshot.lifecycle(&lifecycle));
    put(answers, "of lifecycle", snapshot.lifecycle_members(&lifecycle, &new, &page));
    let paths = PathsQuery::new(ten_days(), event());
    let step = PathsStep { event: "a".to_owned(), value: None };
    let anchor = PathsCell { distance: 0, step, to: None, dropped: false };
    put(answers, "paths", snapshot.paths(&paths));
    put(answers, "of paths", snapshot.paths_members(&paths, &anchor, &page));
}

fn ask(snapshot: &Snapshot) -> Answers {
    let mut answers = Answers::new();
    ask_metrics(snapshot, &mut answers);
    ask_subjects(snapshot, &mut answers);
    ask_journeys(snapshot, &mut answers);
    answers
}

fn events() -> Vec<(&'static str, &'static str, i64, serde_json::Value)> {
    const USERS: [&str; 5] = ["ada", "grace", "linus", "barbara", "alan"];
    (0..200_i64)
        .map(|number| {
            let name = if number % 3 == 2 { "b" } else { "a" };
            let plan = if number % 2 == 0 { "pro" } else { "free" };
            let user = USERS[(number % 5) as usize];
            (name, user, number * 60, json!({ "plan": plan, "x": number }))
        })
        .collect()
}

#[test]
fn a_question_that_was_taken_back_does_no_work_whichever_it_is() {
    let snapshot = dataset(&events()).snapshot().expect("a snapshot");
    let cancel = Cancel::default();
    cancel.cancel();
    for (name, answer) in ask(&snapshot.cancelled_by(&cancel)) {
        assert!(matches!(answer, Err(Error::Cancelled)), "{name}: {answer:?}");
    }
    assert_eq!(cancel.pieces(), 0);
}

#[test]
fn a_question_that_was_taken_back_leaves_nothing_wrong_behind() {
    let (events, cancel) = (events(), Cancel::default());
    let snapshot = dataset(&events).snapshot().expect("a snapshot");
    cancel.cancel();
    ask(&snapshot.cancelled_by(&cancel));
    let wanted = Cancel::default();
    let answers = ask(&snapshot.cancelled_by(&wanted));
    let untouched = ask(&dataset(&events).snapshot().expect("a snapshot"));
    assert_eq!(answers.len(), untouched.len());
    for ((name, answer), (_, expected)) in answers.into_iter().zip(untouched) {
        let expected = expected.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.expect("an answer"), expected, "{name}");
    }
    assert!(wanted.pieces() > 0);
}
