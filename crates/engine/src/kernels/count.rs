//! Number of events.

use super::{
    Context,
    partial::{Leaf, State},
    scan, selectors,
    space::{BucketCursor, Locator},
    tasks,
};
use crate::query::EventSelector;

pub(super) fn run(context: &Context<'_>, event: &EventSelector) -> Leaf {
    let locator = Locator::new(context);
    let scans = scan::scan::<u8>(context, &selectors([event]));
    let (from, until) = (context.query.from_micros, context.until);
    let pieces = tasks::run(context.threads, scan::row_pieces(&scans), |(run, rows)| {
        let mut cells = locator.cells::<u64>();
        let mut cursor = BucketCursor::new();
        scan::walk_rows(&scans[run], rows, |row, time| {
            if time >= from && time < until {
                let bucket = cursor.locate(&context.buckets, time);
                *cells.at(locator.cell(bucket, run as u32, row)) += 1;
            }
        });
        cells.into_states(|count| (count > 0).then_some(State::Count(count)))
    });
    Leaf::collect(locator.space, pieces)
}
