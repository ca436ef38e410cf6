//! A consistent view of a data set, and the questions it answers.

use crate::{
    error::Result,
    query::{Answer, Query},
    variants::{VariantAnswer, VariantQuery},
};

/// A consistent view of a data set; cheap to clone, valid while appends, links and compactions go on.
#[derive(Debug, Clone)]
pub struct Snapshot {}

impl Snapshot {
    /// Answers a question on all cores of the machine.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the question contradicts itself, and
    /// [`Error::Filter`](crate::Error::Filter) when a filter cannot be compiled.
    pub fn query(&self, query: &Query) -> Result<Answer> {
        let _ = query;
        todo!()
    }

    /// Answers a question on so many threads; the answer does not depend on how many.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn query_on(&self, query: &Query, threads: usize) -> Result<Answer> {
        let _ = (query, threads);
        todo!()
    }

    /// Sufficient statistics per variant.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn variant_stats(&self, query: &VariantQuery) -> Result<VariantAnswer> {
        let _ = query;
        todo!()
    }

    /// Highest log position that the view covers; `i64::MIN` when empty.
    pub fn watermark(&self) -> i64 {
        todo!()
    }

    /// Events in the view.
    pub fn events(&self) -> u64 {
        todo!()
    }

    /// Subjects with at least one event.
    pub fn subjects(&self) -> u64 {
        todo!()
    }

    /// Version of the identity map: rises with every change of a link.
    pub fn identity_version(&self) -> u64 {
        todo!()
    }

    /// Earliest and latest effective time; `None` when empty.
    pub fn effective_range(&self) -> Option<(i64, i64)> {
        todo!()
    }

    /// Every event name with its number of events, by name.
    pub fn event_names(&self) -> Vec<(String, u64)> {
        todo!()
    }

    /// Every property path that occurs, by name.
    pub fn property_paths(&self) -> Vec<String> {
        todo!()
    }
}
