//! Partial answers: what one range of subjects contributes, mergeable and serialisable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tdigests::{Centroid, TDigest};

use super::space::Space;
use crate::query::{Detail, Lifecycle, LifecycleDetail};

/// The contribution of one data set (or one part of it) to an answer. Merge all of them, in a fixed order, then
/// [finish](Partial::finish).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    pub(super) leaves: Vec<Leaf>,
    pub(super) as_of_micros: i64,
    pub(super) events_scanned: u64,
    pub(super) subjects: u64,
    pub(super) watermark: i64,
}

impl Partial {
    /// Adds the contribution of other subjects to the same question. Counts of accounts and of property values are
    /// united; everything else adds up, so no subject may be in both.
    pub fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.leaves.iter_mut().zip(other.leaves) {
            mine.merge(theirs);
        }
        self.as_of_micros = self.as_of_micros.max(other.as_of_micros);
        self.events_scanned += other.events_scanned;
        self.subjects += other.subjects;
        self.watermark = self.watermark.max(other.watermark);
    }
}

/// The contribution to one metric that is no ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Leaf<S = State> {
    pub space: Space,
    pub cells: BTreeMap<u64, S>,
}

/// What adds up over disjoint subjects.
pub(crate) trait Merge {
    /// Takes the contribution of other subjects in.
    fn merge(&mut self, other: Self);

    /// About how many bytes it takes beside itself.
    fn heap_bytes(&self) -> u64;
}

/// What a list takes beside itself.
pub(crate) fn bytes_of<T>(list: &[T]) -> u64 {
    size_of_val(list) as u64
}

impl<S: Merge> Leaf<S> {
    pub(crate) fn add(&mut self, cell: u64, state: S) {
        add(&mut self.cells, cell, state);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        if self.space.dimensions == other.space.dimensions {
            other.cells.into_iter().for_each(|(cell, state)| self.add(cell, state));
            return;
        }
        let before = self.space.clone();
        let translate = self.space.absorb(&other.space);
        // New values change how the cells that are here are numbered, too.
        let renumber = self.space.clone().absorb(&before);
        let mine = std::mem::take(&mut self.cells);
        self.cells =
            mine.into_iter().map(|(cell, state)| (renumber(&self.space, cell), state)).collect();
        for (cell, state) in other.cells {
            self.add(translate(&self.space, cell), state);
        }
    }
}

fn add<S: Merge>(cells: &mut BTreeMap<u64, S>, cell: u64, state: S) {
    match cells.entry(cell) {
        std::collections::btree_map::Entry::Vacant(slot) => _ = slot.insert(state),
        std::collections::btree_map::Entry::Occupied(mut slot) => slot.get_mut().merge(state),
    }
}

/// What is known about one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Count(u64),
    /// Hashes of distinct values, unsorted and possibly repeated until the end.
    Distinct(Vec<u128>),
    Numbers(NumberState),
    Steps(StepState),
    Retention(RetentionState),
    /// One number per event or per subject, in no order.
    Values(Vec<f64>),
    Digest(Digest),
    Scores(ScoreState),
    /// Subjects by the number of intervals they were active in, from one up.
    Histogram(Vec<u64>),
    Lifecycle(LifecycleState),
    Conversion(ConversionState),
    /// The row, of which no more than its place is missing: nothing is merged with it any more.
    Settled(Box<Figures>),
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub value: Option<f64>,
    pub n: u64,
    pub numerator: Option<f64>,
    pub denominator: Option<f64>,
    pub complete: bool,
    pub detail: Detail,
}

impl State {
    /// The same without what it takes to be merged with others that have values in common.
    pub(crate) fn counted(self) -> Self {
        match self {
            Self::Distinct(mut values) => {
                values.sort_unstable();
                values.dedup();
                Self::Count(values.len() as u64)
            }
            other => other,
        }
    }
}

impl Merge for State {
    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Count(mine), Self::Count(theirs)) => *mine += theirs,
            (Self::Distinct(mine), Self::Distinct(theirs)) => mine.extend(theirs),
            (Self::Numbers(mine), Self::Numbers(theirs)) => mine.merge(&theirs),
            (Self::Steps(mine), Self::Steps(theirs)) => mine.merge(theirs),
            (Self::Retention(mine), Self::Retention(theirs)) => mine.merge(&theirs),
            (Self::Values(mine), Self::Values(theirs)) => mine.extend(theirs),
            (Self::Digest(mine), Self::Digest(theirs)) => mine.merge(theirs),
            (Self::Scores(mine), Self::Scores(theirs)) => mine.merge(theirs),
            (Self::Histogram(mine), Self::Histogram(theirs)) => {
                mine.resize(mine.len().max(theirs.len()), 0);
                mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
            }
            (Self::Lifecycle(mine), Self::Lifecycle(theirs)) => mine.merge(theirs),
            (Self::Conversion(mine), Self::Conversion(theirs)) => mine.merge(theirs),
            // States of one question are of one kind.
            _ => {}
        }
    }

    fn heap_bytes(&self) -> u64 {
        match self {
            Self::Distinct(values) => bytes_of(values),
            Self::Steps(state) => {
                let micros = state.micros.iter().map(|micros| bytes_of(micros));
                bytes_of(&state.counts) + bytes_of(&state.micros) + micros.sum::<u64>()
            }
            Self::Retention(state) => bytes_of(&state.cells),
            Self::Values(values) => bytes_of(values),
            Self::Digest(digest) => bytes_of(&digest.0),
            Self::Histogram(histogram) => bytes_of(histogram),
            Self::Settled(figures) => bytes_of(std::slice::from_ref(&**figures)),
            Self::Count(_)
            | Self::Numbers(_)
            | Self::Scores(_)
            | Self::Lifecycle(_)
            | Self::Conversion(_) => 0,
        }
    }
}

/// A sum of 64-bit floats with about 106 bits of precision (the TwoSum of Knuth, The Art of Computer Programming,
/// volume 2, 4.2.2, theorem B), so that the rounded result does not depend on the order of the terms in practice.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    #[inline(always)]
    pub(crate) fn add(&mut self, term: f64) {
        let sum = self.high + term;
        let kept = sum - self.high;
        self.low += (self.high - (sum - kept)) + (term - kept);
        self.high = sum;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.add(other.high);
        self.low += other.low;
    }

    pub(crate) fn value(self) -> f64 {
        self.high + self.low
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct NumberState {
    pub n: u64,
    pub sum: Sum,
    pub min: f64,
    pub max: f64,
}

impl Default for NumberState {
    fn default() -> Self {
        Self { n: 0, sum: Sum::default(), min: f64::MAX, max: f64::MIN }
    }
}

impl NumberState {
    fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.sum.merge(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Subjects per step, and the times between steps in microseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct StepState {
    pub counts: Vec<u64>,
    pub micros: Vec<Vec<i64>>,
}

impl StepState {
    fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        for (mine, theirs) in self.micros.iter_mut().zip(other.micros) {
            mine.extend(theirs);
        }
    }
}

/// Eligible and retained subjects per offset.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct RetentionState {
    pub entered: u64,
    pub cells: Vec<(u64, u64)>,
}

impl RetentionState {
    fn merge(&mut self, other: &Self) {
        self.entered += other.entered;
        for (mine, theirs) in self.cells.iter_mut().zip(&other.cells) {
            mine.0 += theirs.0;
            mine.1 += theirs.1;
        }
    }
}

/// Most centroids of a digest: percentiles are off by a share of about one in as many of the numbers in the middle, and
/// by far less at the ends.
const CENTROIDS: usize = 200;

/// Many numbers as a few of them with weights: the t-digest of Dunning, The t-digest: efficient estimates of
/// distributions, Software Impacts 7 (2021). Mean and weight of each, by mean.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Digest(Vec<(f64, f64)>);

impl Digest {
    /// Of numbers, none of which is NaN; empty for none.
    pub(crate) fn new(values: Vec<f64>) -> Self {
        if values.is_empty() {
            Self::default()
        } else {
            Self::compressed(TDigest::from_values(values))
        }
    }

    fn compressed(mut digest: TDigest) -> Self {
        digest.compress(CENTROIDS);
        Self(digest.centroids().iter().map(|centroid| (centroid.mean, centroid.weight)).collect())
    }

    fn digest(self) -> Option<TDigest> {
        let centroids = self.0.into_iter().map(|(mean, weight)| Centroid::new(mean, weight));
        let centroids: Vec<_> = centroids.collect();
        (!centroids.is_empty()).then(|| TDigest::from_centroids(centroids))
    }

    fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
        if let Some(digest) = std::mem::take(self).digest() {
            *self = Self::compressed(digest);
        }
    }

    /// How many numbers it stands for.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|(_, weight)| *weight).sum::<f64>().round() as u64
    }

    pub(crate) fn quantile(self, share: f64) -> Option<f64> {
        self.digest().map(|digest| digest.estimate_quantile(share))
    }
}

/// Scores from 0 to 10 by what they mean for the net promoter score.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct ScoreState {
    pub promoters: u64,
    pub passives: u64,
    pub detractors: u64,
}

impl ScoreState {
    fn merge(&mut self, other: Self) {
        self.promoters += other.promoters;
        self.passives += other.passives;
        self.detractors += other.detractors;
    }
}

/// Subjects of a period by what they were.
pub(crate) type LifecycleState = LifecycleDetail;

impl LifecycleState {
    /// Counts a subject.
    pub(crate) fn add(&mut self, state: Lifecycle) {
        match state {
            Lifecycle::New => self.new += 1,
            Lifecycle::Returning => self.returning += 1,
            Lifecycle::Resurrecting => self.resurrecting += 1,
            Lifecycle::Dormant => self.dormant += 1,
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.new += other.new;
        self.returning += other.returning;
        self.resurrecting += other.resurrecting;
        self.dormant += other.dormant;
    }
}

/// Base events and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct ConversionState {
    pub bases: u64,
    /// Base events that were credited with a conversion.
    pub converted: u64,
    /// Conversions that were credited to a base event.
    pub conversions: u64,
}

impl ConversionState {
    fn merge(&mut self, other: Self) {
        self.bases += other.bases;
        self.converted += other.converted;
        self.conversions += other.conversions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_does_not_depend_on_the_order_of_its_terms() {
        let terms: Vec<f64> =
            (0..10_000).map(|at| (f64::from(at) * 0.1).sin() * 10f64.powi(at % 17)).collect();
        let (mut forward, mut backward, mut halves) =
            (Sum::default(), Sum::default(), Sum::default());
        terms.iter().for_each(|term| forward.add(*term));
        terms.iter().rev().for_each(|term| backward.add(*term));
        for part in terms.chunks(777) {
            let mut sum = Sum::default();
            part.iter().for_each(|term| sum.add(*term));
            halves.merge(sum);
        }
        assert_eq!(forward.value().to_bits(), backward.value().to_bits());
        assert_eq!(forward.value().to_bits(), halves.value().to_bits());
    }
}
