//! The frequent transaction in one round trip: new events of one source, about
//! which nothing is to be written but themselves and their counts.
//!
//! A lone small request has no other to share its commit with; what it waits for
//! are the ways to the database and back. Everything else takes the longer way of
//! [`crate::transaction`], to the same end.

use std::collections::HashMap;
use std::sync::Arc;

use northstar_domain::ProjectId;
use northstar_store::ingestion::log::{self, Appended};
use northstar_store::{PgConnection, Result};

use crate::accounting::KnownNames;
use crate::batch::{Batch, Item};
use crate::links::KnownLinks;
use crate::plan::Plan;
use crate::transaction::{Attempt, Written, answers, count, encode, positions, remembered_keys};

/// Writes the batches of a project as planned, and commits. `None` when there is
/// more to be written than this can, and nothing was.
pub(crate) async fn write(
    connection: &mut PgConnection,
    project: ProjectId,
    batches: &Arc<Vec<Batch>>,
    plan: &Plan,
    after: i64,
    known_links: &KnownLinks,
    known_names: &KnownNames,
) -> Result<Option<Attempt>> {
    if plan.new.is_empty() || !plan.quarantine.is_empty() {
        return Ok(None);
    }
    let known_since = known_links.erasure_version(project);
    let mut linked = false;
    for (batch, item) in
        batches.iter().flat_map(|batch| batch.items.iter().map(move |i| (batch, i)))
    {
        match item {
            Item::Accept { link, consent: None, notes: None, effective_at, .. } => {
                let Some(link) = link else { continue };
                linked = true;
                let (anonymous_id, user_id) = batch.ids.get(*link);
                let is_known = known_since.is_some_and(|erasures| {
                    known_links.has(project, erasures, anonymous_id, user_id, *effective_at)
                });
                if !is_known {
                    return Ok(None);
                }
            }
            // What fails is counted by the hour, too.
            Item::Accept { .. }
            | Item::Quarantine { .. }
            | Item::Keep { .. }
            | Item::Reject { .. } => return Ok(None),
        }
    }

    let end = after + plan.new.len() as i64;
    let answers = answers(batches, plan, &positions(plan, end), &HashMap::new(), end);
    let (_, tally) = count(batches, &answers);
    let Some((source, counts)) = tally.of_one_source(known_names) else { return Ok(None) };
    let (blocks, keys) = encode(batches, plan, after).await;
    // What is known of links is so until somebody is erased.
    let erasures = known_since.filter(|_| linked);
    let counted = (source, &counts);
    let appended =
        log::append_and_count(connection, project, after, erasures, &blocks, &keys, counted);
    Ok(Some(match appended.await? {
        Appended::HeadMoved => Attempt::HeadMoved,
        Appended::At { erasure_version, .. } => Attempt::Done(Written {
            answers,
            links: Vec::new(),
            erasures: erasure_version,
            keys: remembered_keys(batches, plan),
        }),
    }))
}
