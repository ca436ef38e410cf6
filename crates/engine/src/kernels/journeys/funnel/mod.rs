//! Funnels in all their modes. The plain ordered form has a kernel of its own, which is the fast one.

mod finish;
mod largest;
mod machine;
mod plan;

use std::{collections::BTreeMap, ops::Range};

use serde::{Deserialize, Serialize};

use super::{Ground, collect::Collector, invalid, members::Page};
use crate::{
    calendar::{Buckets, Grain},
    error::Result,
    journeys::{
        Attribution, CountBy, Coverage, ExclusionMode, FunnelCell, FunnelQuery, MemberPage,
        Members, StepOutcome,
    },
    kernels::{
        gather::Gathered,
        partial::{Leaf, Merge, Sum, bytes_of},
        scan::RunScan,
        space::{Locator, NumberColumn, Space},
        tasks,
    },
    query::Anchor,
    snapshot::Snapshot,
};

pub(super) use finish::summary;
use largest::{Largest, Sizes};
use machine::{Attempts, Pass, Taken};
use plan::{LastSession, Plan, Seen};

/// What one data set contributes to a funnel: merge those of several, then finish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelPartial {
    total: FunnelState,
    groups: Leaf<FunnelState>,
    trend: Leaf<FunnelState>,
    /// The groups beyond those that the answer tells apart, where they did not fit into memory: of the whole range, and
    /// by bucket.
    others: Option<FunnelState>,
    other_trend: BTreeMap<u64, FunnelState>,
    coverage: Coverage,
}

impl FunnelPartial {
    /// Adds the contribution of other subjects to the same question; no subject may be in both.
    pub fn merge(&mut self, other: Self) {
        self.total.merge(other.total);
        self.groups.merge(other.groups);
        self.trend.merge(other.trend);
        if let Some(others) = other.others {
            self.others.get_or_insert_default().merge(others);
        }
        for (bucket, others) in other.other_trend {
            self.other_trend.entry(bucket).or_default().merge(others);
        }
        self.coverage.merge(other.coverage);
    }
}

/// Units of one row.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct FunnelState {
    counts: Vec<u64>,
    /// Per step, microseconds from the last step before it that is not optional.
    micros: Vec<Vec<i64>>,
    /// Microseconds between the two steps asked for.
    between: Vec<i64>,
    open: u64,
    /// Per step, how many have the number asked for, and its sum; empty without one.
    values: Vec<(u64, Sum)>,
}

impl Merge for FunnelState {
    fn merge(&mut self, other: Self) {
        if self.counts.is_empty() {
            *self = other;
            return;
        }
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        for (mine, theirs) in self.micros.iter_mut().zip(other.micros) {
            mine.extend(theirs);
        }
        self.between.extend(other.between);
        self.open += other.open;
        for (mine, theirs) in self.values.iter_mut().zip(other.values) {
            mine.0 += theirs.0;
            mine.1.merge(theirs.1);
        }
    }

    fn heap_bytes(&self) -> u64 {
        let micros = self.micros.iter().map(|micros| bytes_of(micros)).sum::<u64>();
        let lists = bytes_of(&self.counts) + bytes_of(&self.micros) + bytes_of(&self.values);
        lists + micros + bytes_of(&self.between)
    }
}

impl FunnelState {
    fn add(&mut self, plan: &Plan<'_>, numbers: Option<&Numbers<'_>>, unit: &Unit<'_>) {
        self.counts.resize(plan.steps, 0);
        self.micros.resize(plan.steps, Vec::new());
        for (step, taken) in unit.taken.iter().enumerate().filter(|(_, taken)| taken.is()) {
            self.counts[step] += 1;
            if let Some(previous) = plan.previous(step) {
                self.micros[step].push(apart(&unit.taken[previous], taken));
            }
        }
        let (from, to) = plan.query.between;
        if unit.taken[from].is() && unit.taken[to].is() {
            self.between.push(apart(&unit.taken[from], &unit.taken[to]));
        }
        self.open += u64::from(unit.open);
        if let Some(numbers) = numbers {
            self.values.resize(plan.steps, Default::default());
            for (step, (n, sum)) in self.values.iter_mut().enumerate() {
                if let Some(number) = numbers.at(step, unit.taken) {
                    *n += 1;
                    sum.add(number);
                }
            }
        }
    }
}

/// The numbers that are added up.
struct Numbers<'a> {
    /// Per run.
    columns: Vec<NumberColumn<'a>>,
    /// The step whose event has them; `None` for every step itself.
    step: Option<usize>,
}

impl Numbers<'_> {
    /// The number that counts for a step of an attempt, if it took the step.
    fn at(&self, step: usize, taken: &[Taken]) -> Option<f64> {
        let event = &taken[self.step.unwrap_or(step)];
        if !taken[step].is() || !event.is() {
            return None;
        }
        let number = self.columns[event.run as usize].get(event.row as usize);
        (!number.is_nan()).then_some(number)
    }
}

/// Time between two steps; a step that was taken from shortly before the other is no time after it.
fn apart(from: &Taken, to: &Taken) -> i64 {
    to.time.saturating_sub(from.time).max(0)
}

/// The attempt that counts for a unit.
struct Unit<'a> {
    taken: &'a [Taken],
    open: bool,
}

/// The row that a unit counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Total,
    Group(u64),
    /// Bucket and group, as a cell.
    Trend(u64),
}

/// One question over one snapshot.
struct Kernel<'a> {
    ground: Ground<'a>,
    plan: Plan<'a>,
    scans: Vec<RunScan<'a, u32>>,
    locator: Locator<'a>,
    constant: Option<Locator<'a>>,
    numbers: Option<Numbers<'a>>,
    /// Buckets of the trend; the range itself without one.
    buckets: Buckets,
}

/// Room for one subject after another.
#[derive(Default)]
struct Room {
    collector: Collector,
    seen: Vec<Seen>,
    attempts: Attempts,
}

impl<'a> Kernel<'a> {
    fn new(snapshot: &'a Snapshot, query: &'a FunnelQuery, threads: usize) -> Result<Self> {
        let ground = Ground::new(snapshot, &query.scope, threads)?;
        let plan = Plan::new(query)?;
        let selectors: Vec<_> = plan.selectors.iter().collect();
        let scans = ground.scan_with(&selectors, plan.filtered_scan)?;
        let buckets = ground.buckets(query.trend.unwrap_or(Grain::Total))?;
        let locator = Locator::over(snapshot, &query.scope.breakdowns, buckets.clone());
        let constant = (!query.constant.is_empty())
            .then(|| Locator::over(snapshot, &query.constant, buckets.clone()));
        let numbers = query.value.as_ref().map(|value| Numbers {
            columns: snapshot
                .runs()
                .iter()
                .map(|run| NumberColumn::new(&value.property, run))
                .collect(),
            step: value.step,
        });
        Ok(Self { ground, plan, scans, locator, constant, numbers, buckets })
    }

    /// Shows every unit of a subject with every row that it counts in.
    fn subject(&self, subject: u32, room: &mut Room, see: &mut impl FnMut(Place, &Unit<'_>)) {
        let Room { collector, seen, attempts } = room;
        let parts = self.ground.snapshot.index().parts(subject);
        if parts.is_empty() {
            return;
        }
        let events = collector.collect(&self.scans, parts, self.ground.as_of);
        if events.is_empty() {
            return;
        }
        let last = self.plan.prepare(events, self.constant.as_ref(), seen);
        let query = self.plan.query;
        let broken_down = !query.scope.breakdowns.is_empty();
        let by_value = broken_down && query.attribution == Attribution::All;
        self.attempt(seen, attempts);
        self.units(attempts, last, |by_bucket, bucket, unit| {
            let group = if by_value { None } else { self.group(unit.taken) };
            if !by_bucket {
                see(Place::Total, unit);
                if let Some(group) = group.filter(|_| broken_down) {
                    see(Place::Group(group), unit);
                }
            }
            if let Some(group) = group
                && self.counts_in_trend(by_bucket)
            {
                see(Place::Trend(self.cell(bucket, group)), unit);
            }
        });
        if !by_value {
            return;
        }
        let value = |event: &Seen| self.locator.combination(event.run, event.row as usize);
        for (group, events) in split(&self.plan, seen, value) {
            self.attempt(&events, attempts);
            self.units(attempts, last, |by_bucket, bucket, unit| {
                if !by_bucket {
                    see(Place::Group(group), unit);
                }
                if self.counts_in_trend(by_bucket) {
                    see(Place::Trend(self.cell(bucket, group)), unit);
                }
            });
        }
    }

    /// Subjects count in a trend once per bucket, other units once, in the bucket in which they start.
    fn counts_in_trend(&self, by_bucket: bool) -> bool {
        self.plan.query.trend.is_some()
            && by_bucket == (self.plan.query.count_by == CountBy::Uniques)
    }

    fn cell(&self, bucket: usize, group: u64) -> u64 {
        bucket as u64 * self.locator.space.combinations() + group
    }

    /// Every attempt in these events.
    fn attempt(&self, seen: &[Seen], attempts: &mut Attempts) {
        let pass = Pass {
            plan: &self.plan,
            buckets: &self.buckets,
            from: self.ground.scope.from_micros,
            until: self.ground.until,
        };
        attempts.clear();
        let query = self.plan.query;
        let per_value = self.constant.is_some()
            && query.anchor == Anchor::BestAttempt
            && query.count_by != CountBy::Totals;
        if per_value {
            for (_, events) in split(&self.plan, seen, |event| event.key) {
                attempts.run(&pass, &events);
            }
        } else {
            attempts.run(&pass, seen);
        }
    }

    /// Shows the attempts that count: for units as such and, of subjects in a trend, once more per bucket.
    fn units(
        &self,
        attempts: &Attempts,
        last: LastSession,
        mut see: impl FnMut(bool, usize, &Unit<'_>),
    ) {
        if attempts.len() == 0 {
            return;
        }
        let query = self.plan.query;
        let order = attempts.in_order();
        let mut pick = |by_bucket: bool, unit: &[usize]| {
            let best = match query.anchor {
                Anchor::FirstTouch => unit.first().copied(),
                Anchor::BestAttempt => {
                    unit.iter().copied().max_by_key(|attempt| attempts.rank(*attempt, &self.plan))
                }
            };
            let Some(best) = best else { return };
            let counting = match query.anchor {
                Anchor::FirstTouch => std::slice::from_ref(&unit[0]),
                Anchor::BestAttempt => unit,
            };
            if query.exclusion_mode == ExclusionMode::Subject
                && counting.iter().any(|attempt| attempts.get(*attempt).excluded)
            {
                return;
            }
            let taken = attempts.taken(best, self.plan.steps);
            let converted = taken[self.plan.steps - 1].is();
            let may =
                |attempt: &usize| attempts.is_open(*attempt, &self.plan, self.ground.as_of, last);
            let open = !converted && counting.iter().any(may);
            see(by_bucket, attempts.get(best).bucket, &Unit { taken, open });
        };
        match query.count_by {
            CountBy::Uniques => {
                pick(false, &order);
                if query.trend.is_some() {
                    let bucket = |attempt: &usize| attempts.get(*attempt).bucket;
                    order
                        .chunk_by(|left, right| bucket(left) == bucket(right))
                        .for_each(|unit| pick(true, unit));
                }
            }
            CountBy::Totals => order.chunks(1).for_each(|unit| pick(false, unit)),
            CountBy::Sessions => {
                let session = |attempt: &usize| attempts.get(*attempt).session;
                order
                    .chunk_by(|left, right| session(left) == session(right))
                    .for_each(|unit| pick(false, unit));
            }
        }
    }

    /// The group of an attempt; `None` when it is in none.
    fn group(&self, taken: &[Taken]) -> Option<u64> {
        let dimensions = self.ground.scope.breakdowns.len();
        let value =
            |taken: &Taken, dimension| self.locator.value(dimension, taken.run, taken.row as usize);
        let mut values = [0u32; MAX_BREAKDOWNS];
        for (dimension, slot) in values.iter_mut().take(dimensions).enumerate() {
            let mut defined = taken
                .iter()
                .filter(|taken| taken.is())
                .map(|taken| value(taken, dimension))
                .filter(|value| *value != 0);
            *slot = match self.plan.query.attribution {
                Attribution::FirstTouch | Attribution::All => defined.next().unwrap_or(0),
                Attribution::LastTouch => defined.next_back().unwrap_or(0),
                Attribution::Step(step) => {
                    let value = Some(&taken[step])
                        .filter(|taken| taken.is())
                        .map(|at| value(at, dimension));
                    value.filter(|value| *value != 0)?
                }
            };
        }
        Some(self.locator.space.number(values[..dimensions].iter().copied()))
    }
}

/// Most dimensions.
const MAX_BREAKDOWNS: usize = 8;

/// The events by the value that their steps have: of each value its own steps, and everything that ends attempts
/// whatever its value.
fn split(plan: &Plan<'_>, seen: &[Seen], value: impl Fn(&Seen) -> u64) -> Vec<(u64, Vec<Seen>)> {
    let others: Vec<Seen> = seen
        .iter()
        .map(|event| Seen { bits: event.bits & !plan.step_mask, ..*event })
        .filter(|event| event.bits != 0)
        .collect();
    let mut steps: Vec<(u64, Seen)> = seen
        .iter()
        .filter(|event| event.bits & plan.step_mask != 0)
        .map(|event| (value(event), *event))
        .collect();
    steps.sort_by_key(|(value, event)| (*value, event.order));
    steps
        .chunk_by(|left, right| left.0 == right.0)
        .map(|of_value| {
            let mut events: Vec<Seen> = of_value.iter().map(|(_, event)| *event).collect();
            let own = |order: u32| of_value.binary_search_by_key(&order, |(_, event)| event.order);
            events.extend(others.iter().filter(|event| own(event.order).is_err()));
            events.sort_by_key(|event| event.order);
            (of_value[0].0, events)
        })
        .collect()
}

/// Runs a funnel over a snapshot.
pub(crate) fn funnel_partial(
    snapshot: &Snapshot,
    query: &FunnelQuery,
    threads: usize,
) -> Result<FunnelPartial> {
    if query.scope.breakdowns.len() > MAX_BREAKDOWNS {
        return Err(invalid("breakdowns", format!("more than {MAX_BREAKDOWNS}")));
    }
    let kernel = Kernel::new(snapshot, query, threads)?;
    let space = kernel.locator.space.clone();
    let everything = Space { buckets: kernel.ground.buckets(Grain::Total)?, ..space.clone() };
    let (workers, combinations) = (kernel.ground.workers(), space.combinations());
    let work = |subjects: Range<u32>| {
        let mut room = Room::default();
        let mut total = FunnelState::default();
        let mut groups = BTreeMap::<u64, FunnelState>::new();
        let mut trend = BTreeMap::<u64, FunnelState>::new();
        for subject in subjects {
            kernel.subject(subject, &mut room, &mut |place, unit| {
                let state = match place {
                    Place::Total => &mut total,
                    Place::Group(group) => groups.entry(group).or_default(),
                    Place::Trend(cell) => trend.entry(cell).or_default(),
                };
                state.add(&kernel.plan, kernel.numbers.as_ref(), unit);
            });
        }
        (total, groups, trend)
    };
    let mut total = FunnelState::default();
    let (mut groups, mut trend) =
        (Gathered::nothing(combinations), Gathered::nothing(combinations));
    let (mut sizes, mut trend_sizes) = (Sizes::default(), Sizes::default());
    let chunks = snapshot.index().chunks.clone();
    tasks::run_into(workers, chunks, work, |(of_piece, by_group, by_cell)| {
        if !of_piece.counts.is_empty() {
            total.merge(of_piece);
        }
        for (group, state) in by_group {
            sizes.add(group, &state);
            groups.add(workers, group, state);
        }
        for (cell, state) in by_cell {
            trend_sizes.add(cell % combinations, &state);
            trend.add(workers, cell, state);
        }
    });
    let (mut others, mut other_trend) = (None, BTreeMap::new());
    let (groups, trend) = if groups.is_spilled() || trend.is_spilled() {
        let largest = Largest::of(query, &space, &sizes, &trend_sizes);
        let (groups, of_range) = largest.groups(workers, everything, groups);
        let (trend, by_bucket) = largest.trend(workers, space, trend);
        (others, other_trend) = (of_range, by_bucket);
        (groups, trend)
    } else {
        let as_it_is = |_: &Space, _, state| state;
        let groups = groups.into_leaf(workers, everything, as_it_is);
        (groups, trend.into_leaf(workers, space, as_it_is))
    };
    kernel.ground.check()?;
    let coverage = kernel.ground.coverage();
    Ok(FunnelPartial { total, groups, trend, others, other_trend, coverage })
}

/// The subjects behind one number of a funnel.
pub(crate) fn funnel_members(
    snapshot: &Snapshot,
    query: &FunnelQuery,
    cell: &FunnelCell,
    page: &MemberPage,
    threads: usize,
) -> Result<Members> {
    let kernel = Kernel::new(snapshot, query, threads)?;
    let place = place(&kernel, cell)?;
    let previous = kernel.plan.previous(cell.step);
    if cell.outcome == StepOutcome::Dropped && previous.is_none() {
        return Err(invalid("step", "nobody drops out at the first step"));
    }
    let pages = kernel.ground.over_subjects(|subjects| {
        let mut room = Room::default();
        let mut found = Page::new(snapshot, page);
        for subject in subjects {
            let mut is_member = false;
            kernel.subject(subject, &mut room, &mut |at, unit| {
                if Some(at) != place {
                    return;
                }
                let reached = unit.taken[cell.step].is();
                is_member |= match cell.outcome {
                    StepOutcome::Reached => reached,
                    StepOutcome::Dropped => {
                        !reached && previous.is_some_and(|previous| unit.taken[previous].is())
                    }
                };
            });
            if is_member {
                found.take(subject);
            }
        }
        found
    });
    Ok(Page::finish(pages, page.limit))
}

/// The row that a cell names; `None` when it names values that do not occur.
fn place(kernel: &Kernel<'_>, cell: &FunnelCell) -> Result<Option<Place>> {
    if cell.step >= kernel.plan.steps {
        return Err(invalid(
            "step",
            format!("{}; the funnel has {}", cell.step + 1, kernel.plan.steps),
        ));
    }
    let dimensions = kernel.ground.scope.breakdowns.len();
    let group = match &cell.dimensions {
        Some(values) if values.len() != dimensions => {
            return Err(invalid(
                "dimensions",
                format!("{} values for {dimensions} breakdowns", values.len()),
            ));
        }
        Some(values) => kernel.locator.space.find(values),
        None if dimensions > 0 && cell.bucket_start.is_some() => {
            return Err(invalid("dimensions", "are needed: each row of the trend has values"));
        }
        None => Some(0),
    };
    let Some(group) = group else { return Ok(None) };
    match cell.bucket_start {
        Some(start) if kernel.plan.query.trend.is_some() => {
            let buckets = &kernel.buckets;
            let bucket = (0..buckets.len()).find(|bucket| buckets.start(*bucket) == start);
            Ok(bucket.map(|bucket| Place::Trend(kernel.cell(bucket, group))))
        }
        Some(_) => Err(invalid("bucket_time", "the question has no trend")),
        None if cell.dimensions.is_some() && dimensions > 0 => Ok(Some(Place::Group(group))),
        None => Ok(Some(Place::Total)),
    }
}
