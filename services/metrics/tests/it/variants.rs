//! Sufficient statistics by variant.

use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition;
use serde_json::json;

use crate::suite::{
    Event, Suite, blamed_fields, count, event, mean, ratio, reason, selector, sum, timestamp,
    unique,
};

fn exposed(user: &str, variant: &str, at: &'static str) -> Event {
    event("Exposed", user, at).with(json!({"variant": variant}))
}

fn paid(user: &str, amount: f64, at: &'static str) -> Event {
    event("Paid", user, at).with(json!({"amount": amount}))
}

async fn experiment() -> Suite {
    let suite = Suite::start().await;
    suite.metric("payments", count("Paid")).await;
    suite.metric("payers", unique("Paid")).await;
    suite.metric("revenue", sum("Paid", "amount")).await;
    suite.metric("basket", mean("Paid", "amount")).await;
    suite.metric("visits", count("Visited")).await;
    suite.metric("revenue-per-visit", ratio("revenue", "visits")).await;
    suite
        .ingest(vec![
            paid("ada", 100.0, "2026-03-01T00:00:00Z"),
            exposed("ada", "control", "2026-03-02T00:00:00Z"),
            exposed("bob", "control", "2026-03-02T00:00:00Z"),
            exposed("cleo", "treatment", "2026-03-02T00:00:00Z"),
            exposed("dan", "treatment", "2026-03-02T00:00:00Z"),
            exposed("dan", "control", "2026-03-03T00:00:00Z"),
            paid("ada", 1.0, "2026-03-03T00:00:00Z"),
            paid("ada", 2.0, "2026-03-04T00:00:00Z"),
            paid("cleo", 4.0, "2026-03-04T00:00:00Z"),
            event("Visited", "cleo", "2026-03-04T00:00:00Z"),
            paid("cleo", 50.0, "2026-03-20T00:00:00Z"),
        ])
        .await;
    suite
}

fn question(metric: &str) -> pb::QueryVariantStatisticsRequest {
    pb::QueryVariantStatisticsRequest {
        metric: metric.to_owned(),
        exposure: Some(selector("Exposed")),
        variant_property: "variant".to_owned(),
        start_time: Some(timestamp("2026-03-01")),
        end_time: Some(timestamp("2026-04-01")),
        outcome_window: Some(prost_types::Duration { seconds: 7 * 86_400, nanos: 0 }),
        covariate_days: 0,
    }
}

async fn ask(
    suite: &Suite,
    request: pb::QueryVariantStatisticsRequest,
) -> pb::QueryVariantStatisticsResponse {
    suite.analyst.metrics().query_variant_statistics(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn amounts_are_summed_up_per_subject_and_variant() {
    let suite = experiment().await;
    let answer = ask(
        &suite,
        pb::QueryVariantStatisticsRequest { covariate_days: 14, ..question("revenue") },
    )
    .await;
    assert_eq!(answer.multiple_exposure_subjects, 1);
    assert!(!answer.proportion);
    let [control, treatment] = answer.variants.as_slice() else { panic!("not two variants") };
    assert_eq!((control.variant.as_str(), control.subjects), ("control", 2));
    assert_eq!((control.sum_y, control.sum_yy), (3.0, 9.0));
    assert_eq!((control.sum_x, control.sum_xx, control.sum_xy), (100.0, 10_000.0, 300.0));
    assert_eq!((treatment.variant.as_str(), treatment.subjects), ("treatment", 1));
    // The payment of the 20th is outside the window of seven days.
    assert_eq!((treatment.sum_y, treatment.sum_yy), (4.0, 16.0));
    let provenance = answer.provenance.unwrap();
    assert_eq!((provenance.log_position, provenance.metric_version), (11, 1));
}

#[tokio::test]
async fn a_unique_metric_is_a_proportion() {
    let suite = experiment().await;
    let answer = ask(&suite, question("payers")).await;
    assert!(answer.proportion);
    let sums: Vec<_> = answer.variants.iter().map(|v| (v.subjects, v.sum_y, v.sum_yy)).collect();
    assert_eq!(sums, [(2, 1.0, 1.0), (1, 1.0, 1.0)]);
}

#[tokio::test]
async fn means_and_ratios_carry_their_denominator() {
    let suite = experiment().await;
    let answer = ask(&suite, question("basket")).await;
    let control = &answer.variants[0];
    // ada: 3 in two payments; bob: nothing in none.
    assert_eq!((control.sum_y, control.sum_d), (3.0, 2.0));
    assert_eq!((control.sum_dd, control.sum_yd), (4.0, 6.0));
    let answer = ask(&suite, question("revenue-per-visit")).await;
    let treatment = &answer.variants[1];
    assert_eq!((treatment.sum_y, treatment.sum_d, treatment.sum_yd), (4.0, 1.0, 4.0));
}

#[tokio::test]
async fn what_is_no_number_per_subject_is_refused() {
    let suite = experiment().await;
    let accounts = pb::UniqueMetric {
        event: Some(selector("Paid")),
        of: "account".to_owned(),
        ..Default::default()
    };
    suite.metric("accounts", Definition::Unique(accounts)).await;
    let mut metrics = suite.analyst.metrics();
    let refused = metrics.query_variant_statistics(question("accounts")).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_FIELD");
    assert_eq!(blamed_fields(&refused), ["metric"]);
}

#[tokio::test]
async fn a_funnel_counts_who_completed_it_among_everybody_exposed() {
    let suite = experiment().await;
    let funnel = pb::FunnelMetric {
        steps: vec![selector("Exposed"), selector("Paid"), selector("Paid")],
        ..pb::FunnelMetric::default()
    };
    suite.metric("paid-twice", Definition::Funnel(funnel)).await;
    let answer = ask(&suite, question("paid-twice")).await;
    assert!(answer.proportion);
    let sums: Vec<_> = answer.variants.iter().map(|v| (v.subjects, v.sum_y, v.sum_d)).collect();
    // The second payment of cleo is after the outcome window.
    assert_eq!(sums, [(2, 1.0, 0.0), (1, 0.0, 0.0)]);
}

#[tokio::test]
async fn retention_is_a_share_of_those_who_are_old_enough() {
    let suite = experiment().await;
    let retention = pb::RetentionMetric {
        start: Some(selector("Exposed")),
        r#return: Some(selector("Paid")),
        day: 1,
        mode: 0,
    };
    suite.metric("next-day", Definition::Retention(retention)).await;
    suite.ingest(vec![exposed("eve", "control", "2026-03-20T06:00:00Z")]).await;
    let answer = ask(&suite, question("next-day")).await;
    assert!(!answer.proportion);
    let sums: Vec<_> = answer.variants.iter().map(|v| (v.subjects, v.sum_y, v.sum_d)).collect();
    // The day after has not begun for eve: the log ends on the day she was exposed.
    assert_eq!(sums, [(3, 1.0, 2.0), (1, 0.0, 1.0)]);
}

#[tokio::test]
async fn a_time_to_an_event_is_a_mean_over_those_who_got_there() {
    let suite = experiment().await;
    let time = pb::TimeToEventMetric {
        from: Some(selector("Exposed")),
        to: Some(selector("Paid")),
        ..Default::default()
    };
    suite.metric("time-to-pay", Definition::TimeToEvent(time)).await;
    let answer = ask(&suite, question("time-to-pay")).await;
    assert!(!answer.proportion);
    let sums: Vec<_> = answer.variants.iter().map(|v| (v.sum_y, v.sum_d, v.sum_yd)).collect();
    assert_eq!(sums, [(86_400.0, 1.0, 86_400.0), (172_800.0, 1.0, 172_800.0)]);
}

#[tokio::test]
async fn a_question_without_exposure_is_refused() {
    let suite = experiment().await;
    let request = pb::QueryVariantStatisticsRequest {
        metric: "revenue".to_owned(),
        covariate_days: -1,
        outcome_window: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
        ..Default::default()
    };
    let refused = suite.analyst.metrics().query_variant_statistics(request).await.unwrap_err();
    assert_eq!(
        blamed_fields(&refused),
        [
            "start_time",
            "end_time",
            "exposure.event",
            "variant_property",
            "outcome_window",
            "covariate_days",
        ]
    );
}
