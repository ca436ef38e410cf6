//! Judges sources from what is accounted for: documents on one side, counts by
//! event name on the other.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::source::{Arrived, Basis, Judgement, Rules, State};
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::accounting::{self, EventCounts};
use northstar_store::ingestion::heads;
use northstar_store::ingestion::source_documents::{self, SourceDocument};
use northstar_store::{PgConnection, Result};

use crate::convert::{state_to_proto, time_to_proto};

/// Counts of one source by event name.
type ByName = BTreeMap<String, EventCounts>;

/// A declared source, judged.
pub(super) struct Judged {
    /// The source as a whole.
    pub(super) whole: Judgement,
    /// The events with rules of their own, by name.
    pub(super) events: BTreeMap<String, Judgement>,
}

impl Judged {
    /// The source is no better than the worst of its events.
    pub(super) fn state(&self) -> State {
        self.events.values().map(|event| event.state).fold(self.whole.state, State::max)
    }
}

/// Judges a declared source.
pub(super) async fn judge(
    connection: &mut PgConnection,
    project: ProjectId,
    document: &SourceDocument,
    counts: &ByName,
    now: DateTime<Utc>,
) -> Result<Judged> {
    let spec = &document.spec;
    let whole = spec.rules();
    let mut judged = Judged {
        whole: judge_one(connection, project, document, &whole, &Names::All, counts, now).await?,
        events: BTreeMap::new(),
    };
    for (name, rules) in &spec.events {
        let rules = spec.rules_of(rules);
        let one = Names::One(name);
        let judgement = judge_one(connection, project, document, &rules, &one, counts, now).await?;
        judged.events.insert(name.clone(), judgement);
    }
    Ok(judged)
}

/// Which event names a rule looks at.
enum Names<'a> {
    All,
    One(&'a str),
}

async fn judge_one(
    connection: &mut PgConnection,
    project: ProjectId,
    document: &SourceDocument,
    rules: &Rules,
    names: &Names<'_>,
    counts: &ByName,
    now: DateTime<Utc>,
) -> Result<Judgement> {
    let counts_for_freshness = |name: &str| match names {
        Names::One(one) => name == *one,
        Names::All => rules.events.is_empty() || rules.events.iter().any(|wanted| wanted == name),
    };
    let newest = counts
        .iter()
        .filter(|(name, _)| counts_for_freshness(name))
        .filter_map(|(_, counts)| match rules.basis {
            Basis::Received => counts.last_accepted_at,
            Basis::Effective => counts.counts.last_effective_at,
        })
        .max();
    let mut arrived = Arrived { newest, ..Arrived::default() };
    if let Some(volume) = &rules.volume {
        let window = volume.window(now);
        (arrived.accepted, _) =
            received(connection, project, &document.name, names, window).await?;
    }
    if let Some(failures) = &rules.failures {
        let window = failures.window(now);
        (arrived.taken, arrived.failed) =
            received(connection, project, &document.name, names, window).await?;
    }
    Ok(rules.judge(arrived, document.declared_at, now))
}

/// Accepted and failed events of some hours.
async fn received(
    connection: &mut PgConnection,
    project: ProjectId,
    source: &str,
    names: &Names<'_>,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<(u64, u64)> {
    let counted = accounting::received_between(connection, project, source, from, to).await?;
    let counted = counted.iter().filter(|counted| match names {
        Names::All => true,
        Names::One(one) => counted.name == *one,
    });
    Ok(counted.fold((0, 0), |(accepted, failed), counted| {
        (accepted + counted.accepted.cast_unsigned(), failed + counted.failed.cast_unsigned())
    }))
}

/// The counts of every source, or of one, by source and name.
pub(super) async fn counts(
    connection: &mut PgConnection,
    project: ProjectId,
    source: Option<&str>,
) -> Result<BTreeMap<String, ByName>> {
    let mut by_source: BTreeMap<String, ByName> = BTreeMap::new();
    for totals in accounting::totals(connection, project, source).await? {
        by_source.entry(totals.source).or_default().insert(totals.name, totals.counts);
    }
    Ok(by_source)
}

/// Every source that sent something or has a document, or one of them.
pub(super) async fn standings(
    connection: &mut PgConnection,
    project: ProjectId,
    only: Option<&str>,
    now: DateTime<Utc>,
) -> Result<pb::ListSourceStatesResponse> {
    let mut counts = counts(connection, project, only).await?;
    let documents: BTreeMap<String, SourceDocument> = match only {
        None => source_documents::all(connection, project).await?,
        Some(name) => {
            source_documents::find(connection, project, name).await?.into_iter().collect()
        }
    }
    .into_iter()
    .map(|document| (document.name.clone(), document))
    .collect();
    let names: BTreeSet<String> = counts.keys().chain(documents.keys()).cloned().collect();
    let mut sources = Vec::with_capacity(names.len());
    for name in names {
        let counts = counts.remove(&name).unwrap_or_default();
        let document = documents.get(&name);
        let judged = match document {
            Some(document) => Some(judge(connection, project, document, &counts, now).await?),
            None => None,
        };
        sources.push(standing(name, document, judged, counts));
    }
    Ok(pb::ListSourceStatesResponse {
        sources,
        evaluation_time: Some(time_to_proto(now)),
        log_position: heads::read(connection, project).await?.position,
    })
}

fn standing(
    name: String,
    document: Option<&SourceDocument>,
    judged: Option<Judged>,
    mut counts: ByName,
) -> pb::SourceStanding {
    let off = || Judgement { state: State::Off, reason: String::new() };
    let (whole, mut events) =
        judged.map_or_else(|| (off(), BTreeMap::new()), |judged| (judged.whole, judged.events));
    let state = events.values().map(|event| event.state).fold(whole.state, State::max);
    let mut total = EventCounts::default();
    for counts in counts.values() {
        crate::accounting::merge(&mut total, counts);
    }
    let names: BTreeSet<String> = counts.keys().chain(events.keys()).cloned().collect();
    let events = names
        .into_iter()
        .map(|name| {
            let judgement = events.remove(&name).unwrap_or_else(off);
            let counts = counts.remove(&name).unwrap_or_default();
            pb::EventStanding {
                name,
                state: state_to_proto(judgement.state).into(),
                reason: judgement.reason,
                accounting: Some(accounting_to_proto(&counts)),
                last_received_time: counts.counts.last_received_at.map(time_to_proto),
                last_accepted_time: counts.last_accepted_at.map(time_to_proto),
                last_effective_time: counts.counts.last_effective_at.map(time_to_proto),
            }
        })
        .collect();
    pb::SourceStanding {
        name,
        owner: document.map_or_else(String::new, |document| document.spec.owner.clone()),
        state: state_to_proto(state).into(),
        reason: whole.reason,
        accounting: Some(accounting_to_proto(&total)),
        last_received_time: total.counts.last_received_at.map(time_to_proto),
        last_accepted_time: total.last_accepted_at.map(time_to_proto),
        last_effective_time: total.counts.last_effective_at.map(time_to_proto),
        own_state: state_to_proto(whole.state).into(),
        events,
    }
}

fn accounting_to_proto(counts: &EventCounts) -> pb::Accounting {
    let counts = &counts.counts;
    pb::Accounting {
        received: counts.received(),
        accepted: counts.accepted,
        duplicate: counts.duplicate,
        quarantined: counts.quarantined,
        rejected: counts.rejected,
    }
}
