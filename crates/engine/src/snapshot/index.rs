//! Where the events of every subject lie.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use crate::{identity::NOBODY, runs::Run, subjects::SubjectSet};

/// Pieces that a question is cut into. Fixed, so that an answer does not depend on the number of threads.
const CHUNKS: usize = 32;

const WORD: usize = u64::BITS as usize;

/// Where the events of every subject lie.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// First part of each subject, and after the last one the number of parts.
    offsets: Vec<u32>,
    parts: Vec<Part>,
    /// Subjects with at least one part.
    pub(super) subjects: u64,
    /// Ranges of subjects with about equally many events.
    pub chunks: Vec<Range<u32>>,
    counted_actors: OnceLock<CountedActors>,
}

/// The actors whose subjects are counted, a bit for each by its number in the data set.
#[derive(Debug)]
pub(crate) struct CountedActors {
    /// Those that are the only one of their subject.
    pub alone: Vec<u64>,
    /// Those whose subject has others, too.
    pub linked: Vec<u64>,
}

impl CountedActors {
    /// From the subject of every actor.
    fn new(index: &Index, subjects: &[u32]) -> Self {
        let mut actors_of = vec![0u8; subjects.len()];
        for subject in subjects.iter().filter(|subject| **subject != NOBODY) {
            let actors = &mut actors_of[*subject as usize];
            *actors = actors.saturating_add(1);
        }
        let words = subjects.len().div_ceil(WORD);
        let (mut alone, mut linked) = (vec![0u64; words], vec![0u64; words]);
        for (actor, subject) in subjects.iter().enumerate() {
            if *subject == NOBODY || index.parts_of(*subject).is_empty() {
                continue;
            }
            let set = if actors_of[*subject as usize] == 1 { &mut alone } else { &mut linked };
            set[actor / WORD] |= 1 << (actor % WORD);
        }
        Self { alone, linked }
    }
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
    pub(super) fn new(runs: &[Arc<Run>], subjects: &[u32]) -> Self {
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
        let chunks = chunks(&weights);
        let mut index =
            Self { offsets, parts, subjects: populated, chunks, counted_actors: OnceLock::new() };
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
    pub(super) fn only(&self, subjects: &SubjectSet) -> Self {
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
    pub(super) fn rows_of_others(&self, runs: &[Arc<Run>]) -> Vec<Vec<Range<u32>>> {
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
    pub(super) fn all(&self) -> Range<u32> {
        0..self.offsets.len().saturating_sub(1) as u32
    }

    /// The actors of these subjects, from the subject of every actor of the view.
    pub(super) fn counted_actors(&self, subjects: &[u32]) -> &CountedActors {
        self.counted_actors.get_or_init(|| CountedActors::new(self, subjects))
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
pub(super) fn excluded_rows(
    runs: &[Arc<Run>],
    subjects: &[u32],
    counted: &[u32],
) -> Vec<Vec<Range<u32>>> {
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
