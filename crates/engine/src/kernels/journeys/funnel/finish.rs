//! From the merged states of a funnel to its rows.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use super::{FunnelPartial, FunnelState};
use crate::{
    error::Result,
    journeys::{
        FunnelAnswer, FunnelQuery, FunnelRow, HistogramBin, OTHER, StepCount, StepValue,
        TimeSummary,
    },
    kernels::{
        finish::percentile,
        partial::{Merge, Sum},
        space::Space,
    },
};

const MICROS_PER_SECOND: f64 = 1e6;

/// Most bins that are chosen for a histogram.
const MAX_AUTOMATIC_BINS: f64 = 60.0;

/// Values of the breakdowns.
type Values = Vec<Option<String>>;

impl FunnelPartial {
    /// The answer.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the question contradicts itself.
    pub fn finish(self, query: &FunnelQuery) -> Result<FunnelAnswer> {
        let as_of = self.coverage.as_of_micros;
        let row = |bucket: Option<(i64, i64)>, dimensions: Values, state: FunnelState| {
            let over = bucket.map_or(query.scope.to_micros, |(_, end)| end);
            row(query, bucket.map(|(start, _)| start), dimensions, state, over <= as_of)
        };
        let broken_down = !query.scope.breakdowns.is_empty();
        let (mut groups, mut known) = (Vec::new(), Vec::new());
        if broken_down {
            let space = self.groups.space;
            let mut by_size: Vec<(Values, FunnelState)> = self
                .groups
                .cells
                .into_iter()
                .map(|(group, state)| (space.decode(group).1, state))
                .collect();
            by_size.sort_by(|left, right| {
                let key = |(values, state): &(Values, FunnelState)| {
                    (Reverse(state.counts[0]), absent_last(values))
                };
                key(left).cmp(&key(right))
            });
            let rest = by_size.split_off(by_size.len().min(query.max_groups));
            known = by_size.iter().map(|(values, _)| values.clone()).collect();
            groups.extend(by_size.into_iter().map(|(values, state)| row(None, values, state)));
            let mut others = self.others;
            for (_, state) in rest {
                others.get_or_insert_default().merge(state);
            }
            if let Some(others) = others {
                groups.push(row(None, other(query), others));
            }
        }
        let mut trend = Vec::new();
        if query.trend.is_some() {
            let space = self.trend.space;
            if broken_down {
                let others = only_in_trend(&space, &self.trend.cells, &known);
                known.extend(others.into_iter().take(query.max_groups - known.len()));
            }
            let mut cells: BTreeMap<(usize, usize), (Values, FunnelState)> = BTreeMap::new();
            if !broken_down {
                let every = (0..space.buckets.len()).map(|bucket| (bucket, 0));
                cells.extend(every.map(|cell| (cell, Default::default())));
            }
            for (bucket, others) in self.other_trend {
                cells.insert((bucket as usize, known.len()), (other(query), others));
            }
            for (cell, state) in self.trend.cells {
                let (bucket, values) = space.decode(cell);
                let place = known.iter().position(|known| *known == values);
                let (at, values) = match place {
                    Some(place) => (place, values),
                    None if broken_down => (known.len(), other(query)),
                    None => (0, values),
                };
                let slot =
                    cells.entry((bucket, at)).or_insert_with(|| (values, Default::default()));
                slot.1.merge(state);
            }
            trend.extend(cells.into_iter().map(|((bucket, _), (values, state))| {
                let end = space.buckets.end(bucket).min(query.scope.to_micros);
                row(Some((space.buckets.start(bucket), end)), values, state)
            }));
        }
        let total = row(None, Vec::new(), self.total);
        Ok(FunnelAnswer { total, groups, trend, coverage: self.coverage })
    }
}

/// Groups beyond the known ones, largest first. A subject that enters in several buckets may be in another group in
/// each, and in the groups as a whole it is in one of them.
fn only_in_trend(
    space: &Space,
    cells: &BTreeMap<u64, FunnelState>,
    known: &[Values],
) -> Vec<Values> {
    let mut entered: HashMap<Values, u64> = HashMap::new();
    for (cell, state) in cells {
        let values = space.decode(*cell).1;
        if !known.contains(&values) {
            *entered.entry(values).or_default() += state.counts[0];
        }
    }
    let mut by_size: Vec<(Values, u64)> = entered.into_iter().collect();
    by_size.sort_by_cached_key(|(values, entered)| (Reverse(*entered), absent_last(values)));
    by_size.into_iter().map(|(values, _)| values).collect()
}

/// Orders values with absent ones last.
pub(super) fn absent_last(values: &[Option<String>]) -> Vec<(bool, Option<String>)> {
    values.iter().map(|value| (value.is_none(), value.clone())).collect()
}

fn other(query: &FunnelQuery) -> Values {
    vec![Some(OTHER.to_owned()); query.scope.breakdowns.len()]
}

fn row(
    query: &FunnelQuery,
    bucket_start: Option<i64>,
    dimensions: Values,
    mut state: FunnelState,
    is_over: bool,
) -> FunnelRow {
    state.counts.resize(query.steps.len(), 0);
    state.micros.resize(query.steps.len(), Vec::new());
    state.values.resize(query.steps.len(), Default::default());
    let value = |(n, sum): &(u64, Sum)| {
        let (n, sum) = (*n, sum.value());
        StepValue { n, sum, mean: (n > 0).then(|| sum / n as f64) }
    };
    let values = state.values.iter().map(|found| query.value.as_ref().map(|_| value(found)));
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let mut previous = None;
    let times = state.micros.into_iter();
    let steps = state.counts.iter().zip(times).zip(values).zip(&query.steps);
    let steps = steps.map(|(((count, micros), value), step)| {
        let counted = StepCount {
            count: *count,
            from_previous: previous.and_then(|previous| share(*count, previous)),
            from_first: share(*count, state.counts[0]),
            time: summary(micros).map(|(summary, _)| summary),
            value,
        };
        if !step.optional {
            previous = Some(*count);
        }
        counted
    });
    let steps = steps.collect();
    let (between, histogram) = match summary(state.between) {
        Some((summary, sorted)) => (Some(summary), histogram(&sorted, query.bins)),
        None => (None, Vec::new()),
    };
    FunnelRow {
        bucket_start,
        dimensions,
        steps,
        between,
        histogram,
        open: state.open,
        complete: is_over && state.open == 0,
    }
}

/// Sums times up; gives them back sorted.
pub(in crate::kernels::journeys) fn summary(
    mut micros: Vec<i64>,
) -> Option<(TimeSummary, Vec<i64>)> {
    micros.sort_unstable();
    let (first, last) = (*micros.first()?, *micros.last()?);
    // Integers add up exactly.
    let total: i128 = micros.iter().map(|micros| i128::from(*micros)).sum();
    let at = |share| percentile(&micros, share).unwrap_or_default();
    let summary = TimeSummary {
        n: micros.len() as u64,
        mean: total as f64 / micros.len() as f64 / MICROS_PER_SECOND,
        min: first as f64 / MICROS_PER_SECOND,
        p25: at(0.25),
        p50: at(0.5),
        p75: at(0.75),
        p90: at(0.9),
        p95: at(0.95),
        max: last as f64 / MICROS_PER_SECOND,
    };
    Some((summary, micros))
}

/// Bars of equal width from the shortest to the longest of sorted times; one bar when all are alike.
fn histogram(sorted: &[i64], bins: u32) -> Vec<HistogramBin> {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return Vec::new() };
    let automatic = (sorted.len() as f64).cbrt().ceil().clamp(1.0, MAX_AUTOMATIC_BINS) as i128;
    let bins = if bins == 0 { automatic } else { i128::from(bins) };
    let span = i128::from(*last) - i128::from(*first);
    let bins = if span == 0 { 1 } else { bins };
    let bound = |bin: i128| i128::from(*first) + span * bin / bins;
    (0..bins)
        .map(|bin| {
            let (from, to) = (bound(bin), bound(bin + 1));
            let below = |end: i128| sorted.partition_point(|micros| i128::from(*micros) < end);
            let until = if bin + 1 == bins { sorted.len() } else { below(to) };
            HistogramBin {
                from: from as f64 / MICROS_PER_SECOND,
                to: to as f64 / MICROS_PER_SECOND,
                count: (until - below(from)) as u64,
            }
        })
        .collect()
}
