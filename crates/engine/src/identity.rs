//! Raw actors as dense numbers, and the links that resolve them to subjects.

use std::collections::HashMap;

use crate::segment::{ActorKind, Seeded};

/// Number of an actor that stands for nobody.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Every raw actor of a data set, numbered by first appearance. The subject of an actor is an actor too: the user it
/// is linked to, or itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    users: HashMap<Box<str>, u32, Seeded>,
    anonymous: HashMap<Box<str>, u32, Seeded>,
    subjects: Vec<u32>,
    version: u64,
}

impl Identity {
    /// The number of a raw actor, new or known.
    pub(crate) fn actor(&mut self, kind: ActorKind, key: &str) -> u32 {
        let numbers = match kind {
            ActorKind::Nobody => return NOBODY,
            ActorKind::User => &mut self.users,
            ActorKind::Anonymous => &mut self.anonymous,
        };
        if let Some(number) = numbers.get(key) {
            return *number;
        }
        let number = self.subjects.len() as u32;
        numbers.insert(key.into(), number);
        self.subjects.push(number);
        number
    }

    /// The number of a raw actor that occurred before; [`NOBODY`] for one that did not.
    pub(crate) fn known(&self, kind: ActorKind, key: &str) -> u32 {
        let numbers = match kind {
            ActorKind::Nobody => return NOBODY,
            ActorKind::User => &self.users,
            ActorKind::Anonymous => &self.anonymous,
        };
        numbers.get(key).copied().unwrap_or(NOBODY)
    }

    pub(crate) fn link(&mut self, anonymous_id: &str, user_id: &str) {
        let actor = self.actor(ActorKind::Anonymous, anonymous_id);
        let subject = self.actor(ActorKind::User, user_id);
        self.point(actor, subject);
    }

    pub(crate) fn unlink(&mut self, anonymous_id: &str) {
        if let Some(actor) = self.anonymous.get(anonymous_id) {
            self.point(*actor, *actor);
        }
    }

    pub(crate) fn relink(&mut self, links: &HashMap<String, String>) {
        let mut subjects: Vec<u32> = (0..self.subjects.len() as u32).collect();
        for (anonymous_id, user_id) in links {
            let actor = self.actor(ActorKind::Anonymous, anonymous_id);
            let subject = self.actor(ActorKind::User, user_id);
            subjects.extend(subjects.len() as u32..self.subjects.len() as u32);
            subjects[actor as usize] = subject;
        }
        if subjects != self.subjects {
            self.subjects = subjects;
            self.version += 1;
        }
    }

    /// The subject of every actor.
    pub(crate) fn subjects(&self) -> &[u32] {
        &self.subjects
    }

    /// Rises with every change of a link.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    fn point(&mut self, actor: u32, subject: u32) {
        if self.subjects[actor as usize] != subject {
            self.subjects[actor as usize] = subject;
            self.version += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_moves_an_anonymous_id_and_can_be_taken_back() {
        let mut identity = Identity::default();
        let device = identity.actor(ActorKind::Anonymous, "d1");
        let user = identity.actor(ActorKind::User, "d1");
        assert_ne!(device, user, "the same text as user and as anonymous id is two actors");
        identity.link("d1", "d1");
        assert_eq!(identity.subjects()[device as usize], user);
        identity.unlink("d1");
        identity.unlink("never seen");
        assert_eq!((identity.subjects()[device as usize], identity.version()), (device, 2));
    }

    #[test]
    fn relinking_replaces_everything_and_the_same_map_changes_nothing() {
        let mut identity = Identity::default();
        identity.link("a", "u1");
        let map = HashMap::from([("b".to_owned(), "u1".to_owned())]);
        identity.relink(&map);
        let version = identity.version();
        let (a, b) =
            (identity.actor(ActorKind::Anonymous, "a"), identity.actor(ActorKind::Anonymous, "b"));
        assert_eq!(identity.subjects()[a as usize], a);
        assert_eq!(identity.subjects()[b as usize], identity.known(ActorKind::User, "u1"));
        identity.relink(&map);
        assert_eq!(identity.version(), version);
    }
}
