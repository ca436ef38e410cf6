//! What subjects are called outside of a data set.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};

use crate::segment::{ActorKind, Seeded};

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
