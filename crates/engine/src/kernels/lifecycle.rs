//! Who is new, returning, resurrecting or dormant in each period, judged by the whole history of a subject: one
//! definition for the metric and for the question.
//!
//! With breakdowns a subject has one history per combination of values, so a row is what the question would answer
//! with a filter on these values instead.

use std::ops::ControlFlow;

use super::{
    Context,
    gather::{Found, Gathered},
    partial::{LifecycleState, State},
    scan::{self, Bits, Event, RunScan, Visitor},
    selectors,
    space::{BucketCursor, Locator},
};
use crate::{
    calendar::{Buckets, Grain, Span, start_of},
    error::Result,
    query::{Lifecycle, LifecycleSpec, Query},
    snapshot::Snapshot,
};

/// The metric.
pub(super) fn run(context: &Context<'_>, spec: &LifecycleSpec) -> Result<Found> {
    let locator = Locator::new(context);
    let before = previous_start(context.query, context.buckets.start(0))?;
    // Who asks for a range without saying what is known takes all of it as known.
    let known = context.query.as_of_micros.unwrap_or(i64::MAX);
    let lives = Lives {
        snapshot: context.snapshot,
        scans: scan::scan::<u8>(context, &selectors([&spec.event])),
        locator: &locator,
        periods: Periods::new(&context.buckets, before, known),
    };
    let combinations = locator.space.combinations();
    let chunks = context.snapshot.index().chunks.clone();
    let cells = Gathered::from_pieces(context.threads, combinations, chunks, |subjects| {
        let mut cells = locator.cells::<LifecycleState>();
        let mut room = Vec::new();
        for subject in subjects {
            lives.of(subject, &mut room, &mut |combination, period, state| {
                cells.at(period as u64 * combinations + combination).add(state);
            });
        }
        cells.into_states(|state| {
            (state != LifecycleState::default()).then_some(State::Lifecycle(state))
        })
    });
    Ok(Found { space: locator.space, cells })
}

/// The lives of subjects, as far as they can be told from what matches.
pub(super) struct Lives<'l, 'a, B> {
    pub snapshot: &'a Snapshot,
    /// Of one selector: what makes a subject active.
    pub scans: Vec<RunScan<'a, B>>,
    pub locator: &'l Locator<'a>,
    pub periods: Periods,
}

/// Combinations of dimension values and periods in which a subject was active.
type Activity = Vec<(u64, usize)>;

impl<B: Bits> Lives<'_, '_, B> {
    /// Shows what a subject is in each period that is judged, by combination of dimension values and number of the
    /// period.
    pub(super) fn of(
        &self,
        subject: u32,
        room: &mut Activity,
        see: &mut impl FnMut(u64, usize, Lifecycle),
    ) {
        room.clear();
        let mut history = History {
            periods: &self.periods,
            locator: self.locator,
            cursor: BucketCursor::new(),
            active: room,
        };
        let parts = self.snapshot.index().parts(subject);
        scan::walk_unordered(&self.scans, parts, &mut history);
        room.sort_unstable();
        room.dedup();
        for life in room.chunk_by(|left, right| left.0 == right.0) {
            let active = life.iter().map(|(_, period)| *period);
            self.periods.judge(active, |period, state| see(life[0].0, period, state));
        }
    }
}

/// The periods that are judged, and the one before the first.
pub(super) struct Periods {
    /// Period number 0 is the one before the first that is judged.
    bounds: Buckets,
    /// How many of the judged ones have begun when everything is known.
    begun: usize,
    /// Events before this instant are known.
    known: i64,
}

impl Periods {
    /// Judges these periods; the one before the first begins at `before`.
    pub(super) fn new(judged: &Buckets, before: i64, known: i64) -> Self {
        let starts = (0..=judged.len()).map(|period| judged.start(period));
        let bounds = Buckets::between([before].into_iter().chain(starts).collect());
        let begun = (0..judged.len()).take_while(|period| judged.start(*period) < known).count();
        Self { bounds, begun, known }
    }

    /// Number of the period of an instant: 0 for everything before the period before the first that is judged, 1 for
    /// that one, 2 and up for the judged ones.
    fn locate(&self, cursor: &mut BucketCursor, time: i64) -> Option<usize> {
        if time >= self.known || time >= self.bounds.end(self.bounds.len() - 1) {
            None
        } else if time < self.bounds.start(0) {
            Some(0)
        } else {
            Some(cursor.locate(&self.bounds, time) + 1)
        }
    }

    /// Says for each period that is judged, counted from 0, what the subject was in it. `active` are the numbers of the
    /// periods in which it was active, rising.
    fn judge(&self, active: impl Iterator<Item = usize>, mut say: impl FnMut(usize, Lifecycle)) {
        let mut last: Option<usize> = None;
        for period in active {
            if last.is_some_and(|last| last + 1 < period) {
                self.dormant(last, &mut say);
            }
            if let Some(judged) = period.checked_sub(2) {
                let state = match last {
                    None => Lifecycle::New,
                    Some(last) if last + 1 == period => Lifecycle::Returning,
                    Some(_) => Lifecycle::Resurrecting,
                };
                say(judged, state);
            }
            last = Some(period);
        }
        self.dormant(last, &mut say);
    }

    /// In the period after its last activity a subject is dormant, as far as that period is judged and has begun.
    fn dormant(&self, last: Option<usize>, say: &mut impl FnMut(usize, Lifecycle)) {
        if let Some(judged) = last.and_then(|last| last.checked_sub(1))
            && judged < self.begun
        {
            say(judged, Lifecycle::Dormant);
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

/// Collects the activity of one subject.
struct History<'a> {
    periods: &'a Periods,
    locator: &'a Locator<'a>,
    cursor: BucketCursor,
    active: &'a mut Activity,
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
