//! Data points of metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use northstar_proto::ingestion::v1 as pb;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, Exemplar, ExponentialHistogram,
    ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use prost::Message as _;

use super::Signal;
use super::answer::Rejected;
use super::attributes::{Ids, Properties, boolean, double, integer, list, object, text, unsigned};
use super::origin::{Origin, Twins, time, time_text};
use crate::arrivals::{Arrival, Misfit, Raw};

/// The signal.
pub(super) struct Metrics;

impl Signal for Metrics {
    type Request = ExportMetricsServiceRequest;
    type Response = ExportMetricsServiceResponse;
    const RECORDS: &'static str = "data points";

    fn arrivals(
        request: ExportMetricsServiceRequest,
    ) -> impl Iterator<Item = Arrival<impl Raw + 'static>> + Send {
        let points = request.resource_metrics.into_iter().flat_map(|of_resource| {
            let ResourceMetrics { resource, scope_metrics, schema_url } = of_resource;
            scope_metrics.into_iter().flat_map(move |of_scope| {
                let ScopeMetrics { scope, metrics, schema_url: scope_schema_url } = of_scope;
                let (resource, url) = (resource.clone(), schema_url.clone());
                let origin = Arc::new(Origin::new(resource, url, scope, scope_schema_url));
                metrics.into_iter().flat_map(move |metric| {
                    let origin = Arc::clone(&origin);
                    let (metric, points) = split(metric);
                    let metric = Arc::new(metric);
                    points.into_iter().map(move |point| RawPoint {
                        origin: Arc::clone(&origin),
                        metric: Arc::clone(&metric),
                        point,
                    })
                })
            })
        });
        let mut twins = Twins::default();
        points.map(move |raw| Arrival { event: event(&raw, &mut twins), raw })
    }

    fn passed_over(request: &ExportMetricsServiceRequest) -> Option<String> {
        let mut metrics = request
            .resource_metrics
            .iter()
            .flat_map(|of_resource| &of_resource.scope_metrics)
            .flat_map(|of_scope| &of_scope.metrics);
        let metric = metrics.find(|metric| metric.data.is_none())?;
        Some(format!("the metric {:?} has no data that can be read", metric.name))
    }

    fn partial_success(rejected: Rejected) -> ExportMetricsServiceResponse {
        ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: rejected.count,
                error_message: rejected.message,
            }),
        }
    }
}

/// A data point of any kind.
#[derive(Clone, Debug)]
enum Point {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
    Exponential(ExponentialHistogramDataPoint),
    Summary(SummaryDataPoint),
    /// A metric of a kind that is not known here.
    Unknown,
}

/// A point, its metric and what it comes from.
struct RawPoint {
    origin: Arc<Origin>,
    /// The metric without its points.
    metric: Arc<Metric>,
    point: Point,
}

impl Raw for RawPoint {
    fn size(&self) -> usize {
        let point = match &self.point {
            Point::Number(point) => point.encoded_len(),
            Point::Histogram(point) => point.encoded_len(),
            Point::Exponential(point) => point.encoded_len(),
            Point::Summary(point) => point.encoded_len(),
            Point::Unknown => 0,
        };
        self.origin.size() + self.metric.encoded_len() + point
    }

    /// A request of this point alone.
    fn bytes(&self) -> Vec<u8> {
        let Origin { resource, resource_schema_url, scope, scope_schema_url, .. } = &*self.origin;
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: resource.clone(),
                scope_metrics: vec![ScopeMetrics {
                    scope: scope.clone(),
                    metrics: vec![joined(&self.metric, &self.point)],
                    schema_url: scope_schema_url.clone(),
                }],
                schema_url: resource_schema_url.clone(),
            }],
        }
        .encode_to_vec()
    }
}

/// A metric without its points, and the points.
fn split(mut metric: Metric) -> (Metric, Vec<Point>) {
    let take = std::mem::take::<Vec<NumberDataPoint>>;
    let points = match &mut metric.data {
        None => vec![Point::Unknown],
        Some(Data::Gauge(gauge)) => {
            take(&mut gauge.data_points).into_iter().map(Point::Number).collect()
        }
        Some(Data::Sum(sum)) => take(&mut sum.data_points).into_iter().map(Point::Number).collect(),
        Some(Data::Histogram(histogram)) => {
            std::mem::take(&mut histogram.data_points).into_iter().map(Point::Histogram).collect()
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            std::mem::take(&mut histogram.data_points).into_iter().map(Point::Exponential).collect()
        }
        Some(Data::Summary(summary)) => {
            std::mem::take(&mut summary.data_points).into_iter().map(Point::Summary).collect()
        }
    };
    (metric, points)
}

/// The metric with this one point.
fn joined(metric: &Metric, point: &Point) -> Metric {
    let mut metric = metric.clone();
    match (&mut metric.data, point.clone()) {
        (
            Some(Data::Gauge(Gauge { data_points }) | Data::Sum(Sum { data_points, .. })),
            Point::Number(point),
        ) => data_points.push(point),
        (Some(Data::Histogram(Histogram { data_points, .. })), Point::Histogram(point)) => {
            data_points.push(point);
        }
        (
            Some(Data::ExponentialHistogram(ExponentialHistogram { data_points, .. })),
            Point::Exponential(point),
        ) => data_points.push(point),
        (Some(Data::Summary(Summary { data_points })), Point::Summary(point)) => {
            data_points.push(point);
        }
        _ => {}
    }
    metric
}

/// What points of every kind have.
struct Common<'a> {
    start_time: u64,
    time: u64,
    flags: u32,
    attributes: &'a [KeyValue],
    exemplars: &'a [Exemplar],
    encoded: Vec<u8>,
}

macro_rules! common {
    ($point:expr, $exemplars:expr) => {
        Common {
            start_time: $point.start_time_unix_nano,
            time: $point.time_unix_nano,
            flags: $point.flags,
            attributes: &$point.attributes,
            exemplars: $exemplars,
            encoded: $point.encode_to_vec(),
        }
    };
}

fn event(raw: &RawPoint, twins: &mut Twins) -> Result<pb::Event, Misfit> {
    let RawPoint { origin, metric, point } = raw;
    let mut properties = Properties::default();
    let common = match point {
        Point::Number(point) => {
            number(&mut properties, point)?;
            common!(point, &point.exemplars)
        }
        Point::Histogram(point) => {
            histogram(&mut properties, point);
            common!(point, &point.exemplars)
        }
        Point::Exponential(point) => {
            exponential(&mut properties, point);
            common!(point, &point.exemplars)
        }
        Point::Summary(point) => {
            summary(&mut properties, point);
            common!(point, &[])
        }
        Point::Unknown => {
            return Err(Misfit::new(
                "unknown_metric_type",
                "data",
                "a metric is a gauge, a sum, a histogram, an exponential histogram or a summary",
            ));
        }
    };
    kind(&mut properties, metric);
    properties.set_text("unit", &metric.unit);
    if common.start_time > 0 {
        properties.set("start_time", text(time_text(common.start_time)));
    }
    if is_without_value(common.flags) {
        properties.set("no_recorded_value", boolean(true));
    }
    if !common.exemplars.is_empty() {
        properties.set("exemplars", list(common.exemplars.iter().map(exemplar)));
    }
    let digest = origin.digest("metric", &[metric.encode_to_vec(), common.encoded]);
    Ok(pb::Event {
        message_id: twins.message_id(digest),
        name: metric.name.clone(),
        occurred_time: time(common.time),
        ..origin.event("metric", properties, common.attributes)?
    })
}

fn kind(properties: &mut Properties, metric: &Metric) {
    let (name, temporality) = match &metric.data {
        None => return,
        Some(Data::Gauge(_)) => ("gauge", None),
        Some(Data::Sum(sum)) => {
            properties.set("monotonic", boolean(sum.is_monotonic));
            ("sum", Some(sum.aggregation_temporality()))
        }
        Some(Data::Histogram(histogram)) => {
            ("histogram", Some(histogram.aggregation_temporality()))
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            ("exponential_histogram", Some(histogram.aggregation_temporality()))
        }
        Some(Data::Summary(_)) => ("summary", None),
    };
    properties.set("type", text(name));
    match temporality {
        Some(AggregationTemporality::Delta) => properties.set("temporality", text("delta")),
        Some(AggregationTemporality::Cumulative) => {
            properties.set("temporality", text("cumulative"));
        }
        Some(AggregationTemporality::Unspecified) | None => {}
    }
}

fn number(properties: &mut Properties, point: &NumberDataPoint) -> Result<(), Misfit> {
    match point.value {
        None if is_without_value(point.flags) => {}
        None => return Err(Misfit::new("missing_value", "value", "the point has no value")),
        Some(number_data_point::Value::AsInt(value)) => properties.set("value", integer(value)),
        Some(number_data_point::Value::AsDouble(value)) => properties.set("value", double(value)),
    }
    Ok(())
}

/// Whether a point says that there is no value, as when a series ends.
fn is_without_value(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

fn histogram(properties: &mut Properties, point: &HistogramDataPoint) {
    properties.set("count", unsigned(point.count));
    for (name, value) in [("sum", point.sum), ("min", point.min), ("max", point.max)] {
        if let Some(value) = value {
            properties.set(name, double(value));
        }
    }
    if !point.bucket_counts.is_empty() {
        properties.set("bounds", list(point.explicit_bounds.iter().copied().map(double)));
        properties.set("bucket_counts", list(point.bucket_counts.iter().copied().map(unsigned)));
    }
}

fn exponential(properties: &mut Properties, point: &ExponentialHistogramDataPoint) {
    properties.set("count", unsigned(point.count));
    for (name, value) in [("sum", point.sum), ("min", point.min), ("max", point.max)] {
        if let Some(value) = value {
            properties.set(name, double(value));
        }
    }
    properties.set("scale", integer(point.scale.into()));
    properties.set("zero_count", unsigned(point.zero_count));
    properties.set("zero_threshold", double(point.zero_threshold));
    for (name, buckets) in [("positive", &point.positive), ("negative", &point.negative)] {
        if let Some(Buckets { offset, bucket_counts }) = buckets {
            let counts = list(bucket_counts.iter().copied().map(unsigned));
            let fields = BTreeMap::from([
                ("offset".to_owned(), integer((*offset).into())),
                ("bucket_counts".to_owned(), counts),
            ]);
            properties.set(name, object(fields));
        }
    }
}

fn summary(properties: &mut Properties, point: &SummaryDataPoint) {
    properties.set("count", unsigned(point.count));
    properties.set("sum", double(point.sum));
    let quantiles = point.quantile_values.iter().map(|at| {
        object(BTreeMap::from([
            ("quantile".to_owned(), double(at.quantile)),
            ("value".to_owned(), double(at.value)),
        ]))
    });
    properties.set("quantiles", list(quantiles));
}

fn exemplar(exemplar: &Exemplar) -> pb::Value {
    let mut fields = Properties::default();
    match exemplar.value {
        None => {}
        Some(exemplar::Value::AsInt(value)) => fields.set("value", integer(value)),
        Some(exemplar::Value::AsDouble(value)) => fields.set("value", double(value)),
    }
    fields.set("time", text(time_text(exemplar.time_unix_nano)));
    fields.set_hex("trace_id", &exemplar.trace_id);
    fields.set_hex("span_id", &exemplar.span_id);
    object(fields.with_attributes(&exemplar.filtered_attributes, &Ids::default()))
}
