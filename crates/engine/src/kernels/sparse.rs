//! Looking up a row in a column that few rows have, without a slot for every row.

/// Rows of a stretch, whose first cell is known.
const STRETCH: usize = 64;

/// One row in so many has the column at most: beyond that a slot for every row is faster.
const FEW: usize = 8;

/// The rows that have a column, found by their number.
#[derive(Debug)]
pub(crate) struct SparseRows<'a> {
    rows: &'a [[u8; 4]],
    /// For each stretch of rows the first cell that is not before it, and the number of cells at the end.
    starts: Vec<u32>,
}

impl<'a> SparseRows<'a> {
    /// Whether looking up is worth it.
    pub(crate) fn pays(rows: &[[u8; 4]], events: usize) -> bool {
        rows.len() < events / FEW
    }

    pub(crate) fn new(rows: &'a [[u8; 4]], events: usize) -> Self {
        let stretches = events / STRETCH + 2;
        let mut starts = Vec::with_capacity(stretches);
        for (cell, row) in (0u32..).zip(rows) {
            let stretch = u32::from_le_bytes(*row) as usize / STRETCH;
            while starts.len() <= stretch {
                starts.push(cell);
            }
        }
        starts.resize(stretches.max(starts.len()), rows.len() as u32);
        Self { rows, starts }
    }

    /// The cell of a row.
    #[inline(always)]
    pub(crate) fn cell(&self, row: usize) -> Option<usize> {
        let stretch = row / STRETCH;
        let (from, to) = (self.starts[stretch] as usize, self.starts[stretch + 1] as usize);
        let wanted = row as u32;
        let within = &self.rows[from..to];
        let at = within.partition_point(|other| u32::from_le_bytes(*other) < wanted);
        (within.get(at).copied().map(u32::from_le_bytes) == Some(wanted)).then_some(from + at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_row_is_found_and_no_other(rows in proptest::collection::btree_set(0u32..700, 0..80)) {
            let rows: BTreeSet<u32> = rows;
            let packed: Vec<[u8; 4]> = rows.iter().map(|row| row.to_le_bytes()).collect();
            let sparse = SparseRows::new(&packed, 700);
            for row in 0..700u32 {
                let wanted = rows.iter().position(|other| *other == row);
                prop_assert_eq!(sparse.cell(row as usize), wanted);
            }
        }
    }
}
