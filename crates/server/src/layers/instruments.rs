//! Counters and histograms of calls.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, UpDownCounter};
use tonic::Code;

use super::call::name;
use crate::method::Method;
use crate::telemetry::meter;

/// Bounds of the duration histogram, in seconds: what OpenTelemetry's
/// conventions advise for RPC.
const DURATION_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// On `/metrics`: `rpc_server_requests_total`,
/// `rpc_server_call_duration_seconds` and `rpc_server_active_requests`.
#[derive(Clone)]
pub(super) struct Instruments {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    active: UpDownCounter<i64>,
}

impl Instruments {
    pub(super) fn new() -> Self {
        let meter = meter();
        Self {
            requests: meter
                .u64_counter("rpc.server.requests")
                .with_description("Calls that ended, by method and status code")
                .build(),
            duration: meter
                .f64_histogram("rpc.server.call.duration")
                .with_unit("s")
                .with_description("Time from a call's headers to its status")
                .with_boundaries(DURATION_BOUNDS.to_vec())
                .build(),
            active: meter
                .i64_up_down_counter("rpc.server.active_requests")
                .with_description("Calls in flight, by method")
                .build(),
        }
    }

    pub(super) fn started(&self, method: Method) {
        self.active.add(1, &labels(method));
    }

    pub(super) fn ended(&self, method: Method, code: Code, duration: Duration) {
        let [service, rpc] = labels(method);
        self.active.add(-1, &[service.clone(), rpc.clone()]);
        let labels = [service, rpc, KeyValue::new("rpc.response.status_code", name(code))];
        self.requests.add(1, &labels);
        self.duration.record(duration.as_secs_f64(), &labels);
    }
}

fn labels(method: Method) -> [KeyValue; 2] {
    [KeyValue::new("rpc.service", method.service), KeyValue::new("rpc.method", method.name)]
}
