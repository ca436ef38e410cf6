//! The accounting equation by source and event name, counted from the answers
//! in the transaction that they tell of.
//!
//! A producer may send a million names. A source has 1,000 known names, those
//! that came first; every other name counts as "other", which is the empty one.
//! Who is known is decided while the transaction holds the row of the source's
//! own counts, so the bound is exact across processes. An append that holds no such
//! row counts under new names where there seems to be room; whoever adds its counts
//! up decides.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use northstar_domain::ProjectId;
use northstar_domain::event::{MAX_ID_BYTES, check_text};
use northstar_proto::ingestion::v1::EventOutcome;
use northstar_store::ingestion::SourceId;
use northstar_store::ingestion::accounting::{self, Additions, Appendix, EventCounts};
use northstar_store::{PgConnection, Result};

/// Most event names of a source that are counted one by one.
const MAX_NAMES: usize = 1_000;
/// Sources whose names are remembered; beyond them all are forgotten, which
/// costs a look each.
const MAX_SOURCES: usize = 1_000;

/// The names of the events of a batch, each text once.
#[derive(Default)]
pub(crate) struct Names {
    codes: Vec<u32>,
    distinct: Vec<Box<str>>,
    by_name: HashMap<Box<str>, u32>,
}

impl Names {
    /// Adds the name of the next event. What has no name, or one that no event
    /// may have, has the empty one.
    pub(crate) fn push(&mut self, name: &str) {
        // Postgres cannot hold U+0000, and one such name would fail the whole transaction.
        let name = if check_text("name", name, MAX_ID_BYTES).is_ok() { name } else { "" };
        let code = match self.by_name.get(name) {
            Some(code) => *code,
            None => {
                let code = u32::try_from(self.distinct.len()).unwrap_or(u32::MAX);
                self.distinct.push(name.into());
                self.by_name.insert(name.into(), code);
                code
            }
        };
        self.codes.push(code);
    }

    /// The name of an event; empty when there is none.
    pub(crate) fn get(&self, event: usize) -> &str {
        let code = self.codes.get(event).and_then(|code| usize::try_from(*code).ok());
        code.and_then(|code| self.distinct.get(code)).map_or("", |name| name)
    }
}

/// A source of a project.
type Origin = (ProjectId, SourceId);

/// Event names of a source.
#[derive(Default)]
struct NamesOfSource {
    /// Counted one by one, for sure.
    known: Arc<HashSet<String>>,
    /// Counted by this process lately, and so counted one by one as far as it knows.
    expected: HashSet<String>,
}
/// Counts by event name and hour.
type CountsByName<'a> = BTreeMap<(&'a str, DateTime<Utc>), EventCounts>;

/// The names that this process knows to be known.
#[derive(Default)]
pub(crate) struct KnownNames(Mutex<HashMap<Origin, NamesOfSource>>);

/// What the answers of a transaction add up to.
#[derive(Default)]
pub(crate) struct Tally<'a> {
    counts: BTreeMap<Origin, CountsByName<'a>>,
}

impl<'a> Tally<'a> {
    /// Counts one answer. `effective_at` is that of an accepted event.
    pub(crate) fn count(
        &mut self,
        origin: Origin,
        name: &'a str,
        outcome: EventOutcome,
        received_at: DateTime<Utc>,
        effective_at: Option<DateTime<Utc>>,
    ) {
        // Only a time near the end of the calendar has no hour before it.
        let hour = received_at.duration_trunc(TimeDelta::hours(1)).unwrap_or(received_at);
        let EventCounts { counts, last_accepted_at } =
            self.counts.entry(origin).or_default().entry((name, hour)).or_default();
        counts.last_received_at = counts.last_received_at.max(Some(received_at));
        match outcome {
            EventOutcome::Accepted => {
                counts.accepted += 1;
                *last_accepted_at = (*last_accepted_at).max(Some(received_at));
                counts.last_effective_at = counts.last_effective_at.max(effective_at);
            }
            EventOutcome::Duplicate => counts.duplicate += 1,
            EventOutcome::Quarantined => counts.quarantined += 1,
            EventOutcome::Rejected => counts.rejected += 1,
            EventOutcome::Unspecified | EventOutcome::Retry => {}
        }
    }

    /// Writes the counts. Call it after the counts of the sources are written,
    /// as the last thing before the commit.
    pub(crate) async fn save(
        self,
        connection: &mut PgConnection,
        known: &KnownNames,
    ) -> Result<()> {
        let mut additions = Additions::default();
        for (origin, counts) in &self.counts {
            let counted = known.admit(connection, *origin, named(counts)).await?;
            add_to(&mut additions, *origin, counts, &counted);
        }
        if additions.is_empty() { Ok(()) } else { accounting::add(connection, &additions).await }
    }

    /// The one source and what an append of it counts, if its names are counted one by
    /// one as far as this process knows.
    pub(crate) fn of_one_source(&self, known: &KnownNames) -> Option<OneSource> {
        let mut origins = self.counts.iter();
        let (Some((origin, counts)), None) = (origins.next(), origins.next()) else { return None };
        let (counts, news) = known.append(*origin, counts)?;
        Some(OneSource { origin: *origin, counts, news })
    }
}

/// What an append of one source counts.
pub(crate) struct OneSource {
    origin: Origin,
    /// The counts.
    pub(crate) counts: Appendix,
    /// Names that nobody counted before.
    news: Vec<String>,
}

impl OneSource {
    pub(crate) fn source(&self) -> SourceId {
        self.origin.1
    }
}

/// The names that these counts may make known: a refused event does not.
fn named<'a>(counts: &CountsByName<'a>) -> BTreeSet<&'a str> {
    counts
        .iter()
        .filter(|(_, added)| added.counts.received() > added.counts.rejected)
        .map(|((name, _), _)| *name)
        .filter(|name| !name.is_empty())
        .collect()
}

/// Adds the counts of a source, by its counted names and "other".
fn add_to(
    additions: &mut Additions,
    (project, source): Origin,
    counts: &CountsByName<'_>,
    counted: &HashSet<String>,
) {
    for ((name, hour), added) in by_counted_name(counts, |name| counted.contains(name)) {
        additions.push(project, source, name, hour, &added);
    }
}

/// The counts by counted names and "other".
fn by_counted_name<'a>(
    counts: &CountsByName<'a>,
    is_counted: impl Fn(&str) -> bool,
) -> CountsByName<'a> {
    let mut merged = CountsByName::new();
    for ((name, hour), added) in counts {
        let name = if is_counted(name) { *name } else { "" };
        merge(merged.entry((name, *hour)).or_default(), added);
    }
    merged
}

/// Adds counts to others.
pub(crate) fn merge(into: &mut EventCounts, from: &EventCounts) {
    let (sum, added) = (&mut into.counts, &from.counts);
    sum.accepted += added.accepted;
    sum.duplicate += added.duplicate;
    sum.quarantined += added.quarantined;
    sum.rejected += added.rejected;
    sum.last_received_at = sum.last_received_at.max(added.last_received_at);
    sum.last_effective_at = sum.last_effective_at.max(added.last_effective_at);
    into.last_accepted_at = into.last_accepted_at.max(from.last_accepted_at);
}

impl KnownNames {
    /// The names that are counted one by one, these among them as far as there is
    /// room.
    async fn admit(
        &self,
        connection: &mut PgConnection,
        origin: Origin,
        named: BTreeSet<&str>,
    ) -> Result<Arc<HashSet<String>>> {
        if let Some(known) = self.suffices_for(origin, &named) {
            return Ok(known);
        }
        let news = |known: &HashSet<String>| -> Vec<String> {
            let unknown = named.iter().filter(|name| !known.contains(**name));
            unknown.map(|name| (*name).to_owned()).collect()
        };
        let stored = accounting::names(connection, origin.0, origin.1).await?;
        let known: HashSet<String> = stored.into_iter().filter(|name| !name.is_empty()).collect();
        let known = Arc::new(known);
        let room = MAX_NAMES.saturating_sub(known.len());
        let admitted: Vec<String> = news(&known).into_iter().take(room).collect();
        let counted = known.iter().chain(&admitted).cloned().collect();
        // What is about to be added is expected and not known: it may roll back.
        self.remember(origin, known, admitted);
        Ok(Arc::new(counted))
    }

    /// The names that are counted one by one, if these add none to them.
    fn suffices_for(&self, origin: Origin, named: &BTreeSet<&str>) -> Option<Arc<HashSet<String>>> {
        let names = self.lock();
        let known = names.get(&origin).map(|names| Arc::clone(&names.known)).unwrap_or_default();
        let suffices = known.len() >= MAX_NAMES || named.iter().all(|name| known.contains(*name));
        suffices.then_some(known)
    }

    /// What an append counts, and the names among it that nobody counted before; `None`
    /// when it is to be asked which are counted one by one.
    fn append(&self, origin: Origin, counts: &CountsByName<'_>) -> Option<(Appendix, Vec<String>)> {
        let names = self.lock();
        let NamesOfSource { known, expected } = names.get(&origin)?;
        let mut news = BTreeSet::new();
        if known.len() < MAX_NAMES {
            news = named(counts);
            news.retain(|name| !known.contains(*name) && !expected.contains(*name));
            if known.len() + expected.len() + news.len() > MAX_NAMES {
                return None;
            }
        }
        let is_counted =
            |name: &str| known.contains(name) || expected.contains(name) || news.contains(name);
        let mut appendix = Appendix::default();
        for ((name, hour), added) in by_counted_name(counts, is_counted) {
            appendix.push(name, hour, &added);
        }
        Some((appendix, news.into_iter().map(str::to_owned).collect()))
    }

    /// Remembers what was appended.
    pub(crate) fn appended(&self, OneSource { origin, news, .. }: OneSource) {
        if !news.is_empty()
            && let Some(names) = self.lock().get_mut(&origin)
        {
            names.expected.extend(news);
        }
    }

    /// Whether appends counted names of a project that are not known for sure.
    pub(crate) fn expect_some(&self, project: ProjectId) -> bool {
        let names = self.lock();
        names.iter().any(|((of, _), names)| *of == project && !names.expected.is_empty())
    }

    /// Forgets such names: they are counted by now, under their own name or as others.
    pub(crate) fn forget(&self, project: ProjectId) {
        self.lock().retain(|(of, _), names| *of != project || names.expected.is_empty());
    }

    fn remember(&self, origin: Origin, known: Arc<HashSet<String>>, expected: Vec<String>) {
        let mut names = self.lock();
        if names.len() >= MAX_SOURCES {
            names.clear();
        }
        let names = names.entry(origin).or_default();
        names.expected.retain(|name| !known.contains(name));
        names.expected.extend(expected);
        names.known = known;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, NamesOfSource>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Origin = (ProjectId(1), SourceId(1));

    fn tally<'a>(names: &[&'a str]) -> Tally<'a> {
        let mut tally = Tally::default();
        for name in names {
            tally.count(WEB, name, EventOutcome::Accepted, DateTime::UNIX_EPOCH, None);
        }
        tally
    }

    fn known(names: impl IntoIterator<Item = String>) -> Arc<HashSet<String>> {
        Arc::new(names.into_iter().collect())
    }

    #[test]
    fn an_append_counts_new_names_while_there_is_room() {
        let names = KnownNames::default();
        assert!(tally(&["a"]).of_one_source(&names).is_none(), "nothing was asked yet");

        names.remember(WEB, known((0..MAX_NAMES - 2).map(|name| name.to_string())), Vec::new());
        let first = tally(&["1", "a", "a"]).of_one_source(&names).unwrap();
        assert_eq!(first.news, ["a"]);
        names.appended(first);
        assert!(names.expect_some(WEB.0) && !names.expect_some(ProjectId(2)));
        let second = tally(&["a", "b"]).of_one_source(&names).unwrap();
        assert_eq!(second.news, ["b"]);
        names.appended(second);
        assert!(tally(&["c"]).of_one_source(&names).is_none(), "no room seems to be left");
        assert!(tally(&["a", "b", "1"]).of_one_source(&names).unwrap().news.is_empty());

        // Once it is sure that there is none, others count together.
        names.remember(WEB, known((0..MAX_NAMES).map(|name| name.to_string())), Vec::new());
        assert!(tally(&["c", "1"]).of_one_source(&names).unwrap().news.is_empty());
        names.forget(WEB.0);
        assert!(tally(&["1"]).of_one_source(&names).is_none());
    }
}
