//! The work of forgetting a subject, in the background and in steps that survive
//! a crash.
//!
//! First the subject's events are looked for, a page of the log at a time; each
//! page is noted with how far the work is, so nothing is looked at twice. Then
//! everything is replaced in one transaction: events, quarantine, facts, map. So
//! whoever reads sees the subject as it was or not at all, and a crash at any
//! time leaves one or the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use northstar_domain::Clock;
use northstar_domain::erasure::{names, without_personal};
use northstar_domain::identity::IdentifierKind;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::erasure::{self as store, Erasure, Kept, Pseudonym};
use northstar_store::ingestion::log::{self, Erasable, LoggedEvent};
use northstar_store::ingestion::quarantine::Content;
use northstar_store::ingestion::{commit_durably, contracts, identity};
use northstar_store::{PgConnection, PgPool, Result, audit};
use prost::Message as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Events looked at in one step.
const PAGE_EVENTS: i64 = 5_000;
/// Quarantined events looked at at once.
const PAGE_QUARANTINED: i64 = 500;
/// Between two looks for wishes of other processes, and after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// The worker's handle.
#[derive(Clone)]
pub(crate) struct Erasures {
    pool: PgPool,
    clock: Arc<dyn Clock>,
    entered: Arc<Notify>,
}

impl Erasures {
    pub(crate) fn new(pool: PgPool, clock: Arc<dyn Clock>) -> Self {
        Self { pool, clock, entered: Arc::default() }
    }

    /// Wakes the worker up: a wish was entered.
    pub(crate) fn notify(&self) {
        self.entered.notify_one();
    }

    /// Works on wishes until `shutdown`. Any number of processes may do so.
    pub(crate) async fn work(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        while !shutdown.is_cancelled() {
            match self.step().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an erasure could not go on, trying again"
                ),
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.entered.notified() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        Ok(())
    }

    /// One step of the oldest wish; whether there was one.
    async fn step(&self) -> Result<bool> {
        let mut transaction = self.pool.begin().await?;
        let Some(erasure) = store::lock_next(&mut transaction).await? else { return Ok(false) };
        let subject = Forgotten::new(store::pseudonyms(&mut transaction, erasure.id).await?);
        if erasure.position < erasure.last_position {
            look(&mut transaction, &erasure, &subject).await?;
        } else {
            commit_durably(&mut transaction).await?;
            self.replace(&mut transaction, &erasure, &subject).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// The last step.
    async fn replace(
        &self,
        connection: &mut PgConnection,
        erasure: &Erasure,
        subject: &Forgotten,
    ) -> Result<()> {
        let (project, now) = (erasure.project, self.clock.now());
        // Nobody changes the map or adds events meanwhile.
        identity::lock(connection, project).await?;
        let personal = personal_properties(connection, erasure).await?;
        let mut after = 0;
        loop {
            let positions =
                store::positions_after(connection, erasure.id, after, PAGE_EVENTS).await?;
            let Some(last) = positions.last() else { break };
            after = *last;
            let found: BTreeSet<i64> = positions.into_iter().collect();
            let mut next = found.first().copied();
            while let Some(position) = next {
                let block = log::rewrite(connection, project, position, |at, name, event| {
                    if found.contains(&at) {
                        subject.erase(event, personal.get(name));
                    }
                });
                let reached = block.await?.map_or(position, |held| *held.end());
                next = found.range(reached + 1..).next().copied();
            }
        }
        store::forget_omitted(connection, project, erasure.id).await?;
        let quarantined = empty_quarantine(connection, erasure, subject).await?;
        store::pseudonymise(connection, erasure.id).await?;
        store::finish(connection, erasure.id, quarantined, now).await?;
        let detail = serde_json::json!({
            "identifiers": erasure.identifiers,
            "events": erasure.events,
            "quarantined": quarantined,
            "log_position": erasure.last_position,
        });
        let entry = audit::NewEntry {
            project,
            actor: &erasure.actor,
            action: "subject.erased",
            resource: &format!("erasures/{}", erasure.id),
            detail: &detail,
            at: now,
        };
        audit::append(connection, &entry).await?;
        tracing::info!(
            erasure.id = %erasure.id,
            erasure.events = erasure.events,
            "a subject was forgotten"
        );
        Ok(())
    }
}

/// Looks at one page of the log.
async fn look(connection: &mut PgConnection, erasure: &Erasure, subject: &Forgotten) -> Result<()> {
    let events =
        log::read_after(connection, erasure.project, erasure.position, PAGE_EVENTS).await?;
    let up_to = events
        .last()
        .map_or(erasure.position + PAGE_EVENTS, |last| last.position)
        .min(erasure.last_position);
    let positions: Vec<i64> = events
        .iter()
        .filter(|event| event.position <= up_to && subject.owns(event))
        .map(|event| event.position)
        .collect();
    store::found(connection, erasure.id, &positions, up_to).await
}

/// Properties that contracts tag as personal, by event name; an event whose
/// contract tags none loses all its texts.
async fn personal_properties(
    connection: &mut PgConnection,
    erasure: &Erasure,
) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let contracts = contracts::all(connection, erasure.project).await?;
    Ok(contracts
        .into_iter()
        .map(|contract| {
            let personal = contract.spec.personal_properties();
            let names = personal.map(|(name, _)| name.to_owned()).collect();
            (contract.name, names)
        })
        .filter(|(_, names): &(String, BTreeSet<String>)| !names.is_empty())
        .collect())
}

/// Empties quarantined events of the subject, and records that name it.
async fn empty_quarantine(
    connection: &mut PgConnection,
    erasure: &Erasure,
    subject: &Forgotten,
) -> Result<i64> {
    let (mut emptied, mut after) = (0, None);
    loop {
        let page =
            store::quarantined_after(connection, erasure.project, after, PAGE_QUARANTINED).await?;
        let Some(last) = page.last() else { return Ok(emptied) };
        after = Some(last.id);
        for kept in page {
            if let Some(emptied_one) = subject.emptied(kept) {
                store::empty_quarantined(connection, &emptied_one).await?;
                emptied += 1;
            }
        }
    }
}

/// The identifiers of a subject, and what replaces them.
pub(crate) struct Forgotten {
    users: BTreeMap<String, String>,
    anonymous: BTreeMap<String, String>,
    others: BTreeMap<String, String>,
}

impl Forgotten {
    pub(crate) fn new(pseudonyms: Vec<Pseudonym>) -> Self {
        let mut found =
            Self { users: BTreeMap::new(), anonymous: BTreeMap::new(), others: BTreeMap::new() };
        for Pseudonym { kind, value, pseudonym } in pseudonyms {
            match kind.as_str() {
                IdentifierKind::USER_ID => found.users.insert(value, pseudonym),
                IdentifierKind::ANONYMOUS_ID => found.anonymous.insert(value, pseudonym),
                _ => found.others.insert(value, pseudonym),
            };
        }
        found
    }

    /// Whether an event has one of the identifiers.
    pub(crate) fn owns(&self, event: &LoggedEvent) -> bool {
        self.has(&event.user_id, &event.anonymous_id)
    }

    /// Whether one of the two ids is one of the identifiers.
    pub(crate) fn has(&self, user_id: &str, anonymous_id: &str) -> bool {
        self.users.contains_key(user_id) || self.anonymous.contains_key(anonymous_id)
    }

    /// Whether a text names one of the identifiers.
    pub(crate) fn is_named_by(&self, text: &[u8]) -> bool {
        self.users
            .keys()
            .chain(self.anonymous.keys())
            .chain(self.others.keys())
            .any(|identifier| names(text, identifier))
    }

    /// Takes from an event what is personal.
    fn erase(&self, event: &mut Erasable, personal: Option<&BTreeSet<String>>) {
        if self.is_named_by(event.message_id.as_bytes()) {
            event.message_id = format!("erased-{}", uuid::Uuid::new_v4());
        }
        for (ids, id) in
            [(&self.users, &mut event.user_id), (&self.anonymous, &mut event.anonymous_id)]
        {
            if let Some(pseudonym) = ids.get(id.as_str()) {
                id.clone_from(pseudonym);
            }
        }
        event.properties = without_personal(&event.properties, personal);
    }

    /// What is left of a quarantined event of the subject, or of a record that
    /// names it; `None` for one of somebody else.
    fn emptied(&self, kept: Kept) -> Option<Kept> {
        let of_subject = |bytes: &[u8]| {
            let event = pb::Event::decode(bytes).ok()?;
            self.has(&event.user_id, &event.anonymous_id).then(|| {
                let left = pb::Event {
                    name: event.name,
                    occurred_time: event.occurred_time,
                    ..pb::Event::default()
                };
                left.encode_to_vec()
            })
        };
        let sent = match &kept.content {
            Content::Event(bytes) => of_subject(bytes),
            Content::Raw(bytes) => self.is_named_by(bytes).then(Vec::new),
        };
        let patched = kept.patched.as_deref().and_then(of_subject);
        let left = sent.or_else(|| patched.clone())?;
        let content = match kept.content {
            Content::Event(_) => Content::Event(left.clone()),
            Content::Raw(_) => Content::Raw(Vec::new()),
        };
        // What was corrected says no more than what was sent.
        let patched = kept.patched.map(|_| patched.unwrap_or(left));
        Some(Kept { id: kept.id, content, patched })
    }
}
