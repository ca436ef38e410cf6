//! A page of the subjects behind a number.

use std::collections::BinaryHeap;

use crate::{
    journeys::{MemberPage, Members},
    snapshot::Snapshot,
    subjects::SubjectName,
};

/// Collects the subjects of one piece of the work: how many, and the names that may be on the page.
pub(super) struct Page<'a> {
    snapshot: &'a Snapshot,
    page: &'a MemberPage,
    total: u64,
    /// The first names, one more than fit, largest on top.
    first: BinaryHeap<SubjectName>,
}

impl<'a> Page<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, page: &'a MemberPage) -> Self {
        Self { snapshot, page, total: 0, first: BinaryHeap::new() }
    }

    /// Takes a subject in; once per subject.
    pub(super) fn take(&mut self, subject: u32) {
        self.total += 1;
        if let Some(name) = self.snapshot.name(subject) {
            self.keep(name);
        }
    }

    fn keep(&mut self, name: SubjectName) {
        if self.page.after.as_ref().is_some_and(|after| name <= *after) {
            return;
        }
        if self.first.len() <= self.page.limit {
            self.first.push(name);
        } else if let Some(mut largest) = self.first.peek_mut()
            && name < *largest
        {
            *largest = name;
        }
    }

    /// One page of all pieces.
    pub(super) fn finish(pieces: Vec<Self>, limit: usize) -> Members {
        let total = pieces.iter().map(|piece| piece.total).sum();
        let mut subjects: Vec<SubjectName> =
            pieces.into_iter().flat_map(|piece| piece.first).collect();
        subjects.sort_unstable();
        let more = subjects.len() > limit;
        subjects.truncate(limit);
        Members { subjects, total, more }
    }
}
