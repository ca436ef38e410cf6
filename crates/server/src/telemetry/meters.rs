//! The instruments of a process, read by `/metrics` and by the OTLP exporter.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::{Encoder as _, Registry, TextEncoder};

/// One provider per process: instruments of several hosts add up.
static METERS: OnceLock<Meters> = OnceLock::new();

struct Meters {
    registry: Registry,
    provider: SdkMeterProvider,
}

/// Sets the provider up, with export when there is an exporter.
pub(super) fn install(
    resource: Resource,
    exporter: Option<MetricExporter>,
    interval: Duration,
) -> anyhow::Result<()> {
    let meters = build(Some(resource), exporter, interval)?;
    opentelemetry::global::set_meter_provider(meters.provider.clone());
    METERS.set(meters).ok().context("telemetry was set up after serving began")
}

fn build(
    resource: Option<Resource>,
    exporter: Option<MetricExporter>,
    interval: Duration,
) -> anyhow::Result<Meters> {
    let registry = Registry::new();
    let prometheus =
        opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
    let mut provider = SdkMeterProvider::builder().with_reader(prometheus);
    if let Some(resource) = resource {
        provider = provider.with_resource(resource);
    }
    if let Some(exporter) = exporter {
        let reader = PeriodicReader::builder(exporter).with_interval(interval).build();
        provider = provider.with_reader(reader);
    }
    Ok(Meters { registry, provider: provider.build() })
}

fn meters() -> &'static Meters {
    METERS.get_or_init(|| {
        build(None, None, Duration::ZERO).expect("an empty registry takes its first collector")
    })
}

/// The meter of the instruments every process has.
pub(crate) fn meter() -> Meter {
    meters().provider.meter("northstar")
}

/// A number that goes up and down, by labels, on `/metrics` and in the OTLP
/// export.
#[derive(Clone, Debug)]
pub struct Gauge(opentelemetry::metrics::Gauge<f64>);

impl Gauge {
    /// A gauge by its OpenTelemetry name; `/metrics` writes its dots as
    /// underscores.
    pub fn new(name: &'static str, description: &'static str) -> Self {
        Self(meter().f64_gauge(name).with_description(description).build())
    }

    /// Sets the value for these labels. Every set of labels is a series of its
    /// own, so their number must be bounded.
    pub fn set(&self, value: f64, labels: &[(&'static str, String)]) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(key, value)| opentelemetry::KeyValue::new(*key, value.clone()))
            .collect();
        self.0.record(value, &labels);
    }
}

/// Every instrument in Prometheus' text format, with its content type.
pub(crate) fn exposition() -> Result<(String, Vec<u8>), prometheus::Error> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    encoder.encode(&meters().registry.gather(), &mut text)?;
    Ok((encoder.format_type().to_owned(), text))
}

/// Exports what is left.
pub(super) fn shutdown() {
    if let Some(meters) = METERS.get()
        && let Err(error) = meters.provider.shutdown()
    {
        tracing::warn!(error = &error as &dyn std::error::Error, "metrics may be lost");
    }
}
