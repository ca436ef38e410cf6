//! A consistent view of a data set, and the questions it answers.

mod index;
mod questions;

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

pub(crate) use index::{CountedActors, Index, Part};
pub(crate) use questions::cores;

use index::excluded_rows;

use crate::{
    error::{Error, Result},
    identity::{Identity, NOBODY},
    limits::{Cancel, Limits, Use, Workers},
    query::Dimension,
    runs::Run,
    segment::Field,
    subjects::{Names, SubjectName, SubjectSet},
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
    /// How much of the log is known; `None` is all that was taken in.
    known: Option<Known>,
    /// Where the data set has its files.
    folder: Arc<Path>,
}

/// A part of the log, from its beginning.
#[derive(Debug, Clone, Copy)]
struct Known {
    position: i64,
    /// Earliest and latest effective time of its events.
    range: Option<(i64, i64)>,
}

impl Snapshot {
    pub(crate) fn new(
        runs: Vec<Arc<Run>>,
        identity: &Identity,
        watermark: i64,
        folder: &Path,
    ) -> Self {
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
                known: None,
                folder: folder.into(),
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

    /// The same view, each of whose questions uses about so many bytes of memory beside the events themselves and the
    /// values that it is broken down by. Distinct values are counted in as many passes as that takes, and partial
    /// results beyond it go to a file in the data set's folder, which has no name there; an answer that is larger itself
    /// is refused.
    #[must_use]
    pub fn within_memory(&self, bytes: u64) -> Self {
        let folder = Some(Arc::clone(&self.view.folder));
        let limits = Limits { memory: Some(bytes), folder, ..self.limits.clone() };
        Self { limits, ..self.clone() }
    }

    /// So many threads, or fewer where they would not pay.
    pub(crate) fn workers<'a>(&self, threads: usize, mind: &'a Use<'a>) -> Workers<'a> {
        Workers::new(threads, mind).worth(self.events())
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

    /// The same view of the log as it was up to a position: metrics, and what lies behind them, do not know later
    /// events. Who is whom and who may be counted are what they are now.
    #[must_use]
    pub fn up_to(&self, position: i64) -> Self {
        let of_run = |run: &Arc<Run>| {
            let segment = &run.segment;
            if segment.positions().1 <= position {
                return Some((segment.min_effective(), segment.max_effective()));
            }
            let positions = segment.position();
            let times = segment.effective().iter().enumerate();
            let known = times
                .filter(|(row, _)| positions.get(*row) <= position)
                .map(|(_, time)| i64::from_le_bytes(*time));
            known.fold(None, |range, time| {
                let (first, last) = range.unwrap_or((time, time));
                Some((first.min(time), last.max(time)))
            })
        };
        let ranges = self.runs().iter().filter_map(of_run);
        let range = ranges.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
        let known = Some(Known { position, range });
        let view = View { known, ..View::clone(&self.view) };
        Self { view: Arc::new(view), limits: self.limits.clone() }
    }

    /// Position of the log beyond which events are not known; `None` when all are.
    pub(crate) fn position(&self) -> Option<i64> {
        self.view.known.map(|known| known.position)
    }

    /// The same view with cohorts by name, for [`Dimension::Cohort`](crate::Dimension::Cohort). They must be sets of
    /// this view or of one of the same moment.
    #[must_use]
    pub fn with_cohorts(&self, cohorts: BTreeMap<String, SubjectSet>) -> Self {
        let view = View { cohorts, ..View::clone(&self.view) };
        Self { view: Arc::new(view), limits: self.limits.clone() }
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

    /// The actors whose subjects are counted.
    pub(crate) fn counted_actors(&self) -> &CountedActors {
        self.view.index.counted_actors(&self.view.subjects)
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

    /// Highest log position that the view covers; `i64::MIN` when empty.
    pub fn watermark(&self) -> i64 {
        self.position().map_or(self.view.watermark, |position| position.min(self.view.watermark))
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
        if let Some(known) = self.view.known {
            return known.range;
        }
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

    /// Where the data set has its files.
    pub(crate) fn folder(&self) -> &Path {
        &self.view.folder
    }

    pub(crate) fn runs(&self) -> &[Arc<Run>] {
        &self.view.runs
    }

    pub(crate) fn index(&self) -> &Index {
        &self.view.index
    }
}
