//! Raw actors as dense numbers, and the links that resolve them to subjects.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::segment::{ActorKind, Seeded};
use crate::subjects::Names;

/// Number of an actor that stands for nobody.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Every raw actor of a data set, numbered by first appearance. The subject of an actor is an actor too: the user it
/// is linked to, or itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    users: HashMap<Box<str>, u32, Seeded>,
    anonymous: HashMap<Box<str>, u32, Seeded>,
    /// Identifiers of other kinds, which no event has as its actor: they only name
    /// subjects. By kind and value.
    others: HashMap<(Box<str>, Box<str>), u32, Seeded>,
    subjects: Vec<u32>,
    /// What those are called that others follow.
    names: Names,
    consent: Consent,
    version: u64,
}

/// What was said about purposes, and which of them count.
#[derive(Debug, Clone, Default)]
struct Consent {
    names: Vec<Box<str>>,
    /// Numbers of the purposes whose refusal keeps a subject out, with whether a grant is needed.
    purposes: Vec<(u32, bool)>,
    /// The last word of each actor about each purpose: when, and whether it was yes.
    words: HashMap<(u32, u32), (i64, bool), Seeded>,
}

impl Consent {
    fn number(&mut self, purpose: &str) -> u32 {
        let known = self.names.iter().position(|name| **name == *purpose);
        known.unwrap_or_else(|| {
            self.names.push(purpose.into());
            self.names.len() - 1
        }) as u32
    }
}

/// Of two words the one that holds: the later, and of the same time the refusal.
fn later(left: (i64, bool), right: (i64, bool)) -> (i64, bool) {
    let order = |word: (i64, bool)| (word.0, !word.1);
    if order(right) > order(left) { right } else { left }
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

    /// The number of an identifier of any kind, new or known.
    fn identifier(&mut self, kind: &str, key: &str) -> u32 {
        match kind {
            "user_id" => self.actor(ActorKind::User, key),
            "anonymous_id" => self.actor(ActorKind::Anonymous, key),
            _ => {
                let number = self.subjects.len() as u32;
                match self.others.entry((kind.into(), key.into())) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(free) => {
                        free.insert(number);
                        self.subjects.push(number);
                        number
                    }
                }
            }
        }
    }

    /// The subject that an identifier names; `None` for one that was never seen.
    pub(crate) fn subject_of(&self, kind: &str, key: &str) -> Option<u32> {
        let number = match kind {
            "user_id" => self.known(ActorKind::User, key),
            "anonymous_id" => self.known(ActorKind::Anonymous, key),
            _ => *self.others.get(&(kind.into(), key.into()))?,
        };
        self.subjects.get(number as usize).copied()
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// From now on the identifier's subject is the one that another names. Kinds
    /// are `user_id`, `anonymous_id` and whatever else names subjects.
    pub(crate) fn point_to(&mut self, identifier: (&str, &str), subject: (&str, &str)) {
        let actor = self.identifier(identifier.0, identifier.1);
        let number = self.identifier(subject.0, subject.1);
        self.names.note(number, subject.0, subject.1);
        self.point(actor, number);
    }

    pub(crate) fn link(&mut self, anonymous_id: &str, user_id: &str) {
        let actor = self.actor(ActorKind::Anonymous, anonymous_id);
        let subject = self.actor(ActorKind::User, user_id);
        self.names.note(subject, "user_id", user_id);
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
            self.names.note(subject, "user_id", user_id);
            subjects.extend(subjects.len() as u32..self.subjects.len() as u32);
            subjects[actor as usize] = subject;
        }
        if subjects != self.subjects {
            self.subjects = subjects;
            self.version += 1;
        }
    }

    /// Says which purposes count: subjects that refuse one are kept out, and so are those that do not grant one that
    /// is required.
    pub(crate) fn set_purposes(&mut self, purposes: &[(&str, bool)]) {
        let purposes: Vec<(u32, bool)> = purposes
            .iter()
            .map(|(purpose, required)| (self.consent.number(purpose), *required))
            .collect();
        if purposes != self.consent.purposes {
            self.consent.purposes = purposes;
            self.version += 1;
        }
    }

    /// Takes in what an identifier's holder said about a purpose.
    pub(crate) fn word(
        &mut self,
        identifier: (&str, &str),
        purpose: &str,
        at_micros: i64,
        granted: bool,
    ) {
        let actor = self.identifier(identifier.0, identifier.1);
        let purpose = self.consent.number(purpose);
        let said = (at_micros, granted);
        let known = self.consent.words.entry((actor, purpose)).or_insert(said);
        *known = later(*known, said);
        self.version += 1;
    }

    /// The subject of every actor, with nobody in place of a subject that is kept out for lack of consent.
    pub(crate) fn counted_subjects(&self) -> Cow<'_, [u32]> {
        if self.consent.purposes.is_empty() {
            return Cow::Borrowed(&self.subjects);
        }
        let mut words: HashMap<(u32, u32), (i64, bool), Seeded> = HashMap::default();
        for ((actor, purpose), word) in &self.consent.words {
            let known = words.entry((self.subjects[*actor as usize], *purpose)).or_insert(*word);
            *known = later(*known, *word);
        }
        let mut counted = vec![true; self.subjects.len()];
        for (purpose, required) in &self.consent.purposes {
            if *required {
                // Few grants at most; everybody else is out.
                let mut granted = vec![false; counted.len()];
                for ((subject, about), (_, yes)) in &words {
                    granted[*subject as usize] |= about == purpose && *yes;
                }
                counted.iter_mut().zip(granted).for_each(|(counted, granted)| *counted &= granted);
            } else {
                for ((subject, about), (_, yes)) in &words {
                    counted[*subject as usize] &= about != purpose || *yes;
                }
            }
        }
        if counted.iter().all(|counted| *counted) {
            return Cow::Borrowed(&self.subjects);
        }
        let subject = |subject: &u32| if counted[*subject as usize] { *subject } else { NOBODY };
        Cow::Owned(self.subjects.iter().map(subject).collect())
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
    fn any_identifier_may_name_a_subject_and_any_may_follow_it() {
        let mut identity = Identity::default();
        identity.point_to(("user_id", "u2"), ("user_id", "u1"));
        identity.point_to(("anonymous_id", "d"), ("email", "a@x.io"));
        identity.point_to(("anonymous_id", "e"), ("email", "a@x.io"));
        let subject = |identity: &Identity, kind, key| {
            identity.subjects()[identity.known(kind, key) as usize]
        };
        assert_eq!(
            subject(&identity, ActorKind::User, "u2"),
            identity.known(ActorKind::User, "u1")
        );
        assert_eq!(
            subject(&identity, ActorKind::Anonymous, "d"),
            subject(&identity, ActorKind::Anonymous, "e")
        );
        identity.point_to(("user_id", "u2"), ("user_id", "u2"));
        assert_eq!(
            subject(&identity, ActorKind::User, "u2"),
            identity.known(ActorKind::User, "u2")
        );
    }

    #[test]
    fn the_last_word_of_a_subject_decides_whether_it_counts() {
        let mut identity = Identity::default();
        let (user, device) =
            (identity.actor(ActorKind::User, "u"), identity.actor(ActorKind::Anonymous, "d"));
        let counts =
            |identity: &Identity, actor: u32| identity.counted_subjects()[actor as usize] != NOBODY;
        identity.word(("anonymous_id", "d"), "analytics", 5, false);
        assert!(counts(&identity, device), "no purpose counts yet");
        identity.set_purposes(&[("analytics", false)]);
        assert_eq!((counts(&identity, device), counts(&identity, user)), (false, true));
        identity.link("d", "u");
        assert_eq!((counts(&identity, device), counts(&identity, user)), (false, false));
        identity.word(("user_id", "u"), "analytics", 5, true);
        assert!(!counts(&identity, user), "of the same time the refusal holds");
        identity.word(("user_id", "u"), "analytics", 6, true);
        assert!(counts(&identity, device));
        let stranger = identity.actor(ActorKind::User, "stranger");
        identity.set_purposes(&[("analytics", true)]);
        assert_eq!((counts(&identity, user), counts(&identity, stranger)), (true, false));
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
