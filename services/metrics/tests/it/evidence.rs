//! What lies behind a number: its subjects, its events, and what was left out.

use northstar_proto::ingestion::v1 as log;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition;
use serde_json::json;

use crate::suite::{
    Event, Suite, blamed_fields, count, event, question, ratio, selector, sum, timestamp, unique,
};

const FROM: &str = "2026-03-01T00:00:00Z";
const TO: &str = "2026-04-01T00:00:00Z";

async fn start() -> Suite {
    let suite = Suite::start().await;
    let paid = |user: &str, at: &'static str, amount: i64, plan: &str| {
        event("paid", user, at).with(json!({"amount": amount, "plan": plan}))
    };
    suite
        .ingest(vec![
            event("visit", "ada", "2026-03-01T10:00:00Z"),
            event("visit", "grace", "2026-03-01T11:00:00Z"),
            event("visit", "linus", "2026-03-02T11:00:00Z"),
            paid("ada", "2026-03-02T10:00:00Z", 10, "pro"),
            paid("ada", "2026-03-02T11:00:00Z", 20, "free"),
            paid("grace", "2026-03-02T12:00:00Z", 30, "pro"),
            paid("grace", "2026-03-03T12:00:00Z", 40, "pro"),
            Event {
                anonymous: "phone",
                user: String::new(),
                ..paid("", "2026-03-02T13:00:00Z", 5, "pro")
            },
            event("paid", "linus", "2026-03-02T14:00:00Z").with(json!({"plan": "pro"})),
        ])
        .await;
    suite.metric("payers", unique("paid")).await;
    suite.metric("payments", count("paid")).await;
    suite.metric("revenue", sum("paid", "amount")).await;
    suite.metric("arpu", ratio("revenue", "payers")).await;
    let steps = vec![selector("visit"), selector("paid")];
    let funnel = pb::FunnelMetric { steps, anchor: 1, ..Default::default() };
    suite.metric("conversion", Definition::Funnel(funnel)).await;
    suite
}

pub async fn subjects(suite: &Suite, cell: pb::Cell) -> (pb::SubjectsSummary, Vec<String>) {
    let request = pb::ListSubjectsRequest { cell: Some(cell), ..Default::default() };
    let mut parts = suite.analyst.evidence().list_subjects(request).await.unwrap().into_inner();
    let summary = parts.message().await.unwrap().unwrap().summary.unwrap();
    let mut subjects = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        subjects.extend(part.subjects.into_iter().map(|subject| subject.value));
    }
    (summary, subjects)
}

pub async fn explain(
    suite: &Suite,
    cell: pb::Cell,
) -> (pb::Explanation, Vec<pb::ContributingEvent>) {
    let request = pb::ExplainRequest { cell: Some(cell), ..Default::default() };
    let mut parts = suite.analyst.evidence().explain(request).await.unwrap().into_inner();
    let explanation = parts.message().await.unwrap().unwrap().explanation.unwrap();
    let mut events = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        events.extend(part.events);
    }
    (explanation, events)
}

/// Every row of an answer as a cell.
pub fn cells(request: &pb::QueryMetricRequest, answer: &pb::QueryMetricResponse) -> Vec<pb::Cell> {
    let cell = |row: &pb::MetricRow| pb::Cell {
        question: Some(request.clone()),
        bucket_time: row.bucket_time,
        dimensions: row.dimensions.clone(),
    };
    answer.rows.iter().map(cell).collect()
}

fn total(metric: &str) -> pb::Cell {
    pb::Cell { question: Some(question(metric, FROM, TO)), ..Default::default() }
}

#[tokio::test]
async fn every_cell_fits_its_subjects_and_its_events() {
    let suite = start().await;
    for metric in ["payers", "payments", "revenue", "arpu", "conversion"] {
        for breakdowns in [vec![], vec!["plan".to_owned()]] {
            let request = pb::QueryMetricRequest {
                grain: pb::Grain::Day.into(),
                breakdowns,
                ..question(metric, FROM, "2026-03-05T00:00:00Z")
            };
            let answer = suite.query(request.clone()).await.unwrap();
            for (cell, row) in cells(&request, &answer).into_iter().zip(&answer.rows) {
                let (summary, found) = subjects(&suite, cell.clone()).await;
                assert_eq!(summary.row.as_ref(), Some(row));
                assert_eq!(summary.subjects, found.len() as i64);
                let digest = |of: &Option<pb::Provenance>| of.as_ref().unwrap().digest.clone();
                assert_eq!(digest(&summary.provenance), digest(&answer.provenance));
                let (explanation, events) = explain(&suite, cell).await;
                assert_eq!(explanation.row.as_ref(), Some(row));
                assert_eq!(explanation.subjects, found.len() as i64);
                assert_eq!(explanation.events, events.len() as i64);
                assert!(events.is_sorted_by_key(|event| event.position));
                assert_eq!(digest(&explanation.provenance), digest(&answer.provenance));
                match metric {
                    "payers" => assert_eq!(Some(found.len() as f64), row.value),
                    "payments" => assert_eq!(Some(events.len() as f64), row.value),
                    "conversion" => assert_eq!(Some(found.len() as f64), row.denominator),
                    "revenue" => {
                        let amounts = events.iter().map(|event| {
                            let amount = &event.properties.as_ref().unwrap().fields["amount"];
                            match amount.kind {
                                Some(prost_types::value::Kind::NumberValue(amount)) => amount,
                                _ => panic!("an amount: {amount:?}"),
                            }
                        });
                        assert_eq!(Some(amounts.sum::<f64>()), row.value);
                    }
                    _ => {}
                }
            }
        }
    }
}

#[tokio::test]
async fn an_explanation_says_what_counts_what_it_is_for_and_what_was_left_out() {
    let suite = start().await;
    let consent = log::RecordConsentRequest {
        identifier: Some(log::Identifier { kind: "user_id".to_owned(), value: "grace".to_owned() }),
        denied_purposes: vec!["analytics".to_owned()],
        reason: "settings page".to_owned(),
        ..Default::default()
    };
    suite.operator().subjects().record_consent(consent).await.unwrap();
    let pro = pb::QueryMetricRequest {
        filter: "properties.plan == \"pro\"".to_owned(),
        ..question("arpu", FROM, TO)
    };
    let cell = pb::Cell { question: Some(pro), ..Default::default() };
    let (explanation, events) = explain(&suite, cell).await;
    let words: Vec<_> = explanation
        .definitions
        .iter()
        .map(|definition| (definition.metric.as_str(), definition.words.as_str()))
        .collect();
    assert_eq!(
        words,
        [
            ("arpu", "revenue divided by payers, bucket by bucket"),
            ("payers", "The number of different subjects with \"paid\" events"),
            ("revenue", "The sum of amount over \"paid\" events"),
        ]
    );
    assert_eq!(explanation.row.unwrap().value, Some(5.0));
    let roles: Vec<_> = events
        .iter()
        .map(|event| {
            let subject = event.subject.as_ref().unwrap();
            (event.position, subject.value.as_str(), event.roles.join(", "))
        })
        .collect();
    assert_eq!(
        roles,
        [
            (4, "ada", "numerator event, denominator event".to_owned()),
            (8, "phone", "numerator event, denominator event".to_owned()),
            (9, "linus", "denominator event".to_owned()),
        ]
    );
    let excluded: Vec<_> =
        explanation.excluded.iter().map(|excluded| (excluded.reason(), excluded.events)).collect();
    // Each part of the ratio leaves the same events out.
    assert_eq!(
        excluded,
        [
            (pb::ExclusionReason::Quarantined, 0),
            (pb::ExclusionReason::NoConsent, 4),
            (pb::ExclusionReason::Filtered, 2),
            (pb::ExclusionReason::NoValue, 1),
        ]
    );
    let (_, events) = explain(&suite, total("conversion")).await;
    let roles: Vec<_> =
        events.iter().map(|event| (event.position, event.roles.join(", "))).collect();
    let of = |position: i64, role: &str| (position, role.to_owned());
    assert_eq!(
        roles,
        [of(1, "step 1"), of(3, "step 1"), of(4, "step 2"), of(5, "step 2"), of(9, "step 2")]
    );
}

#[tokio::test]
async fn evidence_is_read_in_pieces() {
    let suite = start().await;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let request = pb::ListSubjectsRequest { cell: Some(total("payers")), after, limit: 1 };
        let mut parts = suite.analyst.evidence().list_subjects(request).await.unwrap().into_inner();
        assert_eq!(parts.message().await.unwrap().unwrap().summary.unwrap().subjects, 4);
        let Some(part) = parts.message().await.unwrap() else { break };
        after = part.subjects.first().cloned();
        found.extend(part.subjects.into_iter().map(|subject| subject.value));
    }
    assert_eq!(found, ["phone", "ada", "grace", "linus"]);
    let request = pb::ExplainRequest { cell: Some(total("payments")), after_position: 5, limit: 2 };
    let mut parts = suite.analyst.evidence().explain(request).await.unwrap().into_inner();
    assert_eq!(parts.message().await.unwrap().unwrap().explanation.unwrap().events, 6);
    let events = parts.message().await.unwrap().unwrap().events;
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), [6, 7]);
}

#[tokio::test]
async fn a_cell_that_does_not_fit_its_question_is_refused() {
    let suite = start().await;
    let blamed = async |cell: pb::Cell| {
        let request = pb::ListSubjectsRequest { cell: Some(cell), ..Default::default() };
        blamed_fields(&suite.analyst.evidence().list_subjects(request).await.unwrap_err())
    };
    let day =
        pb::QueryMetricRequest { grain: pb::Grain::Day.into(), ..question("payers", FROM, TO) };
    let cell = pb::Cell { question: Some(day), ..Default::default() };
    assert_eq!(blamed(cell).await, ["cell.bucket_time"]);
    let cell = pb::Cell { bucket_time: Some(timestamp(FROM)), ..total("payers") };
    assert_eq!(blamed(cell).await, ["cell.bucket_time"]);
    let dimensions = [("plan".to_owned(), "pro".to_owned())].into();
    let cell = pb::Cell { dimensions, ..total("payers") };
    assert_eq!(blamed(cell).await, ["cell.dimensions[plan]"]);
    assert_eq!(
        blamed(pb::Cell::default()).await,
        ["cell.question.start_time", "cell.question.end_time"]
    );
    // Where no row is, nobody is.
    let bucket = pb::QueryMetricRequest {
        breakdowns: vec!["plan".to_owned()],
        ..question("payers", FROM, TO)
    };
    let dimensions = [("plan".to_owned(), "enterprise".to_owned())].into();
    let cell = pb::Cell { question: Some(bucket), dimensions, ..Default::default() };
    let (summary, found) = subjects(&suite, cell).await;
    assert_eq!((summary.row, summary.subjects, found.len()), (None, 0, 0));
}
