//! Which selectors the rows of a run match, as bits.

use std::ops::Range;

use crate::{kernels::few::Few, runs::Run};

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

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::Same(_) => 0,
            Self::Rows(rows) => size_of_val(rows.as_slice()),
            Self::Few(few) => few.bytes(),
        }
    }

    /// The same of the rows of a run, of which some match nothing.
    pub(super) fn without(self, excluded: &[Range<u32>], run: &Run) -> Self {
        if excluded.is_empty() {
            return self;
        }
        let mut rows = match self {
            Self::Nothing => return Self::Nothing,
            Self::Same(bits) => vec![B::from_bits(bits); run.events()],
            Self::Rows(rows) => rows,
            Self::Few(few) => {
                let kept = |row: u32| {
                    let at = excluded.partition_point(|range| range.end <= row);
                    excluded.get(at).is_none_or(|range| row < range.start)
                };
                return Self::Few(few.filter(kept, run.segment.effective()));
            }
        };
        for range in excluded {
            rows[range.start as usize..range.end as usize].fill(B::default());
        }
        Self::Rows(rows)
    }

    /// The same, of which events beyond a position match nothing.
    pub(super) fn up_to(self, run: &Run, position: i64) -> Self {
        let mut rows = match self {
            Self::Nothing => return Self::Nothing,
            Self::Same(bits) => vec![B::from_bits(bits); run.events()],
            Self::Rows(rows) => rows,
            Self::Few(few) => {
                let positions = run.segment.position();
                let kept = |row: u32| positions.get(row as usize) <= position;
                return Self::Few(few.filter(kept, run.segment.effective()));
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
