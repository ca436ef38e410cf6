//! Walks over the rows of a run, and over the events of a subject, that match anything.

use std::ops::{ControlFlow, Range};

use super::{Bits, Matches, ROWS_PER_TASK, RunScan};
use crate::snapshot::Part;

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
            for (row, time, bits) in few.within(part.start, part.end) {
                visitor.see(Event { run: part.run, row, time, bits: bits.into() })?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Whether what matches of every part ends before that of the next begins. Parts are sorted by their first event.
#[inline(never)]
fn one_after_the_other<B: Bits>(scans: &[RunScan<'_, B>], parts: &[Part]) -> bool {
    let mut spans = parts.iter().filter_map(|part| span(scans, *part));
    let Some((_, mut end)) = spans.next() else { return true };
    spans.all(|(first, last)| first > std::mem::replace(&mut end, last))
}

/// Times of the first and the last event of a part, of those that match where they are listed; `None` where none does.
#[inline(always)]
fn span<B: Bits>(scans: &[RunScan<'_, B>], part: Part) -> Option<(i64, i64)> {
    let scan = &scans[part.run as usize];
    let time = |row: u32| i64::from_le_bytes(scan.effective[row as usize]);
    match &*scan.matches {
        Matches::Nothing => None,
        Matches::Same(_) | Matches::Rows(_) => Some((time(part.start), time(part.end - 1))),
        Matches::Few(few) => few.span(part.start, part.end),
    }
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
            let (start, end) = (rows.start as u32, rows.end as u32);
            for (row, time, _) in few.within(start, end) {
                visitor.see(row as usize, time);
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
