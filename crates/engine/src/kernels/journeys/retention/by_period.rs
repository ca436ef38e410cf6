//! Retention in the bracket of a return, where any event is one: from how many events actors have by period.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{BracketState, CohortState, Kernel, any_return::first_from, periods::Periods};
use crate::{
    calendar::{Buckets, Grain},
    journeys::{Bracket, RetentionMode},
    kernels::{journeys::collect::Collector, partial::Sum, scan::Event},
    snapshot::Part,
};

/// A retention kernel that counts by period.
pub(super) struct ByPeriod<'k, 'a> {
    kernel: &'k Kernel<'a>,
    calendar: &'k Buckets,
    /// One per run.
    periods: Vec<Arc<Periods>>,
    /// For each number of units after the start the bracket that holds it.
    brackets: Vec<Option<usize>>,
    /// For each unit of a start.
    progress: Vec<Progress>,
}

/// How many of the brackets, which come one after the other, there are for a start.
struct Progress {
    begun: usize,
    over: usize,
}

/// What the starts of one cell add up to.
#[derive(Clone, Default)]
struct Tally {
    /// Starts by their unit of the calendar.
    starts: BTreeMap<usize, u64>,
    /// One per bracket.
    returned: Vec<Returned>,
}

/// Who came back in a bracket.
#[derive(Clone, Copy, Default)]
struct Returned {
    /// While it was going on, or by its end.
    subjects: u64,
    /// Those of them for whom it is over.
    mature: u64,
    /// Events of the latter.
    events: u64,
}

/// Events of one start by bracket.
struct Found {
    events: Vec<u64>,
    /// The brackets that have any.
    brackets: Vec<usize>,
}

impl<'k, 'a> ByPeriod<'k, 'a> {
    /// `None` where times are needed.
    pub(super) fn new(kernel: &'k Kernel<'a>) -> Option<Self> {
        let (query, ground) = (kernel.query, &kernel.ground);
        let calendar = kernel.calendar.as_ref()?;
        let runs = ground.snapshot.runs();
        // Hours have no numbers that hold for several calendars, and a period may be known in part.
        if !kernel.any_return
            || query.mode != RetentionMode::On
            || calendar.grain() == Grain::Hour
            || runs.iter().any(|run| run.segment.max_effective() >= ground.as_of)
        {
            return None;
        }
        let (zone, grain) = (query.scope.zone, calendar.grain());
        let periods = runs.iter().map(|run| Periods::of(run, zone, grain, ground.workers()));
        let periods = periods.collect::<Option<Vec<_>>>()?;
        let units = query.brackets.last().map_or(0, |bracket| bracket.last as usize + 1);
        let mut brackets = vec![None; units];
        for (number, bracket) in query.brackets.iter().enumerate() {
            brackets[bracket.first as usize..=bracket.last as usize].fill(Some(number));
        }
        let progress = (0..calendar.len()).map(|unit| {
            let stretch = |bracket: &Bracket| kernel.stretch(calendar.start(unit), *bracket);
            let begun = |bracket: &Bracket| stretch(bracket).0 < ground.as_of;
            let over = |bracket: &Bracket| stretch(bracket).1 <= ground.as_of;
            Progress {
                begun: query.brackets.partition_point(begun),
                over: query.brackets.partition_point(over),
            }
        });
        let progress = progress.collect();
        Some(Self { kernel, calendar, periods, brackets, progress })
    }

    /// The cohorts of a range of subjects.
    pub(super) fn cohorts(&self, subjects: Range<u32>) -> Vec<(u64, CohortState)> {
        let kernel = self.kernel;
        let index = kernel.ground.snapshot.index();
        let brackets = kernel.query.brackets.len();
        let mut cells = kernel.locator.cells::<Tally>();
        let mut collector = Collector::default();
        let mut found = Found { events: vec![0; brackets], brackets: Vec::new() };
        for subject in subjects {
            let parts = index.parts(subject);
            if parts.is_empty() {
                continue;
            }
            let events = collector.collect(&kernel.scans, parts, kernel.ground.as_of);
            kernel.starts(events, |start| {
                let unit = self.calendar.locate(start.event.time);
                let tally = cells.at(start.cell);
                *tally.starts.entry(unit).or_default() += 1;
                tally.returned.resize(brackets, Returned::default());
                self.count(parts, start.event, unit, &mut found);
                for bracket in found.brackets.drain(..) {
                    let events = std::mem::take(&mut found.events[bracket]);
                    let returned = &mut tally.returned[bracket];
                    returned.subjects += 1;
                    if bracket < self.progress[unit].over {
                        returned.mature += 1;
                        returned.events += events;
                    }
                }
            });
        }
        cells.into_states(|tally| (!tally.starts.is_empty()).then(|| self.state(&tally)))
    }

    /// Counts a subject's events from a start on, which lies in `unit`, by bracket.
    fn count(&self, parts: &[Part], start: &Event, unit: usize, found: &mut Found) {
        let number = self.calendar.number(unit);
        for part in parts {
            let periods = &self.periods[part.run as usize];
            let mut end = 0;
            for (period, events) in periods.of_actor(part.actor) {
                let first = end;
                end += events;
                let units = periods.calendar.number(period) - number;
                let Ok(units) = usize::try_from(units) else { continue };
                let Some(bracket) = self.brackets.get(units) else { break };
                let mut counted = events;
                if units == 0 {
                    // Some events of the start's own unit may have come before it.
                    let from = first_from(&self.kernel.scans, *part, start) as u32;
                    counted = end.saturating_sub(from.max(first));
                }
                if let Some(bracket) = *bracket
                    && counted > 0
                {
                    let events = &mut found.events[bracket];
                    if *events == 0 {
                        found.brackets.push(bracket);
                    }
                    *events += u64::from(counted);
                }
            }
        }
    }

    fn state(&self, tally: &Tally) -> CohortState {
        // How many starts have so many brackets that have begun, and that are over.
        let mut ends = vec![(0u64, 0u64); tally.returned.len() + 1];
        for (unit, starts) in &tally.starts {
            let progress = &self.progress[*unit];
            ends[progress.begun].0 += starts;
            ends[progress.over].1 += starts;
        }
        let mut cells = vec![BracketState::default(); tally.returned.len()];
        let (mut begun, mut eligible) = (0, 0);
        for (bracket, cell) in cells.iter_mut().enumerate().rev() {
            begun += ends[bracket + 1].0;
            eligible += ends[bracket + 1].1;
            let Returned { subjects, mature, events } = tally.returned[bracket];
            let mut value = Sum::default();
            value.add(events as f64);
            *cell =
                BracketState { eligible, retained: mature, begun, begun_retained: subjects, value };
        }
        CohortState { entered: tally.starts.values().sum(), cells }
    }
}
