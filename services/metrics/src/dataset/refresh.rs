//! Taking in what the log has and the data set has not.

use std::collections::HashMap;
use std::pin::pin;

use futures::StreamExt as _;
use northstar_domain::ProjectId;
use northstar_domain::consent_policy::{ANALYTICS, ConsentPolicy, DataUse};
use northstar_engine::{Actor, EventRecord};
use northstar_store::metrics::log::{self, Change, Event, Head, Word};
use northstar_store::{Error as StoreError, PgConnection};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::spawn_blocking;

use super::{Datasets, Loaded, View, archived};
use crate::{Error, Result};

/// Events handed over at once, and how often before the reader waits: enough to
/// keep both sides busy, little enough not to count.
pub(super) const CHUNK_EVENTS: usize = 2_048;
const CHUNKS_IN_FLIGHT: usize = 4;

/// What the reader of the log hands over.
pub(super) enum Part {
    Events(Vec<Event>),
    /// Everything was read; without it the reader failed or was given up.
    End,
}

/// What is to be taken in beside the events.
struct Missing {
    project: ProjectId,
    head: Head,
    changes: Vec<Change>,
    words: Vec<Word>,
    /// The consent policy, when it is another.
    policy: Option<ConsentPolicy>,
    sources: HashMap<i32, String>,
}

impl Datasets {
    /// A view that covers everything committed before this call.
    pub(crate) async fn view(&self, project: ProjectId) -> Result<View> {
        let mut loaded = self.slot(project).lock_owned().await;
        // A transaction only for its planner setting; it ends unchanged.
        let mut connection = self.pool.begin().await.map_err(StoreError::from)?;
        northstar_store::ingestion::prefer_indexes(&mut connection).await?;
        // After the lock: whoever waited for it need not read the log twice.
        let head = log::head(&mut connection, project).await?;
        loaded.take_if(|loaded| loaded.known.erasure_version != head.erasure_version);
        if loaded.is_none() {
            *loaded = Some(self.load(&mut connection, project, head.erasure_version).await?);
            // What was dropped from the manifest stays dropped.
            connection.commit().await.map_err(StoreError::from)?;
            connection = self.pool.begin().await.map_err(StoreError::from)?;
            northstar_store::ingestion::prefer_indexes(&mut connection).await?;
        }
        let (watermark, known) = loaded.as_ref().map_or_else(Default::default, |loaded| {
            (loaded.dataset.watermark().max(0), loaded.known)
        });
        let (mut changes, mut words) = (Vec::new(), Vec::new());
        let (mut policy, mut sources) = (None, HashMap::new());
        if known.identity_version < head.identity_version {
            let (after, up_to) = (known.identity_version, head.identity_version);
            changes = log::changes(&mut connection, project, after, up_to).await?;
        }
        if known.consent_version < head.consent_version {
            let (after, up_to) = (known.consent_version, head.consent_version);
            words = log::words(&mut connection, project, after, up_to).await?;
        }
        if known.consent_policy_version != Some(head.consent_policy_version) {
            policy = Some(log::consent_policy(&mut connection, project).await?);
        }
        if watermark < head.position {
            sources = log::sources(&mut connection, project).await?;
        }
        let names = sources.iter().map(|(number, name)| (name.clone(), *number)).collect();
        let missing = Missing { project, head, changes, words, policy, sources };
        let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let taking_in = spawn_blocking(move || take_in(loaded, receiver, missing));
        let stretch = (watermark, head.position);
        let read = read(&mut connection, project, stretch, &names, sender).await;
        let view = taking_in.await?;
        read?;
        view
    }
}

/// Reads the log in chunks. A receiver that is gone has failed and says why.
async fn read(
    connection: &mut PgConnection,
    project: ProjectId,
    (after, up_to): (i64, i64),
    sources: &HashMap<String, i32>,
    sender: Sender<Part>,
) -> Result<()> {
    if after < up_to {
        let after = archived::read(connection, project, after, sources, &sender).await?;
        let events = log::events(connection, project, after, up_to);
        let mut chunks = pin!(events.ready_chunks(CHUNK_EVENTS));
        let mut collected = Vec::with_capacity(CHUNK_EVENTS);
        while let Some(chunk) = chunks.next().await {
            for event in chunk {
                collected.push(event?);
            }
            if collected.len() >= CHUNK_EVENTS {
                let full = std::mem::replace(&mut collected, Vec::with_capacity(CHUNK_EVENTS));
                if sender.send(Part::Events(full)).await.is_err() {
                    return Ok(());
                }
            }
        }
        if sender.send(Part::Events(collected)).await.is_err() {
            return Ok(());
        }
    }
    // Nobody is left to be told only when the other side failed.
    let _ = sender.send(Part::End).await;
    Ok(())
}

/// Takes in what the reader hands over, then the identity map, and makes the view.
fn take_in(
    mut guard: OwnedMutexGuard<Option<Loaded>>,
    parts: Receiver<Part>,
    missing: Missing,
) -> Result<View> {
    // A panic leaves the slot empty: the data set is made again from its files.
    let Some(mut loaded) = guard.take() else { return Err(Error::Interrupted) };
    let view = loaded.take_in(parts, missing);
    *guard = Some(loaded);
    view
}

impl Loaded {
    /// Fails when the reader did not come to its end. What was taken in until
    /// then stays and need not be read again.
    fn take_in(&mut self, mut parts: Receiver<Part>, missing: Missing) -> Result<View> {
        let Missing { project, head, changes, words, policy, sources } = missing;
        loop {
            match parts.blocking_recv() {
                None => return Err(Error::Interrupted),
                Some(Part::Events(events)) => self.append(project, &events, &sources)?,
                Some(Part::End) => break,
            }
        }
        for Change { kind, value, subject_kind, subject } in &changes {
            self.dataset.point((kind, value), (subject_kind, subject));
        }
        for Word { kind, value, purpose, granted, effective_at } in &words {
            let at = effective_at.timestamp_micros();
            self.dataset.word((kind, value), purpose, at, *granted);
        }
        if let Some(policy) = policy {
            self.dataset.set_purposes(&purposes(&policy));
            self.known.consent_policy_version = Some(head.consent_policy_version);
        }
        self.known.identity_version = self.known.identity_version.max(head.identity_version);
        self.known.consent_version = self.known.consent_version.max(head.consent_version);
        // A log that holds nothing yet has no position to advance to.
        if head.position > 0 {
            self.dataset.advance(head.position);
        }
        let snapshot = self.dataset.snapshot()?;
        let excluded_events = snapshot.excluded_events();
        Ok(View { snapshot, head, excluded_events })
    }

    fn append(
        &mut self,
        project: ProjectId,
        events: &[Event],
        sources: &HashMap<i32, String>,
    ) -> Result<()> {
        let properties: Vec<Value> =
            events.iter().map(|event| read_properties(project, event)).collect();
        let records = events.iter().zip(&properties).map(|(event, properties)| EventRecord {
            position: event.position,
            name: &event.name,
            source: sources.get(&event.source).map_or("", String::as_str),
            actor: Actor {
                user_id: event.user_id.as_deref(),
                anonymous_id: event.anonymous_id.as_deref(),
            },
            account_id: event.account_id.as_deref(),
            effective_micros: event.effective_at.timestamp_micros(),
            sequence: event.sequence,
            properties,
        });
        self.dataset.append(records)?;
        Ok(())
    }
}

/// The purposes that decide whether a subject counts: those that the policy
/// requires, and the withdrawal of [`ANALYTICS`] in any case.
fn purposes(policy: &ConsentPolicy) -> Vec<(&str, bool)> {
    let required: Vec<&str> = policy.required_for(DataUse::Analyse).collect();
    let withdrawn = (!required.contains(&ANALYTICS)).then_some((ANALYTICS, false));
    required.into_iter().map(|purpose| (purpose, true)).chain(withdrawn).collect()
}

/// The properties of an event. One event that another program wrote wrongly must
/// not stop every number of the project, so it counts without its properties.
fn read_properties(project: ProjectId, event: &Event) -> Value {
    match serde_json::from_str(&event.properties) {
        Ok(properties @ Value::Object(_)) => properties,
        read => {
            let problem = read.err().map_or_else(|| "not an object".to_owned(), |e| e.to_string());
            tracing::error!(
                project.id = project.0,
                event.position = event.position,
                problem,
                "event counted without its properties, which cannot be read"
            );
            Value::Object(serde_json::Map::new())
        }
    }
}
