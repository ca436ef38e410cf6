//! Questions about metrics and their answers.

use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition;
use serde_json::json;
use tonic::Code;

use crate::suite::{
    Event, Suite, blamed_fields, count, event, ingest_from, mean, question, ratio, reason,
    selector, sum, timestamp, unique,
};

async fn shop() -> Suite {
    let suite = Suite::start().await;
    suite
        .ingest(vec![
            event("Signed Up", "ada", "2026-03-01T09:00:00Z").with(json!({"plan": "pro"})),
            event("Signed Up", "bob", "2026-03-01T10:00:00Z").with(json!({"plan": "free"})),
            event("Signed Up", "cleo", "2026-03-02T10:00:00Z").with(json!({"plan": "free"})),
            event("Paid", "ada", "2026-03-02T09:00:00Z").with(json!({"amount": 10.25})),
            event("Paid", "ada", "2026-03-03T09:00:00Z").with(json!({"amount": 20})),
            event("Paid", "cleo", "2026-03-12T10:00:00Z").with(json!({"amount": "free"})),
        ])
        .await;
    suite
}

const FROM: &str = "2026-03-01";
const TO: &str = "2026-04-01";

#[tokio::test]
async fn every_kind_of_metric_has_its_value() {
    let suite = shop().await;
    suite.metric("payments", count("Paid")).await;
    suite.metric("payers", unique("Paid")).await;
    suite.metric("signups", unique("Signed Up")).await;
    suite.metric("revenue", sum("Paid", "amount")).await;
    suite.metric("basket", mean("Paid", "properties.amount")).await;
    suite.metric("conversion", ratio("payers", "signups")).await;
    let funnel = pb::FunnelMetric {
        steps: vec![selector("Signed Up"), selector("Paid")],
        window: Some(prost_types::Duration { seconds: 7 * 86_400, nanos: 0 }),
        anchor: pb::FunnelAnchor::FirstTouch.into(),
        allow_ties: false,
    };
    suite.metric("paid-in-a-week", Definition::Funnel(funnel)).await;
    let retention = pb::RetentionMetric {
        start: Some(selector("Signed Up")),
        r#return: Some(selector("")),
        day: 1,
        mode: pb::RetentionMode::On.into(),
    };
    suite.metric("back-next-day", Definition::Retention(retention)).await;
    let time_to = pb::TimeToEventMetric {
        from: Some(selector("Signed Up")),
        to: Some(selector("Paid")),
        ..Default::default()
    };
    suite.metric("time-to-pay", Definition::TimeToEvent(time_to)).await;

    let third = 1.0 / 3.0;
    for (metric, expected) in [
        ("payments", 3.0),
        ("payers", 2.0),
        ("signups", 3.0),
        ("revenue", 30.25),
        ("basket", 15.125),
        ("conversion", 2.0 * third),
        ("paid-in-a-week", third),
        ("back-next-day", third),
        // One day for ada, ten for cleo.
        ("time-to-pay", 5.5 * 86_400.0),
    ] {
        let value = suite.total(metric, FROM, TO).await.unwrap();
        assert!((value - expected).abs() < 1e-9, "{metric}: {value} is not {expected}");
    }

    let answer = suite.query(question("paid-in-a-week", FROM, TO)).await.unwrap();
    let steps: Vec<_> =
        answer.rows[0].steps.iter().map(|step| (step.event.as_str(), step.subjects)).collect();
    assert_eq!(steps, [("Signed Up", 3), ("Paid", 1)]);
    let answer = suite.query(question("time-to-pay", FROM, TO)).await.unwrap();
    assert_eq!(answer.rows[0].time_summary.as_ref().unwrap().subjects, 2);
}

/// What the suite writes about a subject is not what the subject did.
#[tokio::test]
async fn any_event_is_any_but_those_of_the_suite() {
    let suite = shop().await;
    suite.metric("anything", count("")).await;
    suite.metric("exposures", count("northstar.experiment.exposure")).await;
    let exposure = event("northstar.experiment.exposure", "ada", "2026-03-04T09:00:00Z");
    ingest_from(&suite.operator(), "northstar", vec![exposure.into_proto()]).await;
    assert_eq!(suite.total("anything", FROM, TO).await, Some(6.0));
    assert_eq!(suite.total("exposures", FROM, TO).await, Some(1.0));
}

#[tokio::test]
async fn an_answer_is_broken_down_and_filtered() {
    let suite = shop().await;
    suite.metric("signups", unique("Signed Up")).await;
    let request = pb::QueryMetricRequest {
        breakdowns: vec!["properties.plan".to_owned()],
        ..question("signups", FROM, TO)
    };
    let answer = suite.query(request).await.unwrap();
    let rows: Vec<_> = answer
        .rows
        .iter()
        .map(|row| (row.dimensions["properties.plan"].as_str(), row.value.unwrap()))
        .collect();
    assert_eq!(rows, [("free", 2.0), ("pro", 1.0)]);

    let request = pb::QueryMetricRequest {
        filter: "properties.plan == 'pro'".to_owned(),
        ..question("signups", FROM, TO)
    };
    let answer = suite.query(request).await.unwrap();
    assert_eq!(answer.rows[0].value, Some(1.0));
}

#[tokio::test]
async fn an_anonymous_visitor_becomes_the_user_it_signs_in_as() {
    let suite = Suite::start().await;
    suite.metric("visitors", unique("")).await;
    let visit = |anonymous, user: &str, at| Event { anonymous, ..event("Visited", user, at) };
    suite
        .ingest(vec![
            visit("phone", "", "2026-03-01T09:00:00Z"),
            visit("laptop", "", "2026-03-01T10:00:00Z"),
        ])
        .await;
    assert_eq!(suite.total("visitors", FROM, TO).await, Some(2.0));
    suite
        .ingest(vec![
            visit("phone", "ada", "2026-03-02T09:00:00Z"),
            visit("laptop", "ada", "2026-03-02T10:00:00Z"),
        ])
        .await;
    let answer = suite.query(question("visitors", FROM, TO)).await.unwrap();
    assert_eq!(answer.rows[0].value, Some(1.0));
    assert_eq!(answer.provenance.unwrap().identity_map_version, 2);
}

/// Berlin put its clocks forward on 2026-03-29: that day had 23 hours, and its
/// neighbours begin at 23:00 and 22:00 UTC.
#[tokio::test]
async fn days_are_civil_days_of_the_zone_over_a_change_of_the_clocks() {
    let suite = Suite::start().await;
    suite.metric("visits", count("Visited")).await;
    suite
        .ingest(vec![
            event("Visited", "ada", "2026-03-28T22:59:59Z"),
            event("Visited", "ada", "2026-03-28T23:00:00Z"),
            event("Visited", "ada", "2026-03-29T21:59:59Z"),
            event("Visited", "ada", "2026-03-29T22:00:00Z"),
        ])
        .await;
    let request = pb::QueryMetricRequest {
        grain: pb::Grain::Day.into(),
        time_zone: "Europe/Berlin".to_owned(),
        ..question("visits", "2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z")
    };
    let answer = suite.query(request).await.unwrap();
    let days: Vec<_> =
        answer.rows.iter().map(|row| (row.bucket_time.unwrap(), row.value)).collect();
    assert_eq!(
        days,
        [
            (timestamp("2026-03-27T23:00:00Z"), Some(1.0)),
            (timestamp("2026-03-28T23:00:00Z"), Some(2.0)),
            (timestamp("2026-03-29T22:00:00Z"), Some(1.0)),
        ]
    );
    assert_eq!(answer.provenance.unwrap().time_zone, "Europe/Berlin");
}

#[tokio::test]
async fn an_answer_says_where_it_comes_from() {
    let suite = shop().await;
    for statement in [
        "INSERT INTO ingestion.contracts
             (project_id, name, schema_version, etag, updated_at, spec) VALUES
             (1, 'Paid', '1-0-2', '', now(), '{}'),
             (1, 'Signed Up', '2-0-0', '', now(), '{}')",
        "INSERT INTO ingestion.quarantine
             SELECT gen_random_uuid(), 1, source_id, gen_random_uuid(), gen_random_uuid(),
                    NULL, 'x', 'schema_violation', '', '', now(), 'open'
             FROM ingestion.sources",
    ] {
        sqlx::query(statement).execute(suite.superuser()).await.unwrap();
    }
    suite.metric("payments", count("Paid")).await;
    suite.metric("payments", sum("Paid", "amount")).await;
    let request = pb::QueryMetricRequest {
        filter: "properties.amount > 0".to_owned(),
        ..question("payments", FROM, TO)
    };
    let provenance = suite.query(request.clone()).await.unwrap().provenance.unwrap();
    assert_eq!(provenance.metric_version, 2);
    assert_eq!(provenance.log_position, 6);
    assert_eq!(provenance.freshness(), pb::Freshness::Fresh);
    assert_eq!(provenance.excluded_quarantined_events, 1);
    assert_eq!(provenance.filter, "properties.amount > 0");
    assert_eq!(provenance.time_zone, "UTC");
    assert_eq!(provenance.start_time, Some(timestamp(FROM)));
    assert!(provenance.scanned_events > 0);
    let contracts: Vec<_> = provenance.contract_versions.into_iter().collect();
    assert_eq!(contracts, [("Paid".to_owned(), "1-0-2".to_owned())]);

    // The clock moves, the answer stays, and so does its digest.
    suite.clock.advance(chrono::TimeDelta::days(2));
    let later = suite.query(request.clone()).await.unwrap().provenance.unwrap();
    assert_eq!(later.freshness(), pb::Freshness::Stale);
    assert_eq!(later.digest, provenance.digest);
    let other = pb::QueryMetricRequest { filter: String::new(), ..request };
    let other = suite.query(other).await.unwrap().provenance.unwrap();
    assert_ne!(other.digest, provenance.digest);
}

#[tokio::test]
async fn an_empty_log_has_answers_too() {
    let suite = Suite::start().await;
    suite.metric("payments", count("Paid")).await;
    suite.metric("basket", mean("Paid", "amount")).await;
    let answer = suite.query(question("payments", FROM, TO)).await.unwrap();
    assert_eq!(answer.rows[0].value, Some(0.0));
    let provenance = answer.provenance.unwrap();
    assert_eq!(provenance.freshness(), pb::Freshness::Empty);
    assert_eq!(provenance.log_position, 0);
    assert_eq!(suite.total("basket", FROM, TO).await, None);
}

#[tokio::test]
async fn an_answer_is_given_again_from_the_log_as_it_was() {
    let suite = Suite::start().await;
    suite.metric("payers", unique("Paid")).await;
    suite.metric("visits", count("Visited")).await;
    let paid = |user: &str, at| event("Paid", user, at);
    suite
        .ingest(vec![
            paid("ada", "2026-03-01T09:00:00Z"),
            paid("bob", "2026-03-01T10:00:00Z"),
            event("Visited", "cleo", "2026-03-02T10:00:00Z"),
        ])
        .await;
    let asked = |log_position| pb::QueryMetricRequest {
        grain: pb::Grain::Day.into(),
        log_position,
        ..question("payers", "2026-03-01", "2026-03-04")
    };
    let told = suite.query(asked(0)).await.unwrap();
    let position = told.provenance.as_ref().unwrap().log_position;
    // A late event, and later ones.
    suite
        .ingest(vec![
            paid("cleo", "2026-03-01T11:00:00Z"),
            paid("ada", "2026-03-03T09:00:00Z"),
            event("Visited", "dan", "2026-03-02T10:00:00Z"),
        ])
        .await;
    let values = |answer: &pb::QueryMetricResponse| {
        answer.rows.iter().map(|row| row.value).collect::<Vec<_>>()
    };
    assert_eq!(values(&told), [Some(2.0), Some(0.0), Some(0.0)]);
    let now = suite.query(asked(0)).await.unwrap();
    assert_eq!(values(&now), [Some(3.0), Some(0.0), Some(1.0)]);
    let again = suite.query(asked(position)).await.unwrap();
    assert_eq!(again.rows, told.rows);
    let (told, again) = (told.provenance.unwrap(), again.provenance.unwrap());
    assert_eq!((again.digest, again.log_position), (told.digest, position));

    // So are several metrics, and who is behind a number.
    let request = pb::QueryMetricsRequest {
        metrics: vec!["visits".to_owned(), "payers".to_owned()],
        start_time: Some(timestamp("2026-03-01")),
        end_time: Some(timestamp("2026-03-04")),
        log_position: position,
        ..Default::default()
    };
    let mut parts = suite.analyst.metrics().query_metrics(request).await.unwrap().into_inner();
    let cells = parts.message().await.unwrap().unwrap().rows.remove(0).cells;
    assert_eq!(cells.iter().map(|cell| cell.value).collect::<Vec<_>>(), [Some(1.0), Some(2.0)]);
    let cell = pb::Cell {
        question: Some(asked(position)),
        bucket_time: Some(timestamp("2026-03-01")),
        ..Default::default()
    };
    let request = pb::ListSubjectsRequest { cell: Some(cell), ..Default::default() };
    let mut parts = suite.analyst.evidence().list_subjects(request).await.unwrap().into_inner();
    let summary = parts.message().await.unwrap().unwrap().summary.unwrap();
    assert_eq!(summary.subjects, 2);

    for (position, keep, field) in [
        (-1, false, "log_position"),
        (1_000, false, "log_position"),
        (1, true, "keep_for_restatements"),
    ] {
        let request = pb::QueryMetricRequest { keep_for_restatements: keep, ..asked(position) };
        let refused = suite.query(request).await.unwrap_err();
        assert_eq!(blamed_fields(&refused), [field]);
    }
}

#[tokio::test]
async fn a_question_is_refused_with_everything_that_is_wrong_with_it() {
    let suite = Suite::start().await;
    let request = pb::QueryMetricRequest {
        metric: "payments".to_owned(),
        start_time: Some(timestamp(TO)),
        end_time: Some(timestamp(FROM)),
        grain: 99,
        time_zone: "Berlin".to_owned(),
        breakdowns: vec!["plan".to_owned(), "plan".to_owned(), String::new()],
        filter: "properties.plan = 'pro'".to_owned(),
        ..Default::default()
    };
    let refused = suite.query(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        blamed_fields(&refused),
        ["end_time", "time_zone", "grain", "breakdowns[1]", "breakdowns[2]", "filter"]
    );
    let empty = suite.query(pb::QueryMetricRequest::default()).await.unwrap_err();
    assert_eq!(blamed_fields(&empty), ["start_time", "end_time"]);
    let unknown = suite.query(question("nobody", FROM, TO)).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "NOT_FOUND"));
}

#[tokio::test]
async fn a_breached_source_makes_stale_what_reads_it_and_nothing_else() {
    let suite = shop().await;
    suite.metric("payments", count("Paid")).await;
    suite.metric("sign-ups", count("Signed Up")).await;
    let freshness = async |metric: &str| {
        let answer = suite.query(question(metric, FROM, TO)).await.unwrap();
        let provenance = answer.provenance.unwrap();
        (provenance.freshness(), provenance.breached_sources)
    };
    let source: String =
        sqlx::query_scalar("SELECT name FROM ingestion.sources WHERE name <> 'northstar'")
            .fetch_one(suite.superuser())
            .await
            .unwrap();
    let judge = async |event: &str, state: &str| {
        sqlx::query(
            "INSERT INTO ingestion.source_states VALUES (1, $1, $2, $3, '', 1, now())
             ON CONFLICT (project_id, source_name, event_name) DO UPDATE SET state = $3",
        )
        .bind(&source)
        .bind(event)
        .bind(state)
        .execute(suite.superuser())
        .await
        .unwrap();
    };
    // One event of the source is late.
    judge("Paid", "breached").await;
    let late = vec![format!("{source}/Paid")];
    assert_eq!(freshness("payments").await, (pb::Freshness::Stale, late));
    assert_eq!(freshness("sign-ups").await, (pb::Freshness::Fresh, Vec::new()));
    // The source is.
    judge("", "breached").await;
    assert_eq!(freshness("sign-ups").await, (pb::Freshness::Stale, vec![source.clone()]));
    // A source that says how late is late is not held to a day.
    judge("Paid", "fresh").await;
    judge("", "warn").await;
    suite.clock.advance(chrono::TimeDelta::days(2));
    assert_eq!(freshness("payments").await, (pb::Freshness::Fresh, Vec::new()));
    judge("", "off").await;
    assert_eq!(freshness("payments").await.0, pb::Freshness::Stale);
}
