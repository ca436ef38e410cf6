//! Consent on the way into the log: what an event may not be kept without, what
//! it says about its actor, and how many were refused.

use std::collections::{BTreeMap, BTreeSet};

use northstar_domain::ProjectId;
use northstar_domain::consent::Consent;
use northstar_domain::consent_policy::{ConsentPolicy, Word};
use northstar_domain::event::{Event, Fault, Reason};
use northstar_domain::identity::{Identifier, may_be_linked};
use northstar_store::ingestion::SourceId;
use northstar_store::ingestion::consent::{self as store, NewWord};
use northstar_store::{PgConnection, Result};

use crate::batch::{Batch, Item};
use crate::plan::Plan;

/// What an event says about its actor.
#[derive(Debug)]
pub(crate) struct Said {
    identifier: Identifier,
    consent: Consent,
}

/// Judges an event before anything of it is kept, and returns what it says about
/// its actor. An event of nobody says nothing about anybody.
///
/// # Errors
/// When the policy refuses its region, or it lacks a consent.
pub(crate) fn judge(policy: &ConsentPolicy, event: &Event<'_>) -> Result<Option<Box<Said>>, Fault> {
    if event.consent.is_empty() {
        policy.may_store(event.region, None)?;
        return Ok(None);
    }
    let consent = Consent::from_text(event.consent)
        .map_err(|error| Fault::new(Reason::InvalidConsent, "consent", error.to_string()))?
        .unwrap_or_default();
    policy.may_store(event.region, Some(&consent))?;
    let identifier = match event.user_id {
        "" => Identifier::anonymous(event.anonymous_id),
        user_id => Identifier::user(user_id),
    };
    Ok(may_be_linked(&identifier.value).then(|| Box::new(Said { identifier, consent })))
}

/// Adds what the new events of a transaction say, as far as it is not what holds
/// already: most events repeat what is known.
///
/// An event that repeats a word is not recorded again. So a word that arrives late
/// is weighed against when the other was said first, not last.
pub(crate) async fn add_said(
    connection: &mut PgConnection,
    batches: &[Batch],
    plan: &Plan,
    positions: &[i64],
) -> Result<()> {
    type Words = BTreeMap<(Identifier, String), (Word, i64)>;
    let mut said: BTreeMap<ProjectId, (Words, chrono::DateTime<chrono::Utc>)> = BTreeMap::new();
    for (new, position) in plan.new.iter().zip(positions) {
        let batch = &batches[new.batch];
        let Item::Accept { effective_at, consent: Some(event), .. } = &batch.items[new.item] else {
            continue;
        };
        let (words, received_at) = said.entry(batch.project).or_default();
        *received_at = batch.received_at.max(*received_at);
        let granted = event.consent.granted.iter().map(|purpose| (purpose, true));
        let denied = event.consent.denied.iter().map(|purpose| (purpose, false));
        for (purpose, granted) in granted.chain(denied) {
            let word = Word { at: *effective_at, granted };
            words
                .entry((event.identifier.clone(), purpose.clone()))
                .and_modify(|known| {
                    if known.0.or_later(word) != known.0 {
                        *known = (word, *position);
                    }
                })
                .or_insert((word, *position));
        }
    }
    for (project, (words, received_at)) in said {
        let identifiers: BTreeSet<&Identifier> =
            words.keys().map(|(identifier, _)| identifier).collect();
        let asked: Vec<Identifier> = identifiers.into_iter().cloned().collect();
        let known: BTreeMap<(String, String, String), Word> =
            store::last_words(connection, project, &asked)
                .await?
                .into_iter()
                .map(|last| {
                    let word = Word { at: last.effective_at, granted: last.granted };
                    ((last.kind, last.value, last.purpose), word)
                })
                .collect();
        let new: Vec<NewWord> = words
            .into_iter()
            .filter(|((identifier, purpose), (word, _))| {
                let key = (identifier.kind.to_string(), identifier.value.clone(), purpose.clone());
                known.get(&key).is_none_or(|known| {
                    known.granted != word.granted && known.or_later(*word) == *word
                })
            })
            .map(|((identifier, purpose), (word, position))| NewWord {
                identifier,
                purpose,
                granted: word.granted,
                effective_at: word.at,
                position: Some(position),
            })
            .collect();
        if !new.is_empty() {
            store::add(connection, project, &new, received_at, "", "").await?;
        }
    }
    Ok(())
}

/// Counts what was refused for region or consent, by source and day, without a
/// trace of what it was.
pub(crate) async fn count_refusals(connection: &mut PgConnection, batches: &[Batch]) -> Result<()> {
    let mut refused: BTreeMap<(ProjectId, SourceId, &str, chrono::NaiveDate), i64> =
        BTreeMap::new();
    for batch in batches {
        for item in &batch.items {
            if let Item::Reject { fault } = item
                && matches!(fault.reason, Reason::RegionBlocked | Reason::ConsentMissing)
            {
                let day = batch.received_at.date_naive();
                let key = (batch.project, batch.source, fault.reason.as_str(), day);
                *refused.entry(key).or_default() += 1;
            }
        }
    }
    for ((project, source, reason, day), events) in refused {
        store::count_refusals(connection, project, source, reason, day, events).await?;
    }
    Ok(())
}
