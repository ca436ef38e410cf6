//! Several metrics at once.

use std::collections::BTreeMap;

use northstar_proto::metrics::v1 as pb;
use serde_json::json;
use tonic::{Code, Status};

use crate::suite::{
    Suite, blamed_fields, count, event, mean, ratio, reason, sum, timestamp, unique,
};

/// Paid events of four plans over two months; `free` has no amount.
async fn shop() -> Suite {
    let suite = Suite::start().await;
    suite.metric("payments", count("Paid")).await;
    suite.metric("payers", unique("Paid")).await;
    suite.metric("revenue", sum("Paid", "amount")).await;
    suite.metric("basket", mean("Paid", "amount")).await;
    suite.metric("per-payer", ratio("revenue", "payers")).await;
    let paid = |user: &str, at, plan: &str, amount: i64| {
        event("Paid", user, at).with(json!({"plan": plan, "amount": amount}))
    };
    suite
        .ingest(vec![
            paid("ada", "2026-02-02T09:00:00Z", "pro", 10),
            paid("bob", "2026-02-10T09:00:00Z", "team", 40),
            paid("eve", "2026-02-28T09:00:00Z", "gone", 5),
            paid("ada", "2026-03-02T09:00:00Z", "pro", 20),
            paid("ada", "2026-03-03T09:00:00Z", "pro", 20),
            paid("bob", "2026-03-10T09:00:00Z", "team", 50),
            paid("cleo", "2026-03-10T09:00:00Z", "basic", 1),
            paid("dan", "2026-03-11T09:00:00Z", "trial", 2),
            paid("cleo", "2026-03-11T09:00:00Z", "trial", 4),
        ])
        .await;
    suite
}

fn question(metrics: &[&str], from: &str, to: &str) -> pb::QueryMetricsRequest {
    pb::QueryMetricsRequest {
        metrics: metrics.iter().map(|name| (*name).to_owned()).collect(),
        start_time: Some(timestamp(from)),
        end_time: Some(timestamp(to)),
        ..Default::default()
    }
}

async fn ask(
    suite: &Suite,
    request: pb::QueryMetricsRequest,
) -> Result<pb::QueryMetricsResponse, Status> {
    let mut parts = suite.analyst.metrics().query_metrics(request).await?.into_inner();
    let mut whole = pb::QueryMetricsResponse::default();
    while let Some(part) = parts.message().await? {
        whole.rows.extend(part.rows);
        whole.metrics.extend(part.metrics);
        whole.other_groups = part.other_groups;
    }
    Ok(whole)
}

/// Plan and values of each row.
fn by_plan(answer: &pb::QueryMetricsResponse) -> Vec<(&str, Vec<Option<f64>>)> {
    let plan =
        |row: &pb::MetricsRow| row.dimensions.get("plan").map_or("", String::as_str).to_owned();
    let rows = answer.rows.iter().map(|row| {
        let plan: &str = Box::leak(plan(row).into_boxed_str());
        (plan, row.cells.iter().map(|cell| cell.value).collect())
    });
    rows.collect()
}

#[tokio::test]
async fn metrics_stand_side_by_side_and_say_where_they_come_from() {
    let suite = shop().await;
    let request = pb::QueryMetricsRequest {
        grain: pb::Grain::Month.into(),
        ..question(&["payments", "per-payer", "basket"], "2026-01-01", "2026-04-01")
    };
    let answer = ask(&suite, request).await.unwrap();
    let rows: Vec<Vec<_>> =
        answer.rows.iter().map(|row| row.cells.iter().map(|cell| cell.value).collect()).collect();
    assert_eq!(
        rows,
        [
            // Nothing happened in January: what counts is zero, what does not is unknown.
            vec![Some(0.0), None, None],
            vec![Some(3.0), Some(55.0 / 3.0), Some(55.0 / 3.0)],
            vec![Some(6.0), Some(97.0 / 4.0), Some(97.0 / 6.0)],
        ]
    );
    let cell = &answer.rows[2].cells[1];
    assert_eq!((cell.numerator, cell.denominator), (Some(97.0), Some(4.0)));
    assert_eq!(answer.rows[2].cells[0].sample_size, 6);
    let names: Vec<_> = answer.metrics.iter().map(|metric| metric.metric.as_str()).collect();
    assert_eq!(names, ["payments", "per-payer", "basket"]);
    let digests: Vec<_> = answer
        .metrics
        .iter()
        .map(|metric| metric.provenance.clone().unwrap())
        .map(|provenance| (provenance.metric_version, provenance.log_position, provenance.digest))
        .collect();
    assert!(digests.iter().all(|(version, position, _)| (*version, *position) == (1, 9)));
    assert_ne!(digests[0].2, digests[1].2);
}

#[tokio::test]
async fn quarters_and_years_are_buckets() {
    let suite = shop().await;
    for (grain, expected) in
        [(pb::Grain::Quarter, vec![0.0, 9.0]), (pb::Grain::Year, vec![0.0, 9.0])]
    {
        let request = pb::QueryMetricsRequest {
            grain: grain.into(),
            ..question(&["payments"], "2025-12-01", "2026-04-01")
        };
        let answer = ask(&suite, request).await.unwrap();
        let values: Vec<_> = answer.rows.iter().map(|row| row.cells[0].value.unwrap()).collect();
        assert_eq!(values, expected, "{grain:?}");
    }
}

#[tokio::test]
async fn groups_beyond_the_limit_become_one_where_their_values_add_up() {
    let suite = shop().await;
    let request = pb::QueryMetricsRequest {
        breakdowns: vec!["plan".to_owned()],
        limit: 2,
        ..question(&["revenue", "payments", "basket", "payers"], "2026-03-01", "2026-04-01")
    };
    let answer = ask(&suite, request).await.unwrap();
    assert_eq!(
        by_plan(&answer),
        [
            ("team", vec![Some(50.0), Some(1.0), Some(50.0), Some(1.0)]),
            ("pro", vec![Some(40.0), Some(2.0), Some(20.0), Some(1.0)]),
            // 1 + 6, 1 + 2, and 7 / 3 rather than a sum of means. Of people there is no sum:
            // one of them is in both groups.
            ("$other", vec![Some(7.0), Some(3.0), Some(7.0 / 3.0), None]),
        ]
    );
    assert_eq!(answer.other_groups, 2);
}

#[tokio::test]
async fn groups_are_ranked_over_the_whole_range_and_other_buckets_are_filled() {
    let suite = shop().await;
    let request = pb::QueryMetricsRequest {
        breakdowns: vec!["plan".to_owned()],
        grain: pb::Grain::Month.into(),
        limit: 1,
        zero_fill: true,
        order_by: vec!["plan".to_owned(), "time".to_owned()],
        ..question(&["payers", "revenue"], "2026-02-01", "2026-04-01")
    };
    let answer = ask(&suite, request).await.unwrap();
    // Two people are on trial, one on each other plan.
    assert_eq!(
        by_plan(&answer),
        [
            ("$other", vec![None, Some(55.0)]),
            ("$other", vec![None, Some(91.0)]),
            ("trial", vec![Some(0.0), Some(0.0)]),
            ("trial", vec![Some(2.0), Some(6.0)]),
        ]
    );
}

#[tokio::test]
async fn rows_are_filtered_after_aggregation_and_ordered() {
    let suite = shop().await;
    let request = pb::QueryMetricsRequest {
        breakdowns: vec!["plan".to_owned()],
        having: r#"values["payments"] >= 2 || dimensions.plan == "basic""#.to_owned(),
        order_by: vec!["-payments".to_owned(), "plan".to_owned()],
        ..question(&["revenue", "payments"], "2026-03-01", "2026-04-01")
    };
    let answer = ask(&suite, request).await.unwrap();
    let plans: Vec<_> = by_plan(&answer).into_iter().map(|(plan, _)| plan).collect();
    assert_eq!(plans, ["pro", "trial", "basic"]);

    let request = pb::QueryMetricsRequest {
        breakdowns: vec!["plan".to_owned()],
        filter: "properties.amount > 1".to_owned(),
        having: "value > 30".to_owned(),
        ..question(&["revenue"], "2026-03-01", "2026-04-01")
    };
    assert_eq!(by_plan(&ask(&suite, request).await.unwrap()).len(), 2);

    let request = pb::QueryMetricsRequest {
        grain: pb::Grain::Day.into(),
        order_by: vec!["-value".to_owned()],
        limit: 2,
        ..question(&["revenue"], "2026-03-01", "2026-04-01")
    };
    let answer = ask(&suite, request).await.unwrap();
    let values: Vec<_> = answer.rows.iter().map(|row| row.cells[0].value.unwrap()).collect();
    assert_eq!(values, [51.0, 20.0]);
}

#[tokio::test]
async fn a_range_is_compared_with_another_time() {
    let suite = shop().await;
    let request = pb::QueryMetricsRequest {
        breakdowns: vec!["plan".to_owned()],
        compare: pb::Comparison::PreviousPeriod.into(),
        order_by: vec!["plan".to_owned()],
        ..question(&["revenue"], "2026-03-01", "2026-04-01")
    };
    let answer = ask(&suite, request).await.unwrap();
    let cells: BTreeMap<_, _> = answer
        .rows
        .iter()
        .map(|row| (row.dimensions["plan"].as_str(), &row.cells[0]))
        .map(|(plan, cell)| {
            (plan, (cell.value, cell.previous_value, cell.change, cell.relative_change))
        })
        .collect();
    let gained = (Some(40.0), Some(10.0), Some(30.0), Some(3.0));
    assert_eq!(cells["pro"], gained);
    // A plan that came, and one that went.
    assert_eq!(cells["basic"], (Some(1.0), Some(0.0), Some(1.0), None));
    assert_eq!(cells["gone"], (Some(0.0), Some(5.0), Some(-5.0), Some(-1.0)));
    let metric = &answer.metrics[0];
    assert_eq!(metric.previous_start_time, Some(timestamp("2026-02-01")));
    assert_eq!(metric.previous_end_time, Some(timestamp("2026-03-01")));

    // By week: the second week of March beside the first.
    let request = pb::QueryMetricsRequest {
        grain: pb::Grain::Week.into(),
        compare: pb::Comparison::PreviousWeek.into(),
        ..question(&["revenue"], "2026-03-02", "2026-03-16")
    };
    let answer = ask(&suite, request).await.unwrap();
    let cells: Vec<_> = answer
        .rows
        .iter()
        .map(|row| (row.cells[0].value.unwrap(), row.cells[0].previous_value.unwrap()))
        .collect();
    assert_eq!(cells, [(40.0, 5.0), (57.0, 40.0)]);
}

#[tokio::test]
async fn a_bucket_is_compared_with_as_far_back_as_was_asked() {
    let suite = shop().await;
    let compared = async |grain: pb::Grain, compare: pb::Comparison, from, to| {
        let request = pb::QueryMetricsRequest {
            grain: grain.into(),
            compare: compare.into(),
            ..question(&["revenue", "payers"], from, to)
        };
        let answer = ask(&suite, request).await.unwrap();
        let cells = answer.rows.iter().map(|row| {
            (row.cells[0].previous_value.unwrap(), row.cells[1].previous_value.unwrap())
        });
        cells.collect::<Vec<_>>()
    };
    // March against 22 February to 25 March, not against all of February.
    let week = pb::Comparison::PreviousWeek;
    assert_eq!(compared(pb::Grain::Month, week, "2026-03-01", "2026-04-01").await, [(102.0, 5.0)]);
    // A quarter of which the range has one month against one month.
    let period = pb::Comparison::PreviousPeriod;
    let quarter = compared(pb::Grain::Quarter, period, "2026-04-01", "2026-05-01").await;
    assert_eq!(quarter, [(97.0, 4.0)]);
    // April by week: five days against five, and nothing of March is left out.
    let weeks = compared(pb::Grain::Week, period, "2026-04-01", "2026-05-01").await;
    assert_eq!(weeks, [(40.0, 1.0), (57.0, 3.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)]);
}

#[tokio::test]
async fn a_question_is_refused_with_everything_that_is_wrong_with_it() {
    let suite = shop().await;
    let request = pb::QueryMetricsRequest {
        metrics: vec!["revenue".to_owned(), "revenue".to_owned(), String::new()],
        start_time: Some(timestamp("2026-04-01")),
        end_time: Some(timestamp("2026-03-01")),
        grain: 99,
        breakdowns: vec!["plan".to_owned(), "plan".to_owned()],
        filter: "properties.plan = 'pro'".to_owned(),
        having: "properties.plan == 'pro'".to_owned(),
        order_by: vec!["-plan".to_owned(), "size".to_owned()],
        limit: -1,
        time_zone: "Berlin".to_owned(),
        compare: 99,
        zero_fill: false,
        cohorts: Vec::new(),
        log_position: -1,
    };
    let refused = ask(&suite, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        blamed_fields(&refused),
        [
            "metrics[1]",
            "metrics[2]",
            "end_time",
            "time_zone",
            "grain",
            "breakdowns[1]",
            "order_by[1]",
            "limit",
            "compare",
            "log_position",
            "filter",
            "having",
        ]
    );
    let none = ask(&suite, pb::QueryMetricsRequest::default()).await.unwrap_err();
    assert_eq!(blamed_fields(&none), ["metrics", "start_time", "end_time"]);
    let unknown = ask(&suite, question(&["revenue", "nobody"], "2026-03-01", "2026-04-01")).await;
    let unknown = unknown.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "NOT_FOUND"));
}

#[tokio::test]
async fn another_project_sees_nothing_of_it() {
    let suite = shop().await;
    let [other, _] = suite.stranger().await;
    let request = question(&["revenue"], "2026-03-01", "2026-04-01");
    let refused = other.metrics().query_metrics(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let definition = pb::Metric {
        name: "revenue".to_owned(),
        definition: Some(sum("Paid", "amount")),
        ..Default::default()
    };
    let apply = pb::ApplyMetricRequest { metric: Some(definition), ..Default::default() };
    other.metrics().apply_metric(apply).await.unwrap();
    let request = question(&["revenue"], "2026-03-01", "2026-04-01");
    let mut parts = other.metrics().query_metrics(request).await.unwrap().into_inner();
    let answer = parts.message().await.unwrap().unwrap();
    assert_eq!(answer.rows[0].cells[0].value, Some(0.0));

    // And ours is what it was.
    let request = question(&["revenue"], "2026-03-01", "2026-04-01");
    assert_eq!(ask(&suite, request).await.unwrap().rows[0].cells[0].value, Some(97.0));
}

#[tokio::test]
async fn cohorts_narrow_and_break_down_several_metrics_at_once() {
    let suite = shop().await;
    let pro = pb::CohortPropertyRule {
        name: "plan".to_owned(),
        condition: "properties.plan == 'pro'".to_owned(),
        ..Default::default()
    };
    let cohort = crate::cohorts::by_rule("pros", pb::cohort_rule::Rule::Property(pro));
    crate::cohorts::apply(&suite.analyst, cohort).await.unwrap();
    let request = pb::QueryMetricsRequest {
        cohorts: vec!["pros".to_owned()],
        ..question(&["revenue", "payers"], "2026-03-01", "2026-04-01")
    };
    let answer = ask(&suite, request).await.unwrap();
    let values: Vec<_> = answer.rows[0].cells.iter().map(|cell| cell.value).collect();
    assert_eq!(values, [Some(40.0), Some(1.0)]);
    let request = pb::QueryMetricsRequest {
        breakdowns: vec!["cohort.pros".to_owned()],
        ..question(&["revenue", "payers"], "2026-03-01", "2026-04-01")
    };
    let answer = ask(&suite, request).await.unwrap();
    let rows: BTreeMap<_, _> = answer
        .rows
        .iter()
        .map(|row| (row.dimensions["cohort.pros"].as_str(), row.cells[0].value.unwrap()))
        .collect();
    assert_eq!(rows, BTreeMap::from([("in", 40.0), ("out", 57.0)]));
}
