//! How many events each actor of a run has in each period of a calendar: what questions about any activity read in
//! place of the times of events.

use std::sync::Arc;

use chrono_tz::Tz;

use crate::{
    calendar::{Buckets, Grain},
    kernels::{active::actor_pieces, tasks},
    limits::Workers,
    runs::Run,
};

/// Bytes an event that the periods of a run may take: where actors have few events in a period, times are as good.
const BYTES_OF_EVENT: usize = 2;

/// Bytes that they may take in any case.
const LEAST_BYTES: usize = 1 << 16;

/// The events of the actors of one run by the periods of one calendar.
#[derive(Debug)]
pub(super) struct Periods {
    /// The periods that the run spans.
    pub calendar: Buckets,
    /// First entry of each actor, and after the last one the number of entries.
    offsets: Vec<u32>,
    /// Numbers of periods, rising for each actor; one that takes several entries comes several times.
    periods: Vec<u16>,
    /// How many events in a row lie in the period, at least one.
    events: Vec<u8>,
}

impl Periods {
    /// The periods of a run; `None` when they would take too much room, cannot be numbered, or the work was stopped.
    pub(super) fn of(run: &Run, zone: Tz, grain: Grain, workers: Workers<'_>) -> Option<Arc<Self>> {
        let key = format!("periods {zone} {grain:?}");
        if let Some(known) = run.derived.get::<Option<Arc<Self>>>(&key) {
            return (*known).clone();
        }
        let room = (run.events() * BYTES_OF_EVENT).max(LEAST_BYTES);
        let found = Self::new(run, zone, grain, workers)
            .filter(|periods| periods.bytes() <= room)
            .map(Arc::new);
        if workers.should_stop() {
            return None;
        }
        // That they take too much room is worth knowing, too.
        let bytes = found.as_ref().map_or(0, |periods| periods.bytes());
        run.derived.keep(key, &Arc::new(found.clone()), bytes);
        found
    }

    fn new(run: &Run, zone: Tz, grain: Grain, workers: Workers<'_>) -> Option<Self> {
        let (first, last) = (run.segment.min_effective(), run.segment.max_effective());
        let calendar = Buckets::covering(first, last.checked_add(1)?, zone, grain).ok()?;
        if calendar.len() > usize::from(u16::MAX) {
            return None;
        }
        let times = run.segment.effective();
        let found = tasks::run(workers, actor_pieces(run), |actors| {
            let mut lengths = Vec::with_capacity(actors.len());
            let (mut periods, mut events): (Vec<u16>, Vec<u8>) = (Vec::new(), Vec::new());
            for actor in actors {
                let (start, end) = run.rows(actor);
                let before = periods.len();
                let mut until = i64::MIN;
                for time in &times[start as usize..end as usize] {
                    let time = i64::from_le_bytes(*time);
                    let count = events.last_mut().filter(|count| time < until && **count < u8::MAX);
                    if let Some(count) = count {
                        *count += 1;
                        continue;
                    }
                    if time >= until {
                        let period = calendar.locate(time);
                        until = calendar.end(period);
                        periods.push(period as u16);
                    } else if let Some(period) = periods.last().copied() {
                        periods.push(period);
                    }
                    events.push(1);
                }
                lengths.push((periods.len() - before) as u32);
            }
            (lengths, periods, events)
        });
        let mut all = Self { calendar, offsets: vec![0], periods: Vec::new(), events: Vec::new() };
        let mut end = 0;
        for (lengths, periods, events) in found {
            all.offsets.extend(lengths.into_iter().map(|length| {
                end += length;
                end
            }));
            all.periods.extend(periods);
            all.events.extend(events);
        }
        Some(all)
    }

    /// Periods and numbers of events of an actor of the run, in the order of its events.
    #[inline(always)]
    pub(super) fn of_actor(&self, actor: u32) -> impl Iterator<Item = (usize, u32)> {
        let actor = actor as usize;
        let entries = self.offsets[actor] as usize..self.offsets[actor + 1] as usize;
        let events = self.events[entries.clone()].iter().map(|count| u32::from(*count));
        self.periods[entries].iter().map(|period| usize::from(*period)).zip(events)
    }

    fn bytes(&self) -> usize {
        size_of_val(self.offsets.as_slice())
            + size_of_val(self.periods.as_slice())
            + size_of_val(self.events.as_slice())
    }
}
