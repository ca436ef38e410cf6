//! The matching rows of a question that is about few of the events, as a list.

/// Rows of a stretch, whose first match is known.
const STRETCH: usize = 16;

/// One row in so many matches at most: beyond that a slot for every row is smaller and faster.
const FEW: usize = 6;

/// Rows in rising order and what each matches.
#[derive(Debug)]
pub(crate) struct Few<B> {
    rows: Vec<u32>,
    bits: Vec<B>,
    /// For each stretch of rows the first match that is not before it.
    starts: Vec<u32>,
}

impl<B: Copy> Few<B> {
    /// Whether a list is better than a slot for every row.
    pub(crate) fn pays(matches: usize, events: usize) -> bool {
        matches < events / FEW
    }

    /// From the matches of consecutive ranges of rows.
    pub(crate) fn new(pieces: Vec<(Vec<u32>, Vec<B>)>, events: usize) -> Self {
        let matches = pieces.iter().map(|(rows, _)| rows.len()).sum();
        let (mut rows, mut bits) = (Vec::with_capacity(matches), Vec::with_capacity(matches));
        for (of_piece, bits_of_piece) in pieces {
            rows.extend(of_piece);
            bits.extend(bits_of_piece);
        }
        let mut starts = Vec::with_capacity(events / STRETCH + 1);
        for (at, row) in (0u32..).zip(&rows) {
            while starts.len() <= *row as usize / STRETCH {
                starts.push(at);
            }
        }
        starts.resize((events / STRETCH + 1).max(starts.len()), rows.len() as u32);
        Self { rows, bits, starts }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice())
            + size_of_val(self.bits.as_slice())
            + size_of_val(self.starts.as_slice())
    }

    /// The matches of a range of rows.
    #[inline(always)]
    pub(crate) fn within(&self, start: u32, end: u32) -> impl Iterator<Item = (u32, B)> {
        let from = self.starts[start as usize / STRETCH] as usize;
        let matches = self.rows[from..].iter().copied().zip(self.bits[from..].iter().copied());
        matches.skip_while(move |(row, _)| *row < start).take_while(move |(row, _)| *row < end)
    }

    /// The rows that are kept.
    pub(crate) fn filter(self, kept: impl Fn(u32) -> bool, events: usize) -> Self {
        let pairs = self.rows.into_iter().zip(self.bits).filter(|(row, _)| kept(*row));
        Self::new(vec![pairs.unzip()], events)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_has_its_matches_and_no_others(
            rows in proptest::collection::btree_set(0u32..500, 0..60),
            start in 0u32..500,
            length in 0u32..300,
        ) {
            let rows: Vec<u32> = rows.into_iter().collect();
            let bits: Vec<u8> = rows.iter().map(|row| *row as u8).collect();
            let few = Few::new(vec![(rows.clone(), bits)], 500);
            let end = (start + length).min(500);
            let wanted: Vec<(u32, u8)> = rows
                .iter()
                .filter(|row| (start..end).contains(*row))
                .map(|row| (*row, *row as u8))
                .collect();
            prop_assert_eq!(few.within(start, end).collect::<Vec<_>>(), wanted);
        }
    }
}
