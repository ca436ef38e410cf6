//! Spans.

use std::sync::Arc;

use northstar_proto::ingestion::v1 as pb;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::Signal;
use super::answer::Rejected;
use super::attributes::{Ids, Properties, boolean, double, list, object, text, unsigned};
use super::origin::{Origin, time, time_text};
use crate::arrivals::{Arrival, Misfit, Raw};

/// The signal.
pub(super) struct Traces;

impl Signal for Traces {
    type Request = ExportTraceServiceRequest;
    type Response = ExportTraceServiceResponse;
    const RECORDS: &'static str = "spans";

    fn arrivals(
        request: ExportTraceServiceRequest,
    ) -> impl Iterator<Item = Arrival<impl Raw + 'static>> + Send {
        request.resource_spans.into_iter().flat_map(|of_resource| {
            let ResourceSpans { resource, scope_spans, schema_url } = of_resource;
            scope_spans.into_iter().flat_map(move |of_scope| {
                let ScopeSpans { scope, spans, schema_url: scope_schema_url } = of_scope;
                let (resource, url) = (resource.clone(), schema_url.clone());
                let origin = Arc::new(Origin::new(resource, url, scope, scope_schema_url));
                spans.into_iter().map(move |span| Arrival {
                    event: event(&origin, &span),
                    raw: RawSpan { origin: Arc::clone(&origin), span },
                })
            })
        })
    }

    fn partial_success(rejected: Rejected) -> ExportTraceServiceResponse {
        ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: rejected.count,
                error_message: rejected.message,
            }),
        }
    }
}

/// A span and what it comes from.
struct RawSpan {
    origin: Arc<Origin>,
    span: Span,
}

impl RawSpan {
    /// A request of this span alone.
    fn request(&self) -> ExportTraceServiceRequest {
        let Origin { resource, resource_schema_url, scope, scope_schema_url, .. } = &*self.origin;
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: resource.clone(),
                scope_spans: vec![ScopeSpans {
                    scope: scope.clone(),
                    spans: vec![self.span.clone()],
                    schema_url: scope_schema_url.clone(),
                }],
                schema_url: resource_schema_url.clone(),
            }],
        }
    }
}

impl Raw for RawSpan {
    fn size(&self) -> usize {
        self.origin.size() + self.span.encoded_len()
    }

    fn bytes(&self) -> Vec<u8> {
        self.request().encode_to_vec()
    }
}

fn event(origin: &Origin, span: &Span) -> Result<pb::Event, Misfit> {
    check_id("trace_id", &span.trace_id, 16)?;
    check_id("span_id", &span.span_id, 8)?;
    let mut properties = Properties::default();
    properties.set_hex("trace_id", &span.trace_id);
    properties.set_hex("span_id", &span.span_id);
    properties.set_hex("parent_span_id", &span.parent_span_id);
    properties.set_text("trace_state", &span.trace_state);
    let kind = match span.kind() {
        SpanKind::Unspecified => "",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    };
    properties.set_text("kind", kind);
    // A clock that was set back in between has not measured anything.
    if span.start_time_unix_nano > 0
        && let Some(nanos) = span.end_time_unix_nano.checked_sub(span.start_time_unix_nano)
    {
        properties.set("duration_ms", double(nanos as f64 / 1e6));
    }
    let status = span.status.clone().unwrap_or_default();
    let (name, error) = match status.code() {
        StatusCode::Unset => ("unset", false),
        StatusCode::Ok => ("ok", false),
        StatusCode::Error => ("error", true),
    };
    properties.set("status", text(name));
    properties.set("error", boolean(error));
    properties.set_text("status_message", &status.message);
    if !span.events.is_empty() {
        properties.set("events", list(span.events.iter().map(span_event)));
    }
    if !span.links.is_empty() {
        properties.set("links", list(span.links.iter().map(link)));
    }
    for (name, dropped) in [
        ("dropped_attributes_count", span.dropped_attributes_count),
        ("dropped_events_count", span.dropped_events_count),
        ("dropped_links_count", span.dropped_links_count),
    ] {
        if dropped > 0 {
            properties.set(name, unsigned(dropped.into()));
        }
    }
    Ok(pb::Event {
        message_id: format!("{}-{}", hex::encode(&span.trace_id), hex::encode(&span.span_id)),
        name: span.name.clone(),
        occurred_time: time(span.start_time_unix_nano).or_else(|| time(span.end_time_unix_nano)),
        ..origin.event("span", properties, &span.attributes)?
    })
}

/// An id of the right length that is not all zeros.
fn check_id(field: &'static str, id: &[u8], length: usize) -> Result<(), Misfit> {
    if id.len() == length && id.iter().any(|byte| *byte != 0) {
        return Ok(());
    }
    let problem = format!("must be {length} bytes, not all of them zero; has {} bytes", id.len());
    Err(Misfit::new("invalid_span_id", field, problem))
}

fn span_event(event: &Event) -> pb::Value {
    let mut fields = Properties::default();
    fields.set_text("name", &event.name);
    fields.set("time", text(time_text(event.time_unix_nano)));
    object(fields.with_attributes(&event.attributes, &Ids::default()))
}

fn link(link: &Link) -> pb::Value {
    let mut fields = Properties::default();
    fields.set_hex("trace_id", &link.trace_id);
    fields.set_hex("span_id", &link.span_id);
    object(fields.with_attributes(&link.attributes, &Ids::default()))
}
