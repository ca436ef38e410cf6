//! Who comes back, by calendar periods after a start event.

use std::ops::ControlFlow;

use super::{
    Context,
    gather::{Found, Gathered},
    partial::{RetentionState, State},
    scan::{self, Event, Scratch, Visitor},
    selectors,
    space::{BucketCursor, Locator},
};
use crate::{
    calendar::Buckets,
    error::Result,
    query::{Entry, Maturity, RetentionSpec, Return},
};

const START: u32 = 1;
const RETURN: u32 = 2;

pub(super) fn run(context: &Context<'_>, spec: &RetentionSpec) -> Result<Found> {
    let locator = Locator::new(context);
    let (workers, combinations) = (context.threads, locator.space.combinations());
    let earliest = context.snapshot.effective_range().map_or(i64::MAX, |(earliest, _)| earliest);
    let first = context.query.from_micros.max(earliest);
    if first >= context.as_of {
        let cells = Gathered::nothing(combinations);
        return Ok(Found { space: locator.space, cells });
    }
    // Every start and every return that counts lies between these two instants.
    let periods = Buckets::covering(first, context.as_of, context.query.zone, spec.period.grain())?;
    let last = periods.len() - 1;
    let mature = match spec.maturity {
        Maturity::PeriodEnded if periods.end(last) > context.as_of => periods.number(last) - 1,
        Maturity::PeriodEnded | Maturity::PeriodStarted => periods.number(last),
    };
    let scans = scan::scan::<u8>(context, &selectors([&spec.start, &spec.returning]));
    let index = context.snapshot.index();
    let cells = Gathered::from_pieces(workers, combinations, index.chunks.clone(), |subjects| {
        let mut cells = locator.cells::<RetentionState>();
        let mut scratch = Scratch::default();
        let mut history = History::new(context, spec, &locator, &periods);
        for subject in subjects {
            history.begin();
            scan::walk(&scans, index.parts(subject), &mut scratch, &mut history);
            let History { starts, returns, .. } = &history;
            for (cell, period, ordinal) in starts {
                let state = cells.at(*cell);
                state.entered += 1;
                state.cells.resize(spec.offsets.len(), (0, 0));
                for (offset, (eligible, retained)) in spec.offsets.iter().zip(&mut state.cells) {
                    let wanted = period + *offset as i32;
                    if wanted > mature {
                        continue;
                    }
                    *eligible += 1;
                    let at = returns.partition_point(|(period, _)| *period < wanted);
                    let came_back = match spec.mode {
                        Return::On => returns
                            .get(at)
                            .is_some_and(|(period, last)| *period == wanted && last >= ordinal),
                        Return::OnOrAfter => {
                            returns[at..].last().is_some_and(|(_, last)| last >= ordinal)
                        }
                    };
                    *retained += u64::from(came_back);
                }
            }
        }
        cells.into_states(|state| (state.entered > 0).then_some(State::Retention(state)))
    });
    Ok(Found { space: locator.space, cells })
}

/// Starts and returns of one subject.
struct History<'a> {
    context: &'a Context<'a>,
    spec: &'a RetentionSpec,
    locator: &'a Locator<'a>,
    periods: &'a Buckets,
    /// Cell, period and ordinal of each start.
    starts: Vec<(u64, i32, u32)>,
    /// Period and ordinal of the last return in each period.
    returns: Vec<(i32, u32)>,
    bucket_cursor: BucketCursor,
    period_cursor: BucketCursor,
    ordinal: u32,
    /// Whether there was a start event, in range or not.
    seen: bool,
    last_bucket: usize,
}

impl<'a> History<'a> {
    fn new(
        context: &'a Context<'a>,
        spec: &'a RetentionSpec,
        locator: &'a Locator<'a>,
        periods: &'a Buckets,
    ) -> Self {
        let cursor = BucketCursor::new();
        Self {
            context,
            spec,
            locator,
            periods,
            starts: Vec::new(),
            returns: Vec::new(),
            bucket_cursor: cursor,
            period_cursor: cursor,
            ordinal: 0,
            seen: false,
            last_bucket: usize::MAX,
        }
    }

    fn begin(&mut self) {
        self.starts.clear();
        self.returns.clear();
        (self.ordinal, self.seen, self.last_bucket) = (0, false, usize::MAX);
    }

    #[inline(always)]
    fn start(&mut self, event: Event) -> ControlFlow<()> {
        let first = !std::mem::replace(&mut self.seen, true);
        if event.time < self.context.query.from_micros || event.time >= self.context.until {
            let out = first && self.spec.entry == Entry::FirstEver;
            return if out { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        let bucket = match self.spec.entry {
            Entry::FirstInRange | Entry::FirstEver if !self.starts.is_empty() => {
                return ControlFlow::Continue(());
            }
            _ => self.bucket_cursor.locate(&self.context.buckets, event.time),
        };
        if bucket != self.last_bucket {
            self.last_bucket = bucket;
            let period = self.periods.number(self.period_cursor.locate(self.periods, event.time));
            let cell = self.locator.cell(bucket, event.run, event.row as usize);
            self.starts.push((cell, period, self.ordinal));
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for History<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        if event.time >= self.context.as_of {
            return ControlFlow::Break(());
        }
        self.ordinal += 1;
        if event.bits & START != 0 {
            self.start(event)?;
        }
        if event.bits & RETURN != 0 && !self.starts.is_empty() {
            let period = self.periods.number(self.period_cursor.locate(self.periods, event.time));
            match self.returns.last_mut() {
                Some(last) if last.0 == period => last.1 = self.ordinal,
                _ => self.returns.push((period, self.ordinal)),
            }
        }
        ControlFlow::Continue(())
    }
}
