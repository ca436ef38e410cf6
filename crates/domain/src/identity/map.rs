//! From the set of facts to the map: a pure function.
//!
//! Facts are weighed in one order, whatever the order of their arrival:
//!
//! 1. Merges that are not undone, oldest first. A person said them, so no limit
//!    holds them back; the subject that is merged into gives the name.
//! 2. Links said by a person, latest first: of two statements the later corrects
//!    the earlier.
//! 3. Links shown by events, earliest first, and of those of the same time the
//!    one with the smaller user.
//!
//! What a person said last about a pair of identifiers holds for that pair: after
//! an unlink no event links it again, only a person does. A link is refused when
//! it would bring more identifiers of a kind together than the policy allows; so
//! a device that two people use stays with the first.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::identifier::Identifier;
use super::policy::{IdentityPolicy, LimitWindow};

/// What a fact says.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verb {
    /// Both identifiers are one subject's.
    Link,
    /// They are not, whatever events say.
    Unlink,
    /// The subject of the first is the subject of the second.
    Merge,
    /// A merge was wrong.
    Unmerge,
}

impl Verb {
    /// The verb as text, as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::Merge => "merge",
            Self::Unmerge => "unmerge",
        }
    }
}

impl std::str::FromStr for Verb {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Link, Self::Unlink, Self::Merge, Self::Unmerge]
            .into_iter()
            .find(|verb| verb.as_str() == text)
            .ok_or(())
    }
}

/// Who says it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SaidBy {
    /// An event that carries both.
    Event,
    /// Somebody with a key.
    Person,
}

/// One statement about two identifiers.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Fact {
    /// From when on it holds.
    pub effective_at: DateTime<Utc>,
    /// Its number, unique within the project.
    pub id: i64,
    /// What it says.
    pub verb: Verb,
    /// The first identifier; of a merge the one that is merged away.
    pub from: Identifier,
    /// The second; of a merge the one that stays.
    pub to: Identifier,
    /// Who says it.
    pub said_by: SaidBy,
    /// The merge that an unmerge undoes.
    pub undoes: Option<i64>,
}

/// Why a fact has no effect although nobody took it back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// One of the identifiers stands for nobody, or the policy does not know its
    /// kind.
    Blocked(Identifier),
    /// Together the subjects would hold too many identifiers of a kind.
    Limit {
        /// The kind, by its name.
        kind: String,
        /// Most that are allowed.
        limit: u32,
    },
}

/// Who everybody is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IdentityMap {
    /// The subject of every identifier that a fact names.
    pub subjects: BTreeMap<Identifier, Identifier>,
    /// Links and merges without effect, by their numbers.
    pub refused: BTreeMap<i64, Refusal>,
}

impl IdentityMap {
    /// The subject of an identifier: itself, when no fact names it.
    pub fn subject<'a>(&'a self, identifier: &'a Identifier) -> &'a Identifier {
        self.subjects.get(identifier).unwrap_or(identifier)
    }
}

/// What was said about one pair.
#[derive(Default)]
struct Pair {
    /// The last that a person said.
    said: Option<(DateTime<Utc>, Verb, i64)>,
    /// The first event that shows it.
    shown: Option<(DateTime<Utc>, i64)>,
}

/// Makes the map. Any permutation of the same facts gives the same map.
pub fn resolve<'a>(
    policy: &IdentityPolicy,
    facts: impl IntoIterator<Item = &'a Fact>,
) -> IdentityMap {
    let mut graph = Graph::new(policy);
    let mut undone = BTreeSet::new();
    let mut merges = Vec::new();
    let mut pairs: BTreeMap<(usize, usize), Pair> = BTreeMap::new();
    let mut sorted: Vec<&Fact> = facts.into_iter().collect();
    // So that the numbers of nodes do not depend on the order either.
    sorted.sort_unstable();
    for fact in sorted {
        let (from, to) = (graph.node(&fact.from), graph.node(&fact.to));
        let pair = (from.min(to), from.max(to));
        match (fact.verb, fact.said_by) {
            (Verb::Unmerge, _) => undone.extend(fact.undoes),
            (Verb::Merge, _) => merges.push((fact.effective_at, fact.id, from, to)),
            (Verb::Link | Verb::Unlink, SaidBy::Person) => {
                let said = (fact.effective_at, fact.verb, fact.id);
                let pair = pairs.entry(pair).or_default();
                pair.said = pair.said.max(Some(said));
            }
            (Verb::Link, SaidBy::Event) => {
                let pair = pairs.entry(pair).or_default();
                let shown = (fact.effective_at, fact.id);
                pair.shown = Some(pair.shown.map_or(shown, |known| known.min(shown)));
            }
            // No event says so.
            (Verb::Unlink, SaidBy::Event) => {}
        }
    }
    merges.sort_unstable();
    for (at, id, from, to) in merges {
        if !undone.contains(&id) {
            graph.merge(at, id, from, to);
        }
    }
    let (mut said, mut shown) = (Vec::new(), Vec::new());
    for ((left, right), pair) in pairs {
        // The identifier that names subjects comes first: users before devices.
        let (strong, weak) =
            if graph.rank(left) <= graph.rank(right) { (left, right) } else { (right, left) };
        match pair {
            Pair { said: Some((_, Verb::Unlink, _)), .. } => {}
            Pair { said: Some((at, _, id)), .. } => {
                said.push((std::cmp::Reverse(at), strong, weak, at, id));
            }
            Pair { shown: Some((at, id)), .. } => shown.push((at, strong, weak, at, id)),
            Pair { said: None, shown: None } => {}
        }
    }
    let by_name = |graph: &Graph<'_>, strong: usize, weak: usize| {
        (graph.nodes[strong].clone(), graph.nodes[weak].clone())
    };
    said.sort_by_cached_key(|edge| (edge.0, by_name(&graph, edge.1, edge.2)));
    shown.sort_by_cached_key(|edge| (edge.0, by_name(&graph, edge.1, edge.2)));
    for (_, strong, weak, at, id) in said {
        graph.link(at, id, strong, weak);
    }
    for (_, strong, weak, at, id) in shown {
        graph.link(at, id, strong, weak);
    }
    graph.finish()
}

/// Identifiers and the groups they form so far.
struct Graph<'a> {
    policy: &'a IdentityPolicy,
    numbers: BTreeMap<Identifier, usize>,
    nodes: Vec<Identifier>,
    /// When each was first joined to another.
    joined_at: Vec<Option<DateTime<Utc>>>,
    /// The group of each.
    groups: Vec<usize>,
    /// Members of each group, and the one that names it.
    members: Vec<(Vec<usize>, usize)>,
    refused: BTreeMap<i64, Refusal>,
}

impl<'a> Graph<'a> {
    fn new(policy: &'a IdentityPolicy) -> Self {
        Self {
            policy,
            numbers: BTreeMap::new(),
            nodes: Vec::new(),
            joined_at: Vec::new(),
            groups: Vec::new(),
            members: Vec::new(),
            refused: BTreeMap::new(),
        }
    }

    fn node(&mut self, identifier: &Identifier) -> usize {
        if let Some(number) = self.numbers.get(identifier) {
            return *number;
        }
        let number = self.nodes.len();
        self.numbers.insert(identifier.clone(), number);
        self.nodes.push(identifier.clone());
        self.joined_at.push(None);
        self.groups.push(number);
        self.members.push((vec![number], number));
        number
    }

    fn rank(&self, node: usize) -> (u32, &Identifier) {
        (self.policy.priority(&self.nodes[node].kind), &self.nodes[node])
    }

    fn merge(&mut self, at: DateTime<Utc>, id: i64, from: usize, to: usize) {
        if self.is_blocked(id, from, to) {
            return;
        }
        let name = self.members[self.groups[to]].1;
        self.join(at, from, to, name);
    }

    fn link(&mut self, at: DateTime<Utc>, id: i64, strong: usize, weak: usize) {
        let (left, right) = (self.groups[strong], self.groups[weak]);
        if self.is_blocked(id, strong, weak) || left == right {
            return;
        }
        if let Some(refusal) = self.exceeded(at, left, right) {
            self.refused.insert(id, refusal);
            return;
        }
        // Of two names the one of the better kind, then the older, then the smaller.
        let order = |node: usize| {
            let (priority, identifier) = self.rank(node);
            (priority, self.joined_at[node].unwrap_or(at), identifier)
        };
        let (left_name, right_name) = (self.members[left].1, self.members[right].1);
        let name = if order(left_name) <= order(right_name) { left_name } else { right_name };
        self.join(at, strong, weak, name);
    }

    fn is_blocked(&mut self, id: i64, left: usize, right: usize) -> bool {
        let blocked = [left, right].into_iter().map(|node| &self.nodes[node]).find(|identifier| {
            !self.policy.knows(&identifier.kind) || !self.policy.allows(identifier)
        });
        match blocked.cloned() {
            Some(identifier) => {
                self.refused.insert(id, Refusal::Blocked(identifier));
                true
            }
            None => false,
        }
    }

    /// The first limit that two groups together exceed, of a kind that both have.
    fn exceeded(&self, at: DateTime<Utc>, left: usize, right: usize) -> Option<Refusal> {
        let count = |group: usize, kind, window: LimitWindow| {
            let from = window.length().map(|length| at - length);
            let counts = |node: &&usize| {
                self.nodes[**node].kind == kind
                    && match (from, self.joined_at[**node]) {
                        (Some(from), Some(joined)) => joined > from,
                        _ => true,
                    }
            };
            self.members[group].0.iter().filter(counts).count()
        };
        // The smaller group says which kinds are at stake.
        let (small, large) = if self.members[left].0.len() <= self.members[right].0.len() {
            (left, right)
        } else {
            (right, left)
        };
        let kinds: BTreeSet<_> =
            self.members[small].0.iter().map(|node| self.nodes[*node].kind.clone()).collect();
        kinds.into_iter().find_map(|kind| {
            let (limit, window) = self.policy.limit(&kind)?;
            let (few, many) =
                (count(small, kind.clone(), window), count(large, kind.clone(), window));
            (few > 0 && many > 0 && few + many > limit as usize)
                .then(|| Refusal::Limit { kind: kind.to_string(), limit })
        })
    }

    fn join(&mut self, at: DateTime<Utc>, left: usize, right: usize, name: usize) {
        for node in [left, right] {
            self.joined_at[node].get_or_insert(at);
        }
        let (left, right) = (self.groups[left], self.groups[right]);
        if left == right {
            return;
        }
        let (into, from) = if self.members[left].0.len() >= self.members[right].0.len() {
            (left, right)
        } else {
            (right, left)
        };
        let moved = std::mem::take(&mut self.members[from].0);
        for node in &moved {
            self.groups[*node] = into;
        }
        self.members[into].0.extend(moved);
        self.members[into].1 = name;
    }

    fn finish(self) -> IdentityMap {
        let subject = |node: usize| self.nodes[self.members[self.groups[node]].1].clone();
        let subjects =
            (0..self.nodes.len()).map(|node| (self.nodes[node].clone(), subject(node))).collect();
        IdentityMap { subjects, refused: self.refused }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::KindRule;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn fact(id: i64, verb: Verb, said_by: SaidBy, seconds: i64, from: &str, to: &str) -> Fact {
        Fact {
            effective_at: at(seconds),
            id,
            verb,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            said_by,
            undoes: None,
        }
    }

    fn shown(id: i64, seconds: i64, device: &str, user: &str) -> Fact {
        let (device, user) = (format!("anonymous_id:{device}"), format!("user_id:{user}"));
        fact(id, Verb::Link, SaidBy::Event, seconds, &device, &user)
    }

    fn said(id: i64, verb: Verb, seconds: i64, from: &str, to: &str) -> Fact {
        fact(id, verb, SaidBy::Person, seconds, from, to)
    }

    fn unmerge(id: i64, merge: &Fact) -> Fact {
        Fact { id, verb: Verb::Unmerge, undoes: Some(merge.id), ..merge.clone() }
    }

    fn subject(facts: &[Fact], identifier: &str) -> String {
        let map = resolve(&IdentityPolicy::default(), facts);
        map.subject(&identifier.parse().unwrap()).to_string()
    }

    #[test]
    fn a_device_belongs_to_whom_it_was_shown_with_first() {
        let facts = [shown(1, 5, "d", "b"), shown(2, 3, "d", "c"), shown(3, 3, "d", "b")];
        assert_eq!(subject(&facts, "anonymous_id:d"), "user_id:b");
        assert_eq!(subject(&facts, "user_id:c"), "user_id:c");
    }

    #[test]
    fn a_person_overrules_events_and_a_later_word_an_earlier() {
        let mut facts = vec![shown(1, 1, "d", "a"), shown(2, 2, "d", "b")];
        facts.push(said(3, Verb::Unlink, 10, "anonymous_id:d", "user_id:a"));
        assert_eq!(subject(&facts, "anonymous_id:d"), "user_id:b");
        facts.push(shown(4, 20, "d", "a"));
        assert_eq!(subject(&facts, "anonymous_id:d"), "user_id:b", "no event links it again");
        facts.push(said(5, Verb::Link, 30, "user_id:a", "anonymous_id:d"));
        assert_eq!(subject(&facts, "anonymous_id:d"), "user_id:a");
        facts.push(said(6, Verb::Link, 31, "anonymous_id:d", "user_id:c"));
        assert_eq!(subject(&facts, "anonymous_id:d"), "user_id:c");
    }

    #[test]
    fn a_merge_joins_two_users_with_all_they_have_and_can_be_taken_back() {
        let before = vec![
            shown(1, 1, "d1", "a"),
            shown(2, 2, "d2", "b"),
            said(3, Verb::Link, 3, "email:b@x.io", "user_id:b"),
        ];
        let merge = said(4, Verb::Merge, 9, "user_id:b", "user_id:a");
        let mut facts = before.clone();
        facts.push(merge.clone());
        for identifier in ["anonymous_id:d2", "email:b@x.io", "user_id:b", "user_id:a"] {
            assert_eq!(subject(&facts, identifier), "user_id:a", "{identifier}");
        }
        facts.push(unmerge(5, &merge));
        let policy = IdentityPolicy::default();
        assert_eq!(resolve(&policy, &facts).subjects, resolve(&policy, &before).subjects);
    }

    #[test]
    fn a_shared_address_joins_devices_but_never_two_users() {
        let facts = [
            said(1, Verb::Link, 1, "anonymous_id:d1", "email:x@x.io"),
            said(2, Verb::Link, 2, "anonymous_id:d2", "email:x@x.io"),
        ];
        assert_eq!(subject(&facts, "anonymous_id:d1"), "email:x@x.io");
        assert_eq!(subject(&facts, "anonymous_id:d2"), "email:x@x.io");
        let facts =
            [facts[0].clone(), shown(3, 3, "d1", "a"), shown(4, 4, "d2", "b"), facts[1].clone()];
        assert_eq!(subject(&facts, "email:x@x.io"), "user_id:a", "statements come before events");
        let map = resolve(&IdentityPolicy::default(), &facts);
        assert_eq!(
            map.refused.get(&4),
            Some(&Refusal::Limit { kind: "user_id".to_owned(), limit: 1 })
        );
    }

    #[test]
    fn a_limit_counts_within_its_window() {
        let day = 24 * 3600;
        let mut policy = IdentityPolicy::default();
        policy
            .identifiers
            .retain(|rule| rule.kind != crate::identity::IdentifierKind::anonymous_id());
        policy.identifiers.push(KindRule {
            kind: crate::identity::IdentifierKind::anonymous_id(),
            priority: 9,
            unique: false,
            limit: Some(2),
            window: LimitWindow::Weekly,
            blocked_values: vec!["kiosk*".to_owned()],
        });
        let facts = [
            shown(1, day, "d1", "a"),
            shown(2, 2 * day, "d2", "a"),
            shown(3, 3 * day, "d3", "a"),
            shown(4, 20 * day, "d4", "a"),
            shown(5, 20 * day, "Kiosk-7", "a"),
        ];
        let map = resolve(&policy, &facts);
        let of = |device: &str| map.subject(&Identifier::anonymous(device)).to_string();
        assert_eq!(of("d2"), "user_id:a");
        assert_eq!(of("d3"), "anonymous_id:d3");
        assert_eq!(of("d4"), "user_id:a");
        assert_eq!(of("Kiosk-7"), "anonymous_id:Kiosk-7");
        assert_eq!(map.refused.keys().copied().collect::<Vec<_>>(), [3, 5]);
    }

    /// Facts about few identifiers, so that they meet.
    fn facts() -> impl Strategy<Value = Vec<Fact>> {
        let identifier = prop_oneof![
            (0..4u8).prop_map(|n| Identifier::user(format!("u{n}"))),
            (0..5u8).prop_map(|n| Identifier::anonymous(format!("d{n}"))),
            (0..2u8).prop_map(|n| format!("email:e{n}@x.io").parse().unwrap()),
        ];
        let verb = prop_oneof![
            4 => Just((Verb::Link, SaidBy::Event)),
            2 => Just((Verb::Link, SaidBy::Person)),
            2 => Just((Verb::Unlink, SaidBy::Person)),
            2 => Just((Verb::Merge, SaidBy::Person)),
            1 => Just((Verb::Unmerge, SaidBy::Person)),
        ];
        let one = (identifier.clone(), identifier, verb, 0..6i64, any::<proptest::sample::Index>());
        proptest::collection::vec(one, 0..25).prop_map(|drawn| {
            let mut facts: Vec<Fact> = Vec::new();
            for (number, (from, to, (verb, said_by), seconds, index)) in
                drawn.into_iter().enumerate()
            {
                let id = number as i64 + 1;
                let merges: Vec<&Fact> =
                    facts.iter().filter(|fact| fact.verb == Verb::Merge).collect();
                let fact = match verb {
                    Verb::Unmerge if merges.is_empty() => continue,
                    Verb::Unmerge => unmerge(id, merges[index.index(merges.len())]),
                    _ if from == to => continue,
                    _ => Fact {
                        effective_at: at(seconds),
                        id,
                        verb,
                        from,
                        to,
                        said_by,
                        undoes: None,
                    },
                };
                facts.push(fact);
            }
            facts
        })
    }

    proptest! {
        #[test]
        fn any_permutation_of_the_same_facts_gives_the_same_map(
            (facts, shuffled) in facts().prop_flat_map(|facts| {
                (Just(facts.clone()), Just(facts).prop_shuffle())
            })
        ) {
            let policy = IdentityPolicy::default();
            prop_assert_eq!(resolve(&policy, &facts), resolve(&policy, &shuffled));
        }

        #[test]
        fn an_undone_merge_was_never_made(facts in facts(), from in 0..4u8, to in 0..4u8, seconds in 0..6i64) {
            prop_assume!(from != to);
            let policy = IdentityPolicy::default();
            let before = resolve(&policy, &facts);
            let (from, to) = (format!("user_id:u{from}"), format!("user_id:u{to}"));
            let merge = said(1_000, Verb::Merge, seconds, &from, &to);
            let mut merged = facts;
            merged.push(merge.clone());
            let joined = resolve(&policy, &merged);
            prop_assert_eq!(joined.subject(&merge.from), joined.subject(&merge.to));
            merged.push(unmerge(1_001, &merge));
            let after = resolve(&policy, &merged);
            for (identifier, subject) in &before.subjects {
                prop_assert_eq!(after.subject(identifier), subject);
            }
        }

        #[test]
        fn a_subject_names_itself_and_events_never_join_two_users(facts in facts()) {
            let shown: Vec<Fact> =
                facts.into_iter().filter(|fact| fact.said_by == SaidBy::Event).collect();
            let map = resolve(&IdentityPolicy::default(), &shown);
            for (identifier, subject) in &map.subjects {
                prop_assert_eq!(map.subject(subject), subject);
                if identifier.kind.as_str() == "user_id" {
                    prop_assert_eq!(identifier, subject);
                }
            }
        }

        /// Facts about others do not matter: the map of a closed set of facts is
        /// the same alone and among all, which lets a change look at its own
        /// neighbourhood only.
        #[test]
        fn a_closed_set_of_facts_can_be_resolved_alone(facts in facts(), others in facts()) {
            let policy = IdentityPolicy::default();
            let elsewhere = |identifier: &Identifier| Identifier {
                value: format!("other-{}", identifier.value), ..identifier.clone()
            };
            let mut all = facts.clone();
            all.extend(others.into_iter().map(|fact| Fact {
                id: fact.id + 500,
                from: elsewhere(&fact.from),
                to: elsewhere(&fact.to),
                undoes: fact.undoes.map(|id| id + 500),
                ..fact
            }));
            let (alone, among) = (resolve(&policy, &facts), resolve(&policy, &all));
            for (identifier, subject) in &alone.subjects {
                prop_assert_eq!(among.subject(identifier), subject);
            }
        }
    }
}
