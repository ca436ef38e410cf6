//! From a merged partial result to the rows of an answer.

use std::{cmp::Ordering, collections::BTreeMap, vec};

use super::{
    partial::{Leaf, NumberState, Partial, RetentionState, State, StepState},
    quantile::seconds_at,
};
use crate::{
    calendar::Grain,
    error::{Error, Result},
    query::{
        Answer, Detail, DurationDetail, FunnelStepDetail, MetricSpec, Query, RetentionCell,
        RetentionSpec, Row, Statistic, TimeToEventSpec,
    },
};

const MICROS_PER_SECOND: f64 = 1e6;

impl Partial {
    /// The answer.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] when the partial result belongs to another question.
    pub fn finish(self, query: &Query) -> Result<Answer> {
        let (events_scanned, subjects, watermark, as_of_micros) =
            (self.events_scanned, self.subjects, self.watermark, self.as_of_micros);
        let mut leaves = self.leaves.into_iter();
        let mut rows = rows(&query.metric, query, as_of_micros, &mut leaves)?;
        rows.sort_by(|left, right| {
            left.bucket_start
                .cmp(&right.bucket_start)
                .then_with(|| by_values(&left.dimensions, &right.dimensions))
        });
        Ok(Answer { rows, events_scanned, subjects, watermark, as_of_micros })
    }
}

/// By value, absent ones last.
fn by_values(left: &[Option<String>], right: &[Option<String>]) -> Ordering {
    left.iter()
        .map(|value| (value.is_none(), value))
        .cmp(right.iter().map(|value| (value.is_none(), value)))
}

fn rows(
    metric: &MetricSpec,
    query: &Query,
    as_of: i64,
    leaves: &mut vec::IntoIter<Leaf>,
) -> Result<Vec<Row>> {
    if let MetricSpec::Ratio { numerator, denominator } = metric {
        let above = rows(numerator, query, as_of, leaves)?;
        let below = rows(denominator, query, as_of, leaves)?;
        return Ok(ratio(numerator, above, below));
    }
    let mismatch = || Error::InvalidQuery {
        field: "metric",
        problem: "the partial result was computed for another question".to_owned(),
    };
    let Leaf { space, mut cells } = leaves.next().ok_or_else(mismatch)?;
    if query.breakdowns.is_empty() {
        for bucket in 0..space.buckets.len() as u64 {
            cells.entry(bucket).or_insert_with(|| nothing(metric));
        }
    }
    cells
        .into_iter()
        .map(|(cell, state)| {
            let (bucket, dimensions) = space.decode(cell);
            let bucket_start = (query.grain != Grain::Total).then(|| space.buckets.start(bucket));
            let over = space.buckets.end(bucket).min(query.to_micros);
            let mut row = Row {
                bucket_start,
                dimensions,
                value: None,
                n: 0,
                numerator: None,
                denominator: None,
                complete: over <= as_of,
                detail: Detail::None,
            };
            match (metric, state) {
                (MetricSpec::Count { .. } | MetricSpec::Unique { .. }, State::Count(n)) => {
                    count(&mut row, n)
                }
                (MetricSpec::Unique { .. }, State::Distinct(mut values)) => {
                    values.sort_unstable();
                    values.dedup();
                    count(&mut row, values.len() as u64);
                }
                (_, State::Numbers(state)) => numbers(&mut row, metric, state),
                (MetricSpec::Funnel(spec), State::Steps(state)) => {
                    funnel(&mut row, spec.window_micros, over, as_of, state)
                }
                (MetricSpec::TimeToEvent(spec), State::Steps(state)) => {
                    durations(&mut row, spec, over, as_of, state)
                }
                (MetricSpec::Retention(spec), State::Retention(state)) => {
                    retention(&mut row, spec, &state)
                }
                _ => return Err(mismatch()),
            }
            Ok(row)
        })
        .collect()
}

/// The state of a cell in which nothing happened.
fn nothing(metric: &MetricSpec) -> State {
    match metric {
        MetricSpec::Count { .. } | MetricSpec::Unique { .. } | MetricSpec::Ratio { .. } => {
            State::Count(0)
        }
        MetricSpec::Sum { .. }
        | MetricSpec::Mean { .. }
        | MetricSpec::Min { .. }
        | MetricSpec::Max { .. } => State::Numbers(NumberState::default()),
        MetricSpec::Funnel(spec) => State::Steps(empty_steps(spec.steps.len())),
        MetricSpec::TimeToEvent(_) => State::Steps(empty_steps(2)),
        MetricSpec::Retention(spec) => {
            State::Retention(RetentionState { entered: 0, cells: vec![(0, 0); spec.offsets.len()] })
        }
    }
}

fn empty_steps(steps: usize) -> StepState {
    StepState { counts: vec![0; steps], micros: vec![Vec::new(); steps - 1] }
}

fn count(row: &mut Row, n: u64) {
    row.n = n;
    row.value = Some(n as f64);
}

fn numbers(row: &mut Row, metric: &MetricSpec, state: NumberState) {
    row.n = state.n;
    let some = state.n > 0;
    row.value = match metric {
        MetricSpec::Mean { .. } => {
            row.numerator = Some(state.sum.value());
            row.denominator = Some(state.n as f64);
            some.then(|| state.sum.value() / state.n as f64)
        }
        MetricSpec::Min { .. } => some.then_some(state.min),
        MetricSpec::Max { .. } => some.then_some(state.max),
        _ => Some(state.sum.value()),
    };
}

/// `part / whole`, absent when there is no whole.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn rate(row: &mut Row, part: u64, whole: u64) {
    row.n = whole;
    row.numerator = Some(part as f64);
    row.denominator = Some(whole as f64);
    row.value = share(part, whole);
}

/// Whether the windows of everybody who entered before `over` have ended, or nobody is left to convert.
fn windows_over(window: Option<i64>, over: i64, as_of: i64, entered: u64, converted: u64) -> bool {
    match window {
        // The window includes its last instant.
        Some(window) => over.saturating_add(window) <= as_of,
        None => entered == converted,
    }
}

fn funnel(row: &mut Row, window: Option<i64>, over: i64, as_of: i64, state: StepState) {
    let entered = state.counts[0];
    let last = state.counts[state.counts.len() - 1];
    rate(row, last, entered);
    row.complete &= windows_over(window, over, as_of, entered, last);
    let times = [Vec::new()].into_iter().chain(state.micros);
    let steps = state.counts.iter().zip(times).enumerate().map(|(step, (count, mut micros))| {
        FunnelStepDetail {
            count: *count,
            from_previous: if step == 0 { None } else { share(*count, state.counts[step - 1]) },
            from_first: share(*count, entered),
            median_seconds: seconds_at(&mut micros, 0.5),
        }
    });
    row.detail = Detail::Funnel(steps.collect());
}

fn durations(row: &mut Row, spec: &TimeToEventSpec, over: i64, as_of: i64, mut state: StepState) {
    let (entered, n) = (state.counts[0], state.counts[1]);
    row.complete &= windows_over(spec.window_micros, over, as_of, entered, n);
    let mut micros = state.micros.swap_remove(0);
    // Integers add up exactly.
    let total: i128 = micros.iter().map(|micros| i128::from(*micros)).sum();
    let detail = DurationDetail {
        entered,
        n,
        p50: seconds_at(&mut micros, 0.5),
        p90: seconds_at(&mut micros, 0.9),
        p95: seconds_at(&mut micros, 0.95),
        mean: (n > 0).then(|| total as f64 / n as f64 / MICROS_PER_SECOND),
        max: micros.iter().max().map(|micros| *micros as f64 / MICROS_PER_SECOND),
    };
    row.n = entered;
    row.value = match spec.statistic {
        Statistic::P50 => detail.p50,
        Statistic::P90 => detail.p90,
        Statistic::P95 => detail.p95,
        Statistic::Mean => detail.mean,
    };
    row.detail = Detail::Durations(detail);
}

/// Seconds at a share of sorted times: linear interpolation between closest ranks (definition 7 of Hyndman and Fan,
/// Sample quantiles in statistical packages, 1996; SQL's `percentile_cont`).
pub(crate) fn percentile(sorted: &[i64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = last as f64 * share;
    let below = rank.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    Some((low as f64 + (high - low) as f64 * (rank - below as f64)) / MICROS_PER_SECOND)
}

fn retention(row: &mut Row, spec: &RetentionSpec, state: &RetentionState) {
    let cells: Vec<RetentionCell> = spec
        .offsets
        .iter()
        .zip(&state.cells)
        .map(|(offset, (eligible, retained))| RetentionCell {
            offset: *offset,
            eligible: *eligible,
            retained: *retained,
            rate: share(*retained, *eligible),
            mature: *eligible == state.entered,
        })
        .collect();
    if let Some(headline) = cells.iter().find(|cell| cell.offset == spec.headline) {
        rate(row, headline.retained, headline.eligible);
        row.complete &= headline.mature;
    }
    row.detail = Detail::Retention(cells);
}

/// Whether a metric without a row is zero rather than undefined.
fn is_zero_without_events(metric: &MetricSpec) -> bool {
    matches!(metric, MetricSpec::Count { .. } | MetricSpec::Unique { .. } | MetricSpec::Sum { .. })
}

fn ratio(numerator: &MetricSpec, above: Vec<Row>, below: Vec<Row>) -> Vec<Row> {
    type Key = (Option<i64>, Vec<Option<String>>);
    let mut cells: BTreeMap<Key, (Option<Row>, Option<Row>)> = BTreeMap::new();
    for row in above {
        let key = (row.bucket_start, row.dimensions.clone());
        cells.entry(key).or_default().0 = Some(row);
    }
    for row in below {
        let key = (row.bucket_start, row.dimensions.clone());
        cells.entry(key).or_default().1 = Some(row);
    }
    let absent = is_zero_without_events(numerator).then_some(0.0);
    cells
        .into_iter()
        .map(|((bucket_start, dimensions), (above, below))| {
            let complete = above.as_ref().is_none_or(|row| row.complete)
                && below.as_ref().is_none_or(|row| row.complete);
            let numerator = above.map_or(absent, |row| row.value);
            let n = below.as_ref().map_or(0, |row| row.n);
            let denominator = below.and_then(|row| row.value);
            let value = match (numerator, denominator) {
                (Some(above), Some(below)) if below != 0.0 => Some(above / below),
                _ => None,
            };
            Row {
                bucket_start,
                dimensions,
                value,
                n,
                numerator,
                denominator,
                complete,
                detail: Detail::None,
            }
        })
        .collect()
}
