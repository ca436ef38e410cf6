//! Sufficient statistics by variant.

use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::cohort_rule::Rule;
use northstar_proto::metrics::v1::metric::Definition;
use serde_json::json;

use crate::cohorts::{apply, by_list, by_rule, upload};
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
        ..Default::default()
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

/// Two people see control, one treatment; what each does afterwards is one row.
async fn two_arms() -> Suite {
    let suite = Suite::start().await;
    let answered =
        |user: &str, score: i64, at| event("Answered", user, at).with(json!({"score": score}));
    let looked = |user: &str, item: &str, at| event("Looked", user, at).with(json!({"item": item}));
    let bought = |user: &str, item: &str, amount: i64, at| {
        event("Paid", user, at).with(json!({"item": item, "amount": amount}))
    };
    suite
        .ingest(vec![
            exposed("ada", "control", "2026-03-02T00:00:00Z"),
            exposed("bob", "control", "2026-03-02T00:00:00Z"),
            exposed("cleo", "treatment", "2026-03-02T00:00:00Z"),
            looked("ada", "pen", "2026-03-02T08:00:00Z"),
            bought("ada", "pen", 5, "2026-03-02T09:00:00Z"),
            bought("ada", "pen", 7, "2026-03-03T09:00:00Z"),
            looked("cleo", "cup", "2026-03-02T08:00:00Z"),
            looked("cleo", "pen", "2026-03-03T08:00:00Z"),
            bought("cleo", "pen", 9, "2026-03-03T09:00:00Z"),
            answered("ada", 10, "2026-03-04T09:00:00Z"),
            answered("bob", 2, "2026-03-04T09:00:00Z"),
            answered("cleo", 8, "2026-03-04T09:00:00Z"),
        ])
        .await;
    suite
}

#[tokio::test]
async fn every_kind_with_a_number_per_subject_is_compared_between_variants() {
    let suite = two_arms().await;
    let stickiness = |measure: pb::StickinessMeasure, intervals| {
        Definition::Stickiness(pb::StickinessMetric {
            event: Some(selector("Paid")),
            measure: measure.into(),
            intervals,
            ..Default::default()
        })
    };
    let per_subject = |aggregate: pb::SubjectAggregate, property: &str| {
        Definition::PerSubject(pb::PerSubjectMetric {
            event: Some(selector("Paid")),
            aggregate: aggregate.into(),
            property: property.to_owned(),
            ..Default::default()
        })
    };
    let conversion = |calculation: pb::Calculation| {
        Definition::Conversion(pb::ConversionMetric {
            base: Some(selector("Looked")),
            conversion: Some(selector("Paid")),
            calculation: calculation.into(),
            constant_properties: vec![pb::ConstantProperty {
                base_property: "item".to_owned(),
                conversion_property: "item".to_owned(),
            }],
            ..Default::default()
        })
    };
    let nps = pb::NpsMetric { event: Some(selector("Answered")), property: "score".to_owned() };
    // Per arm: sum of y, sum of d; and whether y is a yes or no.
    for (name, definition, control, treatment, proportion) in [
        ("paying-days", stickiness(pb::StickinessMeasure::Ratio, 0), (2.0, 0.0), (1.0, 0.0), false),
        ("two-days", stickiness(pb::StickinessMeasure::Share, 2), (1.0, 0.0), (0.0, 0.0), true),
        ("orders", per_subject(pb::SubjectAggregate::Count, ""), (2.0, 0.0), (1.0, 0.0), false),
        ("spent", per_subject(pb::SubjectAggregate::Sum, "amount"), (12.0, 0.0), (9.0, 0.0), false),
        (
            "largest",
            per_subject(pb::SubjectAggregate::Max, "amount"),
            (7.0, 1.0),
            (9.0, 1.0),
            false,
        ),
        ("nps", Definition::Nps(nps), (0.0, 2.0), (0.0, 1.0), false),
        (
            "looks-that-sell",
            conversion(pb::Calculation::ConversionRate),
            (1.0, 1.0),
            (1.0, 2.0),
            false,
        ),
        ("sales", conversion(pb::Calculation::Conversions), (2.0, 0.0), (1.0, 0.0), false),
    ] {
        suite.metric(name, definition).await;
        let answer = ask(&suite, question(name)).await;
        let sums: Vec<_> = answer.variants.iter().map(|arm| (arm.sum_y, arm.sum_d)).collect();
        assert_eq!(sums, [control, treatment], "{name}");
        assert_eq!(answer.proportion, proportion, "{name}");
    }
}

#[tokio::test]
async fn a_kind_without_a_number_per_subject_is_refused_with_the_reason() {
    let suite = two_arms().await;
    suite.metric("revenue", sum("Paid", "amount")).await;
    let property = "amount".to_owned();
    let event = || Some(selector("Paid"));
    let input = pb::DerivedInput { metric: "revenue".to_owned(), ..Default::default() };
    for (name, definition, reason) in [
        (
            "min",
            Definition::Min(pb::MinMetric { event: event(), property: property.clone() }),
            "per_subject",
        ),
        (
            "p90",
            Definition::Percentile(pb::PercentileMetric {
                event: event(),
                property: property.clone(),
                percentile: 90.0,
                approximate: false,
            }),
            "percentile over events",
        ),
        (
            "new",
            Definition::Lifecycle(pb::LifecycleMetric {
                event: event(),
                state: pb::LifecycleState::New.into(),
                ..Default::default()
            }),
            "calendar periods",
        ),
        (
            "total",
            Definition::Cumulative(pb::CumulativeMetric {
                metric: "revenue".to_owned(),
                ..Default::default()
            }),
            "looks back from a date",
        ),
        (
            "twice",
            Definition::Derived(pb::DerivedMetric {
                expression: "2 * revenue".to_owned(),
                inputs: vec![input],
            }),
            "expression",
        ),
        (
            "median",
            Definition::PerSubject(pb::PerSubjectMetric {
                event: event(),
                aggregate: pb::SubjectAggregate::Count.into(),
                statistic: pb::SubjectStatistic::Median.into(),
                ..Default::default()
            }),
            "statistic mean",
        ),
    ] {
        suite.metric(name, definition).await;
        let asked = suite.analyst.metrics().query_variant_statistics(question(name)).await;
        let refused = asked.unwrap_err();
        assert_eq!(blamed_fields(&refused), ["metric"], "{name}");
        assert!(refused.message().contains(reason), "{name}: {}", refused.message());
    }
}

/// Whoever paid before exposure, told apart from everybody else.
#[tokio::test]
async fn cohorts_narrow_and_divide_arms_by_what_was_known_at_exposure() {
    let suite = experiment().await;
    let paid = Rule::Did(pb::CohortDidRule { event: Some(selector("Paid")), ..Default::default() });
    apply(&suite.analyst, by_rule("payers-then", paid)).await.unwrap();
    apply(&suite.analyst, by_list("friends")).await.unwrap();
    upload(&suite.analyst, "friends", pb::UploadMode::Replace, &["bob", "cleo", "dan"]).await;

    // Cleo paid after her exposure, which decides nothing.
    let only = pb::QueryVariantStatisticsRequest {
        cohorts: vec!["payers-then".to_owned()],
        ..question("revenue")
    };
    let answer = ask(&suite, only.clone()).await;
    let [control] = answer.variants.as_slice() else { panic!("one variant: {answer:?}") };
    assert_eq!((control.variant.as_str(), control.subjects, control.sum_y), ("control", 1, 3.0));
    assert_eq!(answer.multiple_exposure_subjects, 0);

    let whole = ask(&suite, question("revenue")).await;
    let divided = pb::QueryVariantStatisticsRequest {
        breakdowns: vec!["cohort.payers-then".to_owned(), "cohort.friends".to_owned()],
        ..question("revenue")
    };
    let answer = ask(&suite, divided).await;
    let rows: Vec<_> = answer
        .variants
        .iter()
        .map(|row| {
            let side = |cohort: &str| row.dimensions[cohort].as_str();
            (row.variant.as_str(), side("cohort.payers-then"), side("cohort.friends"), row.subjects)
        })
        .collect();
    assert_eq!(
        rows,
        [("control", "in", "out", 1), ("control", "out", "in", 1), ("treatment", "out", "in", 1)]
    );
    // A partition: the rows of a variant make up the variant, those in two variants included.
    for variant in &whole.variants {
        let sum = |of: fn(&pb::VariantStatistics) -> f64| -> f64 {
            answer.variants.iter().filter(|row| row.variant == variant.variant).map(of).sum()
        };
        assert_eq!(sum(|row| row.subjects as f64), variant.subjects as f64);
        assert_eq!((sum(|row| row.sum_y), sum(|row| row.sum_yy)), (variant.sum_y, variant.sum_yy));
    }
    assert_eq!(answer.multiple_exposure_subjects, whole.multiple_exposure_subjects);
    let digest = |answer: &pb::QueryVariantStatisticsResponse| {
        answer.provenance.as_ref().unwrap().digest.clone()
    };
    assert_ne!(digest(&answer), digest(&whole));
    assert_eq!(digest(&ask(&suite, only.clone()).await), digest(&ask(&suite, only).await));
}

#[tokio::test]
async fn what_is_no_cohort_divides_no_arm() {
    let suite = experiment().await;
    let refused = async |request: pb::QueryVariantStatisticsRequest| {
        suite.analyst.metrics().query_variant_statistics(request).await.unwrap_err()
    };
    let request = pb::QueryVariantStatisticsRequest {
        breakdowns: vec!["plan".to_owned()],
        cohorts: vec!["c".to_owned(); 11],
        ..question("revenue")
    };
    assert_eq!(blamed_fields(&refused(request).await), ["cohorts", "breakdowns[0]"]);
    let request = pb::QueryVariantStatisticsRequest {
        breakdowns: vec!["cohort.nobody".to_owned()],
        ..question("revenue")
    };
    assert_eq!(reason(&refused(request).await), "NOT_FOUND");
}
