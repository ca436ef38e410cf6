"""A span, a log record and points of a counter, sent by the OpenTelemetry SDK:
ENDPOINT KEY PROTOCOL, where PROTOCOL is grpc or http."""

import sys
from urllib.parse import urlsplit

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

endpoint, key, protocol = sys.argv[1:]
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from grpc import Compression

    options = {
        "endpoint": urlsplit(endpoint).netloc,
        "insecure": True,
        "headers": (("authorization", f"Bearer {key}"),),
        "compression": Compression.Gzip,
    }
    exporters = [kind(**options) for kind in (OTLPSpanExporter, OTLPMetricExporter, OTLPLogExporter)]
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporters = [
        kind(
            endpoint=f"{endpoint}/v1/{signal}",
            headers={"authorization": f"Bearer {key}"},
            compression=Compression.Gzip,
        )
        for kind, signal in (
            (OTLPSpanExporter, "traces"),
            (OTLPMetricExporter, "metrics"),
            (OTLPLogExporter, "logs"),
        )
    ]
spans, metrics, logs = exporters

resource = Resource({"service.name": "checkout", "service.namespace": "shop"})

traces = TracerProvider(resource=resource)
traces.add_span_processor(SimpleSpanProcessor(spans))
tracer = traces.get_tracer("shop", "1.2.3")
with tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER) as span:
    span.set_attributes({"user.id": "u1", "session.id": "s1", "http.route": "/orders"})
    span.add_event("retried", {"attempt": 2})
    span.set_status(Status(StatusCode.ERROR, "out of stock"))
traces.shutdown()

reader = PeriodicExportingMetricReader(metrics, export_interval_millis=60_000)
meters = MeterProvider(resource=resource, metric_readers=[reader])
meter = meters.get_meter("shop")
meter.create_counter("orders", unit="{order}").add(3, {"channel": "web"})
meter.create_histogram("latency", unit="ms").record(12.5)
meters.shutdown()

records = LoggerProvider(resource=resource)
records.add_log_record_processor(SimpleLogRecordProcessor(logs))
records.get_logger("shop").emit(
    event_name="order.paid",
    timestamp=1_772_452_799_000_000_000,
    body="paid",
    attributes={"enduser.id": "u2", "amount": 7},
)
records.shutdown()
print("sent")
