//! Kernels: one pass over the events of a range of subjects (or rows) in, a mergeable partial result out.
//!
//! A question is compiled once per run of events: which of its selectors an event matches becomes one small number
//! per row ([`scan`]), dimensions become tables from dictionary codes to value numbers ([`space`]). After that no
//! kernel hashes, compares strings or interprets anything per event.

mod active;
mod adoption;
mod behind;
mod cohort;
mod conversion;
mod count;
mod cumulative;
mod few;
mod finish;
mod funnel;
mod gather;
mod journey;
pub(crate) mod journeys;
mod lifecycle;
mod names;
mod numbers;
mod offset;
mod partial;
mod per_subject;
mod purchases;
mod quantile;
mod retention;
mod scan;
mod segments;
mod space;
mod sparse;
mod spill;
mod stickiness;
mod sum;
mod tasks;
mod unique;
mod variants;

pub(crate) use adoption::adoption;
pub(crate) use behind::{behind, contributions};
pub(crate) use cohort::{cohort, cohort_at_first};
pub use partial::Partial;
pub(crate) use purchases::purchases;
pub(crate) use segments::segments;
pub(crate) use tasks::WORTH_A_THREAD;
pub(crate) use variants::variants;

use crate::{
    calendar::{Buckets, Grain},
    error::{Error, Result},
    limits::{Use, Workers},
    query::{
        Aggregate, Anchor, ConversionMeasure, Dimension, EventSelector, FunnelSpec, MetricSpec,
        Period, Query, Statistic, StickinessMeasure, Ties, TimeToEventSpec,
    },
    snapshot::{Snapshot, unknown_cohort},
};

use gather::Found;
use partial::{Leaf, State};
use scan::Bits;
use space::Space;

/// Most steps of a funnel: one bit each.
const MAX_STEPS: usize = 31;

/// Most retention offsets.
const MAX_OFFSETS: usize = 400;

/// Largest retention offset.
const MAX_OFFSET: u32 = 3_660;

/// How deeply metrics may stand in metrics.
const MAX_METRIC_DEPTH: usize = 8;

/// Most inputs of a derived metric.
const MAX_INPUTS: usize = 32;

/// Everything that kernels share about one question.
pub(crate) struct Context<'a> {
    pub snapshot: &'a Snapshot,
    pub query: &'a Query,
    pub buckets: Buckets,
    /// Start events before this instant count.
    pub until: i64,
    /// Events before this instant are known.
    pub as_of: i64,
    /// Whether cells are merged further, so that distinct values must not be counted yet.
    pub merged_further: bool,
    pub threads: Workers<'a>,
}

/// Runs a question over a snapshot.
pub(crate) fn run(snapshot: &Snapshot, query: &Query, threads: usize) -> Result<Partial> {
    check(&query.metric, 0)?;
    let mind = Use::of(snapshot.limits());
    let context = context(snapshot, query, snapshot.workers(threads, &mind))?;
    let mut leaves = Vec::new();
    metric(&context, &query.metric, &mut leaves)?;
    mind.check()?;
    Ok(Partial {
        leaves,
        as_of_micros: context.as_of,
        events_scanned: snapshot.events(),
        subjects: snapshot.subjects(),
        watermark: snapshot.watermark(),
    })
}

/// What the kernels share about a question.
fn context<'a>(
    snapshot: &'a Snapshot,
    query: &'a Query,
    threads: impl Into<Workers<'a>>,
) -> Result<Context<'a>> {
    for dimension in &query.breakdowns {
        if let Dimension::Cohort(name) = dimension
            && snapshot.cohort_members(name).is_none()
        {
            return Err(unknown_cohort(name));
        }
    }
    let buckets = Buckets::covering(query.from_micros, query.to_micros, query.zone, query.grain)?;
    let latest = snapshot.effective_range().map(|(_, latest)| latest.saturating_add(1));
    let as_of = query.as_of_micros.or(latest).unwrap_or(query.from_micros);
    let until = query.to_micros.min(as_of);
    let threads = threads.into().worth(snapshot.events());
    Ok(Context { snapshot, query, buckets, until, as_of, merged_further: false, threads })
}

/// Runs one metric; a ratio is two leaves, a derived metric one for each input.
fn metric(context: &Context<'_>, metric: &MetricSpec, leaves: &mut Vec<Leaf>) -> Result<()> {
    match metric {
        MetricSpec::Ratio { numerator, denominator } => {
            self::metric(context, numerator, leaves)?;
            self::metric(context, denominator, leaves)
        }
        MetricSpec::Derived { inputs, .. } => {
            for input in inputs {
                match input.offset {
                    None => self::metric(context, &input.metric, leaves)?,
                    Some(offset) => {
                        let elsewhere = offset::shifted(context.query, &input.metric, offset)?;
                        for question in &elsewhere.questions {
                            let context = context.about(question)?;
                            self::metric(&context, &input.metric, leaves)?;
                        }
                    }
                }
            }
            Ok(())
        }
        metric => {
            let Found { space, cells } = one(context, metric)?;
            let (query, as_of, workers) = (context.query, context.as_of, context.threads);
            let settle = |space: &Space, cell, state| {
                let settled = finish::settled(metric, query, as_of, (space, cell), state);
                settled.unwrap_or_else(|error| {
                    workers.fail(error);
                    State::Count(0)
                })
            };
            leaves.push(cells.into_leaf(workers, space, settle));
            Ok(())
        }
    }
}

/// Runs one metric that is not made of others.
fn one(context: &Context<'_>, metric: &MetricSpec) -> Result<Found> {
    Ok(match metric {
        MetricSpec::Ratio { .. } | MetricSpec::Derived { .. } => {
            let problem = "is made of other metrics, which have no cells in common".to_owned();
            return Err(Error::InvalidQuery { field: "metric", problem });
        }
        MetricSpec::Count { event } => count::run(context, event),
        MetricSpec::Unique { event, of } => unique::run(context, event, of),
        MetricSpec::Sum { event, property }
        | MetricSpec::Mean { event, property }
        | MetricSpec::Min { event, property }
        | MetricSpec::Max { event, property } => sum::run(context, event, property),
        MetricSpec::Funnel(spec) => by_width(context, spec),
        MetricSpec::TimeToEvent(spec) => by_width(context, &two_steps(spec)),
        MetricSpec::Retention(spec) => retention::run(context, spec)?,
        MetricSpec::Percentile { event, property, approximate: false, .. } => {
            numbers::run::<numbers::Exact>(context, event, property)
        }
        MetricSpec::Percentile { event, property, approximate: true, .. } => {
            numbers::run::<numbers::Approximate>(context, event, property)
        }
        MetricSpec::Nps { event, property } => {
            numbers::run::<partial::ScoreState>(context, event, property)
        }
        MetricSpec::Stickiness(spec) => stickiness::run(context, spec)?,
        MetricSpec::Lifecycle(spec) => lifecycle::run(context, spec)?,
        MetricSpec::PerSubject(spec) => per_subject::run(context, spec),
        MetricSpec::Conversion(spec) => conversion::run(context, spec),
        MetricSpec::Cumulative(spec) => cumulative::run(context, spec)?,
    })
}

/// The width of the numbers that hold one bit per step.
fn by_width(context: &Context<'_>, spec: &FunnelSpec) -> Found {
    if spec.steps.len() <= u8::WIDTH {
        funnel::run::<u8>(context, spec)
    } else {
        funnel::run::<u32>(context, spec)
    }
}

/// Time-to-event is a funnel of two steps whose durations are the answer.
fn two_steps(spec: &TimeToEventSpec) -> FunnelSpec {
    FunnelSpec {
        steps: vec![spec.from.clone(), spec.to.clone()],
        window_micros: spec.window_micros,
        anchor: Anchor::FirstTouch,
        entry: spec.entry,
        ties: spec.ties,
    }
}

fn check(metric: &MetricSpec, depth: usize) -> Result<()> {
    let invalid = |field, problem: String| Err(Error::InvalidQuery { field, problem });
    let too_deep =
        || invalid("metric", format!("metrics are nested deeper than {MAX_METRIC_DEPTH}"));
    let window = |window: Option<i64>| match window {
        Some(micros) if micros < 0 => {
            invalid("window_micros", format!("{micros} is negative; leave it out for no limit"))
        }
        _ => Ok(()),
    };
    match metric {
        MetricSpec::Ratio { numerator, denominator } => {
            if depth == MAX_METRIC_DEPTH {
                return too_deep();
            }
            check(numerator, depth + 1)?;
            check(denominator, depth + 1)
        }
        MetricSpec::Derived { inputs, .. } => {
            if depth == MAX_METRIC_DEPTH {
                return too_deep();
            }
            if inputs.is_empty() || inputs.len() > MAX_INPUTS {
                return invalid(
                    "inputs",
                    format!("{} inputs; give 1 to {MAX_INPUTS}", inputs.len()),
                );
            }
            inputs.iter().try_for_each(|input| check(&input.metric, depth + 1))
        }
        MetricSpec::Cumulative(spec) => {
            if !spec.metric.is_plain() {
                return invalid(
                    "metric",
                    "what accumulates is a count, unique, sum, mean, min, max, percentile, score or \
                     number per subject"
                        .to_owned(),
                );
            }
            check(&spec.metric, depth)
        }
        MetricSpec::Percentile { quantile, .. } if !(*quantile > 0.0 && *quantile < 1.0) => {
            invalid("quantile", format!("{quantile} does not lie between 0 and 1"))
        }
        MetricSpec::Conversion(spec) => {
            if spec.constants.len() > conversion::MAX_CONSTANTS {
                let most = conversion::MAX_CONSTANTS;
                return invalid("constants", format!("{}; at most {most}", spec.constants.len()));
            }
            window(spec.window_micros)
        }
        MetricSpec::Funnel(spec) => {
            if !(1..=MAX_STEPS).contains(&spec.steps.len()) {
                return invalid(
                    "steps",
                    format!("{} steps; a funnel has 1 to {MAX_STEPS}", spec.steps.len()),
                );
            }
            window(spec.window_micros)
        }
        MetricSpec::TimeToEvent(spec) => window(spec.window_micros),
        MetricSpec::Retention(spec) => {
            if spec.offsets.is_empty() || spec.offsets.len() > MAX_OFFSETS {
                return invalid(
                    "offsets",
                    format!("{} offsets; give 1 to {MAX_OFFSETS}", spec.offsets.len()),
                );
            }
            if let Some(offset) = spec.offsets.iter().find(|offset| **offset > MAX_OFFSET) {
                return invalid(
                    "offsets",
                    format!("{offset} is beyond the largest offset {MAX_OFFSET}"),
                );
            }
            if !spec.offsets.contains(&spec.headline) {
                return invalid("headline", format!("{} is not one of the offsets", spec.headline));
            }
            Ok(())
        }
        MetricSpec::Count { .. }
        | MetricSpec::Unique { .. }
        | MetricSpec::Sum { .. }
        | MetricSpec::Mean { .. }
        | MetricSpec::Min { .. }
        | MetricSpec::Max { .. }
        | MetricSpec::Percentile { .. }
        | MetricSpec::Nps { .. }
        | MetricSpec::Stickiness(_)
        | MetricSpec::Lifecycle(_)
        | MetricSpec::PerSubject(_) => Ok(()),
    }
}

impl MetricSpec {
    /// Whether it is computed event by event, or subject by subject, so that it can be computed over windows that
    /// overlap.
    fn is_plain(&self) -> bool {
        match self {
            Self::Count { .. }
            | Self::Unique { .. }
            | Self::Sum { .. }
            | Self::Mean { .. }
            | Self::Min { .. }
            | Self::Max { .. }
            | Self::Percentile { .. }
            | Self::Nps { .. }
            | Self::PerSubject(_) => true,
            Self::Ratio { .. }
            | Self::Derived { .. }
            | Self::Funnel(_)
            | Self::Retention(_)
            | Self::TimeToEvent(_)
            | Self::Stickiness(_)
            | Self::Lifecycle(_)
            | Self::Conversion(_)
            | Self::Cumulative(_) => false,
        }
    }

    /// Whether it is zero rather than undefined where nothing happened.
    pub fn is_zero_without_events(&self) -> bool {
        match self {
            Self::Count { .. } | Self::Unique { .. } | Self::Sum { .. } | Self::Lifecycle(_) => {
                true
            }
            Self::Stickiness(spec) => matches!(
                spec.measure,
                StickinessMeasure::CountAtLeast(_) | StickinessMeasure::CountExactly(_)
            ),
            Self::Conversion(spec) => spec.measure == ConversionMeasure::Conversions,
            Self::Cumulative(spec) => spec.metric.is_zero_without_events(),
            Self::PerSubject(spec) => spec.statistic == Statistic::Sum,
            Self::Mean { .. }
            | Self::Min { .. }
            | Self::Max { .. }
            | Self::Ratio { .. }
            | Self::Derived { .. }
            | Self::Funnel(_)
            | Self::Retention(_)
            | Self::TimeToEvent(_)
            | Self::Percentile { .. }
            | Self::Nps { .. } => false,
        }
    }
}

impl MetricSpec {
    /// How the values of groups that have no event in common become the value of all of them.
    pub fn across_groups(&self) -> AcrossGroups {
        match self {
            Self::Count { .. } | Self::Sum { .. } => AcrossGroups::Sum,
            Self::Mean { .. } | Self::Nps { .. } => AcrossGroups::Ratio,
            Self::Ratio { numerator, denominator } => {
                let adds_up = |metric: &Self| metric.across_groups() == AcrossGroups::Sum;
                if adds_up(numerator) && adds_up(denominator) {
                    AcrossGroups::Ratio
                } else {
                    AcrossGroups::Unknown
                }
            }
            Self::Cumulative(spec) => spec.metric.across_groups(),
            Self::PerSubject(spec) => match (spec.statistic, &spec.aggregate) {
                // A subject's smallest or largest number is that of one group, and it has one in each.
                (Statistic::Sum, Aggregate::Min(_) | Aggregate::Max(_)) => AcrossGroups::Unknown,
                (Statistic::Sum, _) => AcrossGroups::Sum,
                _ => AcrossGroups::Unknown,
            },
            Self::Conversion(spec) => match spec.measure {
                ConversionMeasure::Rate => AcrossGroups::Ratio,
                ConversionMeasure::Conversions => AcrossGroups::Sum,
            },
            Self::Unique { .. }
            | Self::Min { .. }
            | Self::Max { .. }
            | Self::Derived { .. }
            | Self::Funnel(_)
            | Self::Retention(_)
            | Self::TimeToEvent(_)
            | Self::Percentile { .. }
            | Self::Stickiness(_)
            | Self::Lifecycle(_) => AcrossGroups::Unknown,
        }
    }
}

/// How values of groups become the value of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcrossGroups {
    /// They add up.
    Sum,
    /// What is above the line adds up, and so does what is below it.
    Ratio,
    /// They do not say.
    Unknown,
}

impl Period {
    /// The buckets of this length.
    fn grain(self) -> Grain {
        match self {
            Self::Day => Grain::Day,
            Self::Week => Grain::Week,
            Self::Month => Grain::Month,
        }
    }
}

/// Selectors of a metric, as the scan wants them.
fn selectors<'a>(events: impl IntoIterator<Item = &'a EventSelector>) -> Vec<&'a EventSelector> {
    events.into_iter().collect()
}

/// Whether a later event of the same instant may come before in the log.
fn any_order(ties: Ties) -> bool {
    ties == Ties::AnyOrder
}
