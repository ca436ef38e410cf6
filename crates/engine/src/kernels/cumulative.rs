//! Windows that overlap: the kernels of plain metrics run over the stretches between all ends of windows, and each
//! window merges those it consists of. Subjects do not add up that way, so they have a pass of their own.

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
};

use super::{
    Context,
    gather::{Found, Gathered},
    partial::{Merge, State},
    per_subject,
    scan::{self, Event, Visitor},
    selectors,
    space::{BucketCursor, Locator, Space},
};
use crate::{
    calendar::{Buckets, start_of},
    error::Result,
    query::{
        CumulativeEnd, CumulativeSpec, CumulativeWindow, DistinctOf, EventSelector, MetricSpec,
        Query,
    },
};

pub(super) fn run(context: &Context<'_>, spec: &CumulativeSpec) -> Result<Found> {
    let windows = windows(context, spec)?;
    let mut bounds: Vec<i64> =
        windows.iter().flat_map(|window| [window.start, window.end]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    if bounds.len() < 2 {
        // No window has any time in it.
        let space = Locator::new(context).space;
        let cells = Gathered::nothing(space.combinations());
        return Ok(Found { space, cells });
    }
    let (first, last) = (bounds[0], bounds[bounds.len() - 1]);
    let number = |bound: i64| bounds.partition_point(|known| *known < bound);
    let windows: Vec<Range<usize>> =
        windows.iter().map(|window| number(window.start)..number(window.end)).collect();
    let query = Query {
        metric: (*spec.metric).clone(),
        from_micros: first,
        to_micros: last,
        ..context.query.clone()
    };
    let stretches = Context {
        snapshot: context.snapshot,
        query: &query,
        buckets: Buckets::between(bounds),
        until: last.min(context.as_of),
        as_of: context.as_of,
        merged_further: true,
        threads: context.threads,
    };
    let found = match &query.metric {
        MetricSpec::Unique { event, of: DistinctOf::Subject } => {
            subjects(&stretches, event, &windows)
        }
        MetricSpec::PerSubject(spec) => per_subject::over_windows(&stretches, spec, &windows),
        metric => {
            let Found { space, cells } = super::one(&stretches, metric)?;
            let combinations = space.combinations();
            // Buckets are of combinations, so that all stretches of a window are in one.
            let cells = cells.then(move |cells| merged(cells, &windows, combinations));
            Found { space, cells }
        }
    };
    // What outlives the question about stretches is about the windows.
    let space = Space { buckets: context.buckets.clone(), ..found.space };
    Ok(Found { space, cells: found.cells })
}

/// The window of each bucket; starts and ends never fall.
pub(super) fn windows(context: &Context<'_>, spec: &CumulativeSpec) -> Result<Vec<Range<i64>>> {
    let (query, buckets) = (context.query, &context.buckets);
    let earliest = context.snapshot.effective_range().map_or(i64::MAX, |(earliest, _)| earliest);
    (0..buckets.len())
        .map(|bucket| {
            let end = match spec.end {
                CumulativeEnd::BucketEnd => buckets.end(bucket).min(query.to_micros),
                CumulativeEnd::BucketStart => buckets.start(bucket).max(query.from_micros),
            };
            let start = match spec.window {
                CumulativeWindow::AllTime => earliest.min(end),
                CumulativeWindow::Trailing(span) => span.before(end, query.zone)?,
                CumulativeWindow::ToDate(grain) => start_of(end - 1, query.zone, grain)?,
            };
            Ok(start..end.max(start))
        })
        .collect()
}

/// The states of windows from the states of the stretches they consist of.
fn merged(
    cells: BTreeMap<u64, State>,
    windows: &[Range<usize>],
    combinations: u64,
) -> BTreeMap<u64, State> {
    let mut by_combination: BTreeMap<u64, Vec<(usize, State)>> = BTreeMap::new();
    for (cell, state) in cells {
        let stretch = (cell / combinations) as usize;
        by_combination.entry(cell % combinations).or_default().push((stretch, state));
    }
    let mut merged = BTreeMap::new();
    for (combination, stretches) in by_combination {
        // A window that begins where the one before did goes on from it.
        let mut grown: Option<(usize, usize, State)> = None;
        for (bucket, window) in windows.iter().enumerate() {
            let first = stretches.partition_point(|(stretch, _)| *stretch < window.start);
            let last = stretches.partition_point(|(stretch, _)| *stretch < window.end);
            let (from, mut state) = match grown.take() {
                Some((start, end, state)) if start == first && end <= last && end > first => {
                    (end, Some(state))
                }
                _ => (first, None),
            };
            for (_, next) in &stretches[from..last] {
                match &mut state {
                    Some(state) => state.merge(next.clone()),
                    None => state = Some(next.clone()),
                }
            }
            if let Some(state) = state {
                merged.insert(bucket as u64 * combinations + combination, state.clone());
                grown = Some((first, last, state));
            }
        }
    }
    merged
}

/// Distinct subjects of each window.
fn subjects(context: &Context<'_>, event: &EventSelector, windows: &[Range<usize>]) -> Found {
    let locator = Locator::new(context);
    let scans = scan::scan::<u8>(context, &selectors([event]));
    let index = context.snapshot.index();
    let combinations = locator.space.combinations();
    let chunks = index.chunks.clone();
    let cells = Gathered::from_pieces(context.threads, combinations, chunks, |subjects| {
        let mut counts: Vec<BTreeMap<u64, u64>> = vec![BTreeMap::new(); windows.len()];
        let mut activity = Activity {
            context,
            locator: &locator,
            cursor: BucketCursor::new(),
            active: Vec::new(),
        };
        for subject in subjects {
            activity.active.clear();
            scan::walk_unordered(&scans, index.parts(subject), &mut activity);
            activity.active.sort_unstable();
            activity.active.dedup();
            for active in activity.active.chunk_by(|left, right| left.0 == right.0) {
                let mut next = 0;
                for (combination, stretch) in active {
                    // The windows that hold a stretch follow each other.
                    let first = windows.partition_point(|window| window.end <= *stretch).max(next);
                    let last = windows.partition_point(|window| window.start <= *stretch);
                    for counts in counts.get_mut(first..last).into_iter().flatten() {
                        *counts.entry(*combination).or_default() += 1;
                    }
                    next = next.max(last);
                }
            }
        }
        let states = counts.into_iter().enumerate().flat_map(|(bucket, counts)| {
            counts.into_iter().map(move |(combination, count)| {
                (bucket as u64 * combinations + combination, State::Count(count))
            })
        });
        states.collect::<Vec<_>>()
    });
    Found { space: locator.space, cells }
}

/// Collects the combinations of dimension values and the stretches in which a subject was active.
struct Activity<'a> {
    context: &'a Context<'a>,
    locator: &'a Locator<'a>,
    cursor: BucketCursor,
    active: Vec<(u64, usize)>,
}

impl Visitor for Activity<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        if event.time >= self.context.query.from_micros && event.time < self.context.until {
            let stretch = self.cursor.locate(&self.context.buckets, event.time);
            let found = (self.locator.combination(event.run, event.row as usize), stretch);
            if self.active.last() != Some(&found) {
                self.active.push(found);
            }
        }
        ControlFlow::Continue(())
    }
}
