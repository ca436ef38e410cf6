//! The HTTP doors as other people's SDKs meet them, and that all of them lead
//! into the same log.

mod browser;
mod cloudevents;
mod otlp;
mod same_kpi;
mod sdk;
mod segment;
mod segment_sdks;
mod webhooks;
