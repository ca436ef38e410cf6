//! Links shown by events, as far as this process knows that they are recorded.
//!
//! A link that is recorded with an effective time adds nothing when it is shown
//! again with the same or a later one, whatever was said since. So what is
//! remembered here may be old and still saves the question. Only an erasure makes
//! it wrong: whoever uses an erased identifier again starts anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;
use northstar_domain::ProjectId;
use northstar_domain::identity::IdentityPolicy;
use northstar_store::ingestion::identity::ShownLink;
use northstar_store::ingestion::subject_policies::{self, Kind};
use northstar_store::{PgConnection, Result};
use sha2::{Digest as _, Sha256};

/// When the younger generation is full, the older is forgotten.
const GENERATION_LINKS: usize = 100_000;
/// Projects whose policies are remembered; beyond them all are forgotten.
const MAX_POLICIES: usize = 1_000;

type Generation = HashMap<ProjectId, Links>;

/// A link: SHA-256 of its two ids, cut to 128 bits. They come from outside, and with a
/// hash that is not cryptographic somebody could make one link pass for another. A
/// third of the memory that the ids take.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Pair(u128);

impl Pair {
    fn of(anonymous_id: &str, user_id: &str) -> Self {
        let mut hasher = Sha256::new();
        // With its length, so that no two pairs are the same text.
        hasher.update((anonymous_id.len() as u64).to_le_bytes());
        hasher.update(anonymous_id);
        hasher.update(user_id);
        let digest: [u8; 32] = hasher.finalize().into();
        let (half, _) = digest.split_first_chunk::<16>().expect("it has 32 bytes");
        Self(u128::from_le_bytes(*half))
    }
}

/// Links of one project with their earliest time, since so many erasures.
#[derive(Debug, Default)]
struct Links {
    erasure_version: i64,
    linked_at: HashMap<Pair, DateTime<Utc>, RandomState>,
}

/// Links that are recorded, at most about 200,000, and the policies by which they are.
#[derive(Debug, Default)]
pub(crate) struct KnownLinks {
    younger: Generation,
    older: Generation,
    younger_links: usize,
    policies: HashMap<ProjectId, KnownPolicy>,
}

/// An identity policy that holds, if it is still that of its etag.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownPolicy {
    /// `None` when the project has none.
    pub(crate) etag: Option<String>,
    pub(crate) policy: Arc<IdentityPolicy>,
}

impl KnownLinks {
    /// Whether the link is recorded, for sure, with that time or an earlier one.
    pub(crate) fn has(
        &self,
        project: ProjectId,
        erasure_version: i64,
        anonymous_id: &str,
        user_id: &str,
        linked_at: DateTime<Utc>,
    ) -> bool {
        let pair = Pair::of(anonymous_id, user_id);
        [&self.younger, &self.older]
            .into_iter()
            .filter_map(|generation| generation.get(&project))
            .filter(|links| links.erasure_version == erasure_version)
            .filter_map(|links| links.linked_at.get(&pair))
            .any(|known_at| *known_at <= linked_at)
    }

    /// The erasure version since which links of a project are remembered; `None`
    /// when there are none.
    pub(crate) fn erasure_version(&self, project: ProjectId) -> Option<i64> {
        [&self.younger, &self.older]
            .into_iter()
            .find_map(|generation| generation.get(&project))
            .map(|links| links.erasure_version)
    }

    /// The identity policy of a project, which is read when it is not known.
    pub(crate) async fn policy(
        &mut self,
        connection: &mut PgConnection,
        project: ProjectId,
    ) -> Result<KnownPolicy> {
        if let Some(known) = self.policies.get(&project) {
            return Ok(known.clone());
        }
        let stored = subject_policies::find(connection, project, Kind::Identity).await?;
        let known = stored.map_or_else(KnownPolicy::default, |stored| KnownPolicy {
            etag: Some(stored.etag),
            policy: Arc::new(stored.policy),
        });
        if self.policies.len() >= MAX_POLICIES {
            self.policies.clear();
        }
        self.policies.insert(project, known.clone());
        Ok(known)
    }

    /// Forgets the policy of a project, which may be another by now.
    pub(crate) fn forget_policy(&mut self, project: ProjectId) {
        self.policies.remove(&project);
    }

    /// Remembers links that are recorded.
    pub(crate) fn remember(
        &mut self,
        project: ProjectId,
        erasure_version: i64,
        links: Vec<ShownLink>,
    ) {
        for link in links {
            if self.younger_links >= GENERATION_LINKS {
                self.older = std::mem::take(&mut self.younger);
                self.younger_links = 0;
            }
            let of_project = self.younger.entry(project).or_default();
            if of_project.erasure_version != erasure_version {
                self.younger_links -= of_project.linked_at.len();
                of_project.linked_at.clear();
                of_project.erasure_version = erasure_version;
            }
            let pair = Pair::of(&link.anonymous_id, &link.user_id);
            of_project
                .linked_at
                .entry(pair)
                .and_modify(|known_at| *known_at = link.linked_at.min(*known_at))
                .or_insert_with(|| {
                    self.younger_links += 1;
                    link.linked_at
                });
        }
    }
}

/// Links of one transaction, each pair once with its earliest event.
#[derive(Debug, Default)]
pub(crate) struct NewLinks<'a>(BTreeMap<(&'a str, &'a str), (DateTime<Utc>, i64)>);

impl<'a> NewLinks<'a> {
    /// Adds what an event at a position shows.
    pub(crate) fn add(
        &mut self,
        anonymous_id: &'a str,
        user_id: &'a str,
        linked_at: DateTime<Utc>,
        position: i64,
    ) {
        let shown = (linked_at, position);
        self.0
            .entry((anonymous_id, user_id))
            .and_modify(|known| *known = shown.min(*known))
            .or_insert(shown);
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The links, by anonymous id and user.
    pub(crate) fn into_links(self) -> Vec<ShownLink> {
        self.0
            .into_iter()
            .map(|((anonymous_id, user_id), (linked_at, position))| ShownLink {
                anonymous_id: anonymous_id.to_owned(),
                user_id: user_id.to_owned(),
                linked_at,
                position,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn link(anonymous_id: &str, user_id: &str, seconds: i64) -> ShownLink {
        ShownLink {
            anonymous_id: anonymous_id.to_owned(),
            user_id: user_id.to_owned(),
            linked_at: at(seconds),
            position: 1,
        }
    }

    #[test]
    fn only_an_earlier_event_or_another_pair_is_worth_asking() {
        let project = ProjectId(1);
        let mut known = KnownLinks::default();
        known.remember(project, 0, vec![link("a", "m", 10)]);
        assert!(known.has(project, 0, "a", "m", at(10)));
        assert!(known.has(project, 0, "a", "m", at(11)));
        assert!(!known.has(project, 0, "a", "m", at(9)));
        assert!(!known.has(project, 0, "a", "z", at(99)));
        assert!(!known.has(project, 0, "am", "", at(99)), "the same text, cut elsewhere");
        assert!(!known.has(ProjectId(2), 0, "a", "m", at(99)));
        assert!(!known.has(project, 1, "a", "m", at(10)), "an erasure makes it forget");
        known.remember(project, 1, vec![link("b", "m", 10)]);
        assert!(!known.has(project, 1, "a", "m", at(10)));
        assert_eq!(known.younger_links, 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = KnownLinks::default();
        for number in 0..5 * GENERATION_LINKS {
            known.remember(ProjectId(1), 0, vec![link(&number.to_string(), "u", 0)]);
        }
        for number in 0..1_000 {
            known.remember(ProjectId(1), 0, vec![link("kiosk", &number.to_string(), 0)]);
        }
        let held = |generation: &Generation| {
            generation.values().map(|links| links.linked_at.len()).sum::<usize>()
        };
        assert!(held(&known.younger) + held(&known.older) <= 2 * GENERATION_LINKS);
    }

    #[test]
    fn a_pair_is_told_once_with_its_earliest_event() {
        let mut links = NewLinks::default();
        links.add("a", "u", at(5), 1);
        links.add("a", "u", at(3), 2);
        links.add("a", "u", at(4), 3);
        assert_eq!(links.into_links(), [ShownLink { position: 2, ..link("a", "u", 3) }]);
    }
}
