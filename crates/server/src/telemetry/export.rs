//! Export of traces and metrics over OTLP.

use opentelemetry_otlp::{MetricExporter, SpanExporter, WithTonicConfig as _};
use tonic::transport::{ClientTlsConfig, Endpoint};
use url::Url;

use crate::InvalidConfig;

/// Exporters to a collector that speaks OTLP over gRPC. Nothing is connected
/// yet, and a collector that is away costs only its spans.
pub(super) fn to(collector: &Url) -> Result<(SpanExporter, MetricExporter), InvalidConfig> {
    let unusable = |error: &dyn std::fmt::Display| {
        InvalidConfig::Unusable(format!("OTEL_EXPORTER_OTLP_ENDPOINT {collector}: {error}"))
    };
    let mut endpoint =
        Endpoint::from_shared(collector.as_str().to_owned()).map_err(|error| unusable(&error))?;
    match collector.scheme() {
        "http" => {}
        "https" => {
            endpoint = endpoint
                .tls_config(ClientTlsConfig::new().with_enabled_roots())
                .map_err(|error| unusable(&error))?;
        }
        _ => return Err(unusable(&"use http://host:port or https://host:port")),
    }
    let channel = endpoint.connect_lazy();
    let spans = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel.clone())
        .build()
        .map_err(|error| unusable(&error))?;
    let metrics = MetricExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .build()
        .map_err(|error| unusable(&error))?;
    Ok((spans, metrics))
}
