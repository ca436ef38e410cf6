//! Sufficient statistics per variant after first exposure.

use std::{collections::HashMap, ops::ControlFlow};

use super::{
    partial::Sum,
    scan::{self, Event, RunScan, Visitor},
    space::{NumberColumn, ValueColumn, Values},
    tasks,
};
use crate::{
    error::{Error, Result},
    query::{Dimension, EventSelector},
    segment::Seeded,
    snapshot::Snapshot,
    variants::{Moments, Outcome, VariantAnswer, VariantQuery, VariantStats},
};

const EXPOSURE: u32 = 1;
const OUTCOME: u32 = 2;
const DENOMINATOR: u32 = 4;
const DAY: i64 = 86_400_000_000;

/// One arm while it grows: subjects, and sums in the order of [`Terms`].
#[derive(Default, Clone)]
struct Arm {
    n: u64,
    sums: [Sum; TERMS],
    days: HashMap<i64, u64, Seeded>,
}

const TERMS: usize = 14;

impl Arm {
    fn add(&mut self, day: i64, y: f64, d: f64, x: f64, xd: f64) {
        self.n += 1;
        *self.days.entry(day).or_default() += 1;
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
        self.sums.iter_mut().zip(terms).for_each(|(sum, term)| sum.add(term));
    }

    fn merge(&mut self, other: Self) {
        self.n += other.n;
        self.sums.iter_mut().zip(other.sums).for_each(|(mine, theirs)| mine.merge(theirs));
        for (day, count) in other.days {
            *self.days.entry(day).or_default() += count;
        }
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
struct Measure<'a> {
    outcome: &'a Outcome,
    bit: u32,
    columns: Vec<NumberColumn<'a>>,
}

impl<'a> Measure<'a> {
    fn new(snapshot: &'a Snapshot, outcome: &'a Outcome, bit: u32) -> Self {
        let columns = match outcome {
            Outcome::Did { .. } | Outcome::Count { .. } => Vec::new(),
            Outcome::Sum { property, .. } | Outcome::Mean { property, .. } => {
                snapshot.runs().iter().map(|run| NumberColumn::new(property, run)).collect()
            }
        };
        Self { outcome, bit, columns }
    }

    /// The outcome over the events in `[start, end)`.
    fn value(&self, events: &[Event], start: i64, end: i64) -> f64 {
        let (mut n, mut sum) = (0u64, Sum::default());
        for event in events {
            if event.bits & self.bit == 0 || event.time < start || event.time >= end {
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
            Outcome::Count { .. } => n as f64,
            Outcome::Sum { .. } => sum.value(),
            Outcome::Mean { .. } if n == 0 => 0.0,
            Outcome::Mean { .. } => sum.value() / n as f64,
        }
    }
}

fn event_of(outcome: &Outcome) -> &EventSelector {
    match outcome {
        Outcome::Did { event }
        | Outcome::Count { event }
        | Outcome::Sum { event, .. }
        | Outcome::Mean { event, .. } => event,
    }
}

/// Answers a [`VariantQuery`].
pub(crate) fn variants(
    snapshot: &Snapshot,
    query: &VariantQuery,
    threads: usize,
) -> Result<VariantAnswer> {
    if query.pre_micros < 0 || query.window_micros.is_some_and(|window| window < 0) {
        let problem = "a length of time is negative".to_owned();
        return Err(Error::InvalidQuery { field: "window_micros, pre_micros", problem });
    }
    let threads = if snapshot.events() < tasks::WORTH_A_THREAD { 1 } else { threads.max(1) };
    let mut selectors = vec![&query.exposure, event_of(&query.outcome)];
    selectors.extend(query.denominator.as_ref().map(event_of));
    let mut numbering = Values::new();
    let dimension = Dimension::Property(query.variant_property.clone());
    let (mut scans, mut arms): (Vec<RunScan<'_, u8>>, Vec<ValueColumn<'_>>) =
        (Vec::new(), Vec::new());
    for run in snapshot.runs() {
        let matches = scan::matches(run, &selectors, None, threads);
        scans.push(RunScan { run, effective: run.segment.effective(), matches });
        arms.push(ValueColumn::new(&dimension, run, &mut numbering));
    }
    let names = numbering.into_values();
    let outcome = Measure::new(snapshot, &query.outcome, OUTCOME);
    let denominator =
        query.denominator.as_ref().map(|outcome| Measure::new(snapshot, outcome, DENOMINATOR));
    let question = Question {
        query,
        arms,
        outcome,
        denominator,
        as_of: query.as_of_micros.unwrap_or(i64::MAX),
    };

    let index = snapshot.index();
    let pieces = tasks::run(threads, index.chunks.clone(), |subjects| {
        let mut piece = Piece { arms: vec![Arm::default(); names.len()], ..Piece::default() };
        let mut found = Found { exposed: false, events: Vec::new() };
        for subject in subjects {
            found.exposed = false;
            found.events.clear();
            scan::walk_unordered(&scans, index.parts(subject), &mut found);
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
                exposures_by_day: arm.days.into_iter().collect(),
            })
        })
        .collect();
    variants.sort_by(|left, right| left.variant.cmp(&right.variant));
    Ok(VariantAnswer {
        variants,
        multiple_exposures: total.multiple_exposures,
        immature: total.immature,
        exposures_without_variant: total.exposures_without_variant,
        events_scanned: snapshot.events(),
        watermark: snapshot.watermark(),
    })
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
    /// Number of the variant, per run.
    arms: Vec<ValueColumn<'a>>,
    outcome: Measure<'a>,
    denominator: Option<Measure<'a>>,
    as_of: i64,
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
        let end = end.min(self.as_of);
        let before = first.saturating_sub(query.pre_micros);
        let y = self.outcome.value(events, first, end);
        let x = if query.pre_micros > 0 { self.outcome.value(events, before, first) } else { 0.0 };
        let (d, xd) = match &self.denominator {
            None => (0.0, 0.0),
            Some(measure) => {
                let pre =
                    if query.pre_micros > 0 { measure.value(events, before, first) } else { 0.0 };
                (measure.value(events, first, end), pre)
            }
        };
        piece.arms[arm as usize].add(first.div_euclid(DAY), y, d, x, xd);
    }
}
