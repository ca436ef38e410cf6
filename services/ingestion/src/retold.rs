//! Events that say, word for word, what the log holds under their message id,
//! although another body was sent first: what came without a time got that of its
//! receipt, and a contract may have taken properties away. An export that is
//! imported again tells of such events, and adds nothing.

use std::collections::{BTreeMap, HashMap};

use northstar_domain::event::{Event, Reason};
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::keys::MessageKey;
use northstar_store::ingestion::log::{self, LoggedEvent};
use northstar_store::ingestion::quarantine::BodyKey;
use northstar_store::{Error, PgConnection, Result};
use prost::Message as _;

use crate::batch::{Batch, Item};
use crate::events::view;
use crate::plan::{Outcome, Plan, Taken};

/// Positions that are read at once; an import tells of neighbours.
const STRETCH: i64 = 1_000;
/// Most stretches that one transaction reads: whoever reuses ids at random must not
/// hold up the others.
const MOST_STRETCHES: usize = 32;

/// Makes duplicates of the id conflicts that are none.
pub(crate) async fn recognise(
    connection: &mut PgConnection,
    batches: &[Batch],
    taken: &Taken,
    plan: &mut Plan,
) -> Result<()> {
    let mut suspects: BTreeMap<i64, Vec<BodyKey>> = BTreeMap::new();
    for (key, body) in &plan.quarantine {
        let conflict = body.fault.as_ref().is_some_and(|fault| fault.reason == Reason::IdConflict);
        let first = taken.get(&MessageKey::new(key.source, key.message_hash));
        if let Some(first) = first.filter(|_| conflict) {
            suspects.entry(first.position).or_default().push(*key);
        }
    }
    if suspects.is_empty() {
        return Ok(());
    }
    let known = compare(connection, batches, plan, &suspects).await?;
    for (batch, outcomes) in batches.iter().zip(&mut plan.outcomes) {
        for (item, outcome) in batch.items.iter().zip(outcomes) {
            let (Item::Accept { key, .. } | Item::Quarantine { key, .. }) = item else { continue };
            if let (Outcome::Quarantine, Some(position)) = (*outcome, known.get(key)) {
                *outcome = Outcome::Known(*position);
            }
        }
    }
    plan.quarantine.retain(|key, _| !known.contains_key(key));
    Ok(())
}

/// Those of the suspects, by the position of the event that holds their id, that
/// are the same.
async fn compare(
    connection: &mut PgConnection,
    batches: &[Batch],
    plan: &Plan,
    suspects: &BTreeMap<i64, Vec<BodyKey>>,
) -> Result<HashMap<BodyKey, i64>> {
    let mut known = HashMap::new();
    let mut positions = suspects.keys().copied().peekable();
    for _ in 0..MOST_STRETCHES {
        let Some(first) = positions.next() else { break };
        while positions.next_if(|position| *position < first + STRETCH).is_some() {}
        let project = batches[0].project;
        let logged = match log::read_after(connection, project, first - 1, STRETCH).await {
            Ok(logged) => logged,
            // What cannot be read cannot be compared; it must not keep others out.
            Err(error @ Error::Corrupt { .. }) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    project.id = project.0,
                    "an event that holds a message id cannot be read"
                );
                continue;
            }
            Err(error) => return Err(error),
        };
        for event in &logged {
            for key in suspects.get(&event.position).into_iter().flatten() {
                let body = &plan.quarantine[key];
                if says(&batches[body.batch], body.item, event) {
                    known.insert(*key, event.position);
                }
            }
        }
    }
    Ok(known)
}

/// Whether an event of a batch says what the log holds.
fn says(batch: &Batch, item: usize, logged: &LoggedEvent) -> bool {
    let Ok(event) = pb::Event::decode(batch.events.encode(item).as_slice()) else { return false };
    let (mut properties, mut consent) = (Vec::new(), String::new());
    let Ok(event) = view(&event, &mut properties, &mut consent) else { return false };
    let undated = batch.events.is_undated(item);
    let occurred_at = if undated { logged.occurred_at } else { event.occurred_at };
    let held = Event {
        message_id: &logged.message_id,
        name: &logged.name,
        user_id: &logged.user_id,
        anonymous_id: &logged.anonymous_id,
        account_id: &logged.account_id,
        occurred_at: logged.occurred_at,
        sent_at: None,
        sequence: logged.sequence,
        properties: &logged.properties,
        region: &logged.region,
        consent: &logged.consent,
    };
    Event { occurred_at, ..event }.body_hash() == held.body_hash()
}
