//! Values that were told and changed afterwards: which, by how much, and why.

use northstar_metrics::Config;
use northstar_proto::ingestion::v1 as log;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition;
use serde_json::json;

use crate::suite::{
    Suite, blamed_fields, count, event, question, selector, sum, timestamp, unique,
};

const FROM: &str = "2026-03-01T00:00:00Z";
const TO: &str = "2026-03-05T00:00:00Z";

async fn start() -> Suite {
    let suite = Suite::start_with(Config { metrics_follow_seconds: 1, ..Config::default() }).await;
    let paid = |user: &str, at: &'static str| {
        event("paid", user, at).with(json!({"amount": 10, "plan": "pro"}))
    };
    suite
        .ingest(vec![
            paid("ada", "2026-03-01T10:00:00Z"),
            paid("ada-2", "2026-03-01T11:00:00Z"),
            paid("grace", "2026-03-02T10:00:00Z"),
            event("end of days", "ada", "2026-03-20T10:00:00Z"),
        ])
        .await;
    suite.metric("payers", unique("paid")).await;
    suite.metric("payments", count("paid")).await;
    suite.metric("revenue", sum("paid", "amount")).await;
    suite
}

/// Asks for a metric by day, to be kept.
async fn tell(suite: &Suite, metric: &str, breakdowns: &[&str]) {
    let request = pb::QueryMetricRequest {
        grain: pb::Grain::Day.into(),
        breakdowns: breakdowns.iter().map(|name| (*name).to_owned()).collect(),
        keep_for_restatements: true,
        ..question(metric, FROM, TO)
    };
    suite.query(request).await.unwrap();
}

async fn list(suite: &Suite, metric: &str) -> Vec<pb::Restatement> {
    let request = pb::ListRestatementsRequest { metric: metric.to_owned(), ..Default::default() };
    suite.analyst.evidence().list_restatements(request).await.unwrap().into_inner().restatements
}

/// Waits until so many restatements of a metric are known.
async fn restated(suite: &Suite, metric: &str, count: usize) -> Vec<pb::Restatement> {
    loop {
        let found = list(suite, metric).await;
        assert!(found.len() <= count, "{found:#?}");
        if found.len() == count {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn essence(of: &pb::Restatement) -> (String, Option<f64>, Option<f64>, Vec<pb::RestatementCause>) {
    let day = of.bucket_time.as_ref().map(|time| (time.seconds / 86_400 - 20_512).to_string());
    (day.unwrap_or_default(), of.old_value, of.new_value, of.causes().collect())
}

/// The first of March, in days.
fn day(of: i64) -> String {
    of.to_string()
}

#[tokio::test]
async fn late_events_merges_consent_and_definitions_are_told_apart() {
    use pb::RestatementCause::{Consent, LateEvent, Merge, Unmerge};
    let definition = || vec![pb::RestatementCause::Definition];
    let suite = start().await;
    tell(&suite, "payers", &[]).await;
    tell(&suite, "payments", &[]).await;

    // An event after everything told changes nothing; a late one changes its day.
    suite.ingest(vec![event("paid", "linus", "2026-03-25T10:00:00Z")]).await;
    suite.ingest(vec![event("paid", "linus", "2026-03-02T11:00:00Z")]).await;
    let found = restated(&suite, "payers", 1).await;
    assert_eq!(essence(&found[0]), (day(2), Some(1.0), Some(2.0), vec![LateEvent]));
    assert_eq!((found[0].difference, found[0].kpi.as_str()), (Some(1.0), ""));
    assert_eq!((found[0].old_log_position, found[0].new_log_position > 4), (4, true));
    let found = restated(&suite, "payments", 1).await;
    assert_eq!(essence(&found[0]), (day(2), Some(1.0), Some(2.0), vec![LateEvent]));

    suite.clock.advance(chrono::TimeDelta::seconds(1));
    let identifier =
        |value: &str| Some(log::Identifier { kind: "user_id".to_owned(), value: value.to_owned() });
    let request = log::MergeSubjectsRequest {
        from: identifier("ada-2"),
        to: identifier("ada"),
        reason: "the same person".to_owned(),
        ..Default::default()
    };
    let operator = suite.operator();
    let merged = operator.subjects().merge_subjects(request).await.unwrap().into_inner();
    let found = restated(&suite, "payers", 2).await;
    assert_eq!(essence(&found[0]), (day(1), Some(2.0), Some(1.0), vec![Merge]));

    suite.clock.advance(chrono::TimeDelta::seconds(1));
    let request = log::UnmergeSubjectsRequest {
        fact_id: merged.fact.unwrap().fact_id,
        reason: "two people".to_owned(),
        ..Default::default()
    };
    operator.subjects().unmerge_subjects(request).await.unwrap();
    let found = restated(&suite, "payers", 3).await;
    assert_eq!(essence(&found[0]), (day(1), Some(1.0), Some(2.0), vec![Unmerge]));

    let request = log::RecordConsentRequest {
        identifier: identifier("grace"),
        denied_purposes: vec!["analytics".to_owned()],
        reason: "settings page".to_owned(),
        ..Default::default()
    };
    operator.subjects().record_consent(request).await.unwrap();
    let found = restated(&suite, "payers", 4).await;
    assert_eq!(essence(&found[0]), (day(2), Some(2.0), Some(1.0), vec![Consent]));

    suite.metric("payers", unique("end of days")).await;
    let found = restated(&suite, "payers", 6).await;
    let newest: Vec<_> = found[..2].iter().map(essence).collect();
    assert!(newest.contains(&(day(1), Some(2.0), Some(0.0), definition())), "{newest:?}");
    assert!(newest.contains(&(day(2), Some(1.0), Some(0.0), definition())), "{newest:?}");
    assert_eq!((found[0].old_metric_version, found[0].new_metric_version), (1, 2));
    // What changed payers and not payments is no restatement of payments, but for consent.
    let payments: Vec<_> = restated(&suite, "payments", 2).await.iter().map(essence).collect();
    assert_eq!(payments[0], (day(2), Some(2.0), Some(1.0), vec![Consent]));
}

#[tokio::test]
async fn another_meaning_of_active_is_another_definition() {
    let suite = start().await;
    let mean = async |event: &str| {
        let activity = pb::Activity {
            name: "active".to_owned(),
            events: vec![selector(event)],
            ..Default::default()
        };
        let request = pb::ApplyActivityRequest { activity: Some(activity), ..Default::default() };
        suite.analyst.metrics().apply_activity(request).await.unwrap();
    };
    mean("paid").await;
    let active = pb::UniqueMetric { activity: "active".to_owned(), ..Default::default() };
    suite.metric("active-users", Definition::Unique(active)).await;
    tell(&suite, "active-users", &[]).await;
    mean("end of days").await;
    let found = restated(&suite, "active-users", 2).await;
    let causes: Vec<_> = found.iter().map(essence).collect();
    let cause = || vec![pb::RestatementCause::Definition];
    assert!(causes.contains(&(day(1), Some(2.0), Some(0.0), cause())), "{causes:?}");
    assert!(causes.contains(&(day(2), Some(1.0), Some(0.0), cause())), "{causes:?}");
}

#[tokio::test]
async fn an_event_that_comes_back_from_quarantine_is_a_replay() {
    let suite = start().await;
    let contract = log::Contract {
        name: "paid".to_owned(),
        schema_version: "1-0-0".to_owned(),
        json_schema: r#"{"required": ["amount"], "properties": {"amount": {"type": "integer"}}}"#
            .to_owned(),
        mode: log::ContractMode::Quarantine.into(),
        owner: "sales".to_owned(),
        ..Default::default()
    };
    let request = log::ApplyContractRequest { contract: Some(contract), ..Default::default() };
    let operator = suite.operator();
    operator.ingestion().apply_contract(request).await.unwrap();
    let broken = event("paid", "linus", "2026-03-03T10:00:00Z").into_proto();
    let request = log::IngestEventsRequest { source: "web".to_owned(), events: vec![broken] };
    let taken = suite.producer.ingestion().ingest_events(request).await.unwrap().into_inner();
    assert_eq!(taken.results[0].outcome(), log::EventOutcome::Quarantined);
    tell(&suite, "payments", &[]).await;

    let filter = || Some(log::QuarantineFilter { all: true, ..Default::default() });
    let patch = r#"{"properties": {"amount": 7}}"#.to_owned();
    let request = log::PatchQuarantinedEventsRequest {
        filter: filter(),
        change: Some(log::patch_quarantined_events_request::Change::MergePatchJson(patch)),
        ..Default::default()
    };
    let mut quarantine = operator.quarantine();
    let mut patching = quarantine.patch_quarantined_events(request).await.unwrap().into_inner();
    while patching.message().await.unwrap().is_some() {}
    let request = log::ReplayQuarantinedEventsRequest {
        filter: filter(),
        skip_kpis: true,
        ..Default::default()
    };
    let mut replaying = quarantine.replay_quarantined_events(request).await.unwrap().into_inner();
    while replaying.message().await.unwrap().is_some() {}
    let found = restated(&suite, "payments", 1).await;
    let cause = vec![pb::RestatementCause::Replay];
    assert_eq!(essence(&found[0]), (day(3), Some(0.0), Some(1.0), cause));
}

#[tokio::test]
async fn a_restart_neither_loses_nor_repeats_a_restatement() {
    let mut suite = start().await;
    tell(&suite, "revenue", &["plan"]).await;
    suite.stop().await;
    suite.restart().await;
    let late =
        event("paid", "linus", "2026-03-02T11:00:00Z").with(json!({"amount": 0.5, "plan": "free"}));
    suite.ingest(vec![late]).await;
    let found = restated(&suite, "revenue", 1).await;
    assert_eq!(found[0].dimensions["plan"], "free");
    assert_eq!((found[0].old_value, found[0].new_value), (None, Some(0.5)));
    suite.restart_anew().await;
    tell(&suite, "revenue", &["plan"]).await;
    let late = event("paid", "linus", "2026-03-02T12:00:00Z")
        .with(json!({"amount": 0.25, "plan": "free"}));
    suite.ingest(vec![late]).await;
    let found = restated(&suite, "revenue", 2).await;
    assert_eq!((found[0].old_value, found[0].new_value), (Some(0.5), Some(0.75)));
    let page = |page_token: String| pb::ListRestatementsRequest {
        page_size: 1,
        page_token,
        ..Default::default()
    };
    let mut evidence = suite.analyst.evidence();
    let first = evidence.list_restatements(page(String::new())).await.unwrap().into_inner();
    let second =
        evidence.list_restatements(page(first.next_page_token)).await.unwrap().into_inner();
    assert_eq!((&first.restatements[..], &second.restatements[..]), (&found[..1], &found[1..]));
    assert_eq!(second.next_page_token, "");
    let refused = evidence.list_restatements(page("x".to_owned())).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["page_token"]);
}

#[tokio::test]
async fn what_a_scorecard_told_is_restated_too() {
    let suite = start().await;
    let pillar = pb::Pillar { name: "sales".to_owned(), ..Default::default() };
    let request = pb::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
    suite.analyst.metrics().apply_pillar(request).await.unwrap();
    let kpi = pb::Kpi {
        name: "payments".to_owned(),
        metric: "payments".to_owned(),
        pillar: "sales".to_owned(),
        layer: pb::Layer::Outcome.into(),
        owner: "sales".to_owned(),
        unit: "payments".to_owned(),
        direction: pb::Direction::Increase.into(),
        baseline: Some(pb::Baseline {
            value: 1.0,
            start_time: Some(timestamp("2026-01-01T00:00:00Z")),
            end_time: Some(timestamp("2026-02-01T00:00:00Z")),
        }),
        target: Some(pb::Target { value: 5.0, due_time: Some(timestamp("2026-12-31T00:00:00Z")) }),
        guardrails: vec![pb::Guardrail {
            metric: "revenue".to_owned(),
            direction: pb::Direction::Increase.into(),
            margin: 0.1,
        }],
        review_time: Some(timestamp("2026-06-01T00:00:00Z")),
        window_days: 28,
        ..Default::default()
    };
    let request = pb::ApplyKpiRequest { kpi: Some(kpi), ..Default::default() };
    suite.analyst.metrics().apply_kpi(request).await.unwrap();
    for time in ["2026-03-25T12:00:00Z", "2026-03-25T12:05:00Z", "2026-03-25T12:00:00Z"] {
        let request = pb::GetScorecardRequest { evaluation_time: Some(timestamp(time)) };
        let scorecard = suite.analyst.metrics().get_scorecard(request).await.unwrap().into_inner();
        assert_eq!(scorecard.kpis[0].value, Some(3.0));
        // The same day: the first value told stands for all.
    }
    suite.ingest(vec![event("paid", "linus", "2026-03-06T11:00:00Z")]).await;
    let found = restated(&suite, "payments", 1).await;
    assert_eq!((found[0].kpi.as_str(), found[0].bucket_time), ("payments", None));
    assert_eq!((found[0].old_value, found[0].new_value), (Some(3.0), Some(4.0)));
    assert_eq!(found[0].causes().collect::<Vec<_>>(), [pb::RestatementCause::LateEvent]);
}

#[tokio::test]
async fn an_erasure_restates_what_rested_on_personal_words() {
    let suite = start().await;
    tell(&suite, "revenue", &["plan"]).await;
    tell(&suite, "payments", &[]).await;
    let request = log::EraseSubjectRequest {
        identifier: Some(log::Identifier { kind: "user_id".to_owned(), value: "ada".to_owned() }),
        reason: "article 17".to_owned(),
        proof: "ticket 4714".to_owned(),
        ..Default::default()
    };
    suite.operator().subjects().erase_subject(request).await.unwrap();
    // Her plan is a text that no contract calls harmless: it is gone, and what she paid is nobody's plan.
    let found = restated(&suite, "revenue", 2).await;
    let of = |plan: Option<&str>| {
        found.iter().find(|one| one.dimensions.get("plan").map(String::as_str) == plan).unwrap()
    };
    let cause = || vec![pb::RestatementCause::Erasure];
    assert_eq!(essence(of(Some("pro"))), (day(1), Some(20.0), Some(10.0), cause()));
    assert_eq!(of(Some("pro")).difference, Some(-10.0));
    assert_eq!(essence(of(None)), (day(1), None, Some(10.0), cause()));
    // The log has not grown but by what it tells of the erasure.
    let positions = (of(None).old_log_position, of(None).new_log_position);
    assert!([(4, 4), (4, 5)].contains(&positions), "{positions:?}");
    // The number of payments does not depend on who paid, so nothing is restated for it.
    let late = event("paid", "linus", "2026-03-02T11:00:00Z");
    suite.ingest(vec![late]).await;
    let found = restated(&suite, "payments", 1).await;
    assert_eq!(found[0].causes().collect::<Vec<_>>(), [pb::RestatementCause::LateEvent]);
}

#[tokio::test]
async fn a_definition_restates_every_metric_that_is_built_on_it() {
    let suite = start().await;
    let ratio = |filter: &str| {
        Definition::Ratio(pb::RatioMetric {
            numerator: "revenue".to_owned(),
            denominator: "payments".to_owned(),
            denominator_filter: filter.to_owned(),
            ..Default::default()
        })
    };
    let input = |metric: &str| pb::DerivedInput { metric: metric.to_owned(), ..Default::default() };
    suite.metric("per-payment", ratio("")).await;
    let derived =
        pb::DerivedMetric { expression: "payers * 100".to_owned(), inputs: vec![input("payers")] };
    suite.metric("cents", Definition::Derived(derived)).await;
    let cumulative = pb::CumulativeMetric { metric: "payments".to_owned(), ..Default::default() };
    suite.metric("so-far", Definition::Cumulative(cumulative)).await;
    // Two levels up.
    let above = pb::DerivedMetric {
        expression: "mean".to_owned(),
        inputs: vec![pb::DerivedInput { alias: "mean".to_owned(), ..input("per-payment") }],
    };
    suite.metric("mean-payment", Definition::Derived(above)).await;
    let built = ["per-payment", "cents", "so-far", "mean-payment"];
    for metric in built {
        tell(&suite, metric, &[]).await;
        assert_eq!(list(&suite, metric).await, []);
    }

    // Neither of these four is applied again; what they are built on is.
    let grace = || pb::EventSelector {
        event: "paid".to_owned(),
        filter: "properties.amount > 100".to_owned(),
    };
    let payments = pb::CountMetric { event: Some(grace()) };
    suite.metric("payments", Definition::Count(payments)).await;
    let payers = pb::UniqueMetric { event: Some(grace()), ..Default::default() };
    suite.metric("payers", Definition::Unique(payers)).await;

    let definition = || vec![pb::RestatementCause::Definition];
    for (metric, expected) in [
        ("per-payment", vec![(1, Some(10.0), None), (2, Some(10.0), None)]),
        ("mean-payment", vec![(1, Some(10.0), None), (2, Some(10.0), None)]),
        ("cents", vec![(1, Some(200.0), Some(0.0)), (2, Some(100.0), Some(0.0))]),
        (
            "so-far",
            vec![
                (1, Some(2.0), Some(0.0)),
                (2, Some(3.0), Some(0.0)),
                (3, Some(3.0), Some(0.0)),
                (4, Some(3.0), Some(0.0)),
            ],
        ),
    ] {
        let mut found: Vec<_> =
            restated(&suite, metric, expected.len()).await.iter().map(essence).collect();
        found.sort_by(|left, right| left.0.cmp(&right.0));
        let expected: Vec<_> =
            expected.into_iter().map(|(of, old, new)| (day(of), old, new, definition())).collect();
        assert_eq!(found, expected, "{metric}");
    }
    // Its own definition is what it was.
    let found = list(&suite, "mean-payment").await;
    assert_eq!((found[0].old_metric_version, found[0].new_metric_version), (1, 1));
}
