//! The work of forgetting a subject, in the background and in steps that survive
//! a crash.
//!
//! First the subject's events are looked for, a page of the log at a time; each
//! page is noted with how far the work is, so nothing is looked at twice. Archived
//! files that hold some are written anew beside the old ones. Then everything is
//! replaced in one transaction: events, quarantine, facts, map, and the files in
//! the manifest. So whoever reads sees the subject as it was or not at all, and a
//! crash at any time leaves one or the other. The old files are deleted next, and
//! the log tells the other services, which do the same with what they hold.

mod archive;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use northstar_archive::ArchivedEvent;
use northstar_domain::erasure::{names, without_personal};
use northstar_domain::identity::IdentifierKind;
use northstar_domain::{Clock, ProjectId};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::erasure::SUBJECT_ERASED;
use northstar_store::ingestion::erasure::{
    self as store, Erasure, Kept, Pseudonym, RewrittenFile, Stage,
};
use northstar_store::ingestion::log::{self, Erasable, LoggedEvent};
use northstar_store::ingestion::quarantine::Content;
use northstar_store::ingestion::{commit_durably, contracts, identity, retention};
use northstar_store::outbox::{NewMessage, Outbox};
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
                    error = &*error as &dyn std::error::Error,
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
    async fn step(&self) -> anyhow::Result<bool> {
        let mut transaction = self.pool.begin().await.map_err(northstar_store::Error::from)?;
        let Some(erasure) = store::lock_next(&mut transaction).await? else { return Ok(false) };
        if let Err(error) = self.go_on(&mut transaction, &erasure).await {
            transaction.rollback().await.map_err(northstar_store::Error::from)?;
            let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
            store::set_problem(&mut connection, erasure.id, &format!("{error:#}")).await?;
            return Err(error);
        }
        transaction.commit().await.map_err(northstar_store::Error::from)?;
        Ok(true)
    }

    async fn go_on(&self, connection: &mut PgConnection, erasure: &Erasure) -> anyhow::Result<()> {
        if erasure.stage == Stage::Removing {
            if archive::remove_next(connection, erasure, self.clock.now()).await? {
                return Ok(());
            }
            store::set_stage(connection, erasure.id, Stage::Following).await?;
            store::finish(connection, erasure.id, self.clock.now()).await?;
            return Ok(());
        }
        let subject = Forgotten::new(store::pseudonyms(connection, erasure.id).await?);
        if erasure.position < erasure.last_position {
            look(connection, erasure, &subject).await?;
            return Ok(());
        }
        if erasure.stage == Stage::Looking {
            store::set_stage(connection, erasure.id, Stage::Rewriting).await?;
        }
        if archive::rewrite_next(connection, erasure, &subject, self.clock.now()).await? {
            return Ok(());
        }
        commit_durably(connection).await?;
        // Nobody changes the map or adds events meanwhile.
        identity::lock(connection, erasure.project).await?;
        let files = store::rewritten_files(connection, erasure.id).await?;
        if store::swap_archived(connection, erasure.id, self.clock.now()).await? {
            self.replace(connection, erasure, &subject, &files).await?;
        } else {
            store::look_at_archive_again(connection, erasure.id).await?;
        }
        Ok(())
    }

    /// The step that everybody sees. The caller holds the lock of the map.
    async fn replace(
        &self,
        connection: &mut PgConnection,
        erasure: &Erasure,
        subject: &Forgotten,
        files: &[RewrittenFile],
    ) -> Result<()> {
        let (project, now) = (erasure.project, self.clock.now());
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
        store::rewritten(connection, erasure.id, quarantined, now).await?;
        if files.is_empty() {
            store::set_stage(connection, erasure.id, Stage::Following).await?;
            store::finish(connection, erasure.id, now).await?;
        }
        let mut detail = serde_json::json!({
            "identifiers": erasure.identifiers,
            "events": erasure.events,
            "quarantined": quarantined,
            "log_position": erasure.last_position,
        });
        if !files.is_empty() {
            let replaced = files.iter().map(|file| {
                serde_json::json!({
                    "first_position": file.first_position,
                    "events": file.events,
                    "old_sha256": hex::encode(&file.old_sha256),
                    "sha256": hex::encode(&file.sha256),
                })
            });
            detail["archived_files"] = replaced.collect();
        }
        let entry = audit::NewEntry {
            project,
            actor: &erasure.actor,
            action: "subject.erased",
            resource: &format!("erasures/{}", erasure.id),
            detail: &detail,
            at: now,
        };
        audit::append(connection, &entry).await?;
        if !store::followers(connection, &[erasure.id]).await?.is_empty() {
            Outbox::Ingestion.put(connection, &fact(erasure, now)).await?;
        }
        tracing::info!(
            erasure.id = %erasure.id,
            erasure.events = erasure.events,
            erasure.archived_files = files.len(),
            "a subject was forgotten by the log"
        );
        Ok(())
    }
}

/// What the log tells the other services: that there is something to follow, not whom it is about.
fn fact(erasure: &Erasure, now: DateTime<Utc>) -> NewMessage {
    NewMessage {
        project: erasure.project,
        message_id: format!("erasure/{}/erased", erasure.id),
        name: SUBJECT_ERASED.to_owned(),
        user_id: String::new(),
        anonymous_id: format!("erasure:{}", erasure.id),
        occurred_at: now,
        properties: serde_json::json!({"erasure": erasure.id, "events": erasure.events}),
    }
}

/// The position before the next event behind a gap, for example of what is archived.
pub(crate) async fn before_next(
    connection: &mut PgConnection,
    project: ProjectId,
    position: i64,
) -> Result<i64> {
    let held = retention::held(connection, project, position + 1, i64::MAX).await?;
    Ok(held.map_or(i64::MAX, |(first, _)| first - 1))
}

/// Looks at one page of the log.
async fn look(connection: &mut PgConnection, erasure: &Erasure, subject: &Forgotten) -> Result<()> {
    let events =
        log::read_after(connection, erasure.project, erasure.position, PAGE_EVENTS).await?;
    let up_to = match events.last() {
        Some(last) => last.position,
        None => before_next(connection, erasure.project, erasure.position).await?,
    };
    let up_to = up_to.min(erasure.last_position);
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

    /// Takes from an archived event what is personal, if it is the subject's; whether
    /// it is.
    fn erase_archived(
        &self,
        event: &mut ArchivedEvent,
        personal: &BTreeMap<String, BTreeSet<String>>,
    ) -> bool {
        if !self.has(&event.user_id, &event.anonymous_id) {
            return false;
        }
        let mut erasable = Erasable {
            message_id: std::mem::take(&mut event.message_id),
            user_id: std::mem::take(&mut event.user_id),
            anonymous_id: std::mem::take(&mut event.anonymous_id),
            account_id: std::mem::take(&mut event.account_id),
            properties: std::mem::take(&mut event.properties),
        };
        self.erase(&mut erasable, personal.get(&event.name));
        event.message_id = erasable.message_id;
        event.user_id = erasable.user_id;
        event.anonymous_id = erasable.anonymous_id;
        event.account_id = erasable.account_id;
        event.properties = erasable.properties;
        true
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
