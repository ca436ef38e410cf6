//! The questions that a view answers.

use super::Snapshot;
use crate::{
    adoption::{AdoptionAnswer, AdoptionQuery},
    cohort::{Cohort, CohortRule, FirstEvent},
    error::{Error, Result},
    journeys::{
        FunnelAnswer, FunnelCell, FunnelQuery, LifecycleAnswer, LifecycleCell, LifecycleQuery,
        MemberPage, Members, PathsAnswer, PathsCell, PathsQuery, RetentionAnswer, RetentionCellKey,
        RetentionQuery,
    },
    kernels::{
        self, Partial,
        journeys::{FunnelPartial, LifecyclePartial, PathsPartial, RetentionTablePartial},
    },
    purchases::{PurchaseAnswer, PurchaseQuery},
    query::{Answer, Dimension, Query},
    subjects::SubjectSet,
    variants::{VariantAnswer, VariantQuery},
};

impl Snapshot {
    /// Answers a question on all cores of the machine.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the question contradicts itself,
    /// [`Error::Cancelled`](crate::Error::Cancelled) when it was taken back, and
    /// [`Error::AnswerTooLarge`](crate::Error::AnswerTooLarge) when the answer needs more memory than it may use.
    pub fn query(&self, query: &Query) -> Result<Answer> {
        self.query_on(query, cores())
    }

    /// Answers a question on so many threads; the answer does not depend on how many.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn query_on(&self, query: &Query, threads: usize) -> Result<Answer> {
        self.partial(query, threads)?.finish(query)
    }

    /// The part of an answer that this data set contributes: merge those of several, then
    /// [finish](Partial::finish). Not of a view [within little memory](Snapshot::within_memory), which settles cells for
    /// good. Set [`Query::as_of_micros`] when several data sets take part, so that all judge
    /// maturity alike.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn partial(&self, query: &Query, threads: usize) -> Result<Partial> {
        kernels::run(self, query, threads)
    }

    /// Sufficient statistics per variant, on all cores of the machine.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn variant_stats(&self, query: &VariantQuery) -> Result<VariantAnswer> {
        self.variant_stats_on(query, cores())
    }

    /// Sufficient statistics per variant, on so many threads.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn variant_stats_on(&self, query: &VariantQuery, threads: usize) -> Result<VariantAnswer> {
        kernels::variants(self, query, threads)
    }

    /// Every subject before and after a day zero of its own, on all cores of the machine.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn adoption(&self, query: &AdoptionQuery) -> Result<AdoptionAnswer> {
        kernels::adoption(self, query, cores())
    }

    /// The purchase history of every customer, on all cores of the machine.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn purchases(&self, query: &PurchaseQuery) -> Result<PurchaseAnswer> {
        kernels::purchases(self, query, cores())
    }

    /// Answers a funnel question in any of its modes, on all cores of the machine.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the question contradicts itself.
    pub fn funnel(&self, query: &FunnelQuery) -> Result<FunnelAnswer> {
        self.funnel_partial(query, cores())?.finish(query)
    }

    /// The part of a funnel that this data set contributes, see [`Snapshot::partial`].
    ///
    /// # Errors
    /// As [`Snapshot::funnel`].
    pub fn funnel_partial(&self, query: &FunnelQuery, threads: usize) -> Result<FunnelPartial> {
        self.if_wanted(kernels::journeys::funnel_partial(self, query, threads))
    }

    /// The subjects behind one number of a funnel: as many as the number says, where subjects are counted.
    ///
    /// # Errors
    /// As [`Snapshot::funnel`], and when there is no such number.
    pub fn funnel_members(
        &self,
        query: &FunnelQuery,
        cell: &FunnelCell,
        page: &MemberPage,
    ) -> Result<Members> {
        self.if_wanted(kernels::journeys::funnel_members(self, query, cell, page, cores()))
    }

    /// Answers a retention table, on all cores of the machine.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the question contradicts itself.
    pub fn retention(&self, query: &RetentionQuery) -> Result<RetentionAnswer> {
        Ok(self.retention_partial(query, cores())?.finish(query))
    }

    /// The part of it that this data set contributes, see [`Snapshot::partial`].
    ///
    /// # Errors
    /// As [`Snapshot::retention`].
    pub fn retention_partial(
        &self,
        query: &RetentionQuery,
        threads: usize,
    ) -> Result<RetentionTablePartial> {
        self.if_wanted(kernels::journeys::retention_partial(self, query, threads))
    }

    /// The subjects behind one of its numbers.
    ///
    /// # Errors
    /// As [`Snapshot::retention`], and when there is no such number.
    pub fn retention_members(
        &self,
        query: &RetentionQuery,
        cell: &RetentionCellKey,
        page: &MemberPage,
    ) -> Result<Members> {
        self.if_wanted(kernels::journeys::retention_members(self, query, cell, page, cores()))
    }

    /// Answers a lifecycle, on all cores of the machine.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the question contradicts itself.
    pub fn lifecycle(&self, query: &LifecycleQuery) -> Result<LifecycleAnswer> {
        self.lifecycle_partial(query, cores())?.finish(query)
    }

    /// The part of it that this data set contributes, see [`Snapshot::partial`].
    ///
    /// # Errors
    /// As [`Snapshot::lifecycle`].
    pub fn lifecycle_partial(
        &self,
        query: &LifecycleQuery,
        threads: usize,
    ) -> Result<LifecyclePartial> {
        self.if_wanted(kernels::journeys::lifecycle_partial(self, query, threads))
    }

    /// The subjects behind one of its numbers.
    ///
    /// # Errors
    /// As [`Snapshot::lifecycle`], and when there is no such number.
    pub fn lifecycle_members(
        &self,
        query: &LifecycleQuery,
        cell: &LifecycleCell,
        page: &MemberPage,
    ) -> Result<Members> {
        self.if_wanted(kernels::journeys::lifecycle_members(self, query, cell, page, cores()))
    }

    /// Answers paths, on all cores of the machine.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the question contradicts itself.
    pub fn paths(&self, query: &PathsQuery) -> Result<PathsAnswer> {
        Ok(self.paths_partial(query, cores())?.finish(query))
    }

    /// The part of it that this data set contributes, see [`Snapshot::partial`].
    ///
    /// # Errors
    /// As [`Snapshot::paths`].
    pub fn paths_partial(&self, query: &PathsQuery, threads: usize) -> Result<PathsPartial> {
        self.if_wanted(kernels::journeys::paths_partial(self, query, threads))
    }

    /// The subjects behind one of its numbers.
    ///
    /// # Errors
    /// As [`Snapshot::paths`], and when there is no such number.
    pub fn paths_members(
        &self,
        query: &PathsQuery,
        cell: &PathsCell,
        page: &MemberPage,
    ) -> Result<Members> {
        self.if_wanted(kernels::journeys::paths_members(self, query, cell, page, cores()))
    }

    /// Who is in a cohort at instants (microseconds since the epoch) that rise.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the rule is too large.
    pub fn cohort(&self, rule: &CohortRule, as_of_micros: &[i64]) -> Result<Cohort> {
        self.cohort_up_to(rule, as_of_micros, None)
    }

    /// The same as if the log had ended at a position.
    ///
    /// # Errors
    /// As [`Snapshot::cohort`].
    pub fn cohort_up_to(
        &self,
        rule: &CohortRule,
        as_of_micros: &[i64],
        position: Option<i64>,
    ) -> Result<Cohort> {
        kernels::cohort(self, rule, as_of_micros, position, cores())
    }

    /// Who is in a cohort at the first event of its kind that is its own: what a subject does from then on has no part
    /// in it. Whoever has no such event is in none.
    ///
    /// # Errors
    /// As [`Snapshot::cohort`].
    pub fn cohort_at_first(&self, rule: &CohortRule, first: &FirstEvent) -> Result<SubjectSet> {
        kernels::cohort_at_first(self, rule, first, cores())
    }

    /// The subjects with an event of a kind by the last value of a dimension before their first one, or by whether they
    /// are in a cohort; in the order in which values are seen.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the view has no such cohort, and
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub fn segments(
        &self,
        dimension: &Dimension,
        first: &FirstEvent,
    ) -> Result<Vec<(Option<String>, SubjectSet)>> {
        kernels::segments(self, dimension, first, cores())
    }

    /// What was found, unless the question was taken back: then it may lack parts.
    fn if_wanted<T>(&self, found: Result<T>) -> Result<T> {
        if self.limits.is_cancelled() { Err(Error::Cancelled) } else { found }
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
