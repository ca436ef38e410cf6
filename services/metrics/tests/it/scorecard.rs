//! KPIs against baseline and target.

use chrono::TimeDelta;
use northstar_proto::metrics::v1 as pb;

use crate::suite::{Suite, count, event, timestamp, unique};

async fn apply_kpi(suite: &Suite, name: &str, metric: &str, baseline: f64, target: f64) {
    let pillar = pb::Pillar { name: "growth".to_owned(), ..Default::default() };
    let request = pb::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
    suite.analyst.metrics().apply_pillar(request).await.unwrap();
    let kpi = pb::Kpi {
        name: name.to_owned(),
        metric: metric.to_owned(),
        pillar: "growth".to_owned(),
        layer: if name == "last" { pb::Layer::Driver } else { pb::Layer::Outcome }.into(),
        owner: "the growth team".to_owned(),
        unit: "users".to_owned(),
        direction: pb::Direction::Increase.into(),
        baseline: Some(pb::Baseline {
            value: baseline,
            start_time: Some(timestamp("2026-03-01")),
            end_time: Some(timestamp("2026-03-15")),
        }),
        target: Some(pb::Target { value: target, due_time: Some(timestamp("2026-06-30")) }),
        guardrails: vec![pb::Guardrail {
            metric: "tickets".to_owned(),
            direction: pb::Direction::Decrease.into(),
            margin: 0.1,
        }],
        review_time: Some(timestamp("2026-05-01")),
        window_days: 7,
        ..Default::default()
    };
    let request = pb::ApplyKpiRequest { kpi: Some(kpi), ..Default::default() };
    suite.analyst.metrics().apply_kpi(request).await.unwrap();
}

async fn scorecard(suite: &Suite, at: Option<&str>) -> pb::GetScorecardResponse {
    let request = pb::GetScorecardRequest { evaluation_time: at.map(timestamp) };
    suite.analyst.metrics().get_scorecard(request).await.unwrap().into_inner()
}

/// Three users in the last week and one before it; one ticket in two weeks of
/// baseline, one in the last week.
async fn week() -> Suite {
    let suite = Suite::start().await;
    suite.metric("users", unique("Visited")).await;
    suite.metric("tickets", count("Ticket Opened")).await;
    suite
        .ingest(vec![
            event("Ticket Opened", "ada", "2026-03-02T00:00:00Z"),
            event("Ticket Opened", "ada", "2026-03-03T00:00:00Z"),
            event("Visited", "old", "2026-03-24T11:59:59Z"),
            event("Visited", "ada", "2026-03-24T12:00:00Z"),
            event("Visited", "bob", "2026-03-25T12:00:00Z"),
            event("Visited", "cleo", "2026-03-31T11:59:59Z"),
            event("Visited", "next", "2026-03-31T12:00:00Z"),
            event("Ticket Opened", "ada", "2026-03-30T00:00:00Z"),
        ])
        .await;
    suite
}

#[tokio::test]
async fn a_scorecard_judges_every_kpi_over_its_window() {
    let suite = week().await;
    apply_kpi(&suite, "last", "users", 1.0, 3.0).await;
    apply_kpi(&suite, "halfway", "users", 1.0, 5.0).await;
    apply_kpi(&suite, "stuck", "users", 3.0, 5.0).await;
    apply_kpi(&suite, "worse", "users", 4.0, 5.0).await;
    let card = scorecard(&suite, None).await;
    assert_eq!(card.evaluation_time, Some(timestamp("2026-03-31T12:00:00Z")));
    let standing: Vec<_> = card
        .kpis
        .iter()
        .map(|kpi| (kpi.kpi.as_ref().unwrap().name.as_str(), kpi.value, kpi.status()))
        .collect();
    assert_eq!(
        standing,
        [
            ("halfway", Some(3.0), pb::KpiStatus::OnTrack),
            ("stuck", Some(3.0), pb::KpiStatus::AtRisk),
            ("worse", Some(3.0), pb::KpiStatus::OffTrack),
            ("last", Some(3.0), pb::KpiStatus::Achieved),
        ]
    );
    let halfway = &card.kpis[0];
    assert_eq!(halfway.provenance.as_ref().unwrap().log_position, 8);
    assert!(halfway.next_step.contains("50 % of the way"), "{}", halfway.next_step);
    assert!(halfway.next_step.starts_with("the growth team"), "{}", halfway.next_step);
    // Two tickets in two weeks are one in a week: no worsening.
    let guardrail = &halfway.guardrails[0];
    assert_eq!((guardrail.value, guardrail.baseline), (Some(1.0), Some(1.0)));
    assert_eq!(guardrail.breached, Some(false));
}

#[tokio::test]
async fn a_scorecard_of_the_past_knows_only_the_past() {
    let suite = week().await;
    apply_kpi(&suite, "users", "users", 1.0, 3.0).await;
    let card = scorecard(&suite, Some("2026-03-25T00:00:00Z")).await;
    assert_eq!(card.kpis[0].value, Some(2.0));
}

#[tokio::test]
async fn a_broken_guardrail_and_a_silent_source_change_what_to_do_next() {
    let suite = week().await;
    apply_kpi(&suite, "users", "users", 1.0, 3.0).await;
    suite.ingest(vec![event("Ticket Opened", "bob", "2026-03-30T00:00:00Z")]).await;
    let card = scorecard(&suite, None).await;
    assert_eq!(card.kpis[0].status(), pb::KpiStatus::Achieved);
    assert_eq!(card.kpis[0].guardrails[0].breached, Some(true));
    assert!(card.kpis[0].next_step.contains("tickets got worse"), "{}", card.kpis[0].next_step);

    suite.clock.advance(TimeDelta::days(2));
    let card = scorecard(&suite, Some("2026-03-31T12:00:00Z")).await;
    assert!(card.kpis[0].next_step.contains("checks the sources"), "{}", card.kpis[0].next_step);
    assert_eq!(card.kpis[0].provenance.as_ref().unwrap().freshness(), pb::Freshness::Stale);
}

#[tokio::test]
async fn a_scorecard_of_nothing_is_empty_and_one_without_data_says_so() {
    let suite = Suite::start().await;
    assert_eq!(scorecard(&suite, None).await.kpis, []);
    suite.metric("tickets", count("Ticket Opened")).await;
    let mean = crate::suite::mean("Paid", "amount");
    suite.metric("basket", mean).await;
    apply_kpi(&suite, "basket", "basket", 1.0, 3.0).await;
    let card = scorecard(&suite, None).await;
    assert_eq!((card.kpis[0].value, card.kpis[0].status()), (None, pb::KpiStatus::NoData));
    assert!(card.kpis[0].next_step.contains("connects a source"));
}
