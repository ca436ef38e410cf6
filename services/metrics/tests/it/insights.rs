//! Why numbers moved, what was out of the ordinary, what a change did, what customers are worth.

use chrono::{DateTime, TimeDelta, Utc};
use northstar_proto::ingestion::v1 as log;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::cohort_rule::Rule;
use northstar_proto::metrics::v1::metric::Definition;
use northstar_proto::metrics::v1::query_impact_request::Adoption;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use uuid::Uuid;

use crate::cohorts::{apply, by_rule};
use crate::suite::{
    Suite, blamed_fields, count, ingest, ratio, reason, selector, sum, time, timestamp, unique,
    value,
};

fn happened(
    name: &str,
    user: &str,
    at: DateTime<Utc>,
    properties: serde_json::Value,
) -> log::Event {
    let serde_json::Value::Object(properties) = properties else { panic!("an object") };
    log::Event {
        message_id: Uuid::now_v7().to_string(),
        name: name.to_owned(),
        user_id: user.to_owned(),
        occurred_time: Some(northstar_metrics::convert::to_timestamp(at)),
        properties: properties.into_iter().map(|(key, json)| (key, value(json))).collect(),
        ..Default::default()
    }
}

async fn send(suite: &Suite, events: Vec<log::Event>) {
    for batch in events.chunks(400) {
        ingest(&suite.producer, batch.to_vec()).await;
    }
}

/// What adoption adds to the sessions of two weeks.
const TRUTH: f64 = 4.0;

/// People on two plans over ten weeks. Those who pay do more, grow by themselves in the second half, and adopt more
/// often; who adopts does two sessions more in each of the two weeks after.
fn adopters() -> Vec<log::Event> {
    let mut random = StdRng::seed_from_u64(11);
    let start = time("2026-01-05T00:00:00Z");
    let mut events = Vec::new();
    for person in 0..240 {
        let user = format!("user-{person:03}");
        let pays = person % 2 == 0;
        let plan = json!({"plan": if pays { "pro" } else { "free" }, "region": person % 3});
        let adopts = random.random_bool(if pays { 0.6 } else { 0.2 });
        let adopted = start + TimeDelta::days(35) + TimeDelta::hours(random.random_range(0..72));
        for day in 0..70 {
            let at =
                start + TimeDelta::days(day) + TimeDelta::minutes(random.random_range(0..1_440));
            let weekly = match (pays, day < 35) {
                (true, true) => 4.0,
                (true, false) => 6.0,
                (false, _) => 1.5,
            };
            let more = adopts && at >= adopted && at < adopted + TimeDelta::days(14);
            let rate: f64 = weekly / 7.0 + if more { TRUTH / 14.0 } else { 0.0 };
            let sessions = rate.floor() as u32 + u32::from(random.random_bool(rate.fract()));
            for number in 0..sessions {
                let at = at + TimeDelta::seconds(number.into());
                events.push(happened("Session", &user, at, plan.clone()));
            }
        }
        events.push(happened("Signed Up", &user, start - TimeDelta::days(1), plan.clone()));
        if adopts {
            events.push(happened("Report Shared", &user, adopted, plan));
        }
    }
    events
}

fn impact() -> pb::QueryImpactRequest {
    pb::QueryImpactRequest {
        metric: "sessions".to_owned(),
        adoption: Some(Adoption::Event(selector("Report Shared"))),
        start_time: Some(timestamp("2026-02-01")),
        end_time: Some(timestamp("2026-03-01")),
        period: Some(prost_types::Duration { seconds: 7 * 86_400, nanos: 0 }),
        periods_before: 2,
        periods_after: 2,
        method: pb::MatchingMethod::Coarsened.into(),
        property_covariates: vec!["plan".to_owned()],
        ..Default::default()
    }
}

async fn ask(suite: &Suite, request: pb::QueryImpactRequest) -> pb::QueryImpactResponse {
    suite.analyst.insights().query_impact(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_confounded_adoption_is_told_from_its_effect() {
    let suite = Suite::start().await;
    suite.metric("sessions", count("Session")).await;
    send(&suite, adopters()).await;
    let request = pb::QueryImpactRequest { segment_by: "region".to_owned(), ..impact() };
    let answer = ask(&suite, request.clone()).await;

    assert_eq!(answer.evidence(), pb::EvidenceKind::Matched);
    assert!(answer.statement.starts_with("Quasi-experimental"), "{}", answer.statement);
    assert!(answer.summary.contains("Report Shared"), "{}", answer.summary);
    // Adopters grow by themselves: their own change holds more than the effect.
    let alone = answer.before_after.unwrap();
    assert!(alone.ci_low > TRUTH, "{alone:?}");
    let matched = answer.matched.unwrap();
    let effect = matched.effect.unwrap();
    assert!(effect.ci_low < TRUTH && TRUTH < effect.ci_high, "{effect:?}");
    assert!(effect.ci_low > 0.0, "{effect:?}");
    let trend = matched.trend.unwrap();
    assert_eq!(trend.diverging, Some(false));
    let offsets: Vec<i32> = trend.periods.iter().map(|period| period.offset).collect();
    assert_eq!(offsets, [-2, -1, 0, 1]);
    let plan = matched.balance.iter().find(|row| row.covariate == "plan = pro").unwrap();
    assert!(plan.standardised_difference.unwrap() > 0.3 && !plan.imbalanced, "{plan:?}");
    let of_segments: i64 = matched.segments.iter().map(|segment| segment.adopters).sum();
    assert_eq!((matched.segments.len(), of_segments), (3, matched.matches.unwrap().adopters));
    // The same question has the same answer.
    let again = ask(&suite, request).await;
    assert_eq!(again.provenance.unwrap().digest, answer.provenance.unwrap().digest);
}

#[tokio::test]
async fn every_method_of_matching_removes_the_growth_of_those_who_pay() {
    let suite = Suite::start().await;
    suite.metric("sessions", count("Session")).await;
    send(&suite, adopters()).await;
    let naive = ask(&suite, impact()).await.before_after.unwrap().estimate - TRUTH;
    for method in [pb::MatchingMethod::Coarsened, pb::MatchingMethod::Propensity] {
        let request = pb::QueryImpactRequest {
            method: method.into(),
            count_covariates: vec![selector("Session")],
            cluster_by: "event.account_id".to_owned(),
            ..impact()
        };
        let effect = ask(&suite, request).await.matched.unwrap().effect.unwrap();
        assert!((effect.estimate - TRUTH).abs() < 0.5 * naive, "{method:?}: {effect:?}");
    }
    let nobody = pb::QueryImpactRequest {
        adoption: Some(Adoption::Event(selector("Never Happened"))),
        ..impact()
    };
    let answer = ask(&suite, nobody).await;
    assert_eq!(answer.evidence(), pb::EvidenceKind::Unspecified);
    assert_eq!(answer.not_matched, "nobody was treated");
}

#[tokio::test]
async fn a_holdout_comes_first() {
    let suite = Suite::start().await;
    suite.metric("payments", count("Paid")).await;
    let start = time("2026-02-02T00:00:00Z");
    let mut events = Vec::new();
    for person in 0..60 {
        let user = format!("user-{person:02}");
        let arm = if person % 3 == 0 { "holdout" } else { "treated" };
        let about = json!({"automation": "nudge", "arm": arm});
        let plan = json!({"plan": if person < 30 { "pro" } else { "free" }});
        events.push(happened("Signed Up", &user, start - TimeDelta::days(20), plan));
        events.push(happened("northstar.automation.run", &user, start, about));
        let payments = person % 4 + if arm == "treated" { 2 } else { 0 };
        for number in 0..payments {
            let at = start + TimeDelta::days(1 + number);
            events.push(happened("Paid", &user, at, json!({})));
        }
    }
    // The log goes on, so that the time after is over.
    events.push(happened("Signed Up", "late", start + TimeDelta::days(30), json!({})));
    send(&suite, events).await;
    let request = pb::QueryImpactRequest {
        metric: "payments".to_owned(),
        adoption: Some(Adoption::Automation("nudge".to_owned())),
        property_covariates: Vec::new(),
        ..impact()
    };
    let answer = ask(&suite, request.clone()).await;
    assert_eq!(answer.evidence(), pb::EvidenceKind::Randomised, "{}", answer.summary);
    assert!(answer.statement.starts_with("Randomised"));
    let found = answer.randomised.unwrap();
    assert_eq!((found.treated_subjects, found.held_out_subjects), (40, 20));
    assert!((found.effect.unwrap().estimate - 2.0).abs() < 0.5, "{found:?}");
    assert_eq!(found.segments, []);

    // Segment by segment, by a property and by a cohort that says the same.
    groups(&suite).await;
    for (segment_by, names) in [("plan", ["free", "pro"]), ("cohort.pro", ["in", "out"])] {
        let request =
            pb::QueryImpactRequest { segment_by: segment_by.to_owned(), ..request.clone() };
        let found = ask(&suite, request).await.randomised.unwrap();
        let mut segments = found.segments.clone();
        segments.sort_by(|left, right| left.segment.cmp(&right.segment));
        let named: Vec<&str> = segments.iter().map(|one| one.segment.as_str()).collect();
        assert_eq!(named, names);
        for one in &segments {
            assert_eq!((one.treated_subjects, one.held_out_subjects), (20, 10), "{one:?}");
            assert!((one.effect.unwrap().estimate - 2.0).abs() < 0.6, "{one:?}");
        }
    }
}

/// A figure whose error does not follow from sums.
fn per_subject_median() -> Definition {
    Definition::PerSubject(pb::PerSubjectMetric {
        event: Some(selector("Session")),
        aggregate: pb::SubjectAggregate::Count.into(),
        statistic: pb::SubjectStatistic::Median.into(),
        ..Default::default()
    })
}

/// Everybody on `pro`.
async fn groups(suite: &Suite) {
    let pro = Rule::Property(pb::CohortPropertyRule {
        name: "plan".to_owned(),
        condition: "properties.plan == \"pro\"".to_owned(),
        ..Default::default()
    });
    apply(&suite.analyst, by_rule("pro", pro)).await.unwrap();
}

#[tokio::test]
async fn the_effect_on_a_ratio_is_that_of_the_sums_with_the_error_of_the_ratio() {
    let suite = Suite::start().await;
    suite.metric("sessions", count("Session")).await;
    suite.metric("starts", count("Session Started")).await;
    suite.metric("active", unique("Session")).await;
    // Two for each session: as if sessions were counted in halves.
    let mut events = adopters();
    let doubled =
        events.clone().into_iter().filter(|event| event.name == "Session").flat_map(|event| {
            [0, 1].map(|_| log::Event {
                message_id: Uuid::now_v7().to_string(),
                name: "Session Started".to_owned(),
                ..event.clone()
            })
        });
    let doubled: Vec<log::Event> = doubled.collect();
    events.extend(doubled);
    send(&suite, events).await;
    suite.metric("per-start", ratio("sessions", "starts")).await;
    suite.metric("per-head", ratio("sessions", "active")).await;

    // A ratio that is the same for everybody has no effect, and nothing that varies.
    let constant = pb::QueryImpactRequest { metric: "per-start".to_owned(), ..impact() };
    let matched = ask(&suite, constant).await.matched.unwrap();
    for half in [
        matched.adopters_before,
        matched.adopters_after,
        matched.others_before,
        matched.others_after,
    ] {
        assert!((half - 0.5).abs() < 1e-9, "{half}");
    }
    assert_eq!(matched.effect, None);

    // Sessions of a head that is active: where nearly everybody is, the effect on sessions.
    let request = pb::QueryImpactRequest {
        metric: "per-head".to_owned(),
        segment_by: "plan".to_owned(),
        ..impact()
    };
    let answer = ask(&suite, request.clone()).await;
    assert_eq!(answer.evidence(), pb::EvidenceKind::Matched);
    assert!(!answer.summary.contains("per adopter"), "{}", answer.summary);
    let matched = answer.matched.unwrap();
    let effect = matched.effect.unwrap();
    assert!(effect.ci_low < TRUTH && TRUTH < effect.ci_high, "{effect:?}");
    let rise = matched.adopters_after - matched.adopters_before;
    let usual = matched.others_after - matched.others_before;
    assert!((effect.estimate - (rise - usual)).abs() < 1e-9, "{effect:?} {matched:?}");
    let names: Vec<&str> = matched.balance.iter().map(|row| row.covariate.as_str()).collect();
    assert_eq!(names[..2], ["numerator before", "denominator before"]);
    assert_eq!(matched.segments.len(), 2);
    assert_eq!(matched.trend.unwrap().periods.len(), 4);
    assert!(answer.before_after.unwrap().estimate > effect.estimate);
}

#[tokio::test]
async fn whether_subjects_converted_is_an_outcome_too() {
    let suite = Suite::start().await;
    let conversion = pb::ConversionMetric {
        base: Some(selector("Session")),
        conversion: Some(selector("Report Shared")),
        ..Default::default()
    };
    suite.metric("shares", Definition::Conversion(conversion)).await;
    suite.metric("active", unique("Session")).await;
    send(&suite, adopters()).await;
    for metric in ["shares", "active"] {
        let request = pb::QueryImpactRequest { metric: metric.to_owned(), ..impact() };
        let matched = ask(&suite, request).await.matched.unwrap();
        let figures = [
            matched.adopters_before,
            matched.adopters_after,
            matched.others_before,
            matched.others_after,
        ];
        assert!(figures.iter().all(|share| (0.0..=1.0).contains(share)), "{metric}: {figures:?}");
    }
}

#[tokio::test]
async fn cohorts_narrow_match_and_segment_an_impact() {
    let suite = Suite::start().await;
    suite.metric("sessions", count("Session")).await;
    send(&suite, adopters()).await;
    groups(&suite).await;
    let by_cohort = pb::QueryImpactRequest {
        property_covariates: vec!["cohort.pro".to_owned()],
        segment_by: "cohort.pro".to_owned(),
        ..impact()
    };
    // Plans never change here, so that the cohort says what the property says.
    let by_property = pb::QueryImpactRequest { segment_by: "plan".to_owned(), ..impact() };
    let cohort = ask(&suite, by_cohort.clone()).await.matched.unwrap();
    let property = ask(&suite, by_property).await.matched.unwrap();
    let same = |one: Option<pb::EffectEstimate>, other: Option<pb::EffectEstimate>| {
        let (one, other) = (one.unwrap(), other.unwrap());
        (one.estimate - other.estimate).abs() < 1e-9
            && (one.standard_error - other.standard_error).abs() < 1e-9
    };
    assert!(same(cohort.effect, property.effect), "{cohort:?} {property:?}");
    let segment = |found: &pb::MatchedImpact, name: &str| {
        found.segments.iter().find(|segment| segment.segment == name).unwrap().clone()
    };
    for (side, plan) in [("in", "pro"), ("out", "free")] {
        let [one, other] = [segment(&cohort, side), segment(&property, plan)];
        assert_eq!(one.adopters, other.adopters);
        assert!(same(one.effect, other.effect), "{one:?} {other:?}");
    }
    assert!(cohort.balance.iter().any(|row| row.covariate == "cohort.pro = in"));

    let only = pb::QueryImpactRequest { cohorts: vec!["pro".to_owned()], ..impact() };
    let matched = ask(&suite, only).await.matched.unwrap();
    assert_eq!(matched.matches.unwrap().adopters, segment(&cohort, "in").adopters);
    let unknown = pb::QueryImpactRequest { cohorts: vec!["nobody".to_owned()], ..impact() };
    let refused = suite.analyst.insights().query_impact(unknown).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_FOUND");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_all_at_once() {
    let suite = Suite::start().await;
    suite.metric("sessions", count("Session")).await;
    suite.metric("payments", count("Paid")).await;
    suite.metric("rate", ratio("payments", "sessions")).await;
    suite.metric("median", per_subject_median()).await;
    let mut insights = suite.analyst.insights();
    let request = pb::QueryImpactRequest {
        adoption: None,
        periods_before: -1,
        confidence: 2.0,
        end_time: None,
        ..impact()
    };
    let refused = insights.query_impact(request).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_FIELD");
    let blamed = blamed_fields(&refused);
    assert_eq!(blamed, ["end_time", "adoption", "periods_before", "confidence"]);
    let request = pb::QueryImpactRequest { metric: "median".to_owned(), ..impact() };
    let refused = insights.query_impact(request).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["metric"]);
    // A ratio of two weeks is not the ratio of one.
    let request =
        pb::QueryImpactRequest { metric: "rate".to_owned(), periods_after: 1, ..impact() };
    let refused = insights.query_impact(request).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["periods_after"]);
    let request = pb::QueryImpactRequest {
        cluster_by: "cohort.large".to_owned(),
        segment_by: "cohort.".to_owned(),
        ..impact()
    };
    let refused = insights.query_impact(request).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["segment_by", "cluster_by"]);

    let request = pb::DetectAnomaliesRequest {
        metric: "sessions".to_owned(),
        start_time: Some(timestamp("2026-03-01")),
        end_time: Some(timestamp("2026-03-02")),
        threshold: -1.0,
        ..Default::default()
    };
    let refused = insights.detect_anomalies(request).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["grain", "threshold"]);
    let request = pb::AttributeChangeRequest {
        metric: "sessions".to_owned(),
        start_time: Some(timestamp("2026-03-01")),
        end_time: Some(timestamp("2026-03-02")),
        ..Default::default()
    };
    let refused = insights.attribute_change(request).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["dimensions"]);
    let request = pb::QueryCustomerValueRequest {
        purchase: Some(selector("Paid")),
        start_time: Some(timestamp("2026-01-01")),
        end_time: Some(timestamp("2026-03-01")),
        ..Default::default()
    };
    let refused = insights.query_customer_value(request).await.unwrap_err();
    assert_eq!(reason(&refused), "INSUFFICIENT_DATA");
}

#[tokio::test]
async fn a_day_that_is_unlike_its_weekday_is_an_anomaly_and_a_weekend_is_none() {
    let suite = Suite::start().await;
    suite.metric("visits", count("Visited")).await;
    let start = time("2026-01-05T00:00:00Z");
    let mut events = Vec::new();
    for day in 0..80_i64 {
        for platform in ["web", "ios"] {
            let usual = if day % 7 > 4 { 10 } else { 24 };
            let visits = match (day, platform) {
                (73, "ios") => 9,
                _ => usual + (day * 37 + day * day * 11) % 3,
            };
            for number in 0..visits {
                let at = start + TimeDelta::days(day) + TimeDelta::minutes(10 * number);
                let about = json!({"platform": platform});
                events.push(happened("Visited", &format!("user-{number}"), at, about));
            }
        }
    }
    send(&suite, events).await;
    let request = pb::DetectAnomaliesRequest {
        metric: "visits".to_owned(),
        start_time: Some(timestamp("2026-03-02")),
        end_time: Some(timestamp("2026-03-29")),
        grain: pb::Grain::Day.into(),
        breakdowns: vec!["platform".to_owned()],
        labels: vec![pb::TimeRange {
            start_time: Some(timestamp("2026-03-19")),
            end_time: Some(timestamp("2026-03-20")),
        }],
        ..Default::default()
    };
    let answer = suite.analyst.insights().detect_anomalies(request.clone()).await.unwrap();
    let answer = answer.into_inner();
    // The series with an anomaly comes first. What stopped on the 26th is one, too: the clock says that the days since
    // are over.
    let series = &answer.series[0];
    let raised = |series: &pb::AnomalySeries| -> Vec<Option<i64>> {
        let raised = series.points.iter().filter(|point| point.anomaly);
        raised.map(|point| point.bucket_time.map(|time| time.seconds)).collect()
    };
    let day = |text: &str| timestamp(text).seconds;
    let ios = answer.series.iter().find(|series| series.dimensions["platform"] == "ios").unwrap();
    let stopped = ["2026-03-26", "2026-03-27", "2026-03-28"].map(|text| Some(day(text)));
    assert_eq!(raised(ios), [&[Some(day("2026-03-19"))], &stopped[..]].concat());
    let web = answer.series.iter().find(|series| series.dimensions["platform"] == "web").unwrap();
    assert_eq!(raised(web), stopped);
    let backtest = ios.backtest.as_ref().unwrap();
    assert_eq!((backtest.hits, backtest.misses, backtest.false_alarms), (1, 0, 1));
    assert!(answer.summary.contains("in visits"), "{}", answer.summary);
    assert_eq!(series.points.len(), 27);

    // Whoever asks for rises only hears of none.
    let request =
        pb::DetectAnomaliesRequest { direction: pb::AnomalyDirection::Up.into(), ..request };
    let answer = suite.analyst.insights().detect_anomalies(request).await.unwrap().into_inner();
    assert!(answer.summary.starts_with("Nothing out of the ordinary"), "{}", answer.summary);
}

/// Two weeks; in the second ios in Brazil pays half as often, and everybody else as before.
fn two_weeks() -> Vec<log::Event> {
    let mut events = Vec::new();
    for (week, from) in [(0, "2026-03-02T00:00:00Z"), (1, "2026-03-09T00:00:00Z")] {
        let from = time(from);
        for platform in ["web", "ios"] {
            for country in ["de", "us", "br", "in"] {
                for number in 0..20 {
                    let user = format!("{platform}-{country}-{number}");
                    let about = json!({"platform": platform, "country": country, "amount": 10});
                    let at = from + TimeDelta::hours(number);
                    events.push(happened("Visited", &user, at, about.clone()));
                    let bad = week == 1 && platform == "ios" && country == "br";
                    if number % 2 == 0 && !(bad && number % 4 == 0) {
                        events.push(happened("Paid", &user, at, about));
                    }
                }
            }
        }
    }
    events
}

#[tokio::test]
async fn the_segment_that_moved_is_named_and_contributions_sum_to_the_change() {
    let suite = Suite::start().await;
    suite.metric("revenue", sum("Paid", "amount")).await;
    suite.metric("payments", count("Paid")).await;
    suite.metric("visits", count("Visited")).await;
    suite.metric("payments-per-visit", ratio("payments", "visits")).await;
    suite.metric("people", unique("Visited")).await;
    send(&suite, two_weeks()).await;
    for (metric, before, after) in
        [("revenue", 800.0, 750.0), ("payments-per-visit", 0.5, 75.0 / 160.0)]
    {
        let request = pb::AttributeChangeRequest {
            metric: metric.to_owned(),
            start_time: Some(timestamp("2026-03-09")),
            end_time: Some(timestamp("2026-03-16")),
            dimensions: vec!["platform".to_owned(), "country".to_owned()],
            ..Default::default()
        };
        let answer = suite.analyst.insights().attribute_change(request).await.unwrap().into_inner();
        assert_eq!((answer.before, answer.after), (before, after));
        let [segment] = answer.explanation.as_slice() else { panic!("{}", answer.summary) };
        assert_eq!(segment.segment["platform"], "ios");
        assert_eq!(segment.segment["country"], "br");
        assert!((answer.explained_share - 1.0).abs() < 1e-9);
        for dimension in &answer.dimensions {
            let sum: f64 = dimension.segments.iter().map(|segment| segment.contribution).sum();
            assert!((sum - (after - before)).abs() < 1e-9, "{}: {sum}", dimension.dimension);
        }
        assert!(answer.summary.contains("country = br, platform = ios"), "{}", answer.summary);
    }
    // People who are on both sides of a dimension would be counted twice.
    let traveller = ["de", "us"].map(|country| {
        let about = json!({"platform": "web", "country": country});
        happened("Visited", "traveller", time("2026-03-10T00:00:00Z"), about)
    });
    send(&suite, traveller.into()).await;
    let request = pb::AttributeChangeRequest {
        metric: "people".to_owned(),
        start_time: Some(timestamp("2026-03-09")),
        end_time: Some(timestamp("2026-03-16")),
        dimensions: vec!["platform".to_owned()],
        ..Default::default()
    };
    let mut insights = suite.analyst.insights();
    let answer = insights.attribute_change(request.clone()).await.unwrap().into_inner();
    assert_eq!(answer.change, 1.0);
    let request = pb::AttributeChangeRequest { dimensions: vec!["country".to_owned()], ..request };
    let refused = insights.attribute_change(request).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["dimensions"]);
}

/// The purchases of the CDNOW sample, up to the end of the paper's calibration; `None` without the data folder.
fn cdnow() -> Option<Vec<log::Event>> {
    let folder = std::env::var_os("NORTHSTAR_TEST_DATA").map_or_else(
        || std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        std::path::PathBuf::from,
    );
    let file = std::fs::read_to_string(folder.join("cdnow/cdnow_sample_elog.csv")).ok()?;
    let purchase = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let [_, customer, day, _, amount] = cells[..] else { panic!("{line} has five cells") };
        let amount: f64 = amount.parse().unwrap();
        happened("Bought", customer, time(&format!("{day}T12:00:00Z")), json!({"amount": amount}))
    };
    Some(file.lines().skip(1).map(purchase).collect())
}

#[tokio::test]
async fn customers_of_cdnow_have_the_value_that_the_papers_say() {
    let Some(events) = cdnow() else { return };
    let suite = Suite::start().await;
    send(&suite, events).await;
    let request = pb::QueryCustomerValueRequest {
        purchase: Some(selector("Bought")),
        amount_property: "amount".to_owned(),
        start_time: Some(timestamp("1997-01-01")),
        end_time: Some(timestamp("1997-10-01")),
        period: Some(prost_types::Duration { seconds: 7 * 86_400, nanos: 0 }),
        periods: 39,
        discount_rate: Some(0.0),
        page_size: 3,
        ..Default::default()
    };
    let mut insights = suite.analyst.insights();
    let answer = insights.query_customer_value(request.clone()).await.unwrap().into_inner();
    // Fader, Hardie & Lee 2005, table 2, whose unit is the week; Fader & Hardie 2013 for the amounts.
    let model = answer.purchases.unwrap();
    for (found, printed) in
        [(model.r, 0.243), (model.alpha_days / 7.0, 4.414), (model.a, 0.793), (model.b, 2.426)]
    {
        assert!((found / printed - 1.0).abs() < 5e-3, "{found} is not {printed}");
    }
    let amounts = answer.amounts.unwrap();
    for (found, printed) in [(amounts.p, 6.25), (amounts.q, 3.74), (amounts.v, 15.44)] {
        assert!((found / printed - 1.0).abs() < 1e-2, "{found} is not {printed}");
    }
    let total = answer.total.as_ref().unwrap();
    assert_eq!(total.customers, 2_357);
    let by_cohort: i64 = answer.cohorts.iter().map(|cohort| cohort.customers).sum();
    assert_eq!((answer.cohorts.len(), by_cohort), (3, 2_357));

    // Pages follow one another without gap or repetition, most valuable first.
    let mut values = Vec::new();
    let mut page_token = String::new();
    for _ in 0..3 {
        let request = pb::QueryCustomerValueRequest { page_token, ..request.clone() };
        let page = insights.query_customer_value(request).await.unwrap().into_inner();
        values.extend(page.customers.iter().map(|one| (one.predicted_value, one.subject.clone())));
        page_token = page.next_page_token;
    }
    let request = pb::QueryCustomerValueRequest { page_size: 9, ..request };
    let whole = insights.query_customer_value(request.clone()).await.unwrap().into_inner();
    let at_once: Vec<_> =
        whole.customers.iter().map(|one| (one.predicted_value, one.subject.clone())).collect();
    assert_eq!(values, at_once);
    assert!(values.is_sorted_by(|left, right| left.0 >= right.0));

    // What came in the 39 weeks after the paper's calibration, foretold.
    let request = pb::QueryCustomerValueRequest {
        end_time: Some(timestamp("1998-07-01")),
        holdout: Some(prost_types::Duration { seconds: 273 * 86_400, nanos: 0 }),
        ..request
    };
    let answer = insights.query_customer_value(request).await.unwrap().into_inner();
    let backtest = answer.backtest.unwrap();
    assert_eq!(backtest.customers, 2_357);
    let ratio = backtest.predicted_purchases / backtest.actual_purchases;
    assert!((0.85..1.15).contains(&ratio), "{backtest:?}");
}

/// So many who come back to buy, each in a rhythm of its own; every fourth shares a report in February.
fn buyers(how_many: i64) -> Vec<log::Event> {
    let start = time("2026-01-01T00:00:00Z");
    let mut events = Vec::new();
    for number in 0..how_many {
        let user = format!("user-{number:03}");
        let plan =
            json!({"plan": if number % 2 == 0 { "pro" } else { "free" }, "amount": 10 + number});
        events.push(happened("Signed Up", &user, start, plan.clone()));
        let every = [4, 7, 11, 18, 30][(number % 5) as usize];
        let last = if number % 3 == 0 { 20 } else { 75 };
        for day in (number % 7..last).step_by(every) {
            let at = start + TimeDelta::days(day) + TimeDelta::hours(10);
            events.push(happened("Paid", &user, at, plan.clone()));
        }
        if number % 4 == 0 {
            events.push(happened("Report Shared", &user, start + TimeDelta::days(40), plan));
        }
    }
    events.push(happened("Signed Up", "user-000", start + TimeDelta::days(80), json!({})));
    events
}

/// What each RPC says of a project with so many buyers, and of one that has others.
#[tokio::test]
async fn what_moves_one_project_says_nothing_of_another() {
    let suite = Suite::start().await;
    let [analyst, producer] = suite.stranger().await;
    for (clients, producer, how_many) in
        [(&suite.analyst, &suite.producer, 40), (&analyst, &producer, 60)]
    {
        for batch in buyers(how_many).chunks(400) {
            ingest(producer, batch.to_vec()).await;
        }
        let request = pb::ApplyMetricRequest {
            metric: Some(crate::suite::metric("payments", count("Paid"))),
            ..Default::default()
        };
        clients.metrics().apply_metric(request).await.unwrap();
    }
    for (clients, how_many) in [(&suite.analyst, 40), (&analyst, 60)] {
        let paid = |from: &str, to: &str| {
            let (from, to) = (timestamp(from).seconds, timestamp(to).seconds);
            let within = buyers(how_many).into_iter().filter(|event| {
                let at = event.occurred_time.unwrap().seconds;
                event.name == "Paid" && at >= from && at < to
            });
            within.count() as f64
        };
        let mut insights = clients.insights();
        let request = pb::QueryImpactRequest {
            metric: "payments".to_owned(),
            property_covariates: Vec::new(),
            classes: 1,
            ..impact()
        };
        let answer = insights.query_impact(request).await.unwrap().into_inner();
        assert_eq!(answer.matched.unwrap().matches.unwrap().adopters, how_many / 4);

        let request = pb::DetectAnomaliesRequest {
            metric: "payments".to_owned(),
            start_time: Some(timestamp("2026-02-01")),
            end_time: Some(timestamp("2026-02-15")),
            grain: pb::Grain::Day.into(),
            ..Default::default()
        };
        let answer = insights.detect_anomalies(request).await.unwrap().into_inner();
        let seen: f64 = answer.series[0].points.iter().filter_map(|point| point.value).sum();
        assert_eq!(seen, paid("2026-02-01", "2026-02-15"));

        let request = pb::AttributeChangeRequest {
            metric: "payments".to_owned(),
            start_time: Some(timestamp("2026-01-15")),
            end_time: Some(timestamp("2026-01-29")),
            dimensions: vec!["plan".to_owned()],
            ..Default::default()
        };
        let answer = insights.attribute_change(request).await.unwrap().into_inner();
        let periods = (paid("2026-01-01", "2026-01-15"), paid("2026-01-15", "2026-01-29"));
        assert_eq!((answer.before, answer.after), periods);

        let request = pb::QueryCustomerValueRequest {
            purchase: Some(selector("Paid")),
            start_time: Some(timestamp("2026-01-01")),
            end_time: Some(timestamp("2026-03-20")),
            page_size: 1_000,
            ..Default::default()
        };
        let answer = insights.query_customer_value(request).await.unwrap().into_inner();
        assert_eq!(answer.customers.len() as i64, how_many);
        assert_eq!(answer.total.unwrap().customers, how_many);
    }
}

#[tokio::test]
async fn cohorts_narrow_and_divide_every_insight() {
    let suite = Suite::start().await;
    suite.metric("payments", count("Paid")).await;
    send(&suite, buyers(40)).await;
    groups(&suite).await;
    let mut insights = suite.analyst.insights();
    let [pro, by_pro] = [vec!["pro".to_owned()], vec!["cohort.pro".to_owned()]];

    let request = pb::DetectAnomaliesRequest {
        metric: "payments".to_owned(),
        start_time: Some(timestamp("2026-02-01")),
        end_time: Some(timestamp("2026-02-15")),
        grain: pb::Grain::Day.into(),
        ..Default::default()
    };
    let mut seen = async |cohorts: &[String], breakdowns: &[String]| {
        let request = pb::DetectAnomaliesRequest {
            cohorts: cohorts.to_vec(),
            breakdowns: breakdowns.to_vec(),
            ..request.clone()
        };
        let answer = insights.detect_anomalies(request).await.unwrap().into_inner();
        let sum = |series: &pb::AnomalySeries| -> f64 {
            series.points.iter().filter_map(|point| point.value).sum()
        };
        let of = |series: &pb::AnomalySeries| {
            (series.dimensions.get("cohort.pro").cloned(), sum(series))
        };
        answer.series.iter().map(of).collect::<Vec<_>>()
    };
    let (whole, within) = (seen(&[], &[]).await, seen(&pro, &[]).await);
    let mut sides = seen(&[], &by_pro).await;
    sides.sort_by(|left, right| left.0.cmp(&right.0));
    let [(Some(side), inside), (Some(other), outside)] = sides.as_slice() else {
        panic!("two sides: {sides:?}")
    };
    assert_eq!((side.as_str(), other.as_str()), ("in", "out"));
    assert_eq!((within[0].1, whole[0].1), (*inside, inside + outside));
    assert!(*outside > 0.0);

    let mut insights = suite.analyst.insights();
    let request = pb::AttributeChangeRequest {
        metric: "payments".to_owned(),
        start_time: Some(timestamp("2026-01-15")),
        end_time: Some(timestamp("2026-01-29")),
        dimensions: by_pro.clone(),
        ..Default::default()
    };
    let all = insights.attribute_change(request.clone()).await.unwrap().into_inner();
    let request = pb::AttributeChangeRequest { cohorts: pro.clone(), ..request };
    let only = insights.attribute_change(request.clone()).await.unwrap().into_inner();
    let side = |answer: &pb::AttributeChangeResponse, value: &str| {
        let segments = answer.dimensions[0].segments.iter();
        segments.cloned().find(|segment| segment.segment["cohort.pro"] == value)
    };
    assert_eq!(side(&all, "in").unwrap().after, Some(only.after));
    assert_eq!(side(&only, "out"), None);
    let both = side(&all, "in").unwrap().contribution + side(&all, "out").unwrap().contribution;
    assert!((both - all.change).abs() < 1e-9);
    let many = pb::AttributeChangeRequest { cohorts: vec!["pro".to_owned(); 11], ..request };
    let refused = insights.attribute_change(many).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["cohorts"]);

    let request = pb::QueryCustomerValueRequest {
        purchase: Some(selector("Paid")),
        amount_property: "amount".to_owned(),
        start_time: Some(timestamp("2026-01-01")),
        end_time: Some(timestamp("2026-03-20")),
        page_size: 1_000,
        breakdowns: by_pro,
        ..Default::default()
    };
    let answer = insights.query_customer_value(request.clone()).await.unwrap().into_inner();
    let total = answer.total.unwrap();
    let segments: Vec<_> = answer
        .segments
        .iter()
        .map(|segment| (segment.dimensions["cohort.pro"].as_str(), segment.group.clone().unwrap()))
        .collect();
    let names: Vec<_> = segments.iter().map(|(side, group)| (*side, group.customers)).collect();
    assert_eq!(names, [("in", 20), ("out", 20)]);
    let sum = |of: fn(&pb::CustomerGroup) -> f64| -> f64 {
        segments.iter().map(|(_, group)| of(group)).sum()
    };
    let near = |left: f64, right: f64| (left - right).abs() < 1e-6 * (1.0 + right.abs());
    assert!(near(sum(|group| group.historic_value), total.historic_value));
    assert!(near(sum(|group| group.predicted_value), total.predicted_value));
    assert!(near(sum(|group| group.alive), total.alive));
    let only = pb::QueryCustomerValueRequest { cohorts: pro, ..request.clone() };
    let only = insights.query_customer_value(only).await.unwrap().into_inner();
    assert_eq!((only.total.unwrap().customers, only.segments.len()), (20, 1));
    let by_plan = pb::QueryCustomerValueRequest { breakdowns: vec!["plan".to_owned()], ..request };
    let refused = insights.query_customer_value(by_plan).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["breakdowns[0]"]);
}
