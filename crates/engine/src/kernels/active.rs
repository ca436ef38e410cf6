//! The civil days on which each actor of a run did something: what questions about active subjects read in place of
//! events.

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
    limits::Workers,
    query::EventSelector,
    runs::Run,
    snapshot::Part,
};

/// Events of the actors that one thread works out at a time.
const EVENTS_PER_TASK: usize = 1 << 18;

/// The active days of the actors of one run, for one selector in one zone.
#[derive(Debug)]
pub(crate) struct ActiveDays {
    /// The civil days that the run spans.
    days: Buckets,
    /// First entry of each actor, and after the last one the number of entries.
    offsets: Vec<u32>,
    /// Numbers of days, rising for each actor.
    entries: Vec<u16>,
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
        let bytes = active.entries.len() * 2 + active.offsets.len() * 4;
        run.derived.keep(key, &active, bytes);
        Some(active)
    }

    fn from_scan(scan: &RunScan<'_, u8>, days: Buckets, workers: Workers<'_>) -> Self {
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
        let mut offsets = Vec::with_capacity(scan.run.actors.len() + 1);
        let mut entries = Vec::with_capacity(found.iter().map(|(_, days)| days.len()).sum());
        let mut at = 0;
        for (lengths, of_piece) in found {
            for length in lengths {
                offsets.push(at);
                at += length;
            }
            entries.extend(of_piece);
        }
        offsets.push(at);
        Self { days, offsets, entries }
    }

    /// The days of an actor of the run, as numbers that rise.
    #[inline(always)]
    pub(crate) fn of_actor(&self, actor: u32) -> &[u16] {
        let actor = actor as usize;
        &self.entries[self.offsets[actor] as usize..self.offsets[actor + 1] as usize]
    }

    /// For each day the bucket of the question it lies in, or the number of buckets when it lies in none; `None` when
    /// a day lies in a bucket with some of its events only.
    pub(crate) fn buckets(&self, context: &Context<'_>, run: &Run) -> Option<Vec<u32>> {
        let (buckets, from, until) = (&context.buckets, context.query.from_micros, context.until);
        let bucket = |day: usize| {
            let first = self.days.start(day).max(run.segment.min_effective());
            let last = (self.days.end(day) - 1).min(run.segment.max_effective());
            if last < from || first >= until {
                return Some(buckets.len() as u32);
            }
            let bucket = buckets.locate(first);
            let whole = first >= from && last < until && buckets.locate(last) == bucket;
            whole.then_some(bucket as u32)
        };
        (0..self.days.len()).map(bucket).collect()
    }
}

/// Ranges of actors with about as many events each.
fn actor_pieces(run: &Run) -> Vec<Range<usize>> {
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
