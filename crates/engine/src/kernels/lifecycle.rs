//! Who is new, returning, resurrecting or dormant in each period, judged by the whole history of a subject.
//!
//! With breakdowns a subject has one history per combination of values, so a row is what the question would answer
//! with a filter on these values instead.

use std::ops::ControlFlow;

use super::{
    Context,
    partial::{Leaf, LifecycleState, State},
    scan::{self, Event, Visitor},
    selectors,
    space::{BucketCursor, Locator},
    tasks,
};
use crate::{
    calendar::{Buckets, Grain, Span, start_of},
    error::Result,
    query::{LifecycleSpec, Query},
};

pub(super) fn run(context: &Context<'_>, spec: &LifecycleSpec) -> Result<Leaf> {
    let locator = Locator::new(context);
    let periods = Periods::new(context)?;
    let scans = scan::scan::<u8>(context, &selectors([&spec.event]));
    let index = context.snapshot.index();
    let combinations = locator.space.combinations();
    let pieces = tasks::run(context.threads, index.chunks.clone(), |subjects| {
        let mut cells = locator.cells::<LifecycleState>();
        let mut history = History {
            periods: &periods,
            locator: &locator,
            cursor: BucketCursor::new(),
            active: Vec::new(),
        };
        for subject in subjects {
            history.active.clear();
            scan::walk_unordered(&scans, index.parts(subject), &mut history);
            history.active.sort_unstable();
            history.active.dedup();
            for life in history.active.chunk_by(|left, right| left.0 == right.0) {
                periods.judge(life, |bucket, count| {
                    count(cells.at(bucket as u64 * combinations + life[0].0));
                });
            }
        }
        cells.into_states(|state| {
            (state != LifecycleState::default()).then_some(State::Lifecycle(state))
        })
    });
    Ok(Leaf::collect(locator.space, pieces))
}

/// The periods that are judged, and the one before the first.
struct Periods {
    /// Period number 0 is the one before the first that is judged.
    bounds: Buckets,
    /// How many of the judged ones have begun at `as_of`.
    begun: usize,
    as_of: i64,
}

impl Periods {
    fn new(context: &Context<'_>) -> Result<Self> {
        let buckets = &context.buckets;
        let before = previous_start(context.query, buckets.start(0))?;
        let mut bounds = vec![before];
        bounds.extend((0..=buckets.len()).map(|bucket| buckets.start(bucket)));
        // Who asks for a range without saying what is known takes all of it as known.
        let known = context.query.as_of_micros.unwrap_or(i64::MAX);
        let begun = (0..buckets.len()).take_while(|bucket| buckets.start(*bucket) < known).count();
        Ok(Self { bounds: Buckets::between(bounds), begun, as_of: known })
    }

    /// Number of the period of an instant: 0 for everything before the period before the first that is judged, 1 for
    /// that one, 2 and up for the judged ones.
    fn locate(&self, cursor: &mut BucketCursor, time: i64) -> Option<usize> {
        if time >= self.as_of || time >= self.bounds.end(self.bounds.len() - 1) {
            None
        } else if time < self.bounds.start(0) {
            Some(0)
        } else {
            Some(cursor.locate(&self.bounds, time) + 1)
        }
    }

    /// Says for each bucket what the subject was in it. `life` holds the numbers of the periods in which it was active,
    /// rising.
    fn judge(&self, life: &[(u64, usize)], mut say: impl FnMut(usize, fn(&mut LifecycleState))) {
        let mut last: Option<usize> = None;
        for (_, period) in life {
            if let Some(bucket) = period.checked_sub(2) {
                say(
                    bucket,
                    match last {
                        None => |state| state.new += 1,
                        Some(last) if last + 1 == *period => |state| state.returning += 1,
                        Some(_) => |state| state.resurrecting += 1,
                    },
                );
            }
            if last.is_some_and(|last| last + 1 < *period) {
                self.dormant(last, &mut say);
            }
            last = Some(*period);
        }
        self.dormant(last, &mut say);
    }

    /// In the period after its last activity a subject is dormant, as far as that period is judged and has begun.
    fn dormant(&self, last: Option<usize>, say: &mut impl FnMut(usize, fn(&mut LifecycleState))) {
        if let Some(bucket) = last.and_then(|last| last.checked_sub(1))
            && bucket < self.begun
        {
            say(bucket, |state| state.dormant += 1);
        }
    }
}

/// Where the period before the first bucket begins: one step of the calendar earlier, and for the whole range as one
/// bucket a stretch of the same length.
pub(super) fn previous_start(query: &Query, first: i64) -> Result<i64> {
    match query.grain {
        Grain::Total => {
            Span::between(query.from_micros, query.to_micros, query.zone).before(first, query.zone)
        }
        grain => start_of(first - 1, query.zone, grain),
    }
}

/// Collects the combinations of dimension values and the periods in which a subject was active.
struct History<'a> {
    periods: &'a Periods,
    locator: &'a Locator<'a>,
    cursor: BucketCursor,
    active: Vec<(u64, usize)>,
}

impl Visitor for History<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        if let Some(period) = self.periods.locate(&mut self.cursor, event.time) {
            let found = (self.locator.combination(event.run, event.row as usize), period);
            // Most events lie in the period of the event before.
            if self.active.last() != Some(&found) {
                self.active.push(found);
            }
        }
        ControlFlow::Continue(())
    }
}
