//! Sum, mean, smallest and largest value of a numeric property.

use super::{
    Context,
    partial::{Leaf, NumberState, State},
    scan, selectors,
    space::{BucketCursor, Locator, NumberColumn},
    tasks,
};
use crate::query::EventSelector;

pub(super) fn run(context: &Context<'_>, event: &EventSelector, property: &str) -> Leaf {
    let locator = Locator::new(context);
    let scans = scan::scan::<u8>(context, &selectors([event]));
    let columns: Vec<NumberColumn<'_>> =
        context.snapshot.runs().iter().map(|run| NumberColumn::new(property, run)).collect();
    let (from, until) = (context.query.from_micros, context.until);
    let pieces = tasks::run(context.threads, scan::row_pieces(&scans), |(run, rows)| {
        let mut cells = locator.cells::<NumberState>();
        let mut cursor = BucketCursor::new();
        let column = &columns[run];
        scan::walk_rows(&scans[run], rows, |row, time| {
            let value = column.get(row);
            if time >= from && time < until && !value.is_nan() {
                let bucket = cursor.locate(&context.buckets, time);
                let state = cells.at(locator.cell(bucket, run as u32, row));
                state.n += 1;
                state.sum.add(value);
                state.min = state.min.min(value);
                state.max = state.max.max(value);
            }
        });
        cells.into_states(|state| (state.n > 0).then_some(State::Numbers(state)))
    });
    Leaf::collect(locator.space, pieces)
}
