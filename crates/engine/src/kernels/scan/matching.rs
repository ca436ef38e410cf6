//! Matching the rows of a run against selectors.

use std::ops::Range;

use super::{Bits, Matches, ROWS_PER_TASK};
use crate::{
    filter::{BLOCK, Predicate},
    kernels::{few::Few, tasks},
    limits::Workers,
    query::EventSelector,
    runs::Run,
    segment::{Codes, Field},
};

/// A filter that concerns fewer than one row in so many of a block is evaluated for these rows only.
const SPARSE: usize = 8;

/// Names up to which every name is compared with all rows at once, rather than every row looked up in a table.
const COMPARED: usize = 8;

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
        return Matches::Few(Few::new(pieces, run.segment.effective()));
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
