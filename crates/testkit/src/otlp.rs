//! A collector in the test's own process: what was exported over OTLP, to look
//! at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// How long [`OtlpReceiver::spans_of`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A span as it was exported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReceivedSpan {
    /// `service.name` of the process it came from.
    pub service: String,
    /// Its name.
    pub name: String,
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// Empty for the root of a trace.
    pub parent_span_id: String,
    /// Its attributes, values as text.
    pub attributes: BTreeMap<String, String>,
}

/// An OTLP collector on a loopback port of the system's choice, until dropped.
#[derive(Debug)]
pub struct OtlpReceiver {
    url: String,
    store: Store,
    serving: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Store {
    received: Arc<Mutex<Received>>,
    changed: Arc<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<ReceivedSpan>,
    metrics: BTreeSet<String>,
}

impl OtlpReceiver {
    /// Starts a receiver.
    ///
    /// # Panics
    /// When no loopback port can be bound.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("the address just bound");
        let store = Store { received: Arc::default(), changed: Arc::new(watch::channel(()).0) };
        let server = Server::builder()
            .add_service(TraceServiceServer::new(store.clone()))
            .add_service(MetricsServiceServer::new(store.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        let serving = tokio::spawn(async move {
            server.await.expect("a listener that stays open");
        });
        Self { url: format!("http://{address}"), store, serving }
    }

    /// Where to export to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The spans of a trace, in the order they came, once they are `complete`:
    /// a span is exported when it ends, so the caller's comes after those
    /// beneath it, and often in a later batch.
    ///
    /// # Panics
    /// When they are not within half a minute; the message lists what came.
    pub async fn spans_of(
        &self,
        trace_id: &str,
        complete: impl Fn(&[ReceivedSpan]) -> bool,
    ) -> Vec<ReceivedSpan> {
        let mut changed = self.store.changed.subscribe();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let spans: Vec<_> = self
                    .store
                    .received()
                    .spans
                    .iter()
                    .filter(|span| span.trace_id == trace_id)
                    .cloned()
                    .collect();
                if complete(&spans) {
                    return spans;
                }
                changed.changed().await.expect("the sender is ours");
            }
        });
        match found.await {
            Ok(spans) => spans,
            Err(_) => panic!(
                "trace {trace_id} did not become complete: {:#?}",
                self.store.received().spans
            ),
        }
    }

    /// The names of the metrics that came so far.
    #[must_use]
    pub fn metrics(&self) -> BTreeSet<String> {
        self.store.received().metrics.clone()
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Store {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl TraceService for Store {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource_spans in request.into_inner().resource_spans {
            let resource = resource_spans.resource.unwrap_or_default();
            let service = attributes(&resource.attributes).remove("service.name");
            let service = service.unwrap_or_default();
            let spans = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.received().spans.extend(spans.map(|span| ReceivedSpan {
                service: service.clone(),
                name: span.name,
                trace_id: hex::encode(span.trace_id),
                span_id: hex::encode(span.span_id),
                parent_span_id: hex::encode(span.parent_span_id),
                attributes: attributes(&span.attributes),
            }));
        }
        self.changed.send_replace(());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Store {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_metrics);
        let names = scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name);
        self.received().metrics.extend(names);
        self.changed.send_replace(());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes
        .iter()
        .map(|attribute| {
            let value = attribute.value.as_ref().map(text).unwrap_or_default();
            (attribute.key.clone(), value)
        })
        .collect()
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}
