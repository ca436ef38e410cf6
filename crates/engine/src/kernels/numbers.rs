//! Figures for which every number of a property counts: percentiles, and scores.

use super::{
    Context,
    gather::{Found, Gathered},
    partial::{Digest, ScoreState, State},
    scan::{self, RowVisitor},
    selectors,
    space::{BucketCursor, Cells, Locator, NumberColumn},
};
use crate::query::EventSelector;

/// What grows with each number of a cell.
pub(super) trait Accumulate: Clone + Default {
    fn add(&mut self, value: f64);

    /// `None` when no number counted.
    fn into_state(self) -> Option<State>;
}

/// Every number, as it is.
pub(super) type Exact = Vec<f64>;

impl Accumulate for Exact {
    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.push(value);
    }

    fn into_state(self) -> Option<State> {
        (!self.is_empty()).then_some(State::Values(self))
    }
}

/// Every number of one piece of the work, then a digest of them.
#[derive(Clone, Default)]
pub(super) struct Approximate(Vec<f64>);

impl Accumulate for Approximate {
    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    fn into_state(self) -> Option<State> {
        (!self.0.is_empty()).then(|| State::Digest(Digest::new(self.0)))
    }
}

impl Accumulate for ScoreState {
    #[inline(always)]
    fn add(&mut self, value: f64) {
        match value {
            9.0..=10.0 => self.promoters += 1,
            0.0..=6.0 => self.detractors += 1,
            6.0..9.0 => self.passives += 1,
            _ => {}
        }
    }

    fn into_state(self) -> Option<State> {
        (self != Self::default()).then_some(State::Scores(self))
    }
}

pub(super) fn run<A: Accumulate>(
    context: &Context<'_>,
    event: &EventSelector,
    property: &str,
) -> Found {
    let locator = Locator::new(context);
    let scans = scan::scan::<u8>(context, &selectors([event]));
    let columns: Vec<NumberColumn<'_>> =
        context.snapshot.runs().iter().map(|run| NumberColumn::new(property, run)).collect();
    let (workers, combinations) = (context.threads, locator.space.combinations());
    let pieces = scan::row_pieces(&scans);
    let cells = Gathered::from_pieces(workers, combinations, pieces, |(run, rows)| {
        let mut collector = Collector {
            context,
            locator: &locator,
            column: &columns[run],
            run: run as u32,
            cells: locator.cells::<A>(),
            cursor: BucketCursor::new(),
        };
        scan::walk_rows(&scans[run], rows, &mut collector);
        collector.cells.into_states(A::into_state)
    });
    Found { space: locator.space, cells }
}

struct Collector<'a, A> {
    context: &'a Context<'a>,
    locator: &'a Locator<'a>,
    column: &'a NumberColumn<'a>,
    run: u32,
    cells: Cells<A>,
    cursor: BucketCursor,
}

impl<A: Accumulate> RowVisitor for Collector<'_, A> {
    #[inline(always)]
    fn see(&mut self, row: usize, time: i64) {
        let value = self.column.get(row);
        if time >= self.context.query.from_micros && time < self.context.until && !value.is_nan() {
            let bucket = self.cursor.locate(&self.context.buckets, time);
            self.cells.at(self.locator.cell(bucket, self.run, row)).add(value);
        }
    }
}
