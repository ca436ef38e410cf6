//! The trace of one call crosses every service it touches.

use std::collections::BTreeSet;

use northstar_client::proto::experiments::v1 as experiments;
use northstar_client::proto::metrics::v1 as metrics;
use northstar_domain::Role;
use northstar_server::telemetry;
use northstar_testkit::{OtlpReceiver, ReceivedSpan};
use northstar_tests::Suite;
use tonic::Request;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_through_experiments_and_metrics() {
    let receiver = OtlpReceiver::start().await;
    let collector = receiver.url().parse().expect("the receiver's address is a URL");
    let config = telemetry::Config {
        otlp_endpoint: Some(collector),
        log_filter: "error".to_owned(),
        ..telemetry::Config::default()
    };
    let telemetry = telemetry::init("suite", &config).expect("telemetry is set up once");
    let suite = Suite::start().await;
    let clients = suite.clients("analyst", Role::Admin).await;

    // Experiments asks metrics for the pillar and for both metrics.
    let pillar = metrics::Pillar { name: "growth".to_owned(), ..metrics::Pillar::default() };
    let request = metrics::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
    clients.metrics().apply_pillar(request).await.expect("the pillar is valid");
    let mut request = Request::new(experiments::ApplyExperimentRequest {
        experiment: Some(draft()),
        ..Default::default()
    });
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    request.metadata_mut().insert("traceparent", traceparent.parse().expect("ASCII"));
    let refused = clients.experiments().apply_experiment(request).await;
    assert!(refused.is_err(), "the metrics it names do not exist");

    suite.stop().await;
    telemetry.flush().await;
    let is_root = |span: &&ReceivedSpan| span.parent_span_id == PARENT;
    let both = |spans: &[ReceivedSpan]| spans.len() > 1 && spans.iter().any(|span| is_root(&span));
    let spans = receiver.spans_of(TRACE, both).await;
    let root = spans.iter().find(is_root).expect("the first hop");
    assert_eq!(root.name, "northstar.experiments.v1.ExperimentsService/ApplyExperiment");
    let beneath: BTreeSet<_> = spans
        .iter()
        .filter(|span| span.parent_span_id != PARENT)
        .filter_map(|span| span.attributes.get("rpc.service").map(String::as_str))
        .collect();
    assert!(beneath.contains("northstar.metrics.v1.MetricsService"), "{spans:#?}");
}

fn draft() -> experiments::Experiment {
    let variant = |name: &str| experiments::Variant { name: name.to_owned(), weight: 1.0 };
    let increase = experiments::Direction::Increase.into();
    experiments::Experiment {
        name: "traced".to_owned(),
        hypothesis: "a trace tells where a call went".to_owned(),
        owner: "platform".to_owned(),
        pillar: "growth".to_owned(),
        segment: "true".to_owned(),
        variants: vec![variant("control"), variant("treatment")],
        primary_metric: "missing".to_owned(),
        direction: increase,
        guardrails: vec![experiments::Guardrail {
            metric: "missing-too".to_owned(),
            direction: increase,
            margin: 0.1,
        }],
        stopping_plan: Some(experiments::StoppingPlan {
            horizon_subjects: 100,
            ..Default::default()
        }),
        ..Default::default()
    }
}
