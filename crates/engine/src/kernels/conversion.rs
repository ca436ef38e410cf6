//! Which base events a conversion is credited to.

use std::ops::ControlFlow;

use super::{
    Context,
    gather::{self, Gathered},
    partial::{ConversionState, State},
    scan::{self, Event, Scratch, Visitor},
    selectors,
    space::{BucketCursor, Cells, Locator, ValueColumn, Values},
};
use crate::{
    query::{ConversionSpec, Dimension},
    snapshot::Snapshot,
};

/// Most properties that are held constant.
pub(super) const MAX_CONSTANTS: usize = 8;

pub(super) fn run(context: &Context<'_>, spec: &ConversionSpec) -> gather::Found {
    let locator = Locator::new(context);
    let scans = scan::scan::<u8>(context, &selectors([&spec.base, &spec.conversion]));
    let constants = Constants::new(context.snapshot, &spec.constants);
    let index = context.snapshot.index();
    let (workers, combinations) = (context.threads, locator.space.combinations());
    let cells = Gathered::from_pieces(workers, combinations, index.chunks.clone(), |subjects| {
        let mut walk = Walk {
            context,
            locator: &locator,
            cells: locator.cells::<ConversionState>(),
            cursor: BucketCursor::new(),
            credit: Credit::new(&constants, spec.window_micros, 1),
        };
        let mut scratch = Scratch::default();
        for subject in subjects {
            walk.credit.begin();
            scan::walk(&scans, index.parts(subject), &mut scratch, &mut walk);
        }
        walk.cells.into_states(|state| (state.bases > 0).then_some(State::Conversion(state)))
    });
    gather::Found { space: locator.space, cells }
}

/// The values of the properties that are held constant, numbered alike on both sides.
pub(super) struct Constants<'a> {
    /// Per property: a column per run for the base and for the conversion.
    columns: Vec<[Vec<ValueColumn<'a>>; 2]>,
}

/// Values of the constants of one event; 0 where one is absent.
type Key = [u32; MAX_CONSTANTS];

impl<'a> Constants<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, pairs: &[(String, String)]) -> Self {
        let columns = pairs.iter().map(|(base, conversion)| {
            let mut values = Values::new();
            [base, conversion].map(|path| {
                let dimension = Dimension::Property(path.clone());
                let runs = snapshot.runs().iter();
                runs.map(|run| ValueColumn::new(&dimension, run, &mut values)).collect()
            })
        });
        Self { columns: columns.collect() }
    }

    /// `None` where a property is absent: nothing equals it.
    fn key(&self, event: Event, side: usize) -> Option<Key> {
        let mut key = Key::default();
        for (value, sides) in key.iter_mut().zip(&self.columns) {
            *value = sides[side][event.run as usize].get(event.row as usize);
            if *value == 0 {
                return None;
            }
        }
        Some(key)
    }
}

/// Credits the conversions of one subject, whose events it is shown in order.
pub(super) struct Credit<'a> {
    constants: &'a Constants<'a>,
    window: Option<i64>,
    /// Bit of the base events; that of the conversions follows.
    base: u32,
    /// The latest base event of each key.
    latest: Vec<(Key, Latest)>,
}

/// A base event that conversions may be credited to.
#[derive(Clone, Copy)]
struct Latest {
    time: i64,
    /// Where it counts; `None` if it does not.
    cell: Option<u64>,
    converted: bool,
}

/// What an event adds to a cell.
pub(super) enum Found {
    /// It was credited to a base event; to one that had none before, if `first`.
    Conversion { first: bool },
    /// It is a base event.
    Base,
}

impl<'a> Credit<'a> {
    pub(super) fn new(constants: &'a Constants<'a>, window: Option<i64>, base: u32) -> Self {
        Self { constants, window, base, latest: Vec::new() }
    }

    pub(super) fn begin(&mut self) {
        self.latest.clear();
    }

    /// Takes the next event; `place` says where it counts as a base event, if it does.
    pub(super) fn see(
        &mut self,
        event: Event,
        place: impl FnOnce() -> Option<u64>,
        mut say: impl FnMut(u64, Found),
    ) {
        // An event that is both is a conversion first, so that it never converts itself.
        if event.bits & (self.base << 1) != 0
            && let Some(key) = self.constants.key(event, 1)
            && let Some((_, latest)) = self.latest.iter_mut().find(|(known, _)| *known == key)
            && self.window.is_none_or(|window| event.time - latest.time < window)
            && let Some(cell) = latest.cell
        {
            say(cell, Found::Conversion { first: !std::mem::replace(&mut latest.converted, true) });
        }
        if event.bits & self.base != 0 {
            let cell = place();
            if let Some(cell) = cell {
                say(cell, Found::Base);
            }
            if let Some(key) = self.constants.key(event, 0) {
                let latest = Latest { time: event.time, cell, converted: false };
                match self.latest.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, known)) => *known = latest,
                    None => self.latest.push((key, latest)),
                }
            }
        }
    }
}

impl ConversionState {
    pub(super) fn add(&mut self, found: &Found) {
        match found {
            Found::Base => self.bases += 1,
            Found::Conversion { first } => {
                self.conversions += 1;
                self.converted += u64::from(*first);
            }
        }
    }
}

struct Walk<'a> {
    context: &'a Context<'a>,
    locator: &'a Locator<'a>,
    cells: Cells<ConversionState>,
    cursor: BucketCursor,
    credit: Credit<'a>,
}

impl Visitor for Walk<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        let Self { context, locator, cells, cursor, credit } = self;
        if event.time >= context.as_of {
            return ControlFlow::Break(());
        }
        let place = || {
            let counts = event.time >= context.query.from_micros && event.time < context.until;
            counts.then(|| {
                let bucket = cursor.locate(&context.buckets, event.time);
                locator.cell(bucket, event.run, event.row as usize)
            })
        };
        credit.see(event, place, |cell, found| cells.at(cell).add(&found));
        ControlFlow::Continue(())
    }
}
