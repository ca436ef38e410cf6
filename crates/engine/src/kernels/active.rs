//! The actors that did something on each civil day: what questions about active subjects read in place of events.

use std::{
    ops::{ControlFlow, Range},
    sync::Arc,
};

use super::{
    Context,
    scan::{self, Event, RunScan, Visitor},
    tasks,
};
use crate::{
    calendar::{Buckets, Grain},
    identity::NOBODY,
    limits::Workers,
    query::EventSelector,
    runs::Run,
    snapshot::Part,
};

/// Events of the actors that one thread works out at a time.
const EVENTS_PER_TASK: usize = 1 << 18;

const WORD: usize = u64::BITS as usize;

/// The active actors of one run day by day, for one selector in one zone.
#[derive(Debug)]
pub(crate) struct ActiveDays {
    /// The civil days that the run spans.
    days: Buckets,
    /// The actors of each day.
    actors: Vec<Actors>,
}

/// Some actors, by their numbers in the data set.
#[derive(Debug)]
enum Actors {
    /// One number each, where that takes less room.
    Few(Vec<u32>),
    /// One bit for every actor.
    Many(Vec<u64>),
}

impl Actors {
    /// Room for so many actors, or for a bit of each of so many words.
    fn with_room(count: usize, words: usize) -> Self {
        if count * size_of::<u32>() < words * size_of::<u64>() {
            Self::Few(Vec::with_capacity(count))
        } else {
            Self::Many(vec![0; words])
        }
    }

    fn insert(&mut self, actor: u32) {
        match self {
            Self::Few(actors) => actors.push(actor),
            Self::Many(words) => words[actor as usize / WORD] |= 1 << (actor as usize % WORD),
        }
    }

    fn add_to(&self, set: &mut [u64]) {
        match self {
            Self::Few(actors) => {
                for actor in actors {
                    if let Some(word) = set.get_mut(*actor as usize / WORD) {
                        *word |= 1 << (*actor as usize % WORD);
                    }
                }
            }
            Self::Many(words) => set.iter_mut().zip(words).for_each(|(set, word)| *set |= word),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Few(actors) => size_of_val(actors.as_slice()),
            Self::Many(words) => size_of_val(words.as_slice()),
        }
    }
}

impl ActiveDays {
    /// The days on which actors of a run have events that match; `None` when there are more days than can be numbered
    /// or the work was stopped.
    pub(crate) fn of(
        context: &Context<'_>,
        run: &Run,
        selector: &EventSelector,
    ) -> Option<Arc<Self>> {
        let (zone, filter) = (context.query.zone, context.query.filter.as_ref());
        let key = format!("active days {zone} {}", scan::key(&[selector], filter));
        if let Some(known) = run.derived.get(&key) {
            return Some(known);
        }
        let (first, last) = (run.segment.min_effective(), run.segment.max_effective());
        let days = Buckets::covering(first, last.checked_add(1)?, zone, Grain::Day).ok()?;
        if days.len() > usize::from(u16::MAX) {
            return None;
        }
        let matches = scan::kept_matches::<u8>(run, &[selector], filter, context.threads);
        let scan = RunScan { run, effective: run.segment.effective(), matches };
        let active = Arc::new(Self::from_scan(&scan, days, context.threads));
        if context.threads.should_stop() {
            return None;
        }
        run.derived.keep(key, &active, active.actors.iter().map(Actors::bytes).sum());
        Some(active)
    }

    fn from_scan(scan: &RunScan<'_, u8>, days: Buckets, workers: Workers<'_>) -> Self {
        // Of each actor how many days, and these.
        let found = tasks::run(workers, actor_pieces(scan.run), |actors| {
            let (mut lengths, mut entries) = (Vec::with_capacity(actors.len()), Vec::new());
            for actor in actors {
                let (start, end) = scan.run.rows(actor);
                let before = entries.len();
                let mut seen = Days { days: &days, day: 0, end: i64::MIN, entries: &mut entries };
                let part = Part { run: 0, actor: actor as u32, start, end };
                scan::walk_unordered(std::slice::from_ref(scan), &[part], &mut seen);
                lengths.push((entries.len() - before) as u32);
            }
            (lengths, entries)
        });
        let mut counts = vec![0; days.len()];
        for day in found.iter().flat_map(|(_, entries)| entries) {
            counts[usize::from(*day)] += 1;
        }
        let known = scan.run.actors.iter().filter(|actor| **actor != NOBODY);
        let words = known.max().map_or(0, |last| *last as usize / WORD + 1);
        let mut actors: Vec<Actors> =
            counts.into_iter().map(|count| Actors::with_room(count, words)).collect();
        let mut numbers = scan.run.actors.iter();
        for (lengths, entries) in found {
            let mut entries = entries.into_iter();
            // The lengths come first, so that no number is taken for nothing.
            for (length, number) in lengths.into_iter().zip(numbers.by_ref()) {
                for day in entries.by_ref().take(length as usize) {
                    if *number != NOBODY {
                        actors[usize::from(day)].insert(*number);
                    }
                }
            }
        }
        Self { days, actors }
    }

    /// Adds the actors of a day to a set that has a bit for each.
    pub(crate) fn add_to(&self, day: usize, set: &mut [u64]) {
        self.actors[day].add_to(set);
    }

    /// The days of each bucket of the question; `None` when a day lies in a bucket with some of its events only.
    pub(crate) fn by_bucket(&self, context: &Context<'_>, run: &Run) -> Option<Vec<Range<usize>>> {
        let (buckets, from, until) = (&context.buckets, context.query.from_micros, context.until);
        let mut by_bucket = vec![0usize..0; buckets.len()];
        for day in 0..self.days.len() {
            let first = self.days.start(day).max(run.segment.min_effective());
            let last = (self.days.end(day) - 1).min(run.segment.max_effective());
            if last < from || first >= until {
                continue;
            }
            if first < from || last >= until {
                return None;
            }
            let bucket = buckets.locate(first);
            if buckets.locate(last) != bucket {
                return None;
            }
            let days = &mut by_bucket[bucket];
            *days = if days.end == 0 { day..day + 1 } else { days.start..day + 1 };
        }
        Some(by_bucket)
    }
}

/// Ranges of actors with about as many events each.
pub(super) fn actor_pieces(run: &Run) -> Vec<Range<usize>> {
    let (mut pieces, mut start, mut events) = (Vec::new(), 0, 0);
    for actor in 0..run.actors.len() {
        let (from, to) = run.rows(actor);
        events += (to - from) as usize;
        if events >= EVENTS_PER_TASK {
            pieces.push(start..actor + 1);
            (start, events) = (actor + 1, 0);
        }
    }
    if start < run.actors.len() {
        pieces.push(start..run.actors.len());
    }
    pieces
}

/// Notes the days of one actor, whose events come in order.
struct Days<'a> {
    days: &'a Buckets,
    day: usize,
    /// End of the day that was noted last.
    end: i64,
    entries: &'a mut Vec<u16>,
}

impl Visitor for Days<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        if event.time >= self.end {
            // Mostly the next day.
            let next = self.day + 1;
            let is_next =
                self.end != i64::MIN && next < self.days.len() && event.time < self.days.end(next);
            self.day = if is_next { next } else { self.days.locate(event.time) };
            self.end = self.days.end(self.day);
            self.entries.push(self.day as u16);
        }
        ControlFlow::Continue(())
    }
}
