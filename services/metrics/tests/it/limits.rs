//! What a question may use.

use northstar_metrics::Config;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition;
use serde_json::json;
use tonic::Code;

use crate::suite::{Suite, blamed_fields, count, event, question, selector};

const FROM: &str = "2026-03-01";
const TO: &str = "2026-04-01";
/// More values than fit into the memory of one pass, and more rows than fit at all.
const PAGES: usize = 8_000;
/// More rows than fit while they are counted, but not more than fit when they are.
const DOORS: usize = 3_000;

#[tokio::test]
async fn a_question_counts_what_does_not_fit_and_refuses_to_list_it() {
    let suite = Suite::start_with(Config { metrics_query_mebibytes: 1, ..Config::default() }).await;
    let visit = |page: usize| {
        event("visit", "ada", "2026-03-01T10:00:00Z").with(json!({"page": format!("p{page}")}))
    };
    suite.ingest((0..PAGES).map(visit).collect()).await;
    suite.metric("visits", count("visit")).await;
    let pages = pb::UniqueMetric {
        event: Some(selector("visit")),
        of: "properties.page".to_owned(),
        ..pb::UniqueMetric::default()
    };
    suite.metric("pages", Definition::Unique(pages)).await;
    assert_eq!(suite.total("visits", FROM, TO).await, Some(PAGES as f64));
    assert_eq!(suite.total("pages", FROM, TO).await, Some(PAGES as f64));

    let by_page = pb::QueryMetricRequest {
        breakdowns: vec!["page".to_owned()],
        ..question("visits", FROM, TO)
    };
    let refusal = suite.query(by_page).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert_eq!(blamed_fields(&refusal), ["breakdowns"]);

    let open = |door: usize| {
        event("open", "ada", "2026-03-01T10:00:00Z").with(json!({"door": format!("d{door}")}))
    };
    suite.ingest((0..2 * DOORS).map(|turn| open(turn % DOORS)).collect()).await;
    suite.metric("opened", count("open")).await;
    let by_door = pb::QueryMetricRequest {
        breakdowns: vec!["door".to_owned()],
        ..question("opened", FROM, TO)
    };
    let answer = suite.query(by_door).await.unwrap();
    assert_eq!(answer.rows.len(), DOORS);
    assert!(answer.rows.iter().all(|row| row.value == Some(2.0)));
}
