//! How the identity map changes with the facts.
//!
//! The map is a pure function of the facts and the policy
//! ([`northstar_domain::identity::resolve`]). A change need not look at all facts:
//! the map of a closed set of facts is the same alone and among all. So whoever
//! adds a fact resolves its neighbourhood again. For the one frequent fact, an
//! event that shows a device with a user, even that is saved: a device about
//! which nothing else is said hangs on its first user alone.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::identity::{Fact, Identifier, IdentifierKind, IdentityPolicy, resolve};
use northstar_store::ingestion::identity::{self as store, Change, Neighbour, ShownLink};
use northstar_store::ingestion::subject_policies::{self, Kind};
use northstar_store::{PgConnection, Result};

/// The identity policy of a project; the default when it has none.
pub(crate) async fn policy(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<IdentityPolicy> {
    let stored = subject_policies::find(connection, project, Kind::Identity).await?;
    Ok(stored.map(|stored| stored.policy).unwrap_or_default())
}

/// Adds links shown by events, each pair once, to the facts and to the map at
/// `version`. The caller holds the lock of the project's head.
pub(crate) async fn add_shown(
    connection: &mut PgConnection,
    project: ProjectId,
    version: i64,
    links: &[ShownLink],
    recorded_at: DateTime<Utc>,
) -> Result<()> {
    let neighbours: BTreeMap<(String, String), Neighbour> =
        store::neighbours(connection, project, links)
            .await?
            .into_iter()
            .map(|found| ((found.anonymous_id.clone(), found.user_id.clone()), found))
            .collect();
    let neighbour =
        |link: &ShownLink| neighbours.get(&(link.anonymous_id.clone(), link.user_id.clone()));
    let mut new: Vec<ShownLink> = links
        .iter()
        .filter(|link| neighbour(link).is_none_or(|neighbour| !neighbour.known))
        .cloned()
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let policy = policy(connection, project).await?;
    new.retain(|link| {
        policy.allows(&Identifier::anonymous(link.anonymous_id.as_str()))
            && policy.allows(&Identifier::user(link.user_id.as_str()))
    });
    store::add_shown(connection, project, &new, recorded_at).await?;

    let entangled = policy.limit(&IdentifierKind::anonymous_id()).is_some()
        || new.iter().any(|link| neighbour(link).is_some_and(|neighbour| neighbour.entangled));
    if entangled {
        let seeds = new
            .iter()
            .flat_map(|link| {
                [
                    Identifier::anonymous(link.anonymous_id.as_str()),
                    Identifier::user(link.user_id.as_str()),
                ]
            })
            .collect();
        let facts = closure(connection, project, seeds).await?;
        update(connection, project, version, &policy, &facts, recorded_at).await?;
        return Ok(());
    }

    // Each device's first user, before and now.
    type User<'a> = (DateTime<Utc>, &'a str);
    let mut first: BTreeMap<&str, (Option<&str>, User<'_>)> = BTreeMap::new();
    for link in &new {
        let shown = (link.linked_at, link.user_id.as_str());
        let known = neighbour(link)
            .and_then(|neighbour| Some((neighbour.first_at?, neighbour.first_user.as_deref()?)));
        first
            .entry(&link.anonymous_id)
            .and_modify(|(_, now)| *now = shown.min(*now))
            .or_insert_with(|| {
                (known.map(|(_, user)| user), known.map_or(shown, |known| known.min(shown)))
            });
    }
    first.retain(|_, (before, (_, now))| *before != Some(*now));
    if first.is_empty() {
        return Ok(());
    }
    let users: BTreeSet<Identifier> = first
        .values()
        .flat_map(|(before, (_, now))| before.iter().copied().chain([*now]))
        .map(Identifier::user)
        .collect();
    let subjects = subjects(connection, project, version, &users).await?;
    let subject = |user: &str| {
        let user = Identifier::user(user);
        subjects.get(&user).cloned().unwrap_or(user)
    };
    let changes: Vec<Change> = first
        .into_iter()
        .filter(|(_, (before, (_, now)))| {
            before.is_none_or(|before| subject(before) != subject(now))
        })
        .map(|(anonymous_id, (_, (_, now)))| Change {
            identifier: Identifier::anonymous(anonymous_id),
            subject: subject(now),
        })
        .collect();
    store::change(connection, project, version, &changes, recorded_at).await?;
    Ok(())
}

/// The facts that may have to do with these identifiers: all that can be reached
/// from them over facts.
pub(crate) async fn closure(
    connection: &mut PgConnection,
    project: ProjectId,
    seeds: BTreeSet<Identifier>,
) -> Result<Vec<Fact>> {
    let mut facts: BTreeMap<i64, Fact> = BTreeMap::new();
    let mut seen = seeds.clone();
    let mut frontier: Vec<Identifier> = seeds.into_iter().collect();
    while !frontier.is_empty() {
        let found = store::facts_of(connection, project, &frontier).await?;
        frontier.clear();
        for stored in found {
            for identifier in [&stored.fact.from, &stored.fact.to] {
                if seen.insert(identifier.clone()) {
                    frontier.push(identifier.clone());
                }
            }
            facts.insert(stored.fact.id, stored.fact);
        }
    }
    Ok(facts.into_values().collect())
}

/// What an update did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Updated {
    /// Version of the map afterwards.
    pub(crate) version: i64,
    /// Identifiers whose subject changed.
    pub(crate) changed: usize,
}

/// Makes the map of a closed set of facts and writes what differs from the map at
/// `version`. The caller holds the lock of the project's head.
pub(crate) async fn update(
    connection: &mut PgConnection,
    project: ProjectId,
    version: i64,
    policy: &IdentityPolicy,
    facts: &[Fact],
    recorded_at: DateTime<Utc>,
) -> Result<Updated> {
    let map = resolve(policy, facts);
    let identifiers: BTreeSet<Identifier> = map.subjects.keys().cloned().collect();
    let before = subjects(connection, project, version, &identifiers).await?;
    let changes: Vec<Change> = map
        .subjects
        .into_iter()
        .filter(|(identifier, subject)| before.get(identifier).unwrap_or(identifier) != subject)
        .map(|(identifier, subject)| Change { identifier, subject })
        .collect();
    let version = store::change(connection, project, version, &changes, recorded_at).await?;
    Ok(Updated { version, changed: changes.len() })
}

async fn subjects(
    connection: &mut PgConnection,
    project: ProjectId,
    version: i64,
    identifiers: &BTreeSet<Identifier>,
) -> Result<BTreeMap<Identifier, Identifier>> {
    let asked: Vec<Identifier> = identifiers.iter().cloned().collect();
    let found = store::subjects_of(connection, project, &asked, version).await?;
    Ok(found.into_iter().map(|change| (change.identifier, change.subject)).collect())
}

/// A subject and everything that names it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The identifier that names it.
    pub(crate) name: Identifier,
    /// All others.
    pub(crate) others: Vec<Identifier>,
}

impl Subject {
    /// Every identifier of the subject.
    pub(crate) fn identifiers(&self) -> Vec<Identifier> {
        std::iter::once(&self.name).chain(&self.others).cloned().collect()
    }
}

/// The subject of an identifier at a version of the map.
pub(crate) async fn subject_of(
    connection: &mut PgConnection,
    project: ProjectId,
    identifier: &Identifier,
    version: i64,
) -> Result<Subject> {
    let one = std::slice::from_ref(identifier);
    let found = store::subjects_of(connection, project, one, version).await?;
    let name = found.into_iter().next().map_or_else(|| identifier.clone(), |found| found.subject);
    let others = store::identifiers_of(connection, project, &name, version).await?;
    Ok(Subject { name, others })
}
