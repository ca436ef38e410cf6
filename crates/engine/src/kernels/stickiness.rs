//! In how many intervals of a bucket each subject is active.

use std::ops::ControlFlow;

use super::{
    Context,
    gather::{Found, Gathered},
    partial::State,
    scan::{self, Event, Visitor},
    selectors,
    space::{BucketCursor, Locator},
};
use crate::{calendar::Buckets, error::Result, query::StickinessSpec};

pub(super) fn run(context: &Context<'_>, spec: &StickinessSpec) -> Result<Found> {
    let locator = Locator::new(context);
    let (from, to) = (context.query.from_micros, context.query.to_micros);
    let intervals = Buckets::covering(from, to, context.query.zone, spec.interval.grain())?;
    let scans = scan::scan::<u8>(context, &selectors([&spec.event]));
    let index = context.snapshot.index();
    let (workers, combinations) = (context.threads, locator.space.combinations());
    let cells = Gathered::from_pieces(workers, combinations, index.chunks.clone(), |subjects| {
        let mut cells = locator.cells::<Vec<u64>>();
        let mut activity = Activity {
            context,
            locator: &locator,
            intervals: &intervals,
            bucket_cursor: BucketCursor::new(),
            interval_cursor: BucketCursor::new(),
            active: Vec::new(),
        };
        for subject in subjects {
            activity.active.clear();
            scan::walk_unordered(&scans, index.parts(subject), &mut activity);
            activity.active.sort_unstable();
            activity.active.dedup();
            for active in activity.active.chunk_by(|left, right| left.0 == right.0) {
                let histogram = cells.at(active[0].0);
                histogram.resize(histogram.len().max(active.len()), 0);
                histogram[active.len() - 1] += 1;
            }
        }
        cells
            .into_states(|histogram| (!histogram.is_empty()).then_some(State::Histogram(histogram)))
    });
    Ok(Found { space: locator.space, cells })
}

/// Collects the cells and intervals in which a subject was active.
struct Activity<'a> {
    context: &'a Context<'a>,
    locator: &'a Locator<'a>,
    intervals: &'a Buckets,
    bucket_cursor: BucketCursor,
    interval_cursor: BucketCursor,
    active: Vec<(u64, usize)>,
}

impl Visitor for Activity<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        if event.time >= self.context.query.from_micros && event.time < self.context.until {
            let bucket = self.bucket_cursor.locate(&self.context.buckets, event.time);
            let cell = self.locator.cell(bucket, event.run, event.row as usize);
            let found = (cell, self.interval_cursor.locate(self.intervals, event.time));
            // Most events lie in the interval of the event before.
            if self.active.last() != Some(&found) {
                self.active.push(found);
            }
        }
        ControlFlow::Continue(())
    }
}
