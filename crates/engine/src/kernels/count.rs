//! Number of events.

use super::{
    Context,
    gather::{Found, Gathered},
    partial::State,
    scan::{self, RowVisitor},
    selectors,
    space::{BucketCursor, Cells, Locator},
};
use crate::query::EventSelector;

pub(super) fn run(context: &Context<'_>, event: &EventSelector) -> Found {
    let locator = Locator::new(context);
    let scans = scan::scan::<u8>(context, &selectors([event]));
    let (workers, combinations) = (context.threads, locator.space.combinations());
    let pieces = scan::row_pieces(&scans);
    let cells = Gathered::from_pieces(workers, combinations, pieces, |(run, rows)| {
        let mut counter = Counter {
            context,
            locator: &locator,
            run: run as u32,
            cells: locator.cells(),
            cursor: BucketCursor::new(),
        };
        scan::walk_rows(&scans[run], rows, &mut counter);
        counter.cells.into_states(|count| (count > 0).then_some(State::Count(count)))
    });
    Found { space: locator.space, cells }
}

struct Counter<'a> {
    context: &'a Context<'a>,
    locator: &'a Locator<'a>,
    run: u32,
    cells: Cells<u64>,
    cursor: BucketCursor,
}

impl RowVisitor for Counter<'_> {
    #[inline(always)]
    fn see(&mut self, row: usize, time: i64) {
        if time >= self.context.query.from_micros && time < self.context.until {
            let bucket = self.cursor.locate(&self.context.buckets, time);
            *self.cells.at(self.locator.cell(bucket, self.run, row)) += 1;
        }
    }
}
