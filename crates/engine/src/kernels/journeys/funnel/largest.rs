//! The largest groups of a funnel whose groups do not all fit into memory.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{FunnelState, finish::absent_last};
use crate::{
    journeys::FunnelQuery,
    kernels::{
        gather::Gathered,
        partial::{Leaf, Merge},
        space::Space,
    },
    limits::Workers,
};

/// How many units entered, by group.
#[derive(Default)]
pub(super) struct Sizes(BTreeMap<u64, u64>);

impl Sizes {
    pub(super) fn add(&mut self, group: u64, state: &FunnelState) {
        let entered = state.counts.first().copied().unwrap_or(0);
        *self.0.entry(group).or_default() += entered;
    }

    /// The largest groups, so many, of those that are not known.
    fn largest(&self, space: &Space, known: &BTreeSet<u64>, wanted: usize) -> BTreeSet<u64> {
        let others = self.0.iter().filter(|(group, _)| !known.contains(group));
        let mut by_size: Vec<(u64, u64)> = others.map(|(group, size)| (*group, *size)).collect();
        by_size.sort_unstable_by(|(group, size), (other, its)| {
            let values = |group: u64| absent_last(&space.decode(group).1);
            let by_values = || values(*group).cmp(&values(*other));
            Reverse(size).cmp(&Reverse(its)).then_with(by_values)
        });
        by_size.into_iter().take(wanted).map(|(group, _)| group).collect()
    }
}

/// The groups that an answer tells apart: those of the whole range, and as far as there is room those that are in
/// the course of time only.
pub(super) struct Largest {
    groups: BTreeSet<u64>,
    trend: BTreeSet<u64>,
}

impl Largest {
    pub(super) fn of(query: &FunnelQuery, space: &Space, groups: &Sizes, trend: &Sizes) -> Self {
        let groups = groups.largest(space, &BTreeSet::new(), query.max_groups);
        let room = query.max_groups - groups.len();
        let mut all = trend.largest(space, &groups, room);
        all.extend(&groups);
        Self { groups, trend: all }
    }

    /// The cells of the largest groups, and all others together.
    pub(super) fn groups(
        &self,
        workers: Workers<'_>,
        space: Space,
        cells: Gathered<FunnelState>,
    ) -> (Leaf<FunnelState>, Option<FunnelState>) {
        let (leaf, mut others) = apart(workers, space, cells, &self.groups);
        (leaf, others.remove(&0))
    }

    /// The same bucket by bucket.
    pub(super) fn trend(
        &self,
        workers: Workers<'_>,
        space: Space,
        cells: Gathered<FunnelState>,
    ) -> (Leaf<FunnelState>, BTreeMap<u64, FunnelState>) {
        apart(workers, space, cells, &self.trend)
    }
}

fn apart(
    workers: Workers<'_>,
    space: Space,
    gathered: Gathered<FunnelState>,
    known: &BTreeSet<u64>,
) -> (Leaf<FunnelState>, BTreeMap<u64, FunnelState>) {
    let combinations = space.combinations();
    let (mut cells, mut others) = (BTreeMap::new(), BTreeMap::<u64, FunnelState>::new());
    gathered.for_each_bucket(workers, |bucket, _| {
        for (cell, state) in bucket {
            if known.contains(&(cell % combinations)) {
                cells.insert(cell, state);
            } else {
                others.entry(cell / combinations).or_default().merge(state);
            }
        }
    });
    (Leaf { space, cells }, others)
}
