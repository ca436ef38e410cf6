//! A trace of one call, through two services, as a collector gets it.

use nix::sys::signal::Signal;
use northstar_client::Clients;
use northstar_domain::Role;
use northstar_testkit::{OtlpReceiver, TestDatabase};
use tonic::Request;

use crate::process::{ANY_PORT, Running};
use crate::support::{ask, key};

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_trace_crosses_every_service_it_touches() {
    let receiver = OtlpReceiver::start().await;
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    let environment = [
        ("DATABASE_URL", database.url()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url()),
        // Which lines are wanted must not decide which spans are made.
        ("NORTHSTAR_LOG", "northstar_server::host=info"),
    ];
    let mut process = Running::start(ANY_PORT, &environment);
    let line = process.listening();
    let address = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("listen.grpc="))
        .expect("the address of the process");

    let secret = key(database.pool(), Role::Admin).await;
    let clients = Clients::connect(&format!("http://{address}"), &secret).unwrap();
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let mut request = Request::new(ask("another"));
    let traceparent = format!("00-{trace}-{parent}-01");
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    clients.access().list_api_keys(request).await.unwrap();
    // What is left is exported on the way out.
    process.signal(Signal::SIGTERM);
    let (code, told) = process.outcome();
    assert_eq!(code, Some(0), "{told}");

    let spans = receiver.spans_of(trace, |spans| spans.len() > 1).await;
    let outer = spans.iter().find(|span| span.parent_span_id == parent).expect("the first hop");
    let inner =
        spans.iter().find(|span| span.parent_span_id == outer.span_id).expect("the second hop");
    for span in [outer, inner] {
        assert_eq!(span.service, "echo");
        assert_eq!(span.name, "northstar.approvals.v1.AccessService/ListApiKeys");
        assert_eq!(span.attributes["rpc.system"], "grpc");
        assert_eq!(span.attributes["rpc.method"], "ListApiKeys");
        assert_eq!(span.attributes["rpc.grpc.status_code"], "0");
        assert_eq!(span.attributes["caller.principal"], "a admin");
        let told = format!("{span:?}");
        assert!(!told.contains(&secret), "the key is in the span: {told}");
    }
    assert_eq!(outer.attributes["request.id"], inner.attributes["request.id"]);
    assert!(receiver.metrics().contains("rpc.server.requests"), "{:?}", receiver.metrics());
}
