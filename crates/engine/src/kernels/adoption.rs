//! Subjects before and after a day zero of their own: one pass for the days zero, one for what is measured.

use std::ops::ControlFlow;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    names::{first_seen, last_value, subject_name},
    scan::{self, Bits, Event, RunScan, Scratch, Visitor},
    space::{ValueColumn, Values},
    tasks,
    variants::Measure,
};
use crate::{
    adoption::{AdoptionAnswer, AdoptionQuery, Below, DayZero, Labels},
    error::{Error, Result},
    limits::{Use, Workers},
    query::{Dimension, EventSelector},
    snapshot::{Snapshot, unknown_cohort},
    subjects::SubjectSet,
    variants::Outcome,
};

const ADOPTION: u32 = 1;

/// Most periods on either side.
const MAX_PERIODS: u32 = 366;

/// Answers an [`AdoptionQuery`].
pub(crate) fn adoption(
    snapshot: &Snapshot,
    query: &AdoptionQuery,
    threads: usize,
) -> Result<AdoptionAnswer> {
    let selectors = check(snapshot, query)?;
    let mind = Use::of(snapshot.limits());
    let workers = snapshot.workers(threads, &mind);
    let answer = if selectors.len() <= u8::WIDTH {
        answer::<u8>(snapshot, query, &selectors, workers)
    } else {
        answer::<u32>(snapshot, query, &selectors, workers)
    };
    mind.check()?;
    Ok(answer)
}

/// Refuses what contradicts itself, and lists the selectors in the order of their bits: the adoption, the outcome, what
/// is below it, the counts.
fn check<'q>(snapshot: &Snapshot, query: &'q AdoptionQuery) -> Result<Vec<&'q EventSelector>> {
    let invalid =
        |field, problem: &str| Err(Error::InvalidQuery { field, problem: problem.to_owned() });
    if query.period_micros <= 0 {
        return invalid("period_micros", "must be longer than nothing");
    }
    for (field, periods) in
        [("periods_before", query.periods_before), ("periods_after", query.periods_after)]
    {
        if !(1..=MAX_PERIODS).contains(&periods) {
            return invalid(field, "must lie between 1 and 366");
        }
    }
    if query.minimum_history_micros < 0 {
        return invalid("minimum_history_micros", "a length of time is negative");
    }
    if query.outcome.has_denominator() && query.denominator.is_some() {
        return invalid("denominator", "the outcome brings its own");
    }
    for property in &query.properties {
        if let Dimension::Cohort(name) = property
            && snapshot.cohort_members(name).is_none()
        {
            return Err(unknown_cohort(name));
        }
    }
    let mut selectors = vec![&query.adoption];
    for outcome in [Some(&query.outcome), query.denominator.as_ref()].into_iter().flatten() {
        let own = outcome.selectors();
        if own.is_empty() {
            return invalid("steps", "0 steps; a funnel has at least one");
        }
        selectors.extend(own);
    }
    selectors.extend(&query.counts);
    if selectors.len() > u32::WIDTH {
        return invalid("counts", "more than 31 selectors beside the adoption");
    }
    Ok(selectors)
}

/// A subject that takes part.
struct Member {
    subject: u32,
    adopted: bool,
    day_zero: i64,
}

/// Who takes part, and why others do not.
#[derive(Default)]
struct Members {
    taking_part: Vec<Member>,
    others: Vec<Member>,
    immature: u64,
    too_new: u64,
    adopted_earlier: u64,
    adopted_later: u64,
}

fn answer<B: Bits>(
    snapshot: &Snapshot,
    query: &AdoptionQuery,
    selectors: &[&EventSelector],
    workers: Workers<'_>,
) -> AdoptionAnswer {
    let mut labels: Vec<Values> = query.properties.iter().map(|_| Values::new()).collect();
    let (mut scans, mut columns): (Vec<RunScan<'_, B>>, Vec<Vec<ValueColumn<'_>>>) =
        (Vec::new(), Vec::new());
    for run in snapshot.runs() {
        let matches = scan::kept_matches(run, selectors, None, workers);
        scans.push(RunScan { run, effective: run.segment.effective(), matches });
        let of_run = query
            .properties
            .iter()
            .zip(&mut labels)
            .map(|(dimension, values)| ValueColumn::new(dimension, run, values));
        columns.push(of_run.collect());
    }
    let cohorts = query.properties.iter().zip(&mut labels).map(|(dimension, values)| {
        let Dimension::Cohort(name) = dimension else { return None };
        let [within, without] =
            [Dimension::IN, Dimension::OUT].map(|value| values.number(Some(value.to_owned())));
        Some(Cohort { members: snapshot.cohort_members(name)?, within, without })
    });
    let cohorts = cohorts.collect();
    let latest = snapshot.effective_range().map_or(i64::MIN, |(_, latest)| latest);
    let as_of = query.as_of_micros.unwrap_or_else(|| latest.saturating_add(1));
    let members = members(snapshot, query, &scans, as_of, workers);

    let question = Question {
        snapshot,
        query,
        outcome: Measure::new(snapshot, &query.outcome, 1),
        denominator: query
            .denominator
            .as_ref()
            .map(|outcome| Measure::new(snapshot, outcome, 1 + query.outcome.selectors().len())),
        first_count: selectors.len() - query.counts.len(),
        columns,
        cohorts,
    };
    let size = members.taking_part.len().div_ceil(CHUNKS).max(1);
    let pieces: Vec<&[Member]> = members.taking_part.chunks(size).collect();
    let pieces = tasks::run(workers, pieces, |members| question.measure(members, &scans));
    let mut total = question.empty();
    for piece in pieces {
        append(&mut total, piece);
    }
    for (column, values) in total.properties.iter_mut().zip(labels) {
        column.labels = values.into_values();
    }
    AdoptionAnswer {
        immature: members.immature,
        too_new: members.too_new,
        adopted_earlier: members.adopted_earlier,
        adopted_later: members.adopted_later,
        events_scanned: snapshot.events(),
        watermark: snapshot.watermark(),
        ..total
    }
}

/// Pieces that the measuring is cut into, whatever the number of threads.
const CHUNKS: usize = 64;

/// Finds the days zero: the adopters' own, and those that stand for it.
fn members<B: Bits>(
    snapshot: &Snapshot,
    query: &AdoptionQuery,
    scans: &[RunScan<'_, B>],
    as_of: i64,
    workers: Workers<'_>,
) -> Members {
    let after = query.period_micros.saturating_mul(query.periods_after.into());
    let index = snapshot.index();
    let pieces = tasks::run(workers, index.chunks.clone(), |subjects| {
        let mut piece = Members::default();
        for subject in subjects {
            let parts = index.parts(subject);
            if parts.is_empty() {
                continue;
            }
            let seen = first_seen(snapshot, parts);
            if seen >= as_of {
                continue;
            }
            let mut first = First { time: i64::MAX };
            scan::walk_unordered(scans, parts, &mut first);
            let long_enough = seen.saturating_add(query.minimum_history_micros);
            let day_zero = first.time;
            if day_zero >= as_of {
                // The earliest day zero that would do, until one is drawn.
                piece.others.push(Member { subject, adopted: false, day_zero: long_enough });
            } else if day_zero < query.from_micros {
                piece.adopted_earlier += 1;
            } else if day_zero >= query.to_micros {
                piece.adopted_later += 1;
            } else if day_zero < long_enough {
                piece.too_new += 1;
            } else if day_zero.saturating_add(after) > as_of {
                piece.immature += 1;
            } else {
                piece.taking_part.push(Member { subject, adopted: true, day_zero });
            }
        }
        piece
    });
    let mut all = Members::default();
    for piece in pieces {
        all.taking_part.extend(piece.taking_part);
        all.others.extend(piece.others);
        all.immature += piece.immature;
        all.too_new += piece.too_new;
        all.adopted_earlier += piece.adopted_earlier;
        all.adopted_later += piece.adopted_later;
    }
    let mut days: Vec<i64> = all.taking_part.iter().map(|member| member.day_zero).collect();
    days.sort_unstable();
    for other in std::mem::take(&mut all.others) {
        let days = match query.day_zero {
            DayZero::First => &days[..days.len().min(1)],
            DayZero::Drawn => &days,
        };
        let eligible = &days[days.partition_point(|day| *day < other.day_zero)..];
        if eligible.is_empty() {
            all.too_new += 1;
            continue;
        }
        let name = subject_name(snapshot, index.parts(other.subject));
        let drawn = (xxh3_64(name.as_bytes()) % eligible.len() as u64) as usize;
        all.taking_part.push(Member { day_zero: eligible[drawn], ..other });
    }
    all
}

/// The first adoption of a subject.
struct First {
    time: i64,
}

impl Visitor for First {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        if event.bits & ADOPTION != 0 {
            self.time = self.time.min(event.time);
        }
        ControlFlow::Continue(())
    }
}

/// Every matching event of a subject.
struct All {
    events: Vec<Event>,
}

impl Visitor for All {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        self.events.push(event);
        ControlFlow::Continue(())
    }
}

struct Question<'a> {
    snapshot: &'a Snapshot,
    query: &'a AdoptionQuery,
    outcome: Measure<'a>,
    denominator: Option<Measure<'a>>,
    /// Bit of the first count.
    first_count: usize,
    /// Values of the properties, per run.
    columns: Vec<Vec<ValueColumn<'a>>>,
    /// Of the properties, those that are cohorts.
    cohorts: Vec<Option<Cohort<'a>>>,
}

/// A cohort, and the numbers of the values that say who is in it.
struct Cohort<'a> {
    members: &'a SubjectSet,
    within: u32,
    without: u32,
}

impl Question<'_> {
    fn is_ratio(&self) -> bool {
        self.denominator.is_some() || self.query.outcome.has_denominator()
    }

    fn is_ordered(&self) -> bool {
        let denominator = self.query.denominator.as_ref();
        self.query.outcome.is_ordered() || denominator.is_some_and(Outcome::is_ordered)
    }

    /// The outcome over the events in `[start, end)`, and what is below it.
    fn value(&self, events: &[Event], start: i64, end: i64) -> (f64, f64) {
        let (above, own) = self.outcome.value(events, start, end);
        match &self.denominator {
            Some(measure) => (above, measure.value(events, start, end).0),
            None => (above, own),
        }
    }

    fn empty(&self) -> AdoptionAnswer {
        let periods = self.query.periods_before + self.query.periods_after;
        let below = if self.is_ratio() { periods as usize } else { 0 };
        AdoptionAnswer {
            below: Below { periods: vec![Vec::new(); below], ..Below::default() },
            periods: vec![Vec::new(); periods as usize],
            counts: vec![Vec::new(); self.query.counts.len()],
            properties: vec![Labels::default(); self.query.properties.len()],
            ..AdoptionAnswer::default()
        }
    }

    fn measure<B: Bits>(&self, members: &[Member], scans: &[RunScan<'_, B>]) -> AdoptionAnswer {
        let query = self.query;
        let mut piece = self.empty();
        let mut found = All { events: Vec::new() };
        let mut scratch = Scratch::default();
        let index = self.snapshot.index();
        for member in members {
            let parts = index.parts(member.subject);
            found.events.clear();
            if self.is_ordered() {
                scan::walk(scans, parts, &mut scratch, &mut found);
            } else {
                scan::walk_unordered(scans, parts, &mut found);
            }
            let events = &found.events;
            let zero = member.day_zero;
            let border = |period: u32| {
                let periods = i64::from(period) - i64::from(query.periods_before);
                zero.saturating_add(periods.saturating_mul(query.period_micros))
            };
            let (start, end) = (border(0), border(query.periods_before + query.periods_after));
            piece.adopted.push(member.adopted);
            piece.day_zero.push(zero);
            let (before, after) = (self.value(events, start, zero), self.value(events, zero, end));
            piece.before.push(before.0);
            piece.after.push(after.0);
            if self.is_ratio() {
                piece.below.before.push(before.1);
                piece.below.after.push(after.1);
            }
            for (number, column) in piece.periods.iter_mut().enumerate() {
                let period = number as u32;
                let (above, below) = self.value(events, border(period), border(period + 1));
                column.push(above);
                if let Some(column) = piece.below.periods.get_mut(number) {
                    column.push(below);
                }
            }
            for (number, column) in piece.counts.iter_mut().enumerate() {
                let bit = 1 << (self.first_count + number);
                let counted = events.iter().filter(|event| {
                    event.bits & bit != 0 && event.time >= start && event.time < zero
                });
                column.push(counted.count() as f64);
            }
            for (property, column) in piece.properties.iter_mut().enumerate() {
                column.of.push(match &self.cohorts[property] {
                    Some(cohort) if cohort.members.contains(member.subject) => cohort.within,
                    Some(cohort) => cohort.without,
                    None => {
                        last_value(self.snapshot, |run| &self.columns[run][property], parts, zero)
                    }
                });
            }
        }
        piece
    }
}

/// Puts the columns of a piece behind those of another.
fn append(total: &mut AdoptionAnswer, piece: AdoptionAnswer) {
    total.adopted.extend(piece.adopted);
    total.day_zero.extend(piece.day_zero);
    total.before.extend(piece.before);
    total.after.extend(piece.after);
    let all = |mine: &mut Vec<Vec<f64>>, theirs: Vec<Vec<f64>>| {
        mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| mine.extend(theirs));
    };
    all(&mut total.periods, piece.periods);
    total.below.before.extend(piece.below.before);
    total.below.after.extend(piece.below.after);
    all(&mut total.below.periods, piece.below.periods);
    all(&mut total.counts, piece.counts);
    for (mine, theirs) in total.properties.iter_mut().zip(piece.properties) {
        mine.of.extend(theirs.of);
    }
}
