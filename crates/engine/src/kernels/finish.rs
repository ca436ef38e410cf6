//! From a merged partial result to the rows of an answer.

mod derived;

use std::{cmp::Ordering, collections::BTreeMap, vec};

use super::{
    partial::{
        ConversionState, Figures, Leaf, LifecycleState, NumberState, Partial, RetentionState,
        ScoreState, State, StepState, Sum,
    },
    quantile::seconds_at,
    space::Space,
};
use crate::{
    calendar::{Buckets, Grain},
    error::{Error, Result},
    query::{
        Answer, ConversionMeasure, Detail, DurationDetail, FunnelStepDetail, Lifecycle, MetricSpec,
        Query, RetentionCell, RetentionSpec, Row, Statistic, StickinessMeasure, StickinessSpec,
        TimeToEventSpec,
    },
};

/// Bucket and dimension values of a row.
type Key = (Option<i64>, Vec<Option<String>>);

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
    if let MetricSpec::Derived { formula, inputs } = metric {
        return derived::rows(formula, inputs, query, as_of, leaves);
    }
    let Leaf { space, mut cells } = leaves.next().ok_or_else(mismatch)?;
    if query.breakdowns.is_empty() {
        for bucket in 0..space.buckets.len() as u64 {
            cells.entry(bucket).or_insert_with(|| nothing(metric));
        }
    }
    let row = |(cell, state)| row(metric, query, as_of, (&space, cell), state);
    cells.into_iter().map(row).collect()
}

fn mismatch() -> Error {
    let problem = "the partial result was computed for another question".to_owned();
    Error::InvalidQuery { field: "metric", problem }
}

/// What is left of the state of a cell when nothing is merged with it any more.
pub(super) fn settled(
    metric: &MetricSpec,
    query: &Query,
    as_of: i64,
    at: (&Space, u64),
    state: State,
) -> Result<State> {
    let Row { value, n, numerator, denominator, complete, detail, .. } =
        row(metric, query, as_of, at, state)?;
    let figures = Figures { value, n, numerator, denominator, complete, detail };
    Ok(State::Settled(Box::new(figures)))
}

/// The row of a cell of a metric that is not made of others.
fn row(
    metric: &MetricSpec,
    query: &Query,
    as_of: i64,
    (space, cell): (&Space, u64),
    state: State,
) -> Result<Row> {
    // A window that overlaps others says what the metric itself would say.
    let metric = match metric {
        MetricSpec::Cumulative(spec) => &spec.metric,
        metric => metric,
    };
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
        (_, State::Settled(figures)) => {
            let Figures { value, n, numerator, denominator, complete, detail } = *figures;
            row = Row { value, n, numerator, denominator, complete, detail, ..row };
        }
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
        (MetricSpec::Retention(spec), State::Retention(state)) => retention(&mut row, spec, &state),
        (MetricSpec::Percentile { quantile: share, .. }, State::Values(mut values)) => {
            row.n = values.len() as u64;
            row.value = quantile(sorted(&mut values), *share);
        }
        (MetricSpec::Percentile { quantile: share, .. }, State::Digest(digest)) => {
            row.n = digest.count();
            row.value = digest.quantile(*share);
        }
        (MetricSpec::Nps { .. }, State::Scores(state)) => score(&mut row, state),
        (MetricSpec::PerSubject(spec), State::Values(values)) => {
            per_subject(&mut row, spec.statistic, values)
        }
        (MetricSpec::Stickiness(spec), State::Histogram(histogram)) => {
            let start = space.buckets.start(bucket).max(query.from_micros);
            let begun = (start, over.min(as_of));
            stickiness(&mut row, spec, query, begun, histogram)?
        }
        (MetricSpec::Lifecycle(spec), State::Lifecycle(state)) => {
            row.complete = space.buckets.end(bucket) <= as_of;
            lifecycle(&mut row, spec.state, state)
        }
        (MetricSpec::Conversion(spec), State::Conversion(state)) => {
            row.complete &= windows_over(spec.window_micros, over, as_of, state.bases, 0);
            conversion(&mut row, spec.measure, state)
        }
        _ => return Err(mismatch()),
    }
    Ok(row)
}

/// The state of a cell in which nothing happened.
fn nothing(metric: &MetricSpec) -> State {
    match metric {
        // A ratio and a derived metric have no state of their own.
        MetricSpec::Count { .. }
        | MetricSpec::Unique { .. }
        | MetricSpec::Ratio { .. }
        | MetricSpec::Derived { .. } => State::Count(0),
        MetricSpec::Cumulative(spec) => nothing(&spec.metric),
        MetricSpec::PerSubject(spec) if spec.statistic == Statistic::Sum => {
            State::Numbers(NumberState::default())
        }
        MetricSpec::Percentile { .. } | MetricSpec::PerSubject(_) => State::Values(Vec::new()),
        MetricSpec::Nps { .. } => State::Scores(ScoreState::default()),
        MetricSpec::Stickiness(_) => State::Histogram(Vec::new()),
        MetricSpec::Lifecycle(_) => State::Lifecycle(LifecycleState::default()),
        MetricSpec::Conversion(_) => State::Conversion(ConversionState::default()),
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
        Statistic::Sum => (n > 0).then_some(total as f64 / MICROS_PER_SECOND),
    };
    row.detail = Detail::Durations(detail);
}

/// Seconds at a share of sorted times.
pub(crate) fn percentile(sorted: &[i64], share: f64) -> Option<f64> {
    let (low, high, between) = around(sorted, share)?;
    Some((low as f64 + (high - low) as f64 * between) / MICROS_PER_SECOND)
}

/// The number at a share of sorted ones.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let (low, high, between) = around(sorted, share)?;
    Some(low + (high - low) * between)
}

/// The two closest ranks at a share, and how far it lies between them: linear interpolation between closest ranks
/// (definition 7 of Hyndman and Fan, Sample quantiles in statistical packages, 1996; SQL's `percentile_cont`).
fn around<T: Copy>(sorted: &[T], share: f64) -> Option<(T, T, f64)> {
    let last = sorted.len().checked_sub(1)?;
    let rank = last as f64 * share;
    let below = rank.floor() as usize;
    Some((sorted[below], sorted[(below + 1).min(last)], rank - below as f64))
}

fn sorted(values: &mut [f64]) -> &[f64] {
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn score(row: &mut Row, state: ScoreState) {
    let ScoreState { promoters, passives, detractors } = state;
    row.n = promoters + passives + detractors;
    row.numerator = Some(100.0 * (promoters as f64 - detractors as f64));
    row.denominator = Some(row.n as f64);
    row.value = row.numerator.filter(|_| row.n > 0).map(|net| net / row.n as f64);
}

fn per_subject(row: &mut Row, statistic: Statistic, mut values: Vec<f64>) {
    row.n = values.len() as u64;
    row.value = match statistic {
        Statistic::P50 => quantile(sorted(&mut values), 0.5),
        Statistic::P90 => quantile(sorted(&mut values), 0.9),
        Statistic::P95 => quantile(sorted(&mut values), 0.95),
        Statistic::Mean => {
            let mut sum = Sum::default();
            values.iter().for_each(|value| sum.add(*value));
            row.numerator = Some(sum.value());
            row.denominator = Some(row.n as f64);
            (row.n > 0).then(|| sum.value() / row.n as f64)
        }
        // The sum was kept in place of the numbers.
        Statistic::Sum => None,
    };
}

fn stickiness(
    row: &mut Row,
    spec: &StickinessSpec,
    query: &Query,
    (start, end): (i64, i64),
    histogram: Vec<u64>,
) -> Result<()> {
    let active: u64 = histogram.iter().sum();
    let at_least = |wanted: u32| histogram.iter().skip((wanted.max(1) - 1) as usize).sum();
    let exactly = |wanted: u32| {
        (wanted as usize).checked_sub(1).and_then(|at| histogram.get(at)).copied().unwrap_or(0)
    };
    row.n = active;
    match spec.measure {
        StickinessMeasure::ShareAtLeast(wanted) => rate(row, at_least(wanted), active),
        StickinessMeasure::ShareExactly(wanted) => rate(row, exactly(wanted), active),
        StickinessMeasure::CountAtLeast(wanted) => row.value = Some(at_least(wanted) as f64),
        StickinessMeasure::CountExactly(wanted) => row.value = Some(exactly(wanted) as f64),
        StickinessMeasure::Ratio => {
            let intervals = if start < end {
                Buckets::covering(start, end, query.zone, spec.interval.grain())?.len()
            } else {
                0
            };
            let active_intervals: u64 = (1..).zip(&histogram).map(|(times, n)| times * n).sum();
            let mean = (intervals > 0).then(|| active_intervals as f64 / intervals as f64);
            row.numerator = mean;
            row.denominator = Some(active as f64);
            row.value = mean.filter(|_| active > 0).map(|mean| mean / active as f64);
        }
    }
    row.detail = Detail::Stickiness(histogram);
    Ok(())
}

fn lifecycle(row: &mut Row, state: Lifecycle, found: LifecycleState) {
    let value = match state {
        Lifecycle::New => found.new,
        Lifecycle::Returning => found.returning,
        Lifecycle::Resurrecting => found.resurrecting,
        Lifecycle::Dormant => found.dormant,
    };
    count(row, value);
    row.detail = Detail::Lifecycle(found);
}

fn conversion(row: &mut Row, measure: ConversionMeasure, state: ConversionState) {
    match measure {
        ConversionMeasure::Rate => rate(row, state.converted, state.bases),
        ConversionMeasure::Conversions => {
            row.n = state.bases;
            row.value = Some(state.conversions as f64);
        }
    }
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

fn ratio(numerator: &MetricSpec, above: Vec<Row>, below: Vec<Row>) -> Vec<Row> {
    let mut cells: BTreeMap<Key, (Option<Row>, Option<Row>)> = BTreeMap::new();
    for row in above {
        let key = (row.bucket_start, row.dimensions.clone());
        cells.entry(key).or_default().0 = Some(row);
    }
    for row in below {
        let key = (row.bucket_start, row.dimensions.clone());
        cells.entry(key).or_default().1 = Some(row);
    }
    let absent = numerator.is_zero_without_events().then_some(0.0);
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
