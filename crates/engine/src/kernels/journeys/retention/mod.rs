//! Who comes back: per start event and bracket, the stretch of time in which a return counts.

mod any_return;
mod by_period;
mod periods;

use serde::{Deserialize, Serialize};

use by_period::ByPeriod;

use super::{Ground, collect::Collector, invalid, members::Page};
use crate::{
    calendar::{Buckets, Grain},
    error::Result,
    journeys::{
        Bracket, Clock, CohortRow, Cohorts, Coverage, MemberPage, Members, RetentionAnswer,
        RetentionCellKey, RetentionMean, RetentionMode, RetentionQuery, RetentionTableCell, Unit,
    },
    kernels::{
        gather::Gathered,
        partial::{Leaf, Merge, Sum, bytes_of},
        scan::{Event, RunScan},
        space::{Locator, NumberColumn},
    },
    query::Entry,
    snapshot::{Part, Snapshot},
};

const START: u32 = 1;
const RETURN: u32 = 2;

/// Most brackets.
const MAX_BRACKETS: usize = 400;

/// Furthest unit.
const MAX_UNIT: u32 = 100_000;

const HOUR: i64 = 3_600_000_000;

/// What one data set contributes to a retention table: merge those of several, then finish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetentionTablePartial {
    cohorts: Leaf<CohortState>,
    coverage: Coverage,
}

impl RetentionTablePartial {
    /// Adds the contribution of other subjects to the same question; no subject may be in both.
    pub fn merge(&mut self, other: Self) {
        self.cohorts.merge(other.cohorts);
        self.coverage.merge(other.coverage);
    }

    /// The answer.
    pub fn finish(self, query: &RetentionQuery) -> RetentionAnswer {
        let brackets = query.brackets.len();
        let Leaf { space, mut cells } = self.cohorts;
        if query.scope.breakdowns.is_empty() {
            for bucket in 0..space.buckets.len() as u64 {
                cells.entry(bucket).or_default();
            }
        }
        let mut cohorts: Vec<CohortRow> = cells
            .into_iter()
            .map(|(cell, mut state)| {
                let (bucket, dimensions) = space.decode(cell);
                state.cells.resize(brackets, BracketState::default());
                let by_time = query.cohorts != Cohorts::One;
                CohortRow {
                    bucket_start: by_time.then(|| space.buckets.start(bucket)),
                    dimensions,
                    entered: state.entered,
                    cells: state.cells.iter().map(|cell| cell.finish(state.entered)).collect(),
                }
            })
            .collect();
        cohorts.sort_by(|left, right| {
            let key = |row: &CohortRow| {
                let values = row.dimensions.iter().map(|value| (value.is_none(), value.clone()));
                (row.bucket_start, values.collect::<Vec<_>>())
            };
            key(left).cmp(&key(right))
        });
        let mean = (0..brackets).map(|bracket| mean(&cohorts, bracket)).collect();
        RetentionAnswer { cohorts, mean, coverage: self.coverage }
    }
}

/// A column over the cohorts whose cell is mature; an empty cohort has nothing to say.
fn mean(cohorts: &[CohortRow], bracket: usize) -> RetentionMean {
    let mature = || {
        let cells = cohorts.iter().map(|cohort| &cohort.cells[bracket]);
        cells.filter(|cell| cell.mature && cell.eligible > 0)
    };
    let cohorts = mature().count() as u64;
    let eligible: u64 = mature().map(|cell| cell.eligible).sum();
    let retained: u64 = mature().map(|cell| cell.retained).sum();
    let value: f64 = mature().map(|cell| cell.value).sum();
    let rates: f64 = mature().filter_map(|cell| cell.rate).sum();
    let of = |part: f64, whole: u64| (whole > 0).then(|| part / whole as f64);
    RetentionMean {
        cohorts,
        eligible,
        retained,
        rate: of(retained as f64, eligible),
        simple_rate: of(rates, cohorts),
        value_per_subject: of(value, eligible),
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct CohortState {
    entered: u64,
    cells: Vec<BracketState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct BracketState {
    eligible: u64,
    retained: u64,
    begun: u64,
    begun_retained: u64,
    value: Sum,
}

impl BracketState {
    fn finish(&self, entered: u64) -> RetentionTableCell {
        let of = |part: f64| (self.eligible > 0).then(|| part / self.eligible as f64);
        RetentionTableCell {
            eligible: self.eligible,
            retained: self.retained,
            rate: of(self.retained as f64),
            value: self.value.value(),
            value_per_subject: of(self.value.value()),
            begun: self.begun,
            begun_retained: self.begun_retained,
            mature: self.eligible == entered,
        }
    }
}

impl Merge for CohortState {
    fn merge(&mut self, other: Self) {
        self.entered += other.entered;
        self.cells.resize(self.cells.len().max(other.cells.len()), BracketState::default());
        for (mine, theirs) in self.cells.iter_mut().zip(other.cells) {
            mine.eligible += theirs.eligible;
            mine.retained += theirs.retained;
            mine.begun += theirs.begun;
            mine.begun_retained += theirs.begun_retained;
            mine.value.merge(theirs.value);
        }
    }

    fn heap_bytes(&self) -> u64 {
        bytes_of(&self.cells)
    }
}

/// What a start event says about one bracket that has begun.
#[derive(Debug, Clone, Copy)]
struct Judged {
    over: bool,
    came_back: bool,
    value: f64,
}

/// `None` before the bracket has begun.
type Outcome = Option<Judged>;

struct Kernel<'a> {
    ground: Ground<'a>,
    query: &'a RetentionQuery,
    scans: Vec<RunScan<'a, u32>>,
    locator: Locator<'a>,
    /// Units of the calendar that hold every start and return; `None` when clocks roll, or nothing is known.
    calendar: Option<Buckets>,
    values: Vec<NumberColumn<'a>>,
    /// Whether any event is a return that counts, on a calendar; the scans are of starts only then.
    any_return: bool,
}

/// What a bracket covers for the starts of one unit: from, until, and the units of the calendar.
#[derive(Clone)]
struct Stretch {
    from: i64,
    until: i64,
    units: std::ops::Range<usize>,
}

/// A start that counts.
struct Start<'e> {
    event: &'e Event,
    /// Its place among the events of the subject.
    order: usize,
    /// Number of its values of the breakdowns.
    group: u64,
    cell: u64,
}

/// A return event of the subject at hand.
#[derive(Clone, Copy)]
struct Return {
    time: i64,
    order: usize,
    value: f64,
    group: u64,
}

#[derive(Default)]
struct Room {
    collector: Collector,
    returns: Vec<Return>,
    outcomes: Vec<Outcome>,
    /// Returns by unit of the calendar, where any event is one.
    counts: Vec<u64>,
    /// By the unit of the start.
    stretches: Vec<Vec<Stretch>>,
}

impl<'a> Kernel<'a> {
    fn new(snapshot: &'a Snapshot, query: &'a RetentionQuery, threads: usize) -> Result<Self> {
        check(query)?;
        let ground = Ground::new(snapshot, &query.scope, threads)?;
        let buckets = ground.buckets(query.cohorts.grain())?;
        let locator = Locator::over(snapshot, &query.scope.breakdowns, buckets);
        let earliest = snapshot.effective_range().map_or(i64::MAX, |(earliest, _)| earliest);
        let first = query.scope.from_micros.max(earliest);
        let mut calendar = None;
        if query.clock == Clock::Calendar && first < ground.as_of {
            let grain = match query.unit {
                Unit::Hour => Grain::Hour,
                Unit::Day => Grain::Day,
                Unit::Week => Grain::Week,
                Unit::Month => Grain::Month,
            };
            calendar = Some(Buckets::covering(first, ground.as_of, query.scope.zone, grain)?);
        }
        let any_return = calendar.is_some()
            && query.value.is_none()
            && !query.same_values
            && any_return::is_any(&ground.scan(&[&query.returning])?);
        let scans = if any_return {
            ground.scan(&[&query.start])?
        } else {
            ground.scan(&[&query.start, &query.returning])?
        };
        let values = match &query.value {
            None => Vec::new(),
            Some(path) => snapshot.runs().iter().map(|run| NumberColumn::new(path, run)).collect(),
        };
        Ok(Self { ground, query, scans, locator, calendar, values, any_return })
    }

    /// Shows every start of a subject that counts: its cell, and what it says about each bracket.
    fn subject(&self, subject: u32, room: &mut Room, see: &mut impl FnMut(u64, &[Outcome])) {
        let parts = self.ground.snapshot.index().parts(subject);
        if parts.is_empty() {
            return;
        }
        let Room { collector, returns, outcomes, counts: by_unit, stretches } = room;
        let events = collector.collect(&self.scans, parts, self.ground.as_of);
        returns.clear();
        returns.extend(
            events.iter().enumerate().filter(|(_, event)| event.bits & RETURN != 0).map(
                |(order, event)| Return {
                    time: event.time,
                    order,
                    value: self.value(event),
                    group: self.locator.combination(event.run, event.row as usize),
                },
            ),
        );
        self.starts(events, |start| {
            if self.any_return {
                self.judge_any(parts, start.event, by_unit, stretches, outcomes);
            } else {
                self.judge(start.event.time, start.order, start.group, returns, outcomes);
            }
            see(start.cell, outcomes);
        });
    }

    /// Shows the starts that count among the events of a subject.
    #[inline(always)]
    fn starts(&self, events: &[Event], mut see: impl FnMut(Start<'_>)) {
        let (mut seen, mut last_bucket) = (false, None);
        for (order, event) in events.iter().enumerate() {
            if event.bits & START == 0 {
                continue;
            }
            let first = !std::mem::replace(&mut seen, true);
            if event.time < self.ground.scope.from_micros || event.time >= self.ground.until {
                if first && self.query.entry == Entry::FirstEver {
                    return;
                }
                continue;
            }
            let bucket = self.locator.space.buckets.locate(event.time);
            let counts = match self.query.entry {
                Entry::PerBucket => last_bucket != Some(bucket),
                Entry::FirstInRange | Entry::FirstEver => last_bucket.is_none(),
            };
            if !counts {
                continue;
            }
            last_bucket = Some(bucket);
            let group = self.locator.combination(event.run, event.row as usize);
            let cell = bucket as u64 * self.locator.space.combinations() + group;
            see(Start { event, order, group, cell });
        }
    }

    fn value(&self, event: &Event) -> f64 {
        let Some(column) = self.values.get(event.run as usize) else { return 1.0 };
        let value = column.get(event.row as usize);
        if value.is_nan() { 0.0 } else { value }
    }

    /// What a start says about each bracket.
    fn judge(
        &self,
        start: i64,
        order: usize,
        group: u64,
        returns: &[Return],
        outcomes: &mut Vec<Outcome>,
    ) {
        outcomes.clear();
        let after = &returns[returns.partition_point(|event| event.order < order)..];
        let counts = |event: &Return| !self.query.same_values || event.group == group;
        let mut on_every = true;
        for bracket in &self.query.brackets {
            let (from, until) = self.stretch(start, *bracket);
            if from >= self.ground.as_of {
                outcomes.push(None);
                continue;
            }
            let over = until <= self.ground.as_of;
            let place = |time: i64| after.partition_point(|event| event.time < time);
            let among = match self.query.mode {
                RetentionMode::On | RetentionMode::Streak => &after[place(from)..place(until)],
                RetentionMode::OnOrAfter => &after[place(from)..],
                RetentionMode::OnOrBefore => &after[..place(until)],
            };
            let (mut came_back, mut value) = (false, Sum::default());
            for event in among.iter().filter(|event| counts(event)) {
                came_back = true;
                value.add(event.value);
            }
            on_every &= came_back;
            if self.query.mode == RetentionMode::Streak {
                came_back = on_every;
            }
            outcomes.push(Some(Judged { over, came_back, value: value.value() }));
        }
    }

    /// The same where any event is a return.
    fn judge_any(
        &self,
        parts: &[Part],
        start: &Event,
        counts: &mut Vec<u64>,
        stretches: &mut Vec<Vec<Stretch>>,
        outcomes: &mut Vec<Outcome>,
    ) {
        outcomes.clear();
        let Some(calendar) = &self.calendar else { return };
        let unit = calendar.locate(start.time);
        stretches.resize(calendar.len(), Vec::new());
        if stretches[unit].is_empty() {
            let number = i64::from(calendar.number(unit));
            let place = |number| calendar.first_at_or_after(number).unwrap_or(calendar.len());
            let stretch = |bracket: &Bracket| {
                let (from, until) = self.stretch(start.time, *bracket);
                let first = place(number + i64::from(bracket.first));
                let end = place(number + i64::from(bracket.last) + 1);
                Stretch { from, until, units: first..end }
            };
            stretches[unit] = self.query.brackets.iter().map(stretch).collect();
        }
        counts.resize(calendar.len(), 0);
        any_return::count_from(&self.ground, calendar, &self.scans, parts, start, counts);
        let mut on_every = true;
        for Stretch { from, until, units } in &stretches[unit] {
            if *from >= self.ground.as_of {
                outcomes.push(None);
                continue;
            }
            let among = match self.query.mode {
                RetentionMode::On | RetentionMode::Streak => &counts[units.clone()],
                RetentionMode::OnOrAfter => &counts[units.start..],
                RetentionMode::OnOrBefore => &counts[..units.end],
            };
            let found: u64 = among.iter().sum();
            on_every &= found > 0;
            let came_back =
                if self.query.mode == RetentionMode::Streak { on_every } else { found > 0 };
            let over = *until <= self.ground.as_of;
            outcomes.push(Some(Judged { over, came_back, value: found as f64 }));
        }
    }

    /// The time that a bracket covers for a start: from, and until.
    fn stretch(&self, start: i64, bracket: Bracket) -> (i64, i64) {
        let Some(calendar) = &self.calendar else {
            let unit = match self.query.unit {
                Unit::Hour => HOUR,
                Unit::Day => 24 * HOUR,
                Unit::Week => 7 * 24 * HOUR,
                Unit::Month => 30 * 24 * HOUR,
            };
            let after = |units: i64| start.saturating_add(unit.saturating_mul(units));
            return (after(i64::from(bracket.first)), after(i64::from(bracket.last) + 1));
        };
        let unit = i64::from(calendar.number(calendar.locate(start)));
        let begins = |number: i64| {
            // A unit that the zone skipped begins where the next one does; one that is not known yet, never.
            let last = calendar.len() - 1;
            match calendar.first_at_or_after(number) {
                Some(bucket) => calendar.start(bucket),
                None if number == i64::from(calendar.number(last)) + 1 => calendar.end(last),
                None => i64::MAX,
            }
        };
        (begins(unit + i64::from(bracket.first)), begins(unit + i64::from(bracket.last) + 1))
    }
}

fn check(query: &RetentionQuery) -> Result<()> {
    let brackets = &query.brackets;
    if brackets.is_empty() || brackets.len() > MAX_BRACKETS {
        return Err(invalid(
            "brackets",
            format!("{} brackets; give 1 to {MAX_BRACKETS}", brackets.len()),
        ));
    }
    for bracket in brackets {
        if bracket.first > bracket.last || bracket.last > MAX_UNIT {
            return Err(invalid(
                "brackets",
                format!(
                    "{} to {}; the first unit comes first, and none is beyond {MAX_UNIT}",
                    bracket.first, bracket.last
                ),
            ));
        }
    }
    if brackets.windows(2).any(|pair| pair[1].first <= pair[0].last) {
        return Err(invalid("brackets", "each must begin after the one before has ended"));
    }
    Ok(())
}

/// Runs a retention table over a snapshot.
pub(crate) fn retention_partial(
    snapshot: &Snapshot,
    query: &RetentionQuery,
    threads: usize,
) -> Result<RetentionTablePartial> {
    let kernel = Kernel::new(snapshot, query, threads)?;
    let by_period = ByPeriod::new(&kernel);
    let (workers, space) = (kernel.ground.workers(), &kernel.locator.space);
    let chunks = snapshot.index().chunks.clone();
    let cohorts = Gathered::from_pieces(workers, space.combinations(), chunks, |subjects| {
        if let Some(by_period) = &by_period {
            return by_period.cohorts(subjects);
        }
        let mut room = Room::default();
        let mut cohorts = std::collections::BTreeMap::<u64, CohortState>::new();
        for subject in subjects {
            kernel.subject(subject, &mut room, &mut |cell, outcomes| {
                let state = cohorts.entry(cell).or_default();
                state.entered += 1;
                state.cells.resize(outcomes.len(), BracketState::default());
                for (cell, outcome) in state.cells.iter_mut().zip(outcomes) {
                    let Some(judged) = outcome else { continue };
                    cell.begun += 1;
                    cell.begun_retained += u64::from(judged.came_back);
                    if judged.over {
                        cell.eligible += 1;
                        cell.retained += u64::from(judged.came_back);
                        cell.value.add(judged.value);
                    }
                }
            });
        }
        cohorts.into_iter().collect()
    });
    // A cohort is as small as its row.
    let cohorts = cohorts.into_leaf(workers, space.clone(), |_, _, cohort| cohort);
    kernel.ground.check()?;
    Ok(RetentionTablePartial { cohorts, coverage: kernel.ground.coverage() })
}

/// The subjects behind one number of a retention table.
pub(crate) fn retention_members(
    snapshot: &Snapshot,
    query: &RetentionQuery,
    wanted: &RetentionCellKey,
    page: &MemberPage,
    threads: usize,
) -> Result<Members> {
    let kernel = Kernel::new(snapshot, query, threads)?;
    if wanted.bracket.is_some_and(|bracket| bracket >= query.brackets.len()) {
        return Err(invalid("bracket", format!("the table has {}", query.brackets.len())));
    }
    if wanted.dimensions.len() != query.scope.breakdowns.len() {
        return Err(invalid(
            "dimensions",
            format!(
                "{} values for {} breakdowns",
                wanted.dimensions.len(),
                query.scope.breakdowns.len()
            ),
        ));
    }
    let space = &kernel.locator.space;
    let bucket = match wanted.bucket_start {
        None => (query.cohorts == Cohorts::One).then_some(0),
        Some(start) => {
            (0..space.buckets.len()).find(|bucket| space.buckets.start(*bucket) == start)
        }
    };
    let group = space.find(&wanted.dimensions);
    let cell =
        bucket.zip(group).map(|(bucket, group)| bucket as u64 * space.combinations() + group);
    let pages = kernel.ground.over_subjects(|subjects| {
        let mut room = Room::default();
        let mut found = Page::new(snapshot, page);
        for subject in subjects {
            let mut is_member = false;
            kernel.subject(subject, &mut room, &mut |at, outcomes| {
                is_member |= Some(at) == cell
                    && match wanted.bracket {
                        None => true,
                        Some(bracket) => outcomes[bracket].is_some_and(|judged| {
                            judged.over && judged.came_back == wanted.retained
                        }),
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
