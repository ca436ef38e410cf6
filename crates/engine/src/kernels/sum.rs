//! Sum, mean, smallest and largest value of a numeric property.

use super::{
    Context,
    gather::{Found, Gathered},
    partial::{NumberState, State},
    scan::{self, RowVisitor},
    selectors,
    space::{BucketCursor, Cells, Locator, NumberColumn},
};
use crate::query::EventSelector;

pub(super) fn run(context: &Context<'_>, event: &EventSelector, property: &str) -> Found {
    let locator = Locator::new(context);
    let scans = scan::scan::<u8>(context, &selectors([event]));
    let columns: Vec<NumberColumn<'_>> =
        context.snapshot.runs().iter().map(|run| NumberColumn::new(property, run)).collect();
    let (workers, combinations) = (context.threads, locator.space.combinations());
    let pieces = scan::row_pieces(&scans);
    let cells = Gathered::from_pieces(workers, combinations, pieces, |(run, rows)| {
        let mut adder = Adder {
            context,
            locator: &locator,
            column: &columns[run],
            run: run as u32,
            cells: locator.cells(),
            cursor: BucketCursor::new(),
        };
        scan::walk_rows(&scans[run], rows, &mut adder);
        adder.cells.into_states(|state| (state.n > 0).then_some(State::Numbers(state)))
    });
    Found { space: locator.space, cells }
}

struct Adder<'a> {
    context: &'a Context<'a>,
    locator: &'a Locator<'a>,
    column: &'a NumberColumn<'a>,
    run: u32,
    cells: Cells<NumberState>,
    cursor: BucketCursor,
}

impl RowVisitor for Adder<'_> {
    #[inline(always)]
    fn see(&mut self, row: usize, time: i64) {
        let value = self.column.get(row);
        if time >= self.context.query.from_micros && time < self.context.until && !value.is_nan() {
            let bucket = self.cursor.locate(&self.context.buckets, time);
            let state = self.cells.at(self.locator.cell(bucket, self.run, row));
            state.n += 1;
            state.sum.add(value);
            state.min = state.min.min(value);
            state.max = state.max.max(value);
        }
    }
}
