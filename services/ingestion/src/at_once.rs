//! The frequent transaction in one round trip: new events of one source, about
//! which nothing is to be written but themselves, their counts, and links of devices
//! that are new.
//!
//! A lone small request has no other to share its commit with; what it waits for
//! are the ways to the database and back. Everything else takes the longer way of
//! [`crate::transaction`], to the same end.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::identity::{Identifier, IdentifierKind, IdentityPolicy};
use northstar_store::ingestion::identity::ShownLink;
use northstar_store::ingestion::log::{self, Appended, HeadAt, NewDevices};
use northstar_store::{PgConnection, Result};

use crate::accounting::KnownNames;
use crate::batch::{Batch, Item};
use crate::links::{KnownLinks, KnownPolicy, NewLinks};
use crate::plan::Plan;
use crate::transaction::{
    Attempt, FEW_EVENTS, Written, answers, count, encode, positions, remembered_keys,
};

/// Links of new devices that are added by the way, at most.
const FEW_LINKS: usize = 16;

/// Writes the batches of a project as planned, and commits. `None` when there is
/// more to be written than this can, and nothing was.
pub(crate) async fn write(
    connection: &mut PgConnection,
    project: ProjectId,
    batches: &Arc<Vec<Batch>>,
    plan: &Plan,
    after: i64,
    known_links: &mut KnownLinks,
    known_names: &KnownNames,
) -> Result<Option<Attempt>> {
    if plan.new.is_empty() || !plan.quarantine.is_empty() {
        return Ok(None);
    }
    let mut items = batches.iter().flat_map(|batch| &batch.items);
    // What fails is counted by the hour, too.
    let plain = |item: &Item| matches!(item, Item::Accept { consent: None, notes: None, .. });
    if !items.all(plain) {
        return Ok(None);
    }
    let end = after + plan.new.len() as i64;
    let positions = positions(plan, end);
    let Some(links) = Links::of(project, batches, plan, &positions, known_links) else {
        return Ok(None);
    };
    let answers = answers(batches, plan, &positions, &HashMap::new(), end);
    let (_, tally) = count(batches, &answers);
    let Some(counted) = tally.of_one_source(known_names) else { return Ok(None) };

    let (head, by_source) = (
        HeadAt { project, position: after, erasures: links.erasures },
        (counted.source(), &counted.counts),
    );
    let appended = if links.new.is_empty() {
        let (blocks, keys) = encode(batches, plan, after).await;
        log::append_and_count(connection, head, &blocks, &keys, by_source).await?
    } else {
        // Where there is much to encode, a round trip more is nothing, and to encode it
        // twice is much.
        if plan.new.len() >= FEW_EVENTS {
            return Ok(None);
        }
        let KnownPolicy { etag, policy } = known_links.policy(connection, project).await?;
        if !links.may_be_added(&policy) {
            return Ok(None);
        }
        let devices = NewDevices {
            policy: etag.as_deref(),
            links: &links.new,
            recorded_at: links.recorded_at,
        };
        let (blocks, keys) = encode(batches, plan, after).await;
        let appended =
            log::append_and_link(connection, head, &blocks, &keys, by_source, devices).await?;
        let Some(appended) = appended else {
            known_links.forget_policy(project);
            return Ok(None);
        };
        appended
    };
    Ok(Some(match appended {
        Appended::HeadMoved => Attempt::HeadMoved,
        Appended::At { erasure_version, .. } => {
            known_names.appended(counted);
            Attempt::Done(Written {
                answers,
                links: links.new,
                erasures: erasure_version,
                keys: remembered_keys(batches, plan),
            })
        }
    }))
}

/// What the new events say of devices and users.
struct Links {
    /// What is known of links is so until somebody is erased; `None` when nothing that
    /// is known was relied on.
    erasures: Option<i64>,
    /// Those that are not known to be recorded, by anonymous id and user.
    new: Vec<ShownLink>,
    /// When these are recorded.
    recorded_at: DateTime<Utc>,
}

impl Links {
    /// `None` when there are more than a few new ones.
    fn of(
        project: ProjectId,
        batches: &[Batch],
        plan: &Plan,
        positions: &[i64],
        known: &KnownLinks,
    ) -> Option<Self> {
        let known_since = known.erasure_version(project);
        let (mut shown, mut relied) = (NewLinks::default(), false);
        let mut recorded_at = DateTime::UNIX_EPOCH;
        for (new, position) in plan.new.iter().zip(positions) {
            let batch = &batches[new.batch];
            let Item::Accept { effective_at, link: Some(link), .. } = &batch.items[new.item] else {
                continue;
            };
            let (anonymous_id, user_id) = batch.ids.get(*link);
            let is_known = known_since.is_some_and(|erasures| {
                known.has(project, erasures, anonymous_id, user_id, *effective_at)
            });
            if is_known {
                relied = true;
                continue;
            }
            recorded_at = batch.received_at.max(recorded_at);
            shown.add(anonymous_id, user_id, *effective_at, *position);
            if shown.len() > FEW_LINKS {
                return None;
            }
        }
        let erasures = known_since.filter(|_| relied);
        Some(Self { erasures, new: shown.into_links(), recorded_at })
    }

    /// Whether these are links of devices, one each, that the policy says nothing of.
    fn may_be_added(&self, policy: &IdentityPolicy) -> bool {
        let once = self.new.windows(2).all(|pair| pair[0].anonymous_id != pair[1].anonymous_id);
        let allowed = |link: &ShownLink| {
            policy.allows(&Identifier::anonymous(link.anonymous_id.as_str()))
                && policy.allows(&Identifier::user(link.user_id.as_str()))
        };
        once && policy.limit(&IdentifierKind::anonymous_id()).is_none()
            && self.new.iter().all(allowed)
    }
}
