//! Gathering what pieces of work say about cells within the memory that a question may use: what is too much goes to a
//! file, by buckets of dimension values, and is merged bucket by bucket at the end.

use std::{collections::BTreeMap, io, path::Path};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    partial::{Leaf, Merge, State},
    space::Space,
    spill::Spilled,
    tasks,
};
use crate::{error::Error, limits::Workers};

/// What a cell takes in a partial result, and as the row of an answer.
const CELL_BYTES: u64 = 300;

/// Of the memory of a question one part in so many is for cells that are being gathered; the rest is for the answer.
const SHARE: u64 = 2;

/// Combinations of dimension values are dealt out to so many buckets.
const BUCKETS: u64 = 64;

/// What becomes of the cells of a bucket when all of them are there.
type Then<S> = Box<dyn Fn(BTreeMap<u64, S>) -> BTreeMap<u64, S> + Send>;

/// What pieces of work say about cells, merged in the order of the pieces.
pub(crate) struct Gathered<S> {
    /// Combinations of dimension values; a cell is one of them in a bucket of time.
    combinations: u64,
    cells: BTreeMap<u64, S>,
    /// About what the cells take.
    bytes: u64,
    spilled: Option<Spilled>,
    then: Option<Then<S>>,
}

impl<S: Merge + Serialize + DeserializeOwned + Send + 'static> Gathered<S> {
    /// Nothing so far.
    pub(crate) fn nothing(combinations: u64) -> Self {
        let combinations = combinations.max(1);
        Self { combinations, cells: BTreeMap::new(), bytes: 0, spilled: None, then: None }
    }

    /// Works out pieces and merges their states as they come, in their order.
    pub(crate) fn from_pieces<T: Send>(
        workers: Workers<'_>,
        combinations: u64,
        pieces: Vec<T>,
        work: impl Fn(T) -> Vec<(u64, S)> + Sync,
    ) -> Self {
        let mut gathered = Self::nothing(combinations);
        tasks::run_into(workers, pieces, work, |states| {
            states.into_iter().for_each(|(cell, state)| gathered.add(workers, cell, state));
        });
        gathered
    }

    /// Merges a state into a cell.
    pub(crate) fn add(&mut self, workers: Workers<'_>, cell: u64, state: S) {
        merge(&mut self.cells, &mut self.bytes, cell, state);
        if let Some((bytes, folder)) = workers.memory()
            && self.bytes > bytes / SHARE
        {
            self.spill(workers, folder);
        }
    }

    /// Whether some of it is in a file, so that it may not be in memory at once.
    pub(crate) fn is_spilled(&self) -> bool {
        self.spilled.is_some()
    }

    /// Changes the cells that all combinations of a bucket have, when all are there.
    pub(crate) fn then(
        mut self,
        then: impl Fn(BTreeMap<u64, S>) -> BTreeMap<u64, S> + Send + 'static,
    ) -> Self {
        self.then = Some(Box::new(then));
        self
    }

    /// Brings what is in memory to a file.
    fn spill(&mut self, workers: Workers<'_>, folder: &Path) {
        let cells = std::mem::take(&mut self.cells);
        self.bytes = 0;
        if workers.should_stop() {
            return;
        }
        if let Err(source) = self.write(folder, cells) {
            let action = "write partial results to a file in";
            workers.fail(Error::Io { action, path: folder.to_owned(), source });
        }
    }

    fn write(&mut self, folder: &Path, cells: BTreeMap<u64, S>) -> io::Result<()> {
        let mut buckets: Vec<Vec<(u64, S)>> = (0..BUCKETS).map(|_| Vec::new()).collect();
        for (cell, state) in cells {
            buckets[(cell % self.combinations % BUCKETS) as usize].push((cell, state));
        }
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled::new(folder, buckets.len())?),
        };
        for (number, bucket) in buckets.into_iter().enumerate() {
            if !bucket.is_empty() {
                spilled.write(number, &bucket)?;
            }
        }
        Ok(())
    }

    /// Shows all cells, those of one bucket at a time where they do not fit into memory.
    pub(crate) fn for_each_bucket(
        mut self,
        workers: Workers<'_>,
        mut see: impl FnMut(BTreeMap<u64, S>, Extent),
    ) {
        let then = self.then.take().unwrap_or_else(|| Box::new(|cells| cells));
        let memory = workers.memory().filter(|_| self.spilled.is_some());
        let Some((_, folder)) = memory else {
            see(then(self.cells), Extent::All);
            return;
        };
        self.spill(workers, folder);
        let Some(mut spilled) = self.spilled.take() else { return };
        for bucket in 0..BUCKETS as usize {
            if workers.should_stop() {
                return;
            }
            let (mut cells, mut bytes) = (BTreeMap::new(), 0);
            let read = spilled.read(bucket, |states: Vec<(u64, S)>| {
                for (cell, state) in states {
                    merge(&mut cells, &mut bytes, cell, state);
                }
            });
            if let Err(source) = read {
                let action = "read partial results back from a file in";
                workers.fail(Error::Io { action, path: folder.to_owned(), source });
                return;
            }
            see(then(cells), Extent::Bucket);
        }
    }

    /// All cells in memory. Where they are too many to be there at once, `settle` makes of each what is left of it when
    /// nothing is merged with it any more.
    pub(crate) fn into_leaf(
        self,
        workers: Workers<'_>,
        space: Space,
        settle: impl Fn(&Space, u64, S) -> S,
    ) -> Leaf<S> {
        let mut all = BTreeMap::new();
        self.for_each_bucket(workers, |cells, extent| {
            match extent {
                Extent::All => all = cells,
                Extent::Bucket => {
                    let settled = |(cell, state)| (cell, settle(&space, cell, state));
                    all.extend(cells.into_iter().map(settled));
                }
            }
            workers.answer_takes(all.len() as u64 * CELL_BYTES);
        });
        Leaf { space, cells: all }
    }
}

/// How many of the cells are shown at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    All,
    Bucket,
}

fn merge<S: Merge>(cells: &mut BTreeMap<u64, S>, bytes: &mut u64, cell: u64, state: S) {
    match cells.entry(cell) {
        std::collections::btree_map::Entry::Vacant(slot) => {
            *bytes += CELL_BYTES + state.heap_bytes();
            slot.insert(state);
        }
        std::collections::btree_map::Entry::Occupied(mut slot) => {
            let before = slot.get().heap_bytes();
            slot.get_mut().merge(state);
            *bytes = (*bytes + slot.get().heap_bytes()).saturating_sub(before);
        }
    }
}

/// What a kernel found: the states of cells, and what the numbers of cells mean.
pub(crate) struct Found {
    pub space: Space,
    pub cells: Gathered<State>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        calendar::Buckets,
        limits::{Limits, Use},
    };

    /// Counts of 40 values in three buckets, by pieces that come one after the other; and whether a file was needed.
    fn counted(memory: Option<u64>) -> (Leaf, bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = Limits { memory, folder: Some(folder.path().into()), ..Limits::default() };
        let mind = Use::of(&limits);
        let workers = Workers::new(2, &mind);
        let buckets = Buckets::between(vec![0, 10, 20, 30]);
        let values = (0..40).map(|value| Some(format!("value {value}")));
        let space = Space { buckets, dimensions: vec![values.collect()] };
        let pieces = (0..10u64).collect();
        let cells = Gathered::from_pieces(workers, space.combinations(), pieces, |piece| {
            (0..120).map(|cell| (cell, State::Values(vec![(piece * cell) as f64]))).collect()
        });
        let spilled = cells.is_spilled();
        let named = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(named, 0, "no file is left behind");
        let leaf = cells.into_leaf(workers, space, |_, _, state| state);
        mind.check().expect("nothing went wrong");
        (leaf, spilled)
    }

    #[test]
    fn what_went_to_a_file_comes_back_in_order() {
        let (in_memory, spilled) = counted(None);
        assert!(!spilled);
        let (through_a_file, spilled) = counted(Some(36_000));
        assert!(spilled);
        assert_eq!(through_a_file, in_memory);
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_ends_the_question() {
        let gone = std::path::Path::new("/nowhere/at/all");
        let folder = Some(Arc::from(gone));
        let limits = Limits { memory: Some(1_000), folder, ..Limits::default() };
        let mind = Use::of(&limits);
        let workers = Workers::new(1, &mind);
        let mut cells = Gathered::nothing(100);
        (0..100).for_each(|cell| cells.add(workers, cell, State::Count(1)));
        assert!(workers.should_stop());
        let refusal = mind.check().expect_err("no file");
        assert!(matches!(refusal, Error::Io { .. }), "{refusal}");
    }
}
