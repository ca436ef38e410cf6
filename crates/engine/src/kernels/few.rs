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
    /// The time of each match, so that nobody has to look for it among those of all rows.
    times: Vec<i64>,
    /// For each stretch of rows the first match that is not before it.
    starts: Vec<u32>,
}

impl<B: Copy> Few<B> {
    /// Whether a list is better than a slot for every row.
    pub(crate) fn pays(matches: usize, events: usize) -> bool {
        matches < events / FEW
    }

    /// From the matches of consecutive ranges of rows, and the times of all rows.
    pub(crate) fn new(pieces: Vec<(Vec<u32>, Vec<B>)>, effective: &[[u8; 8]]) -> Self {
        let events = effective.len();
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
        let time = |row: &u32| i64::from_le_bytes(effective[*row as usize]);
        let times = rows.iter().map(time).collect();
        Self { rows, bits, times, starts }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice())
            + size_of_val(self.bits.as_slice())
            + size_of_val(self.times.as_slice())
            + size_of_val(self.starts.as_slice())
    }

    /// The number of the first match at or after a row.
    #[inline(always)]
    fn place(&self, row: u32) -> usize {
        let mut at = self.starts[row as usize / STRETCH] as usize;
        while self.rows.get(at).is_some_and(|matching| *matching < row) {
            at += 1;
        }
        at
    }

    /// Whether a row matches.
    pub(crate) fn holds(&self, row: u32) -> bool {
        self.rows.get(self.place(row)) == Some(&row)
    }

    /// The matches of a range of rows: row, time and what it matches.
    #[inline(always)]
    pub(crate) fn within(&self, start: u32, end: u32) -> impl Iterator<Item = (u32, i64, B)> {
        let first = self.place(start);
        let (rows, times) = (self.rows[first..].iter(), self.times[first..].iter());
        let matches = rows.zip(times).zip(&self.bits[first..]);
        let matches = matches.take_while(move |((row, _), _)| **row < end);
        matches.map(|((row, time), bits)| (*row, *time, *bits))
    }

    /// Times of the first and the last match of a range of rows.
    #[inline(always)]
    pub(crate) fn span(&self, start: u32, end: u32) -> Option<(i64, i64)> {
        let first = self.place(start);
        let matches = self.rows[first..].iter().take_while(|row| **row < end).count();
        let times = &self.times[first..first + matches];
        Some((*times.first()?, *times.last()?))
    }

    /// The rows that are kept.
    pub(crate) fn filter(self, kept: impl Fn(u32) -> bool, effective: &[[u8; 8]]) -> Self {
        let pairs = self.rows.into_iter().zip(self.bits).filter(|(row, _)| kept(*row));
        Self::new(vec![pairs.unzip()], effective)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_has_its_matches_and_no_others(
            rows in proptest::collection::btree_set(0u32..500, 0..90),
            start in 0u32..500,
            length in 0u32..300,
        ) {
            let rows: Vec<u32> = rows.into_iter().collect();
            let bits: Vec<u8> = rows.iter().map(|row| *row as u8).collect();
            let effective: Vec<[u8; 8]> = (0..500i64).map(|row| (row * 7).to_le_bytes()).collect();
            let few = Few::new(vec![(rows.clone(), bits)], &effective);
            let end = (start + length).min(500);
            let wanted: Vec<(u32, i64, u8)> = rows
                .iter()
                .filter(|row| (start..end).contains(*row))
                .map(|row| (*row, i64::from(*row) * 7, *row as u8))
                .collect();
            let span = wanted.first().zip(wanted.last()).map(|(first, last)| (first.1, last.1));
            prop_assert_eq!(few.span(start, end), span);
            prop_assert_eq!(few.holds(start), rows.contains(&start));
            prop_assert_eq!(few.within(start, end).collect::<Vec<_>>(), wanted);
        }
    }
}
