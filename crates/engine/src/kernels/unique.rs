//! Number of distinct subjects, accounts or property values.

use std::{collections::HashSet, ops::ControlFlow};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    Context,
    active::ActiveDays,
    gather::{Found, Gathered},
    partial::State,
    scan::{self, Event, RowVisitor, RunScan, Visitor},
    selectors,
    space::{Bucket, BucketCursor, Cells, Locator, ValueColumn, Values},
};
use crate::{
    calendar::Grain,
    query::{Dimension, DistinctOf, EventSelector},
    runs::Run,
    segment::{Field, Seeded},
    snapshot::Snapshot,
    subjects::SubjectSet,
};

/// Buckets whose subjects one thread counts at a time.
const BUCKETS_PER_TASK: usize = 8;

/// Bits of a table of (cell, value) pairs up to which it is used instead of a hash set.
const TABLE_BITS: u64 = 1 << 24;

/// What a distinct value takes while it has a number: twice its text, about, and its places in two tables.
const VALUE_BYTES: u64 = 160;

/// What a value in a cell takes until all of them are counted.
const PAIR_BYTES: u64 = 40;

pub(super) fn run(context: &Context<'_>, event: &EventSelector, of: &DistinctOf) -> Found {
    if *of == DistinctOf::Subject
        && context.query.breakdowns.is_empty()
        && let Some(found) = by_days(context, event)
    {
        return found;
    }
    let scans = scan::scan::<u8>(context, &selectors([event]));
    match of {
        DistinctOf::Subject => subjects(context, &scans),
        DistinctOf::Account => values(context, &scans, &Dimension::AccountId),
        DistinctOf::Property(path) => values(context, &scans, &Dimension::Property(path.clone())),
    }
}

/// Subjects by bucket, from the days on which actors were active; `None` when buckets do not hold whole days, or
/// not all of the log is known.
fn by_days(context: &Context<'_>, event: &EventSelector) -> Option<Found> {
    if context.buckets.grain() == Grain::Hour || context.snapshot.position().is_some() {
        return None;
    }
    let mut active = Vec::new();
    for run in context.snapshot.runs() {
        let days = ActiveDays::of(context, run, event)?;
        let by_bucket = days.by_bucket(context, run)?;
        active.push((days, by_bucket));
    }
    let counted = context.snapshot.counted_actors();
    let buckets = context.buckets.len();
    let starts = (0..buckets).step_by(BUCKETS_PER_TASK).collect();
    let cells = Gathered::from_pieces(context.threads, 1, starts, |start| {
        let mut actors = vec![0u64; counted.alone.len()];
        let mut counts: Vec<(u64, State)> = Vec::new();
        for bucket in start..buckets.min(start + BUCKETS_PER_TASK) {
            if active.iter().all(|(_, by_bucket)| by_bucket[bucket].is_empty()) {
                continue;
            }
            actors.fill(0);
            for (days, by_bucket) in &active {
                by_bucket[bucket].clone().for_each(|day| days.add_to(day, &mut actors));
            }
            let both = actors.iter().zip(&counted.alone).map(|(active, alone)| active & alone);
            let alone: u64 = both.map(|both| u64::from(both.count_ones())).sum();
            let count = alone + subjects_of(context.snapshot, &actors, &counted.linked);
            if count > 0 {
                counts.push((bucket as u64, State::Count(count)));
            }
        }
        counts
    });
    Some(Found { space: Locator::new(context).space, cells })
}

/// How many subjects the actors have that are in both sets.
fn subjects_of(snapshot: &Snapshot, active: &[u64], linked: &[u64]) -> u64 {
    let mut subjects = SubjectSet::default();
    for (word, both) in (0u32..).zip(active.iter().zip(linked)) {
        let mut left = both.0 & both.1;
        while left != 0 {
            let actor = word * u64::BITS + left.trailing_zeros();
            left &= left - 1;
            if let Some(subject) = snapshot.subject_of(actor) {
                subjects.insert(subject);
            }
        }
    }
    subjects.len()
}

/// Subjects are counted without a set: each cell remembers which subject was counted last.
fn subjects(context: &Context<'_>, scans: &[RunScan<'_, u8>]) -> Found {
    let locator = Locator::new(context);
    let undivided = context.query.breakdowns.is_empty();
    let index = context.snapshot.index();
    let (workers, combinations) = (context.threads, locator.space.combinations());
    let cells = Gathered::from_pieces(workers, combinations, index.chunks.clone(), |subjects| {
        let mut counter = SubjectCounter {
            context,
            locator: &locator,
            undivided,
            one_cell: undivided && context.buckets.len() == 1,
            subject: 0,
            cells: locator.cells(),
            cursor: BucketCursor::new(),
        };
        for subject in subjects {
            counter.subject = subject;
            counter.cursor = BucketCursor::new();
            scan::walk_unordered(scans, index.parts(subject), &mut counter);
        }
        counter.cells.into_states(|(count, _)| (count > 0).then_some(State::Count(count)))
    });
    Found { space: locator.space, cells }
}

struct SubjectCounter<'a> {
    context: &'a Context<'a>,
    locator: &'a Locator<'a>,
    undivided: bool,
    one_cell: bool,
    subject: u32,
    /// Count, and one more than the subject that was counted last.
    cells: Cells<(u64, u32)>,
    cursor: BucketCursor,
}

impl Visitor for SubjectCounter<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        // Most events lie in the bucket of the event before, in which the subject is counted already.
        if self.undivided && self.cursor.holds(event.time)
            || event.time < self.context.query.from_micros
            || event.time >= self.context.until
        {
            return ControlFlow::Continue(());
        }
        let bucket = self.cursor.locate(&self.context.buckets, event.time);
        let (count, last) = self.cells.at(self.locator.cell(bucket, event.run, event.row as usize));
        if *last != self.subject + 1 {
            *last = self.subject + 1;
            *count += 1;
        }
        if self.one_cell { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Distinct values. Where they would take more memory than the question may use, they are counted in passes, each over
/// the values whose hashes fall into one bucket.
fn values(context: &Context<'_>, scans: &[RunScan<'_, u8>], dimension: &Dimension) -> Found {
    let distinct: u64 =
        context.snapshot.runs().iter().map(|run| distinct_values(dimension, run) as u64).sum();
    let matching: u64 = scans.iter().map(|scan| scan.matches.most(scan.run.events()) as u64).sum();
    let bytes = distinct * VALUE_BYTES + matching.max(distinct) * PAIR_BYTES;
    let passes = if context.merged_further { 1 } else { context.threads.passes(bytes) };
    let mut counted: Option<Found> = None;
    for pass in 0..passes {
        let of_pass = values_of(context, scans, dimension, Bucket { number: pass, of: passes });
        if passes == 1 {
            return of_pass;
        }
        let Found { space, cells } = of_pass;
        let all = counted.get_or_insert_with(|| {
            let cells = Gathered::nothing(space.combinations());
            Found { space, cells }
        });
        // No value is in two passes, so numbers add up where hashes would pile up.
        let workers = context.threads;
        cells.for_each_bucket(workers, |cells, _| {
            for (cell, state) in cells {
                all.cells.add(workers, cell, state.counted());
            }
        });
        if context.threads.should_stop() {
            break;
        }
    }
    counted.unwrap_or_else(|| {
        let space = Locator::new(context).space;
        let cells = Gathered::nothing(space.combinations());
        Found { space, cells }
    })
}

fn values_of(
    context: &Context<'_>,
    scans: &[RunScan<'_, u8>],
    dimension: &Dimension,
    bucket: Bucket,
) -> Found {
    let locator = Locator::new(context);
    let mut numbering = Values::of_bucket(bucket);
    let columns: Vec<ValueColumn<'_>> = context
        .snapshot
        .runs()
        .iter()
        .map(|run| ValueColumn::new(dimension, run, &mut numbering))
        .collect();
    let values = numbering.into_values();
    let hashes: Vec<u128> = values
        .iter()
        .map(|value| value.as_ref().map_or(0, |value| xxh3_128(value.as_bytes())))
        .collect();
    let (workers, combinations) = (context.threads, locator.space.combinations());
    let pieces = scan::row_pieces(scans);
    let cells = Gathered::from_pieces(workers, combinations, pieces, |(run, rows)| {
        let mut collector = ValueCollector {
            context,
            locator: &locator,
            column: &columns[run],
            run: run as u32,
            pairs: Pairs::new(&locator, values.len() as u64),
            cursor: BucketCursor::new(),
        };
        scan::walk_rows(&scans[run], rows, &mut collector);
        let mut states: Vec<(u64, State)> = Vec::new();
        for (cell, value) in collector.pairs.into_sorted() {
            match states.last_mut() {
                Some((last, State::Distinct(distinct))) if *last == cell => {
                    distinct.push(hashes[value as usize])
                }
                _ => states.push((cell, State::Distinct(vec![hashes[value as usize]]))),
            }
        }
        states
    });
    Found { space: locator.space, cells }
}

/// Most distinct values of a dimension in a run.
fn distinct_values(dimension: &Dimension, run: &Run) -> usize {
    let field = match dimension {
        Dimension::Event => Field::Name,
        Dimension::Source => Field::Source,
        Dimension::AccountId => Field::AccountId,
        Dimension::Property(path) => {
            let Some(column) = run.segment.property(path) else { return 0 };
            let cells = column.rows.map_or_else(|| run.events(), <[_]>::len);
            let wide = if column.numbers.is_some() { cells } else { 0 };
            return column.entries.iter().count() + wide;
        }
        Dimension::Cohort(_) => return 0,
    };
    run.segment.field(field).strings.len()
}

struct ValueCollector<'a> {
    context: &'a Context<'a>,
    locator: &'a Locator<'a>,
    column: &'a ValueColumn<'a>,
    run: u32,
    pairs: Pairs,
    cursor: BucketCursor,
}

impl RowVisitor for ValueCollector<'_> {
    #[inline(always)]
    fn see(&mut self, row: usize, time: i64) {
        let value = self.column.get(row);
        if time >= self.context.query.from_micros && time < self.context.until && value != 0 {
            let bucket = self.cursor.locate(&self.context.buckets, time);
            self.pairs.insert(self.locator.cell(bucket, self.run, row), value);
        }
    }
}

/// A set of (cell, value) pairs.
enum Pairs {
    Table { values: u64, bits: Vec<u64> },
    Set(HashSet<(u64, u32), Seeded>),
}

impl Pairs {
    fn new(locator: &Locator<'_>, values: u64) -> Self {
        let cells = locator.space.buckets.len() as u64 * locator.space.combinations();
        match cells.checked_mul(values) {
            Some(bits) if bits <= TABLE_BITS => {
                Self::Table { values, bits: vec![0; bits.div_ceil(64) as usize] }
            }
            _ => Self::Set(HashSet::default()),
        }
    }

    #[inline(always)]
    fn insert(&mut self, cell: u64, value: u32) {
        match self {
            Self::Table { values, bits } => {
                let at = cell * *values + u64::from(value);
                bits[(at / 64) as usize] |= 1 << (at % 64);
            }
            Self::Set(set) => _ = set.insert((cell, value)),
        }
    }

    fn into_sorted(self) -> Vec<(u64, u32)> {
        match self {
            Self::Table { values, bits } => {
                let mut pairs = Vec::new();
                for (word, mut left) in (0u64..).zip(bits) {
                    while left != 0 {
                        let at = word * 64 + u64::from(left.trailing_zeros());
                        pairs.push((at / values, (at % values) as u32));
                        left &= left - 1;
                    }
                }
                pairs
            }
            Self::Set(set) => {
                let mut pairs: Vec<(u64, u32)> = set.into_iter().collect();
                pairs.sort_unstable();
                pairs
            }
        }
    }
}
