//! Logs, traces and metrics of a process: set up once, flushed last.

mod config;
mod export;
mod format;
mod meters;

use std::io::IsTerminal as _;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

pub use config::{Config, LogFormat};
pub use meters::Gauge;
pub(crate) use meters::{exposition, meter};

use crate::InvalidConfig;

/// Telemetry of this process. Flush it last, after everything that may still
/// have something to tell.
#[derive(Debug)]
pub struct Telemetry {
    traces: SdkTracerProvider,
}

/// Sets up logs on the standard error, panics among them, trace propagation, and
/// the export of traces and metrics when a collector is configured. Once in a process, before
/// anything is served; must be called within a Tokio runtime.
///
/// `name` becomes the `service.name` of traces and metrics.
///
/// # Errors
/// [`InvalidConfig`] when the log filter or the collector's address cannot be
/// used; another error when telemetry was set up before.
pub fn init(name: &'static str, config: &Config) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_new(&config.log_filter).map_err(|error| {
        InvalidConfig::Unusable(format!("NORTHSTAR_LOG {:?}: {error}", config.log_filter))
    })?;
    let exporters = config.otlp_endpoint.as_ref().map(export::to).transpose()?;
    let (span_exporter, metric_exporter) = exporters.unzip();
    let resource = Resource::builder()
        .with_service_name(name)
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();

    meters::install(resource.clone(), metric_exporter, config.metrics_interval())?;
    let mut traces = SdkTracerProvider::builder().with_resource(resource);
    if let Some(exporter) = span_exporter {
        traces = traces.with_batch_exporter(exporter);
    }
    let traces = traces.build();
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    opentelemetry::global::set_tracer_provider(traces.clone());

    // Which spans are made must not depend on which log lines are wanted.
    let spans = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer("northstar"))
        .with_location(false)
        .with_threads(false)
        .with_filter(Targets::new().with_target("northstar", LevelFilter::INFO));
    tracing_subscriber::registry()
        .with(spans)
        .with(lines(config.log_format).with_filter(filter))
        .try_init()
        .context("telemetry was set up twice")?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(panic.message = message, panic.location = location, "panicked");
    }));
    Ok(Telemetry { traces })
}

fn lines<S>(form: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let colored = form == LogFormat::Text && std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colored);
    match form {
        LogFormat::Text => lines.event_format(format::Text::new(colored)).boxed(),
        LogFormat::Json => lines.event_format(format::Json).boxed(),
    }
}

impl Telemetry {
    /// Exports what is left and stops exporting.
    pub async fn flush(self) {
        // Both wait for the exporters on the thread they are called from.
        let flushed = tokio::task::spawn_blocking(move || {
            if let Err(error) = self.traces.shutdown() {
                tracing::warn!(error = &error as &dyn std::error::Error, "spans may be lost");
            }
            meters::shutdown();
        });
        if let Err(error) = flushed.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "telemetry may be lost");
        }
    }
}
