//! Reading questions: everything wrong is noted, so that it is reported at once.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use northstar_domain::kpi::{Window, not_a_zone, read_zone};
use northstar_domain::metric::{Definition, EventSelector, FunnelAnchor, Metric, property_path};
use northstar_domain::{InvalidExpression, Problems, ResourceName};
use northstar_engine::journeys::Scope;
use northstar_engine::{self as engine, Dimension, Grain};
use northstar_proto::metrics::v1 as pb;

use crate::cohorts;
use crate::convert::metric::selector_from_proto;
use crate::convert::{from_timestamp, read_duration};
use crate::plan::{self, Metrics};
use crate::query::{MAX_ROWS, read_breakdowns, read_filter, read_window};
use crate::query_metrics::previous_window;
use crate::{Error, Result};

/// The name under which a question that is no metric stands in its provenance.
const AD_HOC: &str = "ad-hoc";

/// What a question is about, as far as it could be read.
pub(super) struct ReadScope {
    pub scope: Scope,
    pub window: Window,
    pub zone: Tz,
    pub filter: String,
    /// Breakdowns by the names they were asked under.
    pub breakdowns: Vec<String>,
    /// Position of the log; 0 for all of it.
    pub position: i64,
    /// Cohorts that narrow the question, or that it is broken down by.
    pub cohorts: cohorts::Scope,
}

/// Another time that a question is asked of, too.
#[derive(Clone, Copy)]
pub(super) enum Compare {
    /// A range of the same length from here on.
    From(DateTime<Utc>),
    /// By the calendar.
    With(pb::Comparison),
}

impl Compare {
    /// The range that is meant.
    pub(super) fn window(self, window: Window, zone: Tz) -> Result<Option<Window>> {
        match self {
            Self::With(comparison) => previous_window(comparison, window, zone),
            Self::From(start) => {
                let end = start.checked_add_signed(window.end - window.start).ok_or_else(|| {
                    let problem = "the range from there goes beyond all calendars";
                    Error::field("compare_start_time", problem)
                })?;
                Ok(Some(Window { start, end }))
            }
        }
    }
}

impl ReadScope {
    /// The cohorts as far as the position that is asked for.
    pub(super) fn cohorts(&self) -> cohorts::Scope {
        let position = Some(self.position).filter(|position| *position > 0);
        cohorts::Scope { position, ..self.cohorts.clone() }
    }

    /// Takes in the cohorts among further dimensions of the question.
    pub(super) fn also_by(&mut self, dimensions: &[Dimension]) {
        let cohorts::Scope { breakdowns, .. } = cohorts::Scope::of(&[], dimensions);
        self.cohorts.breakdowns.extend(breakdowns);
    }
}

/// A request while it is read.
#[derive(Default)]
pub(super) struct Reader {
    pub problems: Problems,
    /// Every event selector of the question.
    selectors: Vec<EventSelector>,
}

impl Reader {
    /// Notes a problem with a field of the question.
    pub(super) fn wrong(&mut self, field: &str, problem: impl Into<String>) {
        self.problems.fields.push(format!("question.{field}"), problem);
    }

    /// The scope; `None` when it cannot be read.
    pub(super) fn scope(&mut self, scope: Option<pb::JourneyScope>) -> Option<ReadScope> {
        let Some(scope) = scope else {
            self.wrong("scope", "is required");
            return None;
        };
        let mut problems = Problems::default();
        let window = read_window(&mut problems, scope.start_time, scope.end_time);
        let zone = read_zone(&scope.time_zone);
        if zone.is_none() {
            problems.fields.push("time_zone", not_a_zone(&scope.time_zone));
        }
        let breakdowns = read_breakdowns(&mut problems, &scope.breakdowns);
        let filter = read_filter(&mut problems, "filter", &scope.filter);
        let as_of = scope.as_of_time.as_ref().map(from_timestamp);
        if as_of == Some(None) {
            problems.fields.push("as_of_time", "is not a time: seconds or nanos are out of range");
        }
        if scope.log_position < 0 {
            problems.fields.push("log_position", "must not be negative; 0 is all of the log");
        }
        cohorts::check_number(&mut problems, &scope.cohorts);
        let problems = problems.under("question.scope");
        self.problems.fields.extend(problems.fields);
        self.problems.expressions.extend(problems.expressions);
        let (window, zone) = (window?, zone?);
        Some(ReadScope {
            cohorts: cohorts::Scope::of(&scope.cohorts, &breakdowns),
            scope: Scope {
                from_micros: plan::instant(window.start),
                to_micros: plan::instant(window.end),
                zone,
                filter,
                breakdowns,
                as_of_micros: as_of.flatten().map(plan::instant),
                position: None,
            },
            window,
            zone,
            filter: scope.filter,
            breakdowns: scope.breakdowns,
            position: scope.log_position,
        })
    }

    /// An event selector; without a name it picks any event but the suite's own.
    pub(super) fn selector(
        &mut self,
        field: &str,
        selector: Option<pb::EventSelector>,
    ) -> engine::EventSelector {
        let selector = selector_from_proto(selector);
        self.problems.fields.line(format!("question.{field}.event"), &selector.name);
        let read = plan::filter(&selector.filter).map(|_| plan::selector(&selector));
        self.selectors.push(selector);
        match read {
            Ok(Ok(selector)) => selector,
            Ok(Err(error)) => {
                self.wrong(field, error.to_string());
                engine::EventSelector::default()
            }
            Err(error) => {
                let expression = self.selectors.last().map(|selector| selector.filter.clone());
                self.problems.expressions.push(InvalidExpression {
                    field: format!("question.{field}.filter"),
                    expression: expression.unwrap_or_default(),
                    problem: error.to_string(),
                });
                engine::EventSelector::default()
            }
        }
    }

    /// Every event but those that the suite wrote itself.
    pub(super) fn activity(&mut self) -> Result<engine::EventSelector> {
        plan::selector(&EventSelector::default())
    }

    /// Dimensions by name, of which none is empty.
    pub(super) fn dimensions(&mut self, field: &str, names: &[String]) -> Vec<Dimension> {
        for (index, name) in names.iter().enumerate() {
            if property_path(name).is_empty() {
                self.wrong(&format!("{field}[{index}]"), "names no dimension");
            }
        }
        names.iter().map(|name| plan::dimension(name)).collect()
    }

    /// A length of time in microseconds; `None` when it is not given.
    pub(super) fn micros(
        &mut self,
        field: &str,
        duration: Option<prost_types::Duration>,
    ) -> Option<i64> {
        let field = format!("question.{field}");
        let duration = read_duration(&mut self.problems.fields, &field, duration)?;
        if duration < TimeDelta::zero() {
            self.problems.fields.push(field, "must not be negative");
        }
        Some(plan::micros(duration))
    }

    /// A count of which 0 means the default.
    pub(super) fn count(&mut self, field: &str, count: i32, default: u32) -> u32 {
        match u32::try_from(count) {
            Ok(0) => default,
            Ok(count) => count,
            Err(_) => {
                self.wrong(field, "must not be negative");
                default
            }
        }
    }

    /// A step, counted from 1, as one counted from 0; 0 means the default.
    pub(super) fn step(&mut self, field: &str, step: i32, default: usize) -> usize {
        match usize::try_from(step) {
            Ok(0) => default,
            Ok(step) => step - 1,
            Err(_) => {
                self.wrong(field, "must not be negative");
                default
            }
        }
    }

    /// A value of an enum; notes one that is none and takes the default for it.
    pub(super) fn choice<E: TryFrom<i32> + Default>(&mut self, field: &str, value: i32) -> E {
        E::try_from(value).unwrap_or_else(|_| {
            self.wrong(field, format!("{value} is not a known value"));
            E::default()
        })
    }

    /// A grain; `None` when it is not given.
    pub(super) fn grain(&mut self, field: &str, value: i32) -> Option<Grain> {
        match self.choice(field, value) {
            pb::Grain::Unspecified => None,
            pb::Grain::Hour => Some(Grain::Hour),
            pb::Grain::Day => Some(Grain::Day),
            pb::Grain::Week => Some(Grain::Week),
            pb::Grain::Month => Some(Grain::Month),
            pb::Grain::Quarter => Some(Grain::Quarter),
            pb::Grain::Year => Some(Grain::Year),
            pb::Grain::Total => Some(Grain::Total),
        }
    }

    /// The range to compare with.
    pub(super) fn compare(
        &mut self,
        start: Option<prost_types::Timestamp>,
        comparison: i32,
    ) -> Option<Compare> {
        let comparison = pb::Comparison::try_from(comparison).unwrap_or_else(|_| {
            self.problems.fields.push("compare", "is not a known comparison");
            pb::Comparison::Unspecified
        });
        let Some(start) = start else {
            let is_asked = comparison != pb::Comparison::Unspecified;
            return is_asked.then_some(Compare::With(comparison));
        };
        if comparison != pb::Comparison::Unspecified {
            let problem = "is given together with compare_start_time: name one of them";
            self.problems.fields.push("compare", problem);
        }
        let read = from_timestamp(&start);
        if read.is_none() {
            let problem = "is not a time: seconds or nanos are out of range";
            self.problems.fields.push("compare_start_time", problem);
        }
        read.map(Compare::From)
    }

    /// The events that the question reads, in the form in which provenance knows them, unless something is wrong.
    pub(super) fn finish(self) -> Result<Metrics> {
        Error::check(self.problems)?;
        let definition = Definition::Funnel {
            steps: self.selectors,
            window: None,
            anchor: FunnelAnchor::default(),
            allow_ties: false,
        };
        let metric = Metric { definition: Some(definition), ..Metric::default() };
        let name: Option<ResourceName> = AD_HOC.parse().ok();
        Ok(name.into_iter().map(|name| (name, metric.clone())).collect())
    }
}

/// The dimensions of a row as a map without the missing values.
pub(super) fn dimensions(names: &[String], values: &[Option<String>]) -> BTreeMap<String, String> {
    names
        .iter()
        .zip(values)
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect()
}

/// The values of a row, from such a map.
pub(super) fn values(
    names: &[String],
    dimensions: &BTreeMap<String, String>,
) -> Vec<Option<String>> {
    names.iter().map(|name| dimensions.get(name).cloned()).collect()
}

/// Refuses an answer with more rows than anybody reads.
pub(super) fn check_rows(rows: usize) -> Result<()> {
    if rows <= MAX_ROWS {
        return Ok(());
    }
    let problem = format!(
        "gives {rows} rows, more than {MAX_ROWS}: choose coarser buckets, fewer dimensions, a \
         shorter range or a filter"
    );
    Err(Error::field("question.scope.breakdowns", problem))
}

/// A time of the request in microseconds.
pub(super) fn instant(time: Option<prost_types::Timestamp>) -> Option<i64> {
    time.as_ref().and_then(from_timestamp).map(plan::instant)
}
