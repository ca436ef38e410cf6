//! Which selectors each event matches, and walks over the events of a subject that match any.

use std::{
    ops::{ControlFlow, Range},
    sync::Arc,
};

use super::{Context, few::Few, tasks};
use crate::{
    filter::{BLOCK, Filter, Predicate},
    limits::Workers,
    query::EventSelector,
    runs::Run,
    segment::{Codes, Field},
    snapshot::{Part, Snapshot},
};

/// Rows that one thread matches at a time; a multiple of [`BLOCK`].
const ROWS_PER_TASK: usize = 128 * BLOCK;

/// A filter that concerns fewer than one row in so many of a block is evaluated for these rows only.
const SPARSE: usize = 8;

/// Names up to which every name is compared with all rows at once, rather than every row looked up in a table.
const COMPARED: usize = 8;

/// A set of selectors, as bits.
pub(crate) trait Bits:
    Copy + Default + std::fmt::Debug + Send + Sync + Into<u32> + 'static
{
    /// Selectors it can hold.
    const WIDTH: usize;
    fn from_bits(bits: u32) -> Self;

    /// Adds bits to the rows of one code.
    fn mark(rows: &mut [Self], codes: &[u8], wanted: u8, bits: u32) {
        for (row, code) in rows.iter_mut().zip(codes) {
            if *code == wanted {
                *row = Self::from_bits((*row).into() | bits);
            }
        }
    }

    /// The first row at or after `from` that matches anything.
    fn next(rows: &[Self], from: usize) -> Option<usize> {
        rows.get(from..)?.iter().position(|bits| (*bits).into() != 0).map(|at| from + at)
    }
}

impl Bits for u8 {
    const WIDTH: usize = 8;

    #[inline(always)]
    fn from_bits(bits: u32) -> Self {
        bits as Self
    }

    /// Without a branch, so that sixteen rows and more are compared at once.
    #[inline(always)]
    fn mark(rows: &mut [Self], codes: &[u8], wanted: u8, bits: u32) {
        let bits = bits as Self;
        for (row, code) in rows.iter_mut().zip(codes) {
            *row |= if *code == wanted { bits } else { 0 };
        }
    }

    /// Eight rows at a time: most questions are about few of the events.
    #[inline(always)]
    fn next(rows: &[Self], from: usize) -> Option<usize> {
        let rest = rows.get(from..)?;
        if *rest.first()? != 0 {
            return Some(from);
        }
        let (words, tail) = rest.as_chunks::<8>();
        for (number, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            if word != 0 {
                return Some(from + number * 8 + word.trailing_zeros() as usize / 8);
            }
        }
        let at = tail.iter().position(|bits| *bits != 0)?;
        Some(from + words.len() * 8 + at)
    }
}

impl Bits for u32 {
    const WIDTH: usize = 32;

    #[inline(always)]
    fn from_bits(bits: u32) -> Self {
        bits
    }
}

/// The selectors that the rows of one run match.
#[derive(Debug)]
pub(crate) enum Matches<B> {
    /// No row matches any.
    Nothing,
    /// Every row matches the same.
    Same(u32),
    Rows(Vec<B>),
    /// Few rows match any, and these are listed.
    Few(Few<B>),
}

impl<B: Bits> Matches<B> {
    /// Most rows that match anything, of so many.
    pub(crate) fn most(&self, events: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Same(_) | Self::Rows(_) => events,
            Self::Few(few) => few.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::Same(_) => 0,
            Self::Rows(rows) => size_of_val(rows.as_slice()),
            Self::Few(few) => few.bytes(),
        }
    }

    /// The same of so many rows, of which some match nothing.
    fn without(self, excluded: &[Range<u32>], events: usize) -> Self {
        if excluded.is_empty() {
            return self;
        }
        let mut rows = match self {
            Self::Nothing => return Self::Nothing,
            Self::Same(bits) => vec![B::from_bits(bits); events],
            Self::Rows(rows) => rows,
            Self::Few(few) => {
                let kept = |row: u32| {
                    let at = excluded.partition_point(|range| range.end <= row);
                    excluded.get(at).is_none_or(|range| row < range.start)
                };
                return Self::Few(few.filter(kept, events));
            }
        };
        for range in excluded {
            rows[range.start as usize..range.end as usize].fill(B::default());
        }
        Self::Rows(rows)
    }

    /// The same, of which events beyond a position match nothing.
    fn up_to(self, run: &Run, position: i64) -> Self {
        let mut rows = match self {
            Self::Nothing => return Self::Nothing,
            Self::Same(bits) => vec![B::from_bits(bits); run.events()],
            Self::Rows(rows) => rows,
            Self::Few(few) => {
                let positions = run.segment.position();
                let kept = |row: u32| positions.get(row as usize) <= position;
                return Self::Few(few.filter(kept, run.events()));
            }
        };
        let positions = run.segment.position();
        for (row, bits) in rows.iter_mut().enumerate() {
            if positions.get(row) > position {
                *bits = B::default();
            }
        }
        Self::Rows(rows)
    }
}

/// One run of events under one question.
pub(crate) struct RunScan<'a, B> {
    pub run: &'a Run,
    pub effective: &'a [[u8; 8]],
    pub matches: Arc<Matches<B>>,
}

/// Matches every event against the selectors and the filter of the question.
pub(crate) fn scan<'a, B: Bits>(
    context: &Context<'a>,
    selectors: &[&EventSelector],
) -> Vec<RunScan<'a, B>> {
    let filter = context.query.filter.as_ref();
    scan_up_to(context.snapshot, selectors, filter, None, context.threads)
}

/// Matches every event against selectors, all of which `filter` narrows; with a position, those beyond it match
/// nothing.
pub(crate) fn scan_up_to<'a, B: Bits>(
    snapshot: &'a Snapshot,
    selectors: &[&EventSelector],
    filter: Option<&Filter>,
    position: Option<i64>,
    workers: Workers<'_>,
) -> Vec<RunScan<'a, B>> {
    let runs = snapshot.runs().iter().enumerate();
    runs.map(|(number, run)| {
        let excluded = snapshot.excluded_rows(number);
        let beyond = position.filter(|position| run.segment.positions().1 > *position);
        let matches = if excluded.is_empty() && beyond.is_none() {
            kept_matches(run, selectors, filter, workers)
        } else {
            let whole = filter.map(|filter| Predicate::new(filter.condition(), &run.segment));
            let mut matches =
                matches(run, selectors, whole, workers).without(excluded, run.events());
            if let Some(position) = beyond {
                matches = matches.up_to(run, position);
            }
            Arc::new(matches)
        };
        RunScan { run, effective: run.segment.effective(), matches }
    })
    .collect()
}

/// What tells questions apart that match different events.
pub(crate) fn key(selectors: &[&EventSelector], filter: Option<&Filter>) -> String {
    let mut key = format!("{:?}", filter.map(Filter::source));
    for selector in selectors {
        let condition = selector.filter.as_ref().map(Filter::source);
        key.push_str(&format!(" {:?} {condition:?}", selector.names));
    }
    key
}

/// What the events of a run match, worked out once for all questions with the same selectors.
pub(crate) fn kept_matches<B: Bits>(
    run: &Run,
    selectors: &[&EventSelector],
    filter: Option<&Filter>,
    workers: Workers<'_>,
) -> Arc<Matches<B>> {
    let key = format!("matches {}", key(selectors, filter));
    if let Some(known) = run.derived.get(&key) {
        return known;
    }
    let whole = filter.map(|filter| Predicate::new(filter.condition(), &run.segment));
    let matches = Arc::new(matches(run, selectors, whole, workers));
    if !workers.should_stop() {
        run.derived.keep(key, &matches, matches.bytes());
    }
    matches
}

/// Matches every event of a run against selectors, all of which `whole` narrows.
pub(crate) fn matches<B: Bits>(
    run: &Run,
    selectors: &[&EventSelector],
    whole: Option<Predicate<'_>>,
    workers: Workers<'_>,
) -> Matches<B> {
    let names = run.segment.field(Field::Name);
    let mut by_name = vec![0u32; names.strings.len() + 1];
    let mut filters: Vec<(u32, Predicate<'_>)> = Vec::new();
    let mut all_bits = 0;
    for (number, selector) in selectors.iter().enumerate() {
        let bit = 1 << number;
        if let Some(filter) = &selector.filter {
            match Predicate::new(filter.condition(), &run.segment) {
                Predicate::Always(true) => {}
                Predicate::Always(false) => continue,
                predicate => filters.push((bit, predicate)),
            }
        }
        all_bits |= bit;
        if selector.names.is_empty() {
            by_name.iter_mut().for_each(|bits| *bits |= bit);
        } else {
            for (name, bits) in names.strings.iter().zip(&mut by_name[1..]) {
                if selector.names.iter().any(|wanted| wanted == name) {
                    *bits |= bit;
                }
            }
        }
    }
    match whole {
        Some(Predicate::Always(false)) => return Matches::Nothing,
        None | Some(Predicate::Always(true)) => {}
        Some(predicate) => filters.push((all_bits, predicate)),
    }
    if by_name[1..].iter().all(|bits| *bits == 0) {
        return Matches::Nothing;
    }
    if filters.is_empty() && by_name[1..].iter().all(|bits| *bits == by_name[1]) {
        return Matches::Same(by_name[1]);
    }
    let named = by_name.iter().zip(run.segment.name_counts());
    let most: usize = named.filter(|(bits, _)| **bits != 0).map(|(_, count)| *count as usize).sum();
    if Few::<B>::pays(most, run.events()) {
        let starts = (0..run.events()).step_by(ROWS_PER_TASK).collect();
        let pieces = tasks::run(workers, starts, |start| {
            let end = (start + ROWS_PER_TASK).min(run.events());
            few_rows(start..end, names.codes, &by_name, &filters)
        });
        return Matches::Few(Few::new(pieces, run.events()));
    }
    let mut rows = vec![B::default(); run.events()];
    let pieces: Vec<(usize, &mut [B])> = rows
        .chunks_mut(ROWS_PER_TASK)
        .enumerate()
        .map(|(at, rows)| (at * ROWS_PER_TASK, rows))
        .collect();
    tasks::run(workers, pieces, |(start, rows)| {
        match_rows(start, rows, names.codes, &by_name, &filters)
    });
    Matches::Rows(rows)
}

fn match_rows<B: Bits>(
    first: usize,
    rows: &mut [B],
    names: Codes<'_>,
    by_name: &[u32],
    filters: &[(u32, Predicate<'_>)],
) {
    match_names(first, rows, names, by_name);
    let mut passes = [0u8; BLOCK];
    for (number, block) in rows.chunks_mut(BLOCK).enumerate() {
        let start = first + number * BLOCK;
        for (bits, predicate) in filters {
            // Events that carry other names need no test; where few carry the right one, they are tested singly.
            let concerned: usize =
                block.iter().map(|row| usize::from((*row).into() & bits != 0)).sum();
            if concerned < block.len() / SPARSE {
                for (at, row) in
                    block.iter_mut().enumerate().filter(|(_, row)| (**row).into() & bits != 0)
                {
                    if !predicate.holds(start + at) {
                        *row = B::from_bits((*row).into() & !bits);
                    }
                }
                continue;
            }
            let passes = &mut passes[..block.len()];
            predicate.evaluate(start..start + block.len(), passes);
            for (row, pass) in block.iter_mut().zip(passes.iter()) {
                let keep = if *pass == 0 { !bits } else { u32::MAX };
                *row = B::from_bits((*row).into() & keep);
            }
        }
    }
}

/// What the names of rows, which match nothing yet, say.
fn match_names<B: Bits>(first: usize, rows: &mut [B], names: Codes<'_>, by_name: &[u32]) {
    let end = first + rows.len();
    match names {
        Codes::One(codes) => {
            let codes = &codes[first..end];
            let wanted = || by_name.iter().enumerate().filter(|(_, bits)| **bits != 0);
            if wanted().count() <= COMPARED {
                for (code, bits) in wanted() {
                    B::mark(rows, codes, code as u8, *bits);
                }
                return;
            }
            // All 256 codes have an entry, so that no look-up needs a check.
            let table: [B; 256] =
                std::array::from_fn(|code| B::from_bits(by_name.get(code).copied().unwrap_or(0)));
            rows.iter_mut().zip(codes).for_each(|(row, code)| *row = table[usize::from(*code)]);
        }
        _ => names.for_each(first..end, |row, code| {
            rows[row - first] = B::from_bits(by_name[code as usize])
        }),
    }
}

/// The rows of a range that match anything, with what they match.
fn few_rows<B: Bits>(
    rows: Range<usize>,
    names: Codes<'_>,
    by_name: &[u32],
    filters: &[(u32, Predicate<'_>)],
) -> (Vec<u32>, Vec<B>) {
    let (mut found, mut bits_of) = (Vec::new(), Vec::new());
    let mut block = [B::default(); BLOCK];
    for start in rows.clone().step_by(BLOCK) {
        let block = &mut block[..BLOCK.min(rows.end - start)];
        block.fill(B::default());
        match_names(start, block, names, by_name);
        let mut from = 0;
        while let Some(at) = B::next(block, from) {
            let mut bits: u32 = block[at].into();
            for (concerned, predicate) in filters {
                if bits & concerned != 0 && !predicate.holds(start + at) {
                    bits &= !concerned;
                }
            }
            if bits != 0 {
                found.push((start + at) as u32);
                bits_of.push(B::from_bits(bits));
            }
            from = at + 1;
        }
    }
    (found, bits_of)
}

/// A matching event of a subject.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub run: u32,
    pub row: u32,
    pub time: i64,
    pub bits: u32,
}

/// Room for ordering the events of one subject.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    keys: Vec<(i64, i64, i64, Event)>,
}

/// Sees the matching events of a subject. A trait rather than a closure, because closures that are called from several
/// places are not inlined, and a call per event costs more than most kernels do.
pub(crate) trait Visitor {
    fn see(&mut self, event: Event) -> ControlFlow<()>;
}

/// Sees the matching rows of one run.
pub(crate) trait RowVisitor {
    fn see(&mut self, row: usize, time: i64);
}

/// Shows every matching event of a subject, in no particular order across its parts.
#[inline(always)]
pub(crate) fn walk_unordered<B: Bits>(
    scans: &[RunScan<'_, B>],
    parts: &[Part],
    visitor: &mut impl Visitor,
) {
    for part in parts {
        if walk_part(scans, *part, visitor).is_break() {
            return;
        }
    }
}

/// Shows every matching event of a subject, in order.
#[inline(always)]
pub(crate) fn walk<B: Bits>(
    scans: &[RunScan<'_, B>],
    parts: &[Part],
    scratch: &mut Scratch,
    visitor: &mut impl Visitor,
) {
    if parts.len() < 2 || one_after_the_other(scans, parts) {
        walk_unordered(scans, parts, visitor);
    } else {
        walk_merged(scans, parts, scratch, visitor);
    }
}

#[inline(always)]
fn walk_part<B: Bits>(
    scans: &[RunScan<'_, B>],
    part: Part,
    visitor: &mut impl Visitor,
) -> ControlFlow<()> {
    let scan = &scans[part.run as usize];
    let rows = part.start as usize..part.end as usize;
    let times = &scan.effective[rows.clone()];
    match &*scan.matches {
        Matches::Nothing => {}
        Matches::Same(bits) => {
            for (row, time) in (part.start..).zip(times) {
                visitor.see(Event {
                    run: part.run,
                    row,
                    time: i64::from_le_bytes(*time),
                    bits: *bits,
                })?;
            }
        }
        Matches::Rows(matches) => {
            let matches = &matches[rows];
            let mut from = 0;
            while let Some(at) = B::next(matches, from) {
                let (row, time) = (part.start + at as u32, i64::from_le_bytes(times[at]));
                visitor.see(Event { run: part.run, row, time, bits: matches[at].into() })?;
                from = at + 1;
            }
        }
        Matches::Few(few) => {
            for (row, bits) in few.within(part.start, part.end) {
                let time = i64::from_le_bytes(scan.effective[row as usize]);
                visitor.see(Event { run: part.run, row, time, bits: bits.into() })?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Whether every part ends before the next begins. Parts are sorted by their first event.
#[inline(never)]
fn one_after_the_other<B>(scans: &[RunScan<'_, B>], parts: &[Part]) -> bool {
    let time = |part: &Part, row: u32| {
        i64::from_le_bytes(scans[part.run as usize].effective[row as usize])
    };
    parts.windows(2).all(|pair| time(&pair[0], pair[0].end - 1) < time(&pair[1], pair[1].start))
}

#[inline(never)]
fn walk_merged<B: Bits>(
    scans: &[RunScan<'_, B>],
    parts: &[Part],
    scratch: &mut Scratch,
    visitor: &mut impl Visitor,
) {
    struct Collect<'s, 'a, B> {
        scans: &'s [RunScan<'a, B>],
        keys: &'s mut Vec<(i64, i64, i64, Event)>,
    }
    impl<B> Visitor for Collect<'_, '_, B> {
        fn see(&mut self, event: Event) -> ControlFlow<()> {
            let segment = &self.scans[event.run as usize].run.segment;
            let row = event.row as usize;
            self.keys.push((
                event.time,
                segment.sequence().get(row),
                segment.position().get(row),
                event,
            ));
            ControlFlow::Continue(())
        }
    }
    scratch.keys.clear();
    walk_unordered(scans, parts, &mut Collect { scans, keys: &mut scratch.keys });
    // Stable, because it merges runs that are already in order in linear time.
    scratch.keys.sort_by_key(|(time, sequence, position, _)| (*time, *sequence, *position));
    for (_, _, _, event) in &scratch.keys {
        if visitor.see(*event).is_break() {
            return;
        }
    }
}

/// Shows every matching row of a range of one run.
#[inline(always)]
pub(crate) fn walk_rows<B: Bits>(
    scan: &RunScan<'_, B>,
    rows: Range<usize>,
    visitor: &mut impl RowVisitor,
) {
    let times = &scan.effective[rows.clone()];
    match &*scan.matches {
        Matches::Nothing => {}
        Matches::Same(_) => {
            rows.zip(times).for_each(|(row, time)| visitor.see(row, i64::from_le_bytes(*time)));
        }
        Matches::Rows(matches) => {
            let (start, matches) = (rows.start, &matches[rows]);
            let mut from = 0;
            while let Some(at) = B::next(matches, from) {
                visitor.see(start + at, i64::from_le_bytes(times[at]));
                from = at + 1;
            }
        }
        Matches::Few(few) => {
            for (row, _) in few.within(rows.start as u32, rows.end as u32) {
                visitor.see(row as usize, i64::from_le_bytes(scan.effective[row as usize]));
            }
        }
    }
}

/// Ranges of rows of every run, for questions that do not care about subjects.
pub(crate) fn row_pieces<B>(scans: &[RunScan<'_, B>]) -> Vec<(usize, Range<usize>)> {
    let mut pieces = Vec::new();
    for (number, scan) in scans.iter().enumerate() {
        if matches!(*scan.matches, Matches::Nothing) {
            continue;
        }
        let events = scan.effective.len();
        let starts = (0..events).step_by(ROWS_PER_TASK);
        pieces.extend(starts.map(|start| (number, start..(start + ROWS_PER_TASK).min(events))));
    }
    pieces
}
