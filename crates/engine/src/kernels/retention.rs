//! Who comes back, by calendar periods after a start event.

use std::ops::ControlFlow;

use super::{
    Context,
    partial::{Leaf, RetentionState, State},
    scan::{self, Scratch},
    selectors,
    space::{BucketCursor, Locator},
    tasks,
};
use crate::{
    calendar::{Buckets, Grain},
    error::Result,
    query::{Entry, Maturity, Period, RetentionSpec, Return},
};

const START: u32 = 1;
const RETURN: u32 = 2;

pub(super) fn run(context: &Context<'_>, spec: &RetentionSpec) -> Result<Leaf> {
    let locator = Locator::new(context);
    let earliest = context.snapshot.effective_range().map_or(i64::MAX, |(earliest, _)| earliest);
    let first = context.query.from_micros.max(earliest);
    if first >= context.as_of {
        return Ok(Leaf::collect(locator.space, []));
    }
    let grain = match spec.period {
        Period::Day => Grain::Day,
        Period::Week => Grain::Week,
        Period::Month => Grain::Month,
    };
    // Every start and every return that counts lies between these two instants.
    let periods = Buckets::covering(first, context.as_of, context.query.zone, grain)?;
    let last = periods.len() - 1;
    let mature = match spec.maturity {
        Maturity::PeriodEnded if periods.end(last) > context.as_of => periods.number(last) - 1,
        Maturity::PeriodEnded | Maturity::PeriodStarted => periods.number(last),
    };
    let scans = scan::scan::<u8>(context, &selectors([&spec.start, &spec.returning]));
    let (from, until, as_of) = (context.query.from_micros, context.until, context.as_of);
    let index = context.snapshot.index();
    let pieces = tasks::run(context.threads, index.chunks.clone(), |subjects| {
        let mut cells = locator.cells::<RetentionState>();
        let mut scratch = Scratch::default();
        // Cell, period and ordinal of each start; period and ordinal of the last return in each period.
        let (mut starts, mut returns): (Vec<(u64, i32, u32)>, Vec<(i32, u32)>) =
            (Vec::new(), Vec::new());
        for subject in subjects {
            starts.clear();
            returns.clear();
            let (mut bucket_cursor, mut period_cursor) = (BucketCursor::new(), BucketCursor::new());
            let (mut ordinal, mut seen, mut last_bucket) = (0, false, usize::MAX);
            scan::walk(&scans, index.parts(subject), &mut scratch, |event| {
                if event.time >= as_of {
                    return ControlFlow::Break(());
                }
                ordinal += 1;
                if event.bits & START != 0 {
                    let first = !std::mem::replace(&mut seen, true);
                    if event.time >= from && event.time < until {
                        let bucket = bucket_cursor.locate(&context.buckets, event.time);
                        let counts = match spec.entry {
                            Entry::PerBucket => bucket != last_bucket,
                            Entry::FirstInRange | Entry::FirstEver => starts.is_empty(),
                        };
                        if counts {
                            last_bucket = bucket;
                            let period = periods.number(period_cursor.locate(&periods, event.time));
                            starts.push((
                                locator.cell(bucket, event.run, event.row as usize),
                                period,
                                ordinal,
                            ));
                        }
                    } else if first && spec.entry == Entry::FirstEver {
                        return ControlFlow::Break(());
                    }
                }
                if event.bits & RETURN != 0 && !starts.is_empty() {
                    let period = periods.number(period_cursor.locate(&periods, event.time));
                    match returns.last_mut() {
                        Some(last) if last.0 == period => last.1 = ordinal,
                        _ => returns.push((period, ordinal)),
                    }
                }
                ControlFlow::Continue(())
            });
            for (cell, period, ordinal) in &starts {
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
    Ok(Leaf::collect(locator.space, pieces))
}
