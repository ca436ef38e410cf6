//! Looking up a row in a column that few rows have, without a slot for every row.

use std::sync::Arc;

use crate::runs::Run;

/// Rows of a stretch, whose first cell is known.
const STRETCH: usize = 64;

/// One row in so many has the column at most: beyond that a slot for every row is faster.
const FEW: usize = 8;

/// The rows that have a column, found by their number.
#[derive(Debug)]
pub(crate) struct SparseRows<'a> {
    rows: &'a [[u8; 4]],
    /// For each stretch of rows the first cell that is not before it, and the number of cells at the end.
    starts: Arc<Vec<u32>>,
}

impl<'a> SparseRows<'a> {
    /// Whether looking up is worth it.
    pub(crate) fn pays(rows: &[[u8; 4]], events: usize) -> bool {
        rows.len() < events / FEW
    }

    /// The rows of a run that have the property at a path; what it takes to find them is kept for other questions.
    pub(crate) fn of(path: &str, rows: &'a [[u8; 4]], run: &Run) -> Self {
        let key = format!("rows of {path}");
        let starts = run.derived.get(&key).unwrap_or_else(|| {
            let starts = Arc::new(Self::starts(rows, run.events()));
            run.derived.keep(key, &starts, size_of_val(starts.as_slice()));
            starts
        });
        Self { rows, starts }
    }

    fn starts(rows: &[[u8; 4]], events: usize) -> Vec<u32> {
        let stretches = events / STRETCH + 2;
        let mut starts = Vec::with_capacity(stretches);
        for (cell, row) in (0u32..).zip(rows) {
            let stretch = u32::from_le_bytes(*row) as usize / STRETCH;
            while starts.len() <= stretch {
                starts.push(cell);
            }
        }
        starts.resize(stretches.max(starts.len()), rows.len() as u32);
        starts
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
            let starts = Arc::new(SparseRows::starts(&packed, 700));
            let sparse = SparseRows { rows: &packed, starts };
            for row in 0..700u32 {
                let wanted = rows.iter().position(|other| *other == row);
                prop_assert_eq!(sparse.cell(row as usize), wanted);
            }
        }
    }
}
