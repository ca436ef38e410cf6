//! Links of the identity map that this process has seen.
//!
//! A fact that is not stronger than a link that held once can not change the
//! map, because links only ever get stronger. So what is remembered here may be
//! old and still saves the question.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_store::ingestion::identity::Link;

/// When the younger generation is full, the older is forgotten.
const GENERATION_LINKS: usize = 100_000;

type Generation = HashMap<ProjectId, HashMap<String, (DateTime<Utc>, String)>>;

/// Links that are known to hold or to have been surpassed, at most 200,000.
#[derive(Debug, Default)]
pub(crate) struct KnownLinks {
    younger: Generation,
    older: Generation,
    younger_links: usize,
}

impl KnownLinks {
    /// Whether the map has, for sure, a link that is as strong as this fact.
    pub(crate) fn is_at_least_as_strong(
        &self,
        project: ProjectId,
        anonymous_id: &str,
        linked_at: DateTime<Utc>,
        user_id: &str,
    ) -> bool {
        [&self.younger, &self.older]
            .into_iter()
            .filter_map(|generation| generation.get(&project)?.get(anonymous_id))
            .any(|(known_at, known_user)| (*known_at, known_user.as_str()) <= (linked_at, user_id))
    }

    /// Remembers links that hold.
    pub(crate) fn remember(&mut self, project: ProjectId, links: Vec<Link>) {
        for link in links {
            if self.younger_links >= GENERATION_LINKS {
                self.older = std::mem::take(&mut self.younger);
                self.younger_links = 0;
            }
            let known = self
                .younger
                .entry(project)
                .or_default()
                .insert(link.anonymous_id, (link.linked_at, link.user_id));
            if known.is_none() {
                self.younger_links += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stronger_fact_is_worth_asking() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let project = ProjectId(1);
        let mut known = KnownLinks::default();
        let link =
            Link { anonymous_id: "a".to_owned(), user_id: "m".to_owned(), linked_at: at(10) };
        known.remember(project, vec![link]);
        let settled = |linked_at, user| known.is_at_least_as_strong(project, "a", linked_at, user);
        assert!(settled(at(10), "m"));
        assert!(settled(at(11), "a"));
        assert!(!settled(at(10), "a"));
        assert!(!settled(at(9), "z"));
        assert!(!known.is_at_least_as_strong(project, "b", at(99), "m"));
        assert!(!known.is_at_least_as_strong(ProjectId(2), "a", at(99), "m"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = KnownLinks::default();
        for number in 0..5 * GENERATION_LINKS {
            let link = Link {
                anonymous_id: number.to_string(),
                user_id: String::new(),
                linked_at: DateTime::UNIX_EPOCH,
            };
            known.remember(ProjectId(1), vec![link]);
        }
        let held = |generation: &Generation| generation.values().map(HashMap::len).sum::<usize>();
        assert!(held(&known.younger) + held(&known.older) <= 2 * GENERATION_LINKS);
    }
}
