//! One number per subject and cell.

use std::ops::ControlFlow;

use super::{
    Context,
    gather::{Found, Gathered},
    partial::{State, Sum},
    scan::{self, Event, Visitor},
    selectors,
    space::{BucketCursor, Locator, NumberColumn},
};
use crate::query::{Aggregate, PerSubjectSpec};

pub(super) fn run(context: &Context<'_>, spec: &PerSubjectSpec) -> Found {
    let locator = Locator::new(context);
    let scans = scan::scan::<u8>(context, &selectors([&spec.event]));
    let columns: Vec<NumberColumn<'_>> = match spec.aggregate.property() {
        Some(path) => {
            context.snapshot.runs().iter().map(|run| NumberColumn::new(path, run)).collect()
        }
        None => Vec::new(),
    };
    let index = context.snapshot.index();
    let (workers, combinations) = (context.threads, locator.space.combinations());
    let cells = Gathered::from_pieces(workers, combinations, index.chunks.clone(), |subjects| {
        let mut cells = locator.cells::<Vec<f64>>();
        let mut numbers = Numbers {
            context,
            locator: &locator,
            columns: &columns,
            cursor: BucketCursor::new(),
            found: Vec::new(),
        };
        for subject in subjects {
            numbers.found.clear();
            scan::walk_unordered(&scans, index.parts(subject), &mut numbers);
            // Stable, so that numbers that are summed keep their order.
            numbers.found.sort_by_key(|(cell, _)| *cell);
            for found in numbers.found.chunk_by(|left, right| left.0 == right.0) {
                cells.at(found[0].0).push(spec.aggregate.of(found.iter().map(|(_, value)| *value)));
            }
        }
        cells.into_states(|values| (!values.is_empty()).then_some(State::Values(values)))
    });
    Found { space: locator.space, cells }
}

impl Aggregate {
    /// Dotted path of the property it reads, if any.
    pub(crate) fn property(&self) -> Option<&str> {
        match self {
            Self::Count => None,
            Self::Sum(path) | Self::Min(path) | Self::Max(path) => Some(path),
        }
    }

    /// Of at least one number; of events, whatever number stands for each.
    pub(crate) fn of(&self, values: impl Iterator<Item = f64>) -> f64 {
        match self {
            Self::Count => values.count() as f64,
            Self::Sum(_) => {
                let mut sum = Sum::default();
                values.for_each(|value| sum.add(value));
                sum.value()
            }
            Self::Min(_) => values.fold(f64::INFINITY, f64::min),
            Self::Max(_) => values.fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// Collects cell and number of each event of a subject.
struct Numbers<'a> {
    context: &'a Context<'a>,
    locator: &'a Locator<'a>,
    /// Per run; none where events are counted.
    columns: &'a [NumberColumn<'a>],
    cursor: BucketCursor,
    found: Vec<(u64, f64)>,
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
            self.found.push((self.locator.cell(bucket, event.run, row), value));
        }
        ControlFlow::Continue(())
    }
}
