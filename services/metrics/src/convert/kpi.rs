//! KPIs on the wire.

use northstar_domain::Violations;
use northstar_domain::kpi::{
    Baseline, Direction, Freshness, Guardrail, Kpi, Layer, Status, Target, Thresholds,
};
use northstar_proto::metrics::v1 as pb;

use super::time::read_timestamp;
use super::{Received, to_timestamp};

/// A KPI for the wire.
pub fn to_proto(name: &str, etag: &str, kpi: &Kpi) -> pb::Kpi {
    pb::Kpi {
        name: name.to_owned(),
        title: kpi.title.clone(),
        metric: kpi.metric.clone(),
        pillar: kpi.pillar.clone(),
        layer: kpi.layer.map_or(pb::Layer::Unspecified, layer_to_proto).into(),
        owner: kpi.owner.clone(),
        unit: kpi.unit.clone(),
        direction: direction_to_proto(kpi.direction).into(),
        baseline: kpi.baseline.map(|baseline| pb::Baseline {
            value: baseline.value,
            start_time: baseline.start_time.map(to_timestamp),
            end_time: baseline.end_time.map(to_timestamp),
        }),
        target: kpi.target.map(|target| pb::Target {
            value: target.value,
            due_time: target.due_time.map(to_timestamp),
        }),
        guardrails: kpi.guardrails.iter().map(guardrail_to_proto).collect(),
        review_time: kpi.review_time.map(to_timestamp),
        window_days: kpi.window_days,
        time_zone: kpi.time_zone.clone(),
        thresholds: kpi
            .thresholds
            .map(|Thresholds { at_risk, off_track }| pb::Thresholds { at_risk, off_track }),
        etag: etag.to_owned(),
        lever: kpi.lever.clone(),
        drives: kpi.drives.clone(),
    }
}

fn guardrail_to_proto(guardrail: &Guardrail) -> pb::Guardrail {
    pb::Guardrail {
        metric: guardrail.metric.clone(),
        direction: direction_to_proto(guardrail.direction).into(),
        margin: guardrail.margin,
    }
}

/// A KPI from the wire.
pub fn from_proto(kpi: pb::Kpi) -> Received<Kpi> {
    let mut violations = Violations::new();
    let found = &mut violations;
    let document = Kpi {
        title: kpi.title,
        metric: kpi.metric,
        pillar: kpi.pillar,
        layer: layer_from_proto(kpi.layer),
        owner: kpi.owner,
        unit: kpi.unit,
        direction: direction_from_proto(kpi.direction),
        baseline: kpi.baseline.map(|baseline| Baseline {
            value: baseline.value,
            start_time: read_timestamp(found, "baseline.start_time", baseline.start_time),
            end_time: read_timestamp(found, "baseline.end_time", baseline.end_time),
        }),
        target: kpi.target.map(|target| Target {
            value: target.value,
            due_time: read_timestamp(found, "target.due_time", target.due_time),
        }),
        guardrails: kpi
            .guardrails
            .into_iter()
            .map(|guardrail| Guardrail {
                metric: guardrail.metric,
                direction: direction_from_proto(guardrail.direction),
                margin: guardrail.margin,
            })
            .collect(),
        review_time: read_timestamp(found, "review_time", kpi.review_time),
        window_days: kpi.window_days,
        time_zone: kpi.time_zone,
        thresholds: kpi
            .thresholds
            .map(|pb::Thresholds { at_risk, off_track }| Thresholds { at_risk, off_track }),
        lever: kpi.lever,
        drives: kpi.drives,
    };
    Received { name: kpi.name, etag: kpi.etag, document, violations }
}

fn layer_to_proto(layer: Layer) -> pb::Layer {
    match layer {
        Layer::Outcome => pb::Layer::Outcome,
        Layer::Driver => pb::Layer::Driver,
        Layer::Adoption => pb::Layer::Adoption,
        Layer::Efficiency => pb::Layer::Efficiency,
    }
}

/// `None` for what is not set or not known, which the charter refuses.
fn layer_from_proto(layer: i32) -> Option<Layer> {
    match pb::Layer::try_from(layer).unwrap_or_default() {
        pb::Layer::Unspecified => None,
        pb::Layer::Outcome => Some(Layer::Outcome),
        pb::Layer::Driver => Some(Layer::Driver),
        pb::Layer::Adoption => Some(Layer::Adoption),
        pb::Layer::Efficiency => Some(Layer::Efficiency),
    }
}

fn direction_to_proto(direction: Option<Direction>) -> pb::Direction {
    match direction {
        None => pb::Direction::Unspecified,
        Some(Direction::Increase) => pb::Direction::Increase,
        Some(Direction::Decrease) => pb::Direction::Decrease,
    }
}

/// `None` for what is not set or not known, which the charter refuses.
fn direction_from_proto(direction: i32) -> Option<Direction> {
    match pb::Direction::try_from(direction).unwrap_or_default() {
        pb::Direction::Unspecified => None,
        pb::Direction::Increase => Some(Direction::Increase),
        pb::Direction::Decrease => Some(Direction::Decrease),
    }
}

/// How a KPI stands, for the wire.
pub(crate) fn status_to_proto(status: Status) -> pb::KpiStatus {
    match status {
        Status::NoData => pb::KpiStatus::NoData,
        Status::Achieved => pb::KpiStatus::Achieved,
        Status::OnTrack => pb::KpiStatus::OnTrack,
        Status::AtRisk => pb::KpiStatus::AtRisk,
        Status::OffTrack => pb::KpiStatus::OffTrack,
    }
}

/// How a KPI on the wire stands; `None` when that is not said.
pub(crate) fn status_of(value: &pb::KpiValue) -> Option<Status> {
    match value.status() {
        pb::KpiStatus::Unspecified => None,
        pb::KpiStatus::NoData => Some(Status::NoData),
        pb::KpiStatus::Achieved => Some(Status::Achieved),
        pb::KpiStatus::OnTrack => Some(Status::OnTrack),
        pb::KpiStatus::AtRisk => Some(Status::AtRisk),
        pb::KpiStatus::OffTrack => Some(Status::OffTrack),
    }
}

/// Which way is better for a KPI on the wire.
pub(crate) fn direction_of(value: &pb::KpiValue) -> Option<Direction> {
    value.kpi.as_ref().and_then(|kpi| direction_from_proto(kpi.direction))
}

/// The state of the sources, for the wire.
pub(crate) fn freshness_to_proto(freshness: Freshness) -> pb::Freshness {
    match freshness {
        Freshness::Fresh => pb::Freshness::Fresh,
        Freshness::Stale => pb::Freshness::Stale,
        Freshness::Empty => pb::Freshness::Empty,
    }
}
