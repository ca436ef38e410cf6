//! A consistent view of a data set, and the questions it answers.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use crate::{
    adoption::{AdoptionAnswer, AdoptionQuery},
    cohort::{Cohort, CohortRule, FirstEvent},
    error::{Error, Result},
    identity::{Identity, NOBODY},
    journeys::{
        FunnelAnswer, FunnelCell, FunnelQuery, LifecycleAnswer, LifecycleCell, LifecycleQuery,
        MemberPage, Members, PathsAnswer, PathsCell, PathsQuery, RetentionAnswer, RetentionCellKey,
        RetentionQuery,
    },
    kernels::{
        self, Partial,
        journeys::{FunnelPartial, LifecyclePartial, PathsPartial, RetentionTablePartial},
    },
    limits::{Cancel, Limits, Use, Workers},
    purchases::{PurchaseAnswer, PurchaseQuery},
    query::{Answer, Dimension, Query},
    runs::Run,
    segment::Field,
    subjects::{Names, SubjectName, SubjectSet},
    variants::{VariantAnswer, VariantQuery},
};

/// Which side of a cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Its members.
    Within,
    /// Everybody else.
    Without,
}

impl Side {
    /// Both, members first.
    pub const BOTH: [Self; 2] = [Self::Within, Self::Without];

    /// The value of the cohort's [dimension](crate::Dimension::Cohort) on this side.
    pub fn value(self) -> &'static str {
        match self {
            Self::Within => Dimension::IN,
            Self::Without => Dimension::OUT,
        }
    }
}

/// A question names a cohort that the view does not have.
pub(crate) fn unknown_cohort(name: &str) -> Error {
    let problem = format!("the cohort {name} is not known to the view");
    Error::InvalidQuery { field: "breakdowns", problem }
}

/// Pieces that a question is cut into. Fixed, so that an answer does not depend on the number of threads.
const CHUNKS: usize = 32;

/// A consistent view of a data set; cheap to clone, valid while appends, links and compactions go on.
#[derive(Debug, Clone)]
pub struct Snapshot {
    view: Arc<View>,
    limits: Limits,
}

#[derive(Debug, Clone)]
struct View {
    runs: Vec<Arc<Run>>,
    index: Arc<Index>,
    /// The subject of every actor; nobody where it is not counted.
    subjects: Arc<[u32]>,
    names: Names,
    watermark: i64,
    identity_version: u64,
    events: u64,
    /// Of each run the rows that are in no answer.
    excluded: Arc<Vec<Vec<Range<u32>>>>,
    /// Of each run the rows whose subject's consent is lacking.
    without_consent: Arc<Vec<Vec<Range<u32>>>>,
    cohorts: BTreeMap<String, SubjectSet>,
}

/// Where the events of every subject lie.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// First part of each subject, and after the last one the number of parts.
    offsets: Vec<u32>,
    parts: Vec<Part>,
    subjects: u64,
    /// Ranges of subjects with about equally many events.
    pub chunks: Vec<Range<u32>>,
}

/// Consecutive rows of one run that belong to one raw actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub run: u32,
    /// Number of the actor within the run.
    pub actor: u32,
    pub start: u32,
    pub end: u32,
}

impl Index {
    fn new(runs: &[Arc<Run>], subjects: &[u32]) -> Self {
        let subject = |actor: &u32| subjects.get(*actor as usize).copied().unwrap_or(NOBODY);
        let mut offsets = vec![0u32; subjects.len() + 1];
        for run in runs {
            run.actors
                .iter()
                .map(subject)
                .filter(|subject| *subject != NOBODY)
                .for_each(|subject| offsets[subject as usize + 1] += 1);
        }
        let populated = offsets.iter().filter(|parts| **parts > 0).count() as u64;
        for at in 1..offsets.len() {
            offsets[at] += offsets[at - 1];
        }
        let mut parts =
            vec![Part { run: 0, actor: 0, start: 0, end: 0 }; offsets[subjects.len()] as usize];
        let mut next = offsets.clone();
        let mut weights = vec![0u32; subjects.len()];
        for (number, run) in runs.iter().enumerate() {
            for (local, actor) in run.actors.iter().enumerate() {
                let subject = subject(actor);
                if subject == NOBODY {
                    continue;
                }
                let (start, end) = run.rows(local);
                let slot = &mut next[subject as usize];
                parts[*slot as usize] =
                    Part { run: number as u32, actor: local as u32, start, end };
                *slot += 1;
                weights[subject as usize] += end - start;
            }
        }
        let mut index = Self { offsets, parts, subjects: populated, chunks: chunks(&weights) };
        index.order_by_time(runs);
        index
    }

    /// Brings the parts of each subject into the order of their first events.
    fn order_by_time(&mut self, runs: &[Arc<Run>]) {
        for pair in self.offsets.windows(2) {
            let parts = &mut self.parts[pair[0] as usize..pair[1] as usize];
            if parts.len() > 1 {
                parts.sort_by_key(|part| runs[part.run as usize].first_times[part.actor as usize]);
            }
        }
    }

    /// The same without the parts of other subjects.
    fn only(&self, subjects: &SubjectSet) -> Self {
        let known = self.offsets.len().saturating_sub(1);
        let mut only = Self { offsets: Vec::with_capacity(known + 1), ..Self::default() };
        let mut weights = vec![0u32; known];
        for (subject, weight) in weights.iter_mut().enumerate() {
            only.offsets.push(only.parts.len() as u32);
            let parts = self.parts(subject as u32);
            if subjects.contains(subject as u32) && !parts.is_empty() {
                only.parts.extend_from_slice(parts);
                only.subjects += 1;
                *weight = parts.iter().map(|part| part.end - part.start).sum();
            }
        }
        only.offsets.push(only.parts.len() as u32);
        only.chunks = chunks(&weights);
        only
    }

    /// Of each run the rows that belong to none of the subjects.
    fn rows_of_others(&self, runs: &[Arc<Run>]) -> Vec<Vec<Range<u32>>> {
        let mut own: Vec<Vec<Range<u32>>> = vec![Vec::new(); runs.len()];
        self.parts.iter().for_each(|part| own[part.run as usize].push(part.start..part.end));
        own.iter_mut().for_each(|ranges| ranges.sort_unstable_by_key(|range| range.start));
        let complement = |(run, own): (&Arc<Run>, &Vec<Range<u32>>)| {
            let starts = std::iter::once(0).chain(own.iter().map(|range| range.end));
            let ends = own.iter().map(|range| range.start).chain([run.events() as u32]);
            starts
                .zip(ends)
                .filter(|(start, end)| start < end)
                .map(|(start, end)| start..end)
                .collect()
        };
        runs.iter().zip(&own).map(complement).collect()
    }

    /// The numbers of all subjects, also of those without parts.
    fn all(&self) -> std::ops::Range<u32> {
        0..self.offsets.len().saturating_sub(1) as u32
    }

    /// The parts of a subject; none of one that came after the view.
    pub(crate) fn parts_of(&self, subject: u32) -> &[Part] {
        if (subject as usize) + 1 < self.offsets.len() { self.parts(subject) } else { &[] }
    }

    /// The parts of a subject, by the time of their first events.
    #[inline(always)]
    pub(crate) fn parts(&self, subject: u32) -> &[Part] {
        &self.parts
            [self.offsets[subject as usize] as usize..self.offsets[subject as usize + 1] as usize]
    }
}

/// Of each run the rows of actors that have a subject but are not counted; empty when all are.
fn excluded_rows(runs: &[Arc<Run>], subjects: &[u32], counted: &[u32]) -> Vec<Vec<Range<u32>>> {
    if std::ptr::eq(subjects, counted) {
        return Vec::new();
    }
    let of_run = |run: &Arc<Run>| {
        (0..run.actors.len())
            .filter(|local| {
                let actor = run.actors[*local] as usize;
                let subject = |of: &[u32]| of.get(actor).copied().unwrap_or(NOBODY);
                subject(subjects) != NOBODY && subject(counted) == NOBODY
            })
            .map(|local| run.rows(local))
            .map(|(start, end)| start..end)
            .collect()
    };
    runs.iter().map(of_run).collect()
}

fn chunks(weights: &[u32]) -> Vec<Range<u32>> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let (mut chunks, mut start, mut seen) = (Vec::with_capacity(CHUNKS), 0, 0);
    for (subject, weight) in weights.iter().enumerate() {
        seen += u64::from(*weight);
        if seen * CHUNKS as u64 >= total * (chunks.len() as u64 + 1) && seen > 0 {
            chunks.push(start..subject as u32 + 1);
            start = subject as u32 + 1;
        }
    }
    if (start as usize) < weights.len() {
        chunks.push(start..weights.len() as u32);
    }
    chunks
}

impl Snapshot {
    pub(crate) fn new(runs: Vec<Arc<Run>>, identity: &Identity, watermark: i64) -> Self {
        let counted = identity.counted_subjects();
        let index = Arc::new(Index::new(&runs, &counted));
        let excluded = Arc::new(excluded_rows(&runs, identity.subjects(), &counted));
        let events = runs.iter().map(|run| run.events() as u64).sum();
        Self {
            view: Arc::new(View {
                runs,
                index,
                subjects: counted.into(),
                names: identity.names().clone(),
                watermark,
                identity_version: identity.version(),
                events,
                without_consent: Arc::clone(&excluded),
                excluded,
                cohorts: BTreeMap::new(),
            }),
            limits: Limits::default(),
        }
    }

    /// The same view, whose questions end when they are taken back.
    #[must_use]
    pub fn cancelled_by(&self, cancel: &Cancel) -> Self {
        let limits = Limits { cancel: Some(cancel.clone()), ..self.limits.clone() };
        Self { limits, ..self.clone() }
    }

    /// The same view, whose questions mind what those to another one do.
    #[must_use]
    pub fn limited_as(&self, other: &Self) -> Self {
        Self { limits: other.limits.clone(), ..self.clone() }
    }

    /// The same view, each of whose questions uses so many bytes of memory beside the events themselves. Distinct
    /// values are counted in as many passes as that takes; an answer that is larger itself is refused.
    #[must_use]
    pub fn within_memory(&self, bytes: u64) -> Self {
        let limits = Limits { memory: Some(bytes), ..self.limits.clone() };
        Self { limits, ..self.clone() }
    }

    /// So many threads, or fewer where they would not pay.
    pub(crate) fn workers<'a>(&self, threads: usize, mind: &'a Use<'a>) -> Workers<'a> {
        Workers::new(threads, mind).worth(self.events())
    }

    /// What was found, unless the question was taken back: then it may lack parts.
    fn if_wanted<T>(&self, found: Result<T>) -> Result<T> {
        if self.limits.is_cancelled() { Err(Error::Cancelled) } else { found }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The same view with these subjects only: every question to it is about them and their events. What was taken in,
    /// up to which position and which instant, stays as it was.
    #[must_use]
    pub fn only(&self, subjects: &SubjectSet) -> Self {
        let index = self.index().only(subjects);
        let excluded = index.rows_of_others(self.runs());
        let mut view = View::clone(&self.view);
        (view.index, view.excluded) = (Arc::new(index), Arc::new(excluded));
        Self { view: Arc::new(view), limits: self.limits.clone() }
    }

    /// The same view with cohorts by name, for [`Dimension::Cohort`](crate::Dimension::Cohort). They must be sets of
    /// this view or of one of the same moment.
    #[must_use]
    pub fn with_cohorts(&self, cohorts: BTreeMap<String, SubjectSet>) -> Self {
        let view = View { cohorts, ..View::clone(&self.view) };
        Self { view: Arc::new(view), limits: self.limits.clone() }
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

    /// The same view with the members of one of its cohorts only, or with everybody else.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the view has no such cohort.
    pub fn part_of(&self, cohort: &str, side: Side) -> Result<Self> {
        let members = self.cohort_members(cohort).ok_or_else(|| unknown_cohort(cohort))?;
        let wanted = |subject: &u32| members.contains(*subject) == (side == Side::Within);
        let part: SubjectSet = self.index().all().filter(wanted).collect();
        Ok(self.only(&part))
    }

    /// The members of one of the view's cohorts.
    pub(crate) fn cohort_members(&self, name: &str) -> Option<&SubjectSet> {
        self.view.cohorts.get(name)
    }

    /// The names and members of the view's cohorts.
    pub(crate) fn cohorts(&self) -> &BTreeMap<String, SubjectSet> {
        &self.view.cohorts
    }

    /// What the subjects are called, by kind and identifier.
    pub fn names(&self, subjects: &SubjectSet) -> Vec<SubjectName> {
        let mut names: Vec<SubjectName> =
            subjects.iter().filter_map(|subject| self.name(subject)).collect();
        names.sort_unstable();
        names
    }

    /// What a subject is called; `None` for one without events that nobody follows.
    pub(crate) fn name(&self, subject: u32) -> Option<SubjectName> {
        let parts = self.index().parts_of(subject);
        let of_part = |part: &Part| {
            let run = &self.view.runs[part.run as usize];
            let local = run.actor_of(part.start);
            (run.actors[local] == subject).then(|| run.segment.actor(local))
        };
        match parts.iter().find_map(of_part) {
            Some((kind, key)) => Some(SubjectName::of_actor(kind, key)),
            None => self.view.names.get(subject),
        }
    }

    /// The counted subject of an actor.
    pub(crate) fn subject_of(&self, actor: u32) -> Option<u32> {
        self.view.subjects.get(actor as usize).copied().filter(|subject| *subject != NOBODY)
    }

    /// Of each run the rows that are in no answer for lack of their subject's consent.
    pub(crate) fn rows_without_consent(&self, run: usize) -> &[Range<u32>] {
        self.view.without_consent.get(run).map_or(&[], Vec::as_slice)
    }

    /// The earliest effective time of the events after a position of the log; `None` when there is none.
    pub fn earliest_after(&self, position: i64) -> Option<i64> {
        let newer = self.view.runs.iter().filter(|run| run.segment.positions().1 > position);
        let earliest = newer.filter_map(|run| {
            let (positions, times) = (run.segment.position(), run.segment.effective());
            (0..run.events())
                .filter(|row| positions.get(*row) > position)
                .map(|row| i64::from_le_bytes(times[row]))
                .min()
        });
        earliest.min()
    }

    /// The positions, rising, of the events after a position of the log that are earlier than an instant (microseconds
    /// since the epoch).
    pub fn late(&self, after_position: i64, before_micros: i64) -> Vec<i64> {
        let newer = self.view.runs.iter().filter(|run| run.segment.positions().1 > after_position);
        let mut late: Vec<i64> = newer
            .flat_map(|run| {
                let (positions, times) = (run.segment.position(), run.segment.effective());
                (0..run.events())
                    .map(move |row| (positions.get(row), i64::from_le_bytes(times[row])))
                    .filter(|(position, time)| *position > after_position && *time < before_micros)
                    .map(|(position, _)| position)
            })
            .collect();
        late.sort_unstable();
        late
    }

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
    /// [finish](Partial::finish). Not of a view [within little memory](Snapshot::within_memory), which counts distinct
    /// values for good. Set [`Query::as_of_micros`] when several data sets take part, so that all judge
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

    /// Highest log position that the view covers; `i64::MIN` when empty.
    pub fn watermark(&self) -> i64 {
        self.view.watermark
    }

    /// Events in the view.
    pub fn events(&self) -> u64 {
        self.view.events
    }

    /// Events that are in no answer for lack of their subject's consent.
    pub fn excluded_events(&self) -> u64 {
        let rows = self.view.without_consent.iter().flatten();
        rows.map(|rows| u64::from(rows.end - rows.start)).sum()
    }

    /// The rows of a run that are in no answer, for whoever does not go by subject.
    pub(crate) fn excluded_rows(&self, run: usize) -> &[Range<u32>] {
        self.view.excluded.get(run).map_or(&[], Vec::as_slice)
    }

    /// Subjects with at least one event.
    pub fn subjects(&self) -> u64 {
        self.view.index.subjects
    }

    /// Version of the identity map: rises with every change of a link.
    pub fn identity_version(&self) -> u64 {
        self.view.identity_version
    }

    /// Earliest and latest effective time; `None` when empty.
    pub fn effective_range(&self) -> Option<(i64, i64)> {
        let runs = &self.view.runs;
        let earliest = runs.iter().map(|run| run.segment.min_effective()).min()?;
        let latest = runs.iter().map(|run| run.segment.max_effective()).max()?;
        Some((earliest, latest))
    }

    /// Every event name with its number of events, by name.
    pub fn event_names(&self) -> Vec<(String, u64)> {
        let mut names = BTreeMap::new();
        for run in &self.view.runs {
            let strings = run.segment.field(Field::Name).strings;
            for (name, count) in strings.iter().zip(&run.segment.name_counts()[1..]) {
                *names.entry(name.to_owned()).or_default() += u64::from(*count);
            }
        }
        names.into_iter().collect()
    }

    /// Every property path that occurs, by name.
    pub fn property_paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self
            .view
            .runs
            .iter()
            .flat_map(|run| run.segment.property_paths().map(str::to_owned))
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    pub(crate) fn runs(&self) -> &[Arc<Run>] {
        &self.view.runs
    }

    pub(crate) fn index(&self) -> &Index {
        &self.view.index
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
