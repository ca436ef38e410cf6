//! The request, or everything that is wrong with it.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use northstar_domain::having::Having;
use northstar_domain::kpi::{Window, not_a_zone, read_zone};
use northstar_domain::{InvalidExpression, Problems};
use northstar_engine::{Dimension, Filter, Grain, Span, SpanUnit};
use northstar_proto::metrics::v1 as pb;

use crate::cohorts::{Scope, check_number};
use crate::query::{read_breakdowns, read_filter, read_grain, read_position, read_window};
use crate::{Error, Result, plan};

/// Most metrics of a question.
const MAX_METRICS: usize = 20;
/// Most combinations, or rows, that a limit may name.
const MAX_LIMIT: i32 = 100_000;

/// A question that makes sense.
pub(super) struct Question {
    pub(super) window: Window,
    pub(super) zone: Tz,
    pub(super) grain: Grain,
    pub(super) breakdowns: Vec<Dimension>,
    /// The breakdowns as they were asked for.
    pub(super) names: Vec<String>,
    pub(super) filter: Option<Filter>,
    pub(super) having: Having,
    pub(super) order: Vec<(OrderKey, Order)>,
    /// 0 is unlimited.
    pub(super) limit: usize,
    /// How far back the other time lies.
    pub(super) compare: Option<Span>,
    pub(super) zero_fill: bool,
    /// Which cohorts it is about.
    pub(super) scope: Scope,
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OrderKey {
    Time,
    /// By its number.
    Dimension(usize),
    /// By its number.
    Metric(usize),
}

/// Which way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Rising,
    Falling,
}

impl Question {
    /// The metric that ranks groups, and which ones come first.
    pub(super) fn ranking(&self) -> (usize, Order) {
        self.order
            .iter()
            .find_map(|(key, order)| match key {
                OrderKey::Metric(metric) => Some((*metric, *order)),
                _ => None,
            })
            .unwrap_or((0, Order::Falling))
    }
}

pub(super) fn read(request: &pb::QueryMetricsRequest) -> Result<Question> {
    let mut problems = Problems::default();
    read_metrics(&mut problems, &request.metrics);
    let window = read_window(&mut problems, request.start_time, request.end_time);
    let zone = read_zone(&request.time_zone);
    if zone.is_none() {
        problems.fields.push("time_zone", not_a_zone(&request.time_zone));
    }
    let grain = read_grain(&mut problems, request.grain);
    let breakdowns = read_breakdowns(&mut problems, &request.breakdowns);
    let filter = read_filter(&mut problems, "filter", &request.filter);
    let having = Having::parse(&request.having)
        .map_err(|error| {
            problems.expressions.push(InvalidExpression {
                field: "having".to_owned(),
                expression: request.having.clone(),
                problem: error.to_string(),
            });
        })
        .ok();
    let order = read_order(&mut problems, request);
    check_number(&mut problems, &request.cohorts);
    if !(0..=MAX_LIMIT).contains(&request.limit) {
        let problem = format!("must lie between 0, for unlimited, and {MAX_LIMIT}");
        problems.fields.push("limit", problem);
    }
    let compare = pb::Comparison::try_from(request.compare);
    if compare.is_err() {
        problems.fields.push("compare", "is not a known comparison");
    }
    let position = read_position(&mut problems, request.log_position);
    match (window, zone, grain, having, compare) {
        (Some(window), Some(zone), Some(grain), Some(having), Ok(compare))
            if problems.is_empty() =>
        {
            Ok(Question {
                compare: span(compare, window, zone),
                scope: Scope { position, ..Scope::of(&request.cohorts, &breakdowns) },
                window,
                zone,
                grain,
                breakdowns,
                names: request.breakdowns.clone(),
                filter,
                having,
                order,
                limit: request.limit.unsigned_abs() as usize,
                zero_fill: request.zero_fill,
            })
        }
        _ => Err(Error::Refused(problems)),
    }
}

fn read_metrics(problems: &mut Problems, metrics: &[String]) {
    if metrics.is_empty() || metrics.len() > MAX_METRICS {
        let problem = format!("needs 1 to {MAX_METRICS} names, has {}", metrics.len());
        problems.fields.push("metrics", problem);
    }
    let mut names = BTreeSet::new();
    for (index, name) in metrics.iter().enumerate() {
        if name.is_empty() {
            problems.fields.push(format!("metrics[{index}]"), "is required: the name of a metric");
        } else if !names.insert(name) {
            problems.fields.push(format!("metrics[{index}]"), "is asked for twice");
        }
    }
}

/// Reads what rows are ordered by.
fn read_order(
    problems: &mut Problems,
    request: &pb::QueryMetricsRequest,
) -> Vec<(OrderKey, Order)> {
    let mut read = Vec::new();
    for (index, text) in request.order_by.iter().enumerate() {
        let (name, order) = match text.strip_prefix('-') {
            Some(name) => (name, Order::Falling),
            None => (text.as_str(), Order::Rising),
        };
        let metric = request.metrics.iter().position(|metric| metric == name);
        let dimension = request.breakdowns.iter().position(|dimension| dimension == name);
        let key = match (metric, dimension) {
            (Some(metric), _) => Some(OrderKey::Metric(metric)),
            (None, Some(dimension)) => Some(OrderKey::Dimension(dimension)),
            (None, None) if name == "time" => Some(OrderKey::Time),
            (None, None) if name == "value" => Some(OrderKey::Metric(0)),
            (None, None) => None,
        };
        match key {
            Some(key) => read.push((key, order)),
            None => problems.fields.push(
                format!("order_by[{index}]"),
                format!("{name:?} is neither \"time\" nor a metric or breakdown of the question"),
            ),
        }
    }
    read
}

/// How far back the other time lies.
pub(super) fn span(compare: pb::Comparison, window: Window, zone: Tz) -> Option<Span> {
    let (from, to) = (plan::instant(window.start), plan::instant(window.end));
    let one = |unit| Some(Span { count: 1, unit });
    match compare {
        pb::Comparison::Unspecified => None,
        pb::Comparison::PreviousPeriod => Some(Span::between(from, to, zone)),
        pb::Comparison::PreviousWeek => one(SpanUnit::Week),
        pb::Comparison::PreviousMonth => one(SpanUnit::Month),
        pb::Comparison::PreviousYear => one(SpanUnit::Year),
    }
}
