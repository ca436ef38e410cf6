//! Sets of subjects, and what subjects are called outside of a data set.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};

use crate::segment::{ActorKind, Seeded};

const WORD: usize = u64::BITS as usize;

/// Some of the subjects of one data set, as of one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectSet {
    words: Vec<u64>,
}

impl SubjectSet {
    pub(crate) fn insert(&mut self, subject: u32) {
        let word = subject as usize / WORD;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (subject as usize % WORD);
    }

    #[inline(always)]
    pub(crate) fn contains(&self, subject: u32) -> bool {
        let word = self.words.get(subject as usize / WORD);
        word.is_some_and(|word| word >> (subject as usize % WORD) & 1 == 1)
    }

    /// The subjects by their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.checked_sub(1)?;
                Some((at * WORD) as u32 + bit)
            })
        })
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Adds the subjects of another set of the same data set.
    pub fn unite(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// Keeps only what is in another set of the same data set, too.
    pub fn intersect(&mut self, other: &Self) {
        self.words.truncate(other.words.len());
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine &= theirs);
    }
}

impl FromIterator<u32> for SubjectSet {
    fn from_iter<I: IntoIterator<Item = u32>>(subjects: I) -> Self {
        let mut set = Self::default();
        subjects.into_iter().for_each(|subject| set.insert(subject));
        set
    }
}

/// What a subject is called: an identifier of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubjectName {
    /// `user_id`, `anonymous_id` or whatever else names subjects.
    pub kind: String,
    /// The identifier.
    pub value: String,
}

impl SubjectName {
    pub(crate) fn of_actor(kind: ActorKind, key: &str) -> Self {
        let kind = match kind {
            ActorKind::User => "user_id",
            ActorKind::Anonymous => "anonymous_id",
            ActorKind::Nobody => "",
        };
        Self { kind: kind.to_owned(), value: key.to_owned() }
    }
}

/// What subjects are called that other actors follow, and that may have no event of their own. A number never changes
/// its name, so snapshots share the table with the data set that goes on writing to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Arc<RwLock<HashMap<u32, SubjectName, Seeded>>>);

impl Names {
    pub(crate) fn note(&self, subject: u32, kind: &str, value: &str) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        names
            .entry(subject)
            .or_insert_with(|| SubjectName { kind: kind.to_owned(), value: value.to_owned() });
    }

    pub(crate) fn get(&self, subject: u32) -> Option<SubjectName> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&subject).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set: SubjectSet = [3, 64, 200].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 64, 200]);
        assert_eq!(
            (set.len(), set.contains(64), set.contains(65), set.contains(9_999)),
            (3, true, false, false)
        );
        set.unite(&[1_000].into_iter().collect());
        assert_eq!(set.len(), 4);
        set.intersect(&[3, 4].into_iter().collect());
        assert_eq!(set.iter().collect::<Vec<_>>(), [3]);
        assert!(!set.is_empty() && SubjectSet::default().is_empty());
    }
}
