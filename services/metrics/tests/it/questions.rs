//! Every mode of every question: the numbers that follow by hand from a small log, and behind every number a list
//! that is as long as the number says.

use std::collections::BTreeSet;

use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::cohort_rule::Rule;
use northstar_proto::metrics::v1::metric::Definition;
use serde_json::json;

use crate::cohorts::{apply, by_list, by_rule, upload};
use crate::evidence::{cells, explain, subjects};
use crate::suite::{Suite, count, event, mean, question, ratio, selector, sum, timestamp, unique};

const FROM: &str = "2026-03-01";
const TO: &str = "2026-03-15";

fn scope() -> pb::JourneyScope {
    pb::JourneyScope {
        start_time: Some(timestamp(FROM)),
        end_time: Some(timestamp(TO)),
        ..Default::default()
    }
}

/// What people look at, add and pay for, each in a way of their own.
async fn shop() -> Suite {
    let suite = Suite::start().await;
    let did = |name, user: &str, at, item: &str| event(name, user, at).with(json!({"item": item}));
    let view = |user: &str, at, item: &str, plan: &str| {
        event("View", user, at).with(json!({"item": item, "plan": plan}))
    };
    suite
        .ingest(vec![
            // All steps, in order and of one item.
            view("ada", "2026-03-01T09:00:00Z", "a", "pro"),
            did("Add", "ada", "2026-03-01T09:10:00Z", "a"),
            did("Pay", "ada", "2026-03-01T09:20:00Z", "a"),
            // The step in the middle is of another item.
            view("bob", "2026-03-01T10:00:00Z", "a", "free"),
            did("Add", "bob", "2026-03-01T10:05:00Z", "b"),
            did("Pay", "bob", "2026-03-01T10:50:00Z", "a"),
            // Cancels between the first two steps.
            view("cleo", "2026-03-02T09:00:00Z", "b", "pro"),
            event("Cancel", "cleo", "2026-03-02T09:05:00Z"),
            did("Add", "cleo", "2026-03-02T09:10:00Z", "b"),
            did("Pay", "cleo", "2026-03-02T09:20:00Z", "b"),
            // Takes three days for the second step, and never takes the third.
            view("dan", "2026-03-02T10:00:00Z", "c", "free"),
            did("Add", "dan", "2026-03-05T10:00:00Z", "c"),
            // The first two the other way round.
            did("Add", "eve", "2026-03-03T09:00:00Z", "c"),
            view("eve", "2026-03-03T09:10:00Z", "c", "free"),
            // The last two the other way round.
            view("gus", "2026-03-03T09:00:00Z", "d", "pro"),
            did("Pay", "gus", "2026-03-03T09:05:00Z", "d"),
            did("Add", "gus", "2026-03-03T09:10:00Z", "d"),
            // The first step only, on no plan.
            did("View", "fay", "2026-03-03T10:00:00Z", "d"),
        ])
        .await;
    suite
}

fn funnel() -> pb::FunnelQuestion {
    let step = |name| pb::JourneyStep { event: Some(selector(name)), ..Default::default() };
    let steps = vec![step("View"), step("Add"), step("Pay")];
    pb::FunnelQuestion { scope: Some(scope()), steps, ..Default::default() }
}

async fn funnel_rows(suite: &Suite, question: &pb::FunnelQuestion) -> Vec<pb::FunnelRow> {
    let question = Some(question.clone());
    let request = pb::QueryFunnelRequest { question, ..Default::default() };
    let mut messages = suite.analyst.journeys().query_funnel(request).await.unwrap().into_inner();
    let mut rows = Vec::new();
    while let Some(message) = messages.message().await.unwrap() {
        rows.extend(message.rows);
    }
    rows
}

fn counts(row: &pb::FunnelRow) -> Vec<i64> {
    row.steps.iter().map(|step| step.count).collect()
}

/// Checks that the list behind every number of a funnel is as long as the number says.
async fn lists_fit(suite: &Suite, question: &pb::FunnelQuestion, rows: &[pb::FunnelRow]) {
    for row in rows {
        for (step, number) in (1..).zip(&row.steps) {
            let request = pb::ListFunnelSubjectsRequest {
                question: Some(question.clone()),
                kind: row.kind,
                bucket_time: row.bucket_time,
                dimensions: row.dimensions.clone(),
                step,
                page_size: 100,
                ..Default::default()
            };
            let list = async |outcome: pb::FunnelOutcome| {
                let request =
                    pb::ListFunnelSubjectsRequest { outcome: outcome.into(), ..request.clone() };
                let mut journeys = suite.analyst.journeys();
                let page = journeys.list_funnel_subjects(request).await.unwrap().into_inner();
                assert_eq!(page.subjects.len() as i64, page.total_size);
                page.subjects.into_iter().map(|subject| subject.value).collect::<BTreeSet<_>>()
            };
            let reached = list(pb::FunnelOutcome::Reached).await;
            assert_eq!(reached.len() as i64, number.count, "step {step} of {row:?}");
            let Some(before) = row.steps.get((step - 2) as usize).filter(|_| step > 1) else {
                continue;
            };
            let dropped = list(pb::FunnelOutcome::Dropped).await;
            assert_eq!(dropped.len() as i64, before.count - number.count, "step {step} of {row:?}");
            assert!(dropped.is_disjoint(&reached));
        }
    }
}

#[tokio::test]
async fn every_mode_of_a_funnel_counts_as_it_says_and_names_whom_it_counts() {
    let suite = shop().await;
    let ordered = funnel();
    let hour = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    let cancelled = |mode: pb::ExclusionMode| pb::FunnelQuestion {
        exclusions: vec![pb::StepExclusion {
            event: Some(selector("Cancel")),
            from_step: 1,
            to_step: 2,
        }],
        exclusion_mode: mode.into(),
        ..funnel()
    };
    let in_order = |order: pb::StepOrder| pb::FunnelQuestion { order: order.into(), ..funnel() };
    let by = |count: pb::CountBy| pb::FunnelQuestion { count_by: count.into(), ..funnel() };
    let later = pb::StepExclusion { event: Some(selector("Cancel")), from_step: 2, to_step: 3 };
    for (mode, question, expected) in [
        ("ordered", ordered.clone(), [7, 5, 3]),
        ("strict between steps", in_order(pb::StepOrder::StrictSteps), [7, 4, 3]),
        ("strict between any events", in_order(pb::StepOrder::StrictAnyEvent), [7, 3, 2]),
        ("any order", in_order(pb::StepOrder::Any), [7, 6, 4]),
        ("the first, then any order", in_order(pb::StepOrder::FirstThenAny), [7, 5, 4]),
        ("a window", pb::FunnelQuestion { window: hour, ..funnel() }, [7, 4, 3]),
        (
            "an item held constant",
            pb::FunnelQuestion { constant_properties: vec!["item".to_owned()], ..funnel() },
            [7, 4, 2],
        ),
        ("an exclusion that ends attempts", cancelled(pb::ExclusionMode::Attempt), [7, 4, 2]),
        ("an exclusion that takes subjects out", cancelled(pb::ExclusionMode::Subject), [6, 4, 2]),
        (
            "an exclusion elsewhere",
            pb::FunnelQuestion { exclusions: vec![later], ..funnel() },
            [7, 5, 3],
        ),
        ("sessions", by(pb::CountBy::Sessions), [7, 4, 2]),
        ("totals", by(pb::CountBy::Totals), [7, 5, 3]),
    ] {
        let rows = funnel_rows(&suite, &question).await;
        assert_eq!(counts(&rows[0]), expected, "{mode}");
        lists_fit(&suite, &question, &rows).await;

        // Told apart by a value that every attempt has once, groups make up the whole; so does the trend.
        let by_plan = pb::FunnelQuestion {
            scope: Some(pb::JourneyScope { breakdowns: vec!["plan".to_owned()], ..scope() }),
            trend: pb::Grain::Day.into(),
            ..question
        };
        let rows = funnel_rows(&suite, &by_plan).await;
        // Where any step starts an attempt, one that waits for days enters on several.
        let any_starts = by_plan.order() == pb::StepOrder::Any;
        let kinds = [pb::FunnelRowKind::Group, pb::FunnelRowKind::Trend];
        for kind in &kinds[..if any_starts { 1 } else { 2 }] {
            let kind = *kind;
            for (step, whole) in expected.into_iter().enumerate() {
                let of_kind = rows.iter().filter(|row| row.kind() == kind);
                let sum: i64 = of_kind.map(|row| row.steps[step].count).sum();
                assert_eq!(sum, whole, "{mode}: {kind:?}, step {}", step + 1);
            }
        }
        lists_fit(&suite, &by_plan, &rows).await;
        for row in &rows {
            assert!(counts(row).is_sorted_by(|before, after| before >= after), "{mode}: {row:?}");
            assert!(row.conversion.is_none_or(|share| (0.0..=1.0).contains(&share)));
        }
    }
}

#[tokio::test]
async fn the_values_of_a_breakdown_are_those_of_the_step_that_is_asked_for() {
    let suite = shop().await;
    let by_item = |attribution: pb::FunnelAttribution, attribution_step| pb::FunnelQuestion {
        scope: Some(pb::JourneyScope { breakdowns: vec!["item".to_owned()], ..scope() }),
        attribution: attribution.into(),
        attribution_step,
        ..funnel()
    };
    for (question, of_b) in [
        // Cleo looked at b; bob added b to what he looked at as a.
        (by_item(pb::FunnelAttribution::FirstTouch, 0), vec![1, 1, 1]),
        (by_item(pb::FunnelAttribution::LastTouch, 0), vec![1, 1, 1]),
        (by_item(pb::FunnelAttribution::Step, 2), vec![2, 2, 2]),
        (by_item(pb::FunnelAttribution::All, 0), vec![1, 1, 1]),
    ] {
        let rows = funnel_rows(&suite, &question).await;
        let mut groups = rows.iter().filter(|row| row.kind() == pb::FunnelRowKind::Group);
        let found = groups.find(|row| row.dimensions["item"] == "b").unwrap();
        assert_eq!(counts(found), of_b, "{:?}", question.attribution());
        lists_fit(&suite, &question, &rows).await;
    }
    // Where the times come from: 45 minutes at most between the last two steps.
    let question =
        pb::FunnelQuestion { times_from_step: 2, times_to_step: 3, histogram_bins: 2, ..funnel() };
    let total = funnel_rows(&suite, &question).await.remove(0);
    let times = total.times.unwrap();
    let minutes = [times.min_seconds, times.p50_seconds, times.max_seconds].map(|all| all / 60.0);
    assert_eq!((times.count, minutes), (3, [10.0, 10.0, 45.0]));
    let bars: Vec<i64> = total.histogram.iter().map(|bar| bar.count).collect();
    assert_eq!(bars, [2, 1]);
}

/// People who start, and come back or not.
async fn club() -> Suite {
    let suite = Suite::start().await;
    let start = |user: &str, at| event("Start", user, at).with(json!({"plan": "pro"}));
    suite
        .ingest(vec![
            start("ada", "2026-03-01T10:00:00Z"),
            event("Back", "ada", "2026-03-02T12:00:00Z"),
            event("Back", "ada", "2026-03-04T12:00:00Z"),
            start("ada", "2026-03-05T10:00:00Z"),
            // 36 hours later, which is the day after next.
            start("bob", "2026-03-01T20:00:00Z"),
            event("Back", "bob", "2026-03-03T08:00:00Z"),
            start("cleo", "2026-03-02T10:00:00Z"),
            start("dan", "2026-03-08T10:00:00Z"),
        ])
        .await;
    suite
}

/// By day of the start, the days 1, 2 and 3 after it, as known when the 8th is over.
fn retention() -> pb::RetentionQuestion {
    let scope = pb::JourneyScope { as_of_time: Some(timestamp("2026-03-09T00:00:00Z")), ..scope() };
    pb::RetentionQuestion {
        scope: Some(scope),
        start: Some(selector("Start")),
        r#return: Some(selector("Back")),
        cohorts: pb::Grain::Day.into(),
        brackets: (1..4).map(|day| pb::RetentionBracket { first: day, last: day }).collect(),
        ..Default::default()
    }
}

async fn retention_table(
    suite: &Suite,
    question: &pb::RetentionQuestion,
) -> pb::QueryRetentionResponse {
    let request =
        pb::QueryRetentionRequest { question: Some(question.clone()), ..Default::default() };
    let mut messages =
        suite.analyst.journeys().query_retention(request).await.unwrap().into_inner();
    let table = messages.message().await.unwrap().unwrap();
    assert_eq!(messages.message().await.unwrap(), None, "a small table is one message");
    table
}

#[tokio::test]
async fn every_mode_of_retention_counts_as_it_says_and_names_whom_it_counts() {
    let suite = club().await;
    let in_mode = |mode: pb::ReturnMode| pb::RetentionQuestion { mode: mode.into(), ..retention() };
    let bracket = |first, last| pb::RetentionBracket { first, last };
    // Subjects who entered, and those retained over subjects eligible, by bracket.
    for (name, question, entered, expected) in [
        ("on the day", in_mode(pb::ReturnMode::On), 4, vec![(1, 3), (1, 3), (1, 3)]),
        (
            "on the day or later",
            in_mode(pb::ReturnMode::OnOrAfter),
            4,
            vec![(2, 3), (2, 3), (1, 3)],
        ),
        ("by the day", in_mode(pb::ReturnMode::OnOrBefore), 4, vec![(1, 3), (2, 3), (2, 3)]),
        ("every day until then", in_mode(pb::ReturnMode::Streak), 4, vec![(1, 3), (0, 3), (0, 3)]),
        (
            "in brackets",
            pb::RetentionQuestion { brackets: vec![bracket(1, 2), bracket(3, 4)], ..retention() },
            4,
            vec![(2, 3), (1, 3)],
        ),
        (
            "by hours since the start",
            pb::RetentionQuestion { clock: pb::RetentionClock::Rolling.into(), ..retention() },
            4,
            vec![(2, 3), (0, 3), (1, 3)],
        ),
        (
            "from every start",
            pb::RetentionQuestion { entry: pb::RetentionEntry::Recurring.into(), ..retention() },
            5,
            vec![(1, 4), (1, 4), (1, 4)],
        ),
        (
            "weeks",
            pb::RetentionQuestion {
                unit: pb::RetentionUnit::Week.into(),
                cohorts: pb::Grain::Week.into(),
                brackets: vec![bracket(0, 0), bracket(1, 1)],
                ..retention()
            },
            4,
            // The 2nd of March is a Monday: who starts on the 1st comes back in the week after.
            vec![(0, 4), (2, 2)],
        ),
    ] {
        let table = retention_table(&suite, &question).await;
        let all: i64 = table.cohorts.iter().map(|cohort| cohort.entered).sum();
        assert_eq!(all, entered, "{name}");
        let columns: Vec<_> =
            table.columns.iter().map(|column| (column.retained, column.eligible)).collect();
        assert_eq!(columns, expected, "{name}");
        for (index, column) in table.columns.iter().enumerate() {
            // Nothing that is not over takes part.
            let mature = || table.cohorts.iter().map(|row| &row.cells[index]).filter(|c| c.mature);
            assert_eq!(mature().map(|cell| cell.eligible).sum::<i64>(), column.eligible);
            assert_eq!(mature().map(|cell| cell.retained).sum::<i64>(), column.retained);
            assert!(column.rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)));
        }
        for cohort in &table.cohorts {
            let list = async |index: i32, outcome: pb::RetentionOutcome| {
                let request = pb::ListRetentionSubjectsRequest {
                    question: Some(question.clone()),
                    bucket_time: cohort.bucket_time,
                    dimensions: cohort.dimensions.clone(),
                    bracket_index: index,
                    outcome: outcome.into(),
                    page_size: 100,
                    ..Default::default()
                };
                let mut journeys = suite.analyst.journeys();
                let page = journeys.list_retention_subjects(request).await.unwrap().into_inner();
                assert_eq!(page.subjects.len() as i64, page.total_size);
                page.total_size
            };
            assert_eq!(list(0, pb::RetentionOutcome::Unspecified).await, cohort.entered, "{name}");
            for (index, cell) in (0..).zip(&cohort.cells) {
                let retained = list(index, pb::RetentionOutcome::Retained).await;
                let lost = list(index, pb::RetentionOutcome::Lost).await;
                assert_eq!(
                    (retained, lost),
                    (cell.retained, cell.eligible - cell.retained),
                    "{name}"
                );
            }
        }
    }
    // Dan started on the last day that is known: begun, flagged, and in no mean.
    let table = retention_table(&suite, &retention()).await;
    let of_dan =
        table.cohorts.iter().find(|row| row.bucket_time == Some(timestamp("2026-03-08"))).unwrap();
    assert_eq!(of_dan.entered, 1);
    assert!(of_dan.cells.iter().all(|cell| !cell.mature && cell.rate.is_none()));
}

#[tokio::test]
async fn behind_every_number_of_a_lifecycle_and_of_paths_is_a_list() {
    let suite = shop().await;
    let question =
        pb::LifecycleQuestion { scope: Some(scope()), event: None, period: pb::Grain::Day.into() };
    let request =
        pb::QueryLifecycleRequest { question: Some(question.clone()), ..Default::default() };
    let mut journeys = suite.analyst.journeys();
    let mut messages = journeys.query_lifecycle(request).await.unwrap().into_inner();
    let periods = messages.message().await.unwrap().unwrap().periods;
    assert_eq!(periods.iter().map(|period| period.new).sum::<i64>(), 7);
    for period in &periods {
        assert_eq!(period.active, period.new + period.returning + period.resurrecting);
        for (state, number) in [
            (pb::LifecycleState::New, period.new),
            (pb::LifecycleState::Returning, period.returning),
            (pb::LifecycleState::Resurrecting, period.resurrecting),
            (pb::LifecycleState::Dormant, period.dormant),
        ] {
            let request = pb::ListLifecycleSubjectsRequest {
                question: Some(question.clone()),
                bucket_time: period.bucket_time,
                state: state.into(),
                ..Default::default()
            };
            let page = journeys.list_lifecycle_subjects(request).await.unwrap().into_inner();
            assert_eq!((page.total_size, page.subjects.len() as i64), (number, number));
        }
    }

    for (direction, anchor) in
        [(pb::PathDirection::After, "View"), (pb::PathDirection::Before, "Pay")]
    {
        let question = pb::PathsQuestion {
            scope: Some(scope()),
            anchor: Some(selector(anchor)),
            direction: direction.into(),
            ..Default::default()
        };
        let request =
            pb::QueryPathsRequest { question: Some(question.clone()), ..Default::default() };
        let mut messages = journeys.query_paths(request).await.unwrap().into_inner();
        let (mut paths, mut nodes, mut edges) = (0, Vec::new(), Vec::new());
        while let Some(message) = messages.message().await.unwrap() {
            paths += message.paths;
            nodes.extend(message.nodes);
            edges.extend(message.edges);
        }
        assert_eq!(paths, if anchor == "View" { 7 } else { 4 });
        let mut list = async |distance, step: &Option<pb::PathStep>, to, dropped| {
            let request = pb::ListPathSubjectsRequest {
                question: Some(question.clone()),
                distance,
                step: step.clone(),
                to,
                dropped,
                ..Default::default()
            };
            journeys.list_path_subjects(request).await.unwrap().into_inner().total_size
        };
        for node in &nodes {
            assert_eq!(list(node.distance, &node.step, None, false).await, node.count, "{node:?}");
            assert_eq!(list(node.distance, &node.step, None, true).await, node.dropped, "{node:?}");
            // What comes in goes on or ends.
            let on: i64 = edges
                .iter()
                .filter(|edge| edge.distance == node.distance && edge.from == node.step)
                .map(|edge| edge.count)
                .sum();
            assert!(on + node.dropped <= node.count, "{node:?}");
        }
        for edge in &edges {
            let found = list(edge.distance, &edge.from, edge.to.clone(), false).await;
            assert_eq!(found, edge.count, "{edge:?}");
        }
    }
}

fn metrics() -> Vec<(&'static str, Definition)> {
    let pay = || Some(selector("Pay"));
    let amount = || "amount".to_owned();
    let input = |metric: &str| pb::DerivedInput { metric: metric.to_owned(), ..Default::default() };
    vec![
        ("payments", count("Pay")),
        ("payers", unique("Pay")),
        ("revenue", sum("Pay", "amount")),
        ("basket", mean("Pay", "amount")),
        ("arpu", ratio("revenue", "payers")),
        ("least", Definition::Min(pb::MinMetric { event: pay(), property: amount() })),
        ("most", Definition::Max(pb::MaxMetric { event: pay(), property: amount() })),
        (
            "median",
            Definition::Percentile(pb::PercentileMetric {
                event: pay(),
                property: amount(),
                percentile: 50.0,
                approximate: false,
            }),
        ),
        ("nps", Definition::Nps(pb::NpsMetric { event: pay(), property: amount() })),
        (
            "checkout",
            Definition::Funnel(pb::FunnelMetric {
                steps: vec![selector("View"), selector("Pay")],
                ..Default::default()
            }),
        ),
        (
            "retention",
            Definition::Retention(pb::RetentionMetric {
                start: Some(selector("View")),
                r#return: pay(),
                day: 1,
                ..Default::default()
            }),
        ),
        (
            "time-to-pay",
            Definition::TimeToEvent(pb::TimeToEventMetric {
                from: Some(selector("View")),
                to: pay(),
                ..Default::default()
            }),
        ),
        (
            "stickiness",
            Definition::Stickiness(pb::StickinessMetric { event: pay(), ..Default::default() }),
        ),
        (
            "new",
            Definition::Lifecycle(pb::LifecycleMetric {
                event: pay(),
                state: pb::LifecycleState::New.into(),
                ..Default::default()
            }),
        ),
        (
            "orders",
            Definition::PerSubject(pb::PerSubjectMetric {
                event: pay(),
                aggregate: pb::SubjectAggregate::Count.into(),
                ..Default::default()
            }),
        ),
        (
            "sales",
            Definition::Conversion(pb::ConversionMetric {
                base: Some(selector("View")),
                conversion: pay(),
                ..Default::default()
            }),
        ),
        (
            "so-far",
            Definition::Cumulative(pb::CumulativeMetric {
                metric: "revenue".to_owned(),
                ..Default::default()
            }),
        ),
        (
            "twice",
            Definition::Derived(pb::DerivedMetric {
                expression: "2 * payments".to_owned(),
                inputs: vec![input("payments")],
            }),
        ),
    ]
}

/// Three who view, two of whom pay, one of them twice; one is a friend.
async fn kinds() -> Suite {
    let suite = Suite::start().await;
    let view = |user: &str, at, plan: &str| event("View", user, at).with(json!({"plan": plan}));
    let pay = |user: &str, at, plan: &str, amount: i64| {
        event("Pay", user, at).with(json!({"plan": plan, "amount": amount}))
    };
    suite
        .ingest(vec![
            view("ada", "2026-03-01T09:00:00Z", "pro"),
            pay("ada", "2026-03-01T10:00:00Z", "pro", 9),
            pay("ada", "2026-03-02T10:00:00Z", "free", 5),
            view("bob", "2026-03-01T11:00:00Z", "free"),
            pay("bob", "2026-03-02T11:00:00Z", "free", 10),
            view("cleo", "2026-03-02T12:00:00Z", "pro"),
            event("View", "late", "2026-03-06T12:00:00Z"),
        ])
        .await;
    for (name, definition) in metrics() {
        suite.metric(name, definition).await;
    }
    let rule = Rule::Did(pb::CohortDidRule { event: Some(selector("Pay")), ..Default::default() });
    apply(&suite.analyst, by_rule("buyers", rule)).await.unwrap();
    apply(&suite.analyst, by_list("friends")).await.unwrap();
    upload(&suite.analyst, "friends", pb::UploadMode::Replace, &["ada", "cleo"]).await;
    suite
}

#[tokio::test]
async fn behind_every_cell_of_every_kind_of_metric_are_its_subjects_and_events() {
    let suite = kinds().await;
    for (metric, _) in metrics() {
        for (breakdowns, cohorts) in [
            (vec![], vec![]),
            (vec!["plan"], vec![]),
            (vec!["cohort.friends"], vec![]),
            (vec!["cohort.friends", "plan"], vec!["buyers".to_owned()]),
        ] {
            for grain in [pb::Grain::Day, pb::Grain::Total] {
                let request = pb::QueryMetricRequest {
                    grain: grain.into(),
                    breakdowns: breakdowns.iter().map(|name| (*name).to_owned()).collect(),
                    cohorts: cohorts.clone(),
                    ..question(metric, FROM, "2026-03-04")
                };
                let answer = suite.query(request.clone()).await.unwrap();
                let digest = answer.provenance.as_ref().unwrap().digest.clone();
                let mut listed = BTreeSet::new();
                for (cell, row) in cells(&request, &answer).into_iter().zip(&answer.rows) {
                    let what = format!("{metric} by {breakdowns:?}: {row:?}");
                    let (summary, found) = subjects(&suite, cell.clone()).await;
                    assert_eq!(summary.row.as_ref(), Some(row), "{what}");
                    assert_eq!(summary.subjects, found.len() as i64, "{what}");
                    assert_eq!(summary.provenance.unwrap().digest, digest, "{what}");
                    let (explanation, events) = explain(&suite, cell).await;
                    assert_eq!(explanation.row.as_ref(), Some(row), "{what}");
                    assert_eq!(explanation.subjects, found.len() as i64, "{what}");
                    assert_eq!(explanation.events, events.len() as i64, "{what}");
                    let of_events: BTreeSet<String> = events
                        .iter()
                        .filter_map(|event| Some(event.subject.as_ref()?.value.clone()))
                        .collect();
                    let found: BTreeSet<String> = found.into_iter().collect();
                    assert_eq!(of_events, found, "{what}");
                    match row.dimensions.get("cohort.friends").map(String::as_str) {
                        Some("in") => assert!(!found.contains("bob"), "{what}"),
                        Some("out") => assert!(!found.contains("ada"), "{what}"),
                        _ => {}
                    }
                    if matches!(metric, "payers" | "new") {
                        assert_eq!(row.value.unwrap_or(0.0), found.len() as f64, "{what}");
                    }
                    listed.extend(found);
                }
                assert!(listed.contains("ada"), "{metric} by {breakdowns:?} is about nobody");
                if !cohorts.is_empty() {
                    assert!(!listed.contains("cleo"), "{metric}: cleo bought nothing");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_parts_of_a_breakdown_that_partitions_make_up_the_whole() {
    let suite = kinds().await;
    let ask = async |metric: &str, breakdowns: &[&str]| {
        let request = pb::QueryMetricRequest {
            grain: pb::Grain::Day.into(),
            breakdowns: breakdowns.iter().map(|name| (*name).to_owned()).collect(),
            ..question(metric, FROM, "2026-03-04")
        };
        suite.query(request).await.unwrap().rows
    };
    for (metric, breakdowns) in [
        ("payments", &["plan"][..]),
        ("payments", &["cohort.friends"]),
        ("payments", &["plan", "cohort.friends", "cohort.buyers"]),
        ("revenue", &["plan"]),
        ("revenue", &["event.source", "cohort.buyers"]),
        // Every subject is on one side of a cohort, whatever its events are.
        ("payers", &["cohort.friends"]),
        ("payers", &["cohort.friends", "cohort.buyers"]),
        ("new", &["cohort.friends"]),
    ] {
        let (whole, parts) = (ask(metric, &[]).await, ask(metric, breakdowns).await);
        assert_eq!(whole.len(), 3);
        for row in &whole {
            let of_bucket = parts.iter().filter(|part| part.bucket_time == row.bucket_time);
            let sum: f64 = of_bucket.filter_map(|part| part.value).sum();
            assert_eq!(sum, row.value.unwrap_or(0.0), "{metric} by {breakdowns:?}: {row:?}");
        }
    }
    // A ratio is one of sums: the parts' own ratios make up nothing.
    let parts = ask("arpu", &["cohort.friends"]).await;
    let whole = ask("arpu", &[]).await;
    for row in whole.iter().filter(|row| row.value.is_some()) {
        let of_bucket = || parts.iter().filter(|part| part.bucket_time == row.bucket_time);
        let above: f64 = of_bucket().filter_map(|part| part.numerator).sum();
        let below: f64 = of_bucket().filter_map(|part| part.denominator).sum();
        assert_eq!(row.value, Some(above / below));
    }
}
