//! How log lines look. Every line told within a trace names it, so that a line
//! leads to its trace and a trace to its lines.

use std::fmt;

use opentelemetry::Context as TraceContext;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// For people: `tracing-subscriber`'s own lines, with the trace at the end.
pub(super) struct Text(Format);

impl Text {
    pub(super) fn new(colored: bool) -> Self {
        Self(Format::default().with_ansi(colored))
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        write!(writer, "{}", line.trim_end_matches('\n'))?;
        if let Some(trace) = current_trace() {
            write!(writer, " trace_id={} span_id={}", trace.trace_id(), trace.span_id())?;
        }
        writeln!(writer)
    }
}

/// For machines: one JSON object a line, flat but for the spans.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        line.insert("time".into(), time.into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("target".into(), event.metadata().target().into());
        if let Some(trace) = current_trace() {
            line.insert("trace_id".into(), trace.trace_id().to_string().into());
            line.insert("span_id".into(), trace.span_id().to_string().into());
        }
        let spans: Vec<Value> = context
            .event_scope()
            .map(|scope| scope.from_root().map(|span| describe::<S, N>(&span)).collect())
            .unwrap_or_default();
        if !spans.is_empty() {
            line.insert("spans".into(), spans.into());
        }
        event.record(&mut Fields(&mut line));
        let line = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

/// A span's name and fields, as one text.
fn describe<'a, S, N>(span: &tracing_subscriber::registry::SpanRef<'a, S>) -> Value
where
    S: Subscriber + LookupSpan<'a>,
    N: for<'b> FormatFields<'b> + 'static,
{
    match span.extensions().get::<FormattedFields<N>>() {
        Some(fields) if !fields.is_empty() => format!("{}{{{fields}}}", span.name()).into(),
        _ => span.name().into(),
    }
}

fn current_trace() -> Option<SpanContext> {
    let context = TraceContext::current();
    let span = context.span();
    let trace = span.span_context();
    trace.is_valid().then(|| trace.clone())
}

/// Takes an event's fields as JSON values; of an error, the whole chain.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut chain = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        self.insert(field, chain);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn traced(
        layer: impl tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync,
        tell: impl FnOnce(),
    ) {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let subscriber = tracing_subscriber::registry()
            .with(layer)
            .with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::with_default(subscriber, tell);
    }

    #[test]
    fn a_json_line_holds_fields_cause_and_trace() {
        let lines = Lines::default();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(lines.clone())
            .with_ansi(false)
            .event_format(Json);
        traced(layer, || {
            let _entered = tracing::info_span!("call", request.id = "r1").entered();
            let error = anyhow::anyhow!("disk full").context("cannot write");
            tracing::warn!(error = &*error as &dyn std::error::Error, rows = 3, "write failed");
        });
        let line: Value = serde_json::from_str(&lines.text()).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "write failed");
        assert_eq!(line["rows"], 3);
        assert_eq!(line["error"], "cannot write: disk full");
        assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
        assert_eq!(line["span_id"].as_str().unwrap().len(), 16);
        assert!(line["spans"][0].as_str().unwrap().contains("r1"), "{line}");
    }

    #[test]
    fn a_text_line_ends_with_its_trace() {
        let lines = Lines::default();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(lines.clone())
            .with_ansi(false)
            .event_format(Text::new(false));
        traced(layer, || {
            tracing::info!("outside");
            let _entered = tracing::info_span!("call").entered();
            tracing::info!("inside");
        });
        let text = lines.text();
        let (outside, inside) = text.split_once('\n').unwrap();
        assert!(!outside.contains("trace_id"), "{outside}");
        assert!(inside.contains("inside trace_id="), "{inside}");
    }
}
