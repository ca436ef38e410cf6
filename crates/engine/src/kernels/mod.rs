//! Kernels: one pass over the events of a range of subjects (or rows) in, a mergeable partial result out.
//!
//! A question is compiled once per run of events: which of its selectors an event matches becomes one small number
//! per row ([`scan`]), dimensions become tables from dictionary codes to value numbers ([`space`]). After that no
//! kernel hashes, compares strings or interprets anything per event.

mod active;
mod count;
mod few;
mod finish;
mod funnel;
mod journey;
pub(crate) mod journeys;
mod partial;
mod quantile;
mod retention;
mod scan;
mod space;
mod sparse;
mod sum;
pub(crate) mod tasks;
mod unique;
mod variants;

pub use partial::Partial;
pub(crate) use variants::variants;

use crate::{
    calendar::Buckets,
    error::{Error, Result},
    limits::{Use, Workers},
    query::{Anchor, EventSelector, FunnelSpec, MetricSpec, Query, Ties, TimeToEventSpec},
    snapshot::Snapshot,
};

use partial::Leaf;
use scan::Bits;

/// Most steps of a funnel: one bit each.
const MAX_STEPS: usize = 31;

/// Most retention offsets.
const MAX_OFFSETS: usize = 400;

/// Largest retention offset.
const MAX_OFFSET: u32 = 3_660;

/// How deeply ratios may stand in ratios.
const MAX_RATIO_DEPTH: usize = 8;

/// Everything that kernels share about one question.
pub(crate) struct Context<'a> {
    pub snapshot: &'a Snapshot,
    pub query: &'a Query,
    pub buckets: Buckets,
    /// Start events before this instant count.
    pub until: i64,
    /// Events before this instant are known.
    pub as_of: i64,
    pub threads: Workers<'a>,
}

/// Runs a question over a snapshot.
pub(crate) fn run(snapshot: &Snapshot, query: &Query, threads: usize) -> Result<Partial> {
    check(&query.metric, 0)?;
    let buckets = Buckets::covering(query.from_micros, query.to_micros, query.zone, query.grain)?;
    let latest = snapshot.effective_range().map(|(_, latest)| latest.saturating_add(1));
    let as_of = query.as_of_micros.or(latest).unwrap_or(query.from_micros);
    let until = query.to_micros.min(as_of);
    let mind = Use::of(snapshot.limits());
    let threads = snapshot.workers(threads, &mind);
    let context = Context { snapshot, query, buckets, until, as_of, threads };
    let mut leaves = Vec::new();
    metric(&context, &query.metric, &mut leaves)?;
    mind.check()?;
    Ok(Partial {
        leaves,
        as_of_micros: as_of,
        events_scanned: snapshot.events(),
        subjects: snapshot.subjects(),
        watermark: snapshot.watermark(),
    })
}

/// Runs one metric; a ratio is two leaves.
fn metric(context: &Context<'_>, metric: &MetricSpec, leaves: &mut Vec<Leaf>) -> Result<()> {
    let leaf = match metric {
        MetricSpec::Ratio { numerator, denominator } => {
            self::metric(context, numerator, leaves)?;
            return self::metric(context, denominator, leaves);
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
    };
    leaves.push(leaf);
    Ok(())
}

/// The width of the numbers that hold one bit per step.
fn by_width(context: &Context<'_>, spec: &FunnelSpec) -> Leaf {
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
    let window = |window: Option<i64>| match window {
        Some(micros) if micros < 0 => {
            invalid("window_micros", format!("{micros} is negative; leave it out for no limit"))
        }
        _ => Ok(()),
    };
    match metric {
        MetricSpec::Ratio { numerator, denominator } => {
            if depth == MAX_RATIO_DEPTH {
                return invalid(
                    "metric",
                    format!("ratios are nested deeper than {MAX_RATIO_DEPTH}"),
                );
            }
            check(numerator, depth + 1)?;
            check(denominator, depth + 1)
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
        | MetricSpec::Max { .. } => Ok(()),
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
