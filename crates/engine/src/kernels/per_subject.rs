//! One number per subject and cell.

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
};

use super::{
    Context,
    gather::{Found, Gathered},
    partial::{NumberState, State, Sum},
    scan::{self, Event, RunScan, Scratch, Visitor},
    selectors,
    space::{BucketCursor, Locator, NumberColumn},
};
use crate::{
    query::{Aggregate, PerSubjectSpec, Statistic},
    snapshot::Part,
};

/// The number of each subject in each bucket.
pub(super) fn run(context: &Context<'_>, spec: &PerSubjectSpec) -> Found {
    let locator = Locator::new(context);
    let combinations = locator.space.combinations();
    let reader = Reader::new(context, spec);
    let index = context.snapshot.index();
    let chunks = index.chunks.clone();
    let gathered = Gathered::from_pieces(context.threads, combinations, chunks, |subjects| {
        let mut cells = locator.cells::<Vec<f64>>();
        let mut numbers = Numbers::new(context, &locator, &reader.columns);
        for subject in subjects {
            reader.read(index.parts(subject), &mut numbers);
            for found in numbers.found.chunk_by_mut(|left, right| left.bucket == right.bucket) {
                let first = found[0].bucket as u64 * combinations;
                aggregate(found, &spec.aggregate, |combination, number| {
                    cells.at(first + combination).push(number);
                });
            }
        }
        cells.into_states(|values| (!values.is_empty()).then(|| state(spec, values)))
    });
    Found { space: locator.space, cells: gathered }
}

/// The number of each subject in windows of buckets, which may overlap.
pub(super) fn over_windows(
    context: &Context<'_>,
    spec: &PerSubjectSpec,
    windows: &[Range<usize>],
) -> Found {
    let locator = Locator::new(context);
    let combinations = locator.space.combinations();
    let reader = Reader::new(context, spec);
    let index = context.snapshot.index();
    let chunks = index.chunks.clone();
    let gathered = Gathered::from_pieces(context.threads, combinations, chunks, |subjects| {
        let mut cells: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        let mut numbers = Numbers::new(context, &locator, &reader.columns);
        let mut found = Vec::new();
        for subject in subjects {
            reader.read(index.parts(subject), &mut numbers);
            for (number, window) in (0..).zip(windows) {
                let before =
                    |bucket: usize| numbers.found.partition_point(|found| found.bucket < bucket);
                let within = before(window.start)..before(window.end);
                if within.is_empty() {
                    continue;
                }
                found.clear();
                found.extend_from_slice(&numbers.found[within]);
                aggregate(&mut found, &spec.aggregate, |combination, value| {
                    cells.entry(number * combinations + combination).or_default().push(value);
                });
            }
        }
        let states = cells.into_iter().map(|(cell, values)| (cell, state(spec, values)));
        states.collect::<Vec<_>>()
    });
    Found { space: locator.space, cells: gathered }
}

/// What is kept of the numbers of a cell: a sum needs none of them.
fn state(spec: &PerSubjectSpec, values: Vec<f64>) -> State {
    if spec.statistic != Statistic::Sum {
        return State::Values(values);
    }
    let mut state = NumberState::default();
    for value in values {
        state.n += 1;
        state.sum.add(value);
        state.min = state.min.min(value);
        state.max = state.max.max(value);
    }
    State::Numbers(state)
}

/// The numbers of one subject: one for each combination of dimension values, or that of the one event that is picked
/// of all.
fn aggregate(found: &mut [Numbered], aggregate: &Aggregate, mut take: impl FnMut(u64, f64)) {
    let picked = match aggregate {
        Aggregate::First(_) => found.first(),
        Aggregate::Last(_) => found.last(),
        Aggregate::Count | Aggregate::Sum(_) | Aggregate::Min(_) | Aggregate::Max(_) => {
            // Stable, so that numbers that are summed keep their order.
            found.sort_by_key(|found| found.combination);
            for found in found.chunk_by(|left, right| left.combination == right.combination) {
                let number = aggregate.of(found.iter().map(|found| found.value));
                take(found[0].combination, number);
            }
            return;
        }
    };
    if let Some(picked) = picked {
        take(picked.combination, picked.value);
    }
}

impl Aggregate {
    /// Dotted path of the property it reads, if any.
    pub(crate) fn property(&self) -> Option<&str> {
        match self {
            Self::Count => None,
            Self::Sum(path)
            | Self::Min(path)
            | Self::Max(path)
            | Self::First(path)
            | Self::Last(path) => Some(path),
        }
    }

    /// Whether it is the number of one event, whose dimension values are then the subject's.
    pub(crate) fn picks_one(&self) -> bool {
        matches!(self, Self::First(_) | Self::Last(_))
    }

    /// Of at least one number, in the order of their events; of events, whatever number stands for each.
    pub(crate) fn of(&self, mut values: impl Iterator<Item = f64>) -> f64 {
        match self {
            Self::Count => values.count() as f64,
            Self::Sum(_) => {
                let mut sum = Sum::default();
                values.for_each(|value| sum.add(value));
                sum.value()
            }
            Self::Min(_) => values.fold(f64::INFINITY, f64::min),
            Self::Max(_) => values.fold(f64::NEG_INFINITY, f64::max),
            Self::First(_) => values.next().unwrap_or(f64::NAN),
            Self::Last(_) => values.last().unwrap_or(f64::NAN),
        }
    }
}

/// What the events of a subject are read by.
struct Reader<'a> {
    scans: Vec<RunScan<'a, u8>>,
    /// Per run; none where events are counted.
    columns: Vec<NumberColumn<'a>>,
    in_order: bool,
}

impl<'a> Reader<'a> {
    fn new(context: &Context<'a>, spec: &PerSubjectSpec) -> Self {
        let runs = context.snapshot.runs().iter();
        let columns = match spec.aggregate.property() {
            Some(path) => runs.map(|run| NumberColumn::new(path, run)).collect(),
            None => Vec::new(),
        };
        Self {
            scans: scan::scan::<u8>(context, &selectors([&spec.event])),
            columns,
            in_order: spec.aggregate.picks_one(),
        }
    }

    /// The events of a subject by bucket.
    fn read(&self, parts: &[Part], numbers: &mut Numbers<'_>) {
        numbers.found.clear();
        if self.in_order {
            let mut scratch = std::mem::take(&mut numbers.scratch);
            scan::walk(&self.scans, parts, &mut scratch, numbers);
            numbers.scratch = scratch;
        } else {
            scan::walk_unordered(&self.scans, parts, numbers);
            numbers.found.sort_by_key(|found| found.bucket);
        }
    }
}

/// An event of a subject.
#[derive(Debug, Clone, Copy)]
struct Numbered {
    bucket: usize,
    combination: u64,
    value: f64,
}

/// Collects the events of a subject.
struct Numbers<'a> {
    context: &'a Context<'a>,
    locator: &'a Locator<'a>,
    columns: &'a [NumberColumn<'a>],
    cursor: BucketCursor,
    scratch: Scratch,
    found: Vec<Numbered>,
}

impl<'a> Numbers<'a> {
    fn new(
        context: &'a Context<'a>,
        locator: &'a Locator<'a>,
        columns: &'a [NumberColumn<'a>],
    ) -> Self {
        let (cursor, scratch) = (BucketCursor::new(), Scratch::default());
        Self { context, locator, columns, cursor, scratch, found: Vec::new() }
    }
}

impl Visitor for Numbers<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        let row = event.row as usize;
        let value = self.columns.get(event.run as usize).map_or(1.0, |column| column.get(row));
        if event.time >= self.context.query.from_micros
            && event.time < self.context.until
            && !value.is_nan()
        {
            let bucket = self.cursor.locate(&self.context.buckets, event.time);
            let combination = self.locator.combination(event.run, row);
            self.found.push(Numbered { bucket, combination, value });
        }
        ControlFlow::Continue(())
    }
}
