//! Sufficient statistics per variant after first exposure.

use std::{collections::BTreeMap, ops::ControlFlow};

use chrono::{DateTime, Datelike};

use super::{
    conversion::{Constants, Credit, MAX_CONSTANTS},
    journey::{self, Steps},
    numbers::Accumulate,
    partial::{ConversionState, ScoreState, Sum},
    scan::{self, Bits, Event, RunScan, Scratch, Visitor},
    space::{NumberColumn, ValueColumn, Values},
    tasks,
};
use crate::{
    error::{Error, Result},
    limits::{Use, Workers},
    query::{Anchor, ConversionMeasure, Dimension, EventSelector, Period, StickinessMeasure},
    snapshot::Snapshot,
    variants::{Moments, Outcome, VariantAnswer, VariantQuery, VariantStats},
};

const EXPOSURE: u32 = 1;
const DAY: i64 = 86_400_000_000;
const MICROS_PER_SECOND: f64 = 1e6;

/// One arm while it grows: subjects, and sums in the order of [`Terms`].
#[derive(Default, Clone)]
struct Arm {
    n: u64,
    sums: [Sum; TERMS],
    days: Days,
}

const TERMS: usize = 14;

/// Days that have a slot each; later ones are looked up.
const NEAR_DAYS: usize = 4_096;

/// First exposures by the number of the day, counted from the first on which there may be any.
#[derive(Default, Clone)]
struct Days {
    near: Vec<u64>,
    far: BTreeMap<i64, u64>,
}

impl Days {
    fn add(&mut self, day: i64, exposures: u64) {
        match usize::try_from(day) {
            Ok(near) if near < NEAR_DAYS => {
                if near >= self.near.len() {
                    self.near.resize(near + 1, 0);
                }
                self.near[near] += exposures;
            }
            _ => *self.far.entry(day).or_default() += exposures,
        }
    }

    fn into_counts(self) -> impl Iterator<Item = (i64, u64)> {
        (0..).zip(self.near).filter(|(_, exposures)| *exposures > 0).chain(self.far)
    }
}

impl Arm {
    fn add(&mut self, day: i64, y: f64, d: f64, x: f64, xd: f64) {
        self.n += 1;
        self.days.add(day, 1);
        let terms = [
            y,
            y * y,
            d,
            d * d,
            y * d,
            x,
            x * x,
            x * y,
            xd,
            xd * xd,
            x * xd,
            y * xd,
            d * x,
            d * xd,
        ];
        // Most subjects did nothing before their exposure, or nothing at all.
        let terms = self.sums.iter_mut().zip(terms).filter(|(_, term)| *term != 0.0);
        terms.for_each(|(sum, term)| sum.add(term));
    }

    fn merge(&mut self, other: Self) {
        self.n += other.n;
        self.sums.iter_mut().zip(other.sums).for_each(|(mine, theirs)| mine.merge(theirs));
        other.days.into_counts().for_each(|(day, exposures)| self.days.add(day, exposures));
    }

    fn moments(&self) -> Moments {
        let [y, yy, d, dd, yd, x, xx, xy, xd, xdxd, xxd, yxd, dx, dxd] = self.sums.map(Sum::value);
        Moments { n: self.n, y, yy, d, dd, yd, x, xx, xy, xd, xdxd, xxd, yxd, dx, dxd }
    }
}

/// What one piece of the work adds.
#[derive(Default)]
struct Piece {
    arms: Vec<Arm>,
    multiple_exposures: u64,
    immature: u64,
    exposures_without_variant: u64,
}

/// How an outcome is computed from events.
pub(super) struct Measure<'a> {
    outcome: &'a Outcome,
    /// Bit of its first selector.
    first: usize,
    columns: Vec<NumberColumn<'a>>,
    constants: Constants<'a>,
}

impl<'a> Measure<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, outcome: &'a Outcome, first: usize) -> Self {
        let property = match outcome {
            Outcome::Sum { property, .. }
            | Outcome::Mean { property, .. }
            | Outcome::Score { property, .. } => Some(property.as_str()),
            Outcome::PerSubject { aggregate, .. } => aggregate.property(),
            Outcome::Did { .. }
            | Outcome::Count { .. }
            | Outcome::Completed { .. }
            | Outcome::Returned { .. }
            | Outcome::Elapsed { .. }
            | Outcome::Active { .. }
            | Outcome::Converted(_) => None,
        };
        let columns = property.map_or_else(Vec::new, |property| {
            snapshot.runs().iter().map(|run| NumberColumn::new(property, run)).collect()
        });
        let pairs = match outcome {
            Outcome::Converted(spec) => spec.constants.as_slice(),
            _ => &[],
        };
        let constants = Constants::new(snapshot, pairs);
        Self { outcome, first, columns, constants }
    }

    /// The outcome over the events in `[start, end)`, and its own denominator, if it has one.
    pub(super) fn value(&self, events: &[Event], start: i64, end: i64) -> (f64, f64) {
        // Only sorted events have a first and a last.
        let within = || {
            let from = events.partition_point(|event| event.time < start);
            let events = &events[from..];
            &events[..events.partition_point(|event| event.time < end)]
        };
        let steps = |count, window_micros, anchor, ties| Steps {
            first: self.first,
            count,
            window_micros,
            anchor,
            ties,
        };
        match self.outcome {
            Outcome::Completed { steps: all, window_micros, anchor, ties } => {
                let steps = steps(all.len(), *window_micros, *anchor, *ties);
                (f64::from(u8::from(steps.complete(within()).is_some())), 0.0)
            }
            Outcome::Elapsed { window_micros, ties, .. } => {
                match steps(2, *window_micros, Anchor::FirstTouch, *ties).complete(within()) {
                    Some((from, to)) => ((to - from) as f64 / MICROS_PER_SECOND, 1.0),
                    None => (0.0, 0.0),
                }
            }
            Outcome::Returned { days, mode, .. } => {
                let (start, returning) = (1 << self.first, 1 << (self.first + 1));
                match journey::returned(within(), start, returning, *days, *mode, end) {
                    Some(came_back) => (f64::from(u8::from(came_back)), 1.0),
                    None => (0.0, 0.0),
                }
            }
            Outcome::Did { .. }
            | Outcome::Count { .. }
            | Outcome::Sum { .. }
            | Outcome::Mean { .. } => (self.amount(events, start, end), 0.0),
            Outcome::Active { interval, measure, .. } => {
                let times = self.own(events, start, end).map(|event| event.time);
                (active(times, *interval, *measure), 0.0)
            }
            Outcome::PerSubject { aggregate, .. } => {
                let mut numbers = self.numbers(events, start, end).peekable();
                match (numbers.peek(), self.outcome.has_denominator()) {
                    (None, _) => (0.0, 0.0),
                    (Some(_), own) => (aggregate.of(numbers), f64::from(u8::from(own))),
                }
            }
            Outcome::Score { .. } => {
                let mut scores = ScoreState::default();
                self.numbers(events, start, end).for_each(|score| scores.add(score));
                let ScoreState { promoters, passives, detractors } = scores;
                let net = 100.0 * (promoters as f64 - detractors as f64);
                (net, (promoters + passives + detractors) as f64)
            }
            Outcome::Converted(spec) => {
                let mut state = ConversionState::default();
                let mut credit = Credit::new(&self.constants, spec.window_micros, 1 << self.first);
                for event in within() {
                    credit.see(*event, || Some(0), |_, found| state.add(&found));
                }
                match spec.measure {
                    ConversionMeasure::Rate => (state.converted as f64, state.bases as f64),
                    ConversionMeasure::Conversions => (state.conversions as f64, 0.0),
                }
            }
        }
    }

    /// The events of its first selector.
    fn own<'e>(
        &self,
        events: &'e [Event],
        start: i64,
        end: i64,
    ) -> impl Iterator<Item = &'e Event> + use<'e> {
        let bit = 1 << self.first;
        events
            .iter()
            .filter(move |event| event.bits & bit != 0 && event.time >= start && event.time < end)
    }

    /// Their numbers; where there is no property, one each.
    fn numbers<'e>(
        &'e self,
        events: &'e [Event],
        start: i64,
        end: i64,
    ) -> impl Iterator<Item = f64> + 'e {
        self.own(events, start, end)
            .map(|event| {
                let column = self.columns.get(event.run as usize);
                column.map_or(1.0, |column| column.get(event.row as usize))
            })
            .filter(|number| !number.is_nan())
    }

    /// What does not depend on the order of events.
    fn amount(&self, events: &[Event], start: i64, end: i64) -> f64 {
        let (mut n, mut sum) = (0u64, Sum::default());
        for event in events {
            if event.bits & (1 << self.first) == 0 || event.time < start || event.time >= end {
                continue;
            }
            match self.columns.get(event.run as usize) {
                None => n += 1,
                Some(column) => {
                    let value = column.get(event.row as usize);
                    if !value.is_nan() {
                        n += 1;
                        sum.add(value);
                    }
                }
            }
        }
        match self.outcome {
            Outcome::Did { .. } => f64::from(u8::from(n > 0)),
            Outcome::Mean { .. } if n == 0 => 0.0,
            Outcome::Mean { .. } => sum.value() / n as f64,
            Outcome::Sum { .. } => sum.value(),
            _ => n as f64,
        }
    }
}

/// In how many UTC intervals the times lie, or whether that is the wanted number.
fn active(times: impl Iterator<Item = i64>, interval: Period, measure: StickinessMeasure) -> f64 {
    let mut intervals: Vec<i64> = times.map(|time| interval.number(time)).collect();
    intervals.sort_unstable();
    intervals.dedup();
    let number = intervals.len();
    let holds = match measure {
        StickinessMeasure::Ratio => return number as f64,
        StickinessMeasure::ShareAtLeast(wanted) | StickinessMeasure::CountAtLeast(wanted) => {
            number >= wanted.max(1) as usize
        }
        StickinessMeasure::ShareExactly(wanted) | StickinessMeasure::CountExactly(wanted) => {
            number > 0 && number == wanted as usize
        }
    };
    f64::from(u8::from(holds))
}

impl Period {
    /// Number of the UTC day, week or month of an instant.
    fn number(self, micros: i64) -> i64 {
        let day = micros.div_euclid(DAY);
        match self {
            Self::Day => day,
            // 1970-01-01 was a Thursday.
            Self::Week => (day + 3).div_euclid(7),
            Self::Month => DateTime::from_timestamp_micros(micros)
                .map_or(0, |time| i64::from(time.year()) * 12 + i64::from(time.month0())),
        }
    }
}

/// Answers a [`VariantQuery`].
pub(crate) fn variants(
    snapshot: &Snapshot,
    query: &VariantQuery,
    threads: usize,
) -> Result<VariantAnswer> {
    let selectors = check(query)?;
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

/// Refuses what contradicts itself, and lists the selectors in the order of their bits: the exposure, the outcome,
/// the denominator.
fn check(query: &VariantQuery) -> Result<Vec<&EventSelector>> {
    let invalid =
        |field, problem: &str| Err(Error::InvalidQuery { field, problem: problem.to_owned() });
    let mut lengths = vec![Some(query.pre_micros), query.window_micros];
    let mut selectors = vec![&query.exposure];
    for outcome in [Some(&query.outcome), query.denominator.as_ref()].into_iter().flatten() {
        if let Outcome::Completed { window_micros, .. } | Outcome::Elapsed { window_micros, .. } =
            outcome
        {
            lengths.push(*window_micros);
        }
        if let Outcome::Converted(spec) = outcome {
            lengths.push(spec.window_micros);
            if spec.constants.len() > MAX_CONSTANTS {
                return invalid("constants", "more than 8 properties are held constant");
            }
        }
        let own = outcome.selectors();
        if own.is_empty() {
            return invalid("steps", "0 steps; a funnel has at least one");
        }
        selectors.extend(own);
    }
    if lengths.into_iter().flatten().any(i64::is_negative) {
        return invalid("window_micros, pre_micros", "a length of time is negative");
    }
    if query.outcome.has_denominator() && query.denominator.is_some() {
        return invalid("denominator", "the outcome brings its own");
    }
    if selectors.len() > u32::WIDTH {
        return invalid("steps", "more than 31 selectors beside the exposure");
    }
    Ok(selectors)
}

fn answer<B: Bits>(
    snapshot: &Snapshot,
    query: &VariantQuery,
    selectors: &[&EventSelector],
    workers: Workers<'_>,
) -> VariantAnswer {
    let mut numbering = Values::new();
    let dimension = Dimension::Property(query.variant_property.clone());
    let (mut scans, mut arms): (Vec<RunScan<'_, B>>, Vec<ValueColumn<'_>>) =
        (Vec::new(), Vec::new());
    for run in snapshot.runs() {
        let matches = scan::kept_matches(run, selectors, None, workers);
        scans.push(RunScan { run, effective: run.segment.effective(), matches });
        arms.push(ValueColumn::new(&dimension, run, &mut numbering));
    }
    let names = numbering.into_values();
    let outcome = Measure::new(snapshot, &query.outcome, 1);
    let behind = 1 + query.outcome.selectors().len();
    let denominator =
        query.denominator.as_ref().map(|outcome| Measure::new(snapshot, outcome, behind));
    let ordered = [Some(&query.outcome), query.denominator.as_ref()]
        .into_iter()
        .flatten()
        .any(Outcome::is_ordered);
    let (earliest, latest) = snapshot.effective_range().unwrap_or((i64::MAX, i64::MIN));
    let first_day = query.from_micros.max(earliest).div_euclid(DAY);
    let question = Question {
        query,
        first_day,
        arms,
        outcome,
        denominator,
        as_of: query.as_of_micros.unwrap_or(i64::MAX),
        known: query.as_of_micros.unwrap_or_else(|| latest.saturating_add(1)),
    };

    let index = snapshot.index();
    let pieces = tasks::run(workers, index.chunks.clone(), |subjects| {
        let mut piece = Piece { arms: vec![Arm::default(); names.len()], ..Piece::default() };
        let mut found = Found { exposed: false, events: Vec::new() };
        let mut scratch = Scratch::default();
        for subject in subjects {
            found.exposed = false;
            found.events.clear();
            if ordered {
                scan::walk(&scans, index.parts(subject), &mut scratch, &mut found);
            } else {
                scan::walk_unordered(&scans, index.parts(subject), &mut found);
            }
            if found.exposed {
                question.subject(&found.events, &mut piece);
            }
        }
        piece
    });
    let mut total = Piece { arms: vec![Arm::default(); names.len()], ..Piece::default() };
    for piece in pieces {
        total.arms.iter_mut().zip(piece.arms).for_each(|(mine, theirs)| mine.merge(theirs));
        total.multiple_exposures += piece.multiple_exposures;
        total.immature += piece.immature;
        total.exposures_without_variant += piece.exposures_without_variant;
    }
    let mut variants: Vec<VariantStats> = names
        .into_iter()
        .zip(total.arms)
        .filter(|(_, arm)| arm.n > 0)
        .filter_map(|(name, arm)| {
            Some(VariantStats {
                variant: name?,
                moments: arm.moments(),
                exposures_by_day: arm
                    .days
                    .into_counts()
                    .map(|(day, exposures)| (first_day + day, exposures))
                    .collect(),
            })
        })
        .collect();
    variants.sort_by(|left, right| left.variant.cmp(&right.variant));
    VariantAnswer {
        variants,
        multiple_exposures: total.multiple_exposures,
        immature: total.immature,
        exposures_without_variant: total.exposures_without_variant,
        events_scanned: snapshot.events(),
        watermark: snapshot.watermark(),
    }
}

/// The events of a subject that matter.
struct Found {
    exposed: bool,
    events: Vec<Event>,
}

impl Visitor for Found {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        self.exposed |= event.bits & EXPOSURE != 0;
        self.events.push(event);
        ControlFlow::Continue(())
    }
}

struct Question<'a> {
    query: &'a VariantQuery,
    /// The UTC day, since the epoch, before which there is no exposure.
    first_day: i64,
    /// Number of the variant, per run.
    arms: Vec<ValueColumn<'a>>,
    outcome: Measure<'a>,
    denominator: Option<Measure<'a>>,
    /// Events from here on do not count.
    as_of: i64,
    /// Events before this are known: a day that has not begun by then is no day on which somebody stayed away.
    known: i64,
}

impl Question<'_> {
    fn subject(&self, events: &[Event], piece: &mut Piece) {
        let query = self.query;
        let until = query.to_micros.min(self.as_of);
        let (mut first, mut arm, mut conflict) = (i64::MAX, 0, false);
        for event in events {
            if event.bits & EXPOSURE == 0 || event.time < query.from_micros || event.time >= until {
                continue;
            }
            let seen = self.arms[event.run as usize].get(event.row as usize);
            if seen == 0 {
                piece.exposures_without_variant += 1;
                continue;
            }
            conflict |= arm != 0 && arm != seen;
            arm = seen;
            first = first.min(event.time);
        }
        if arm == 0 {
            return;
        }
        if conflict {
            piece.multiple_exposures += 1;
            return;
        }
        let end = query.window_micros.map_or(i64::MAX, |window| first.saturating_add(window));
        if query.require_full_window && query.window_micros.is_some() && end > self.as_of {
            piece.immature += 1;
            return;
        }
        let end = end.min(self.known);
        let before = first.saturating_sub(query.pre_micros);
        let (y, own) = self.outcome.value(events, first, end);
        let (mut x, mut own_before) = (0.0, 0.0);
        if query.pre_micros > 0 {
            (x, own_before) = self.outcome.value(events, before, first);
        }
        let (d, xd) = match &self.denominator {
            None => (own, own_before),
            Some(measure) => {
                let before =
                    if query.pre_micros > 0 { measure.value(events, before, first).0 } else { 0.0 };
                (measure.value(events, first, end).0, before)
            }
        };
        let day = first.div_euclid(DAY) - self.first_day;
        piece.arms[arm as usize].add(day, y, d, x, xd);
    }
}
