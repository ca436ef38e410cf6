//! Taking in what the log has and the data set has not.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;

use futures::StreamExt as _;
use northstar_domain::ProjectId;
use northstar_domain::consent_policy::{ANALYTICS, ConsentPolicy, DataUse};
use northstar_engine::{Coded, EventColumns, Properties, Property, SubjectSet};
use northstar_store::block::{NotABlock, PropertyColumns, RowShape, TextColumn};
use northstar_store::metrics::cohort::Member;
use northstar_store::metrics::log::{self, Change, Events, Head, Word};
use northstar_store::{Error as StoreError, PgConnection};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::spawn_blocking;

use super::progress::Progress;
use super::{Datasets, Lists, Loaded, View, archived};
use crate::{Error, Result};

/// Blocks handed over before the reader waits: enough to keep both sides busy,
/// little enough not to count.
const BLOCKS_IN_FLIGHT: usize = 8;

/// What the reader of the log hands over.
pub(super) enum Part {
    Events(Events),
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
    query_bytes: u64,
    /// Lists whose subjects are to be found.
    lists: Lists,
}

impl Missing {
    /// Nothing but what comes with the head of the log.
    fn nothing(project: ProjectId, head: Head, query_bytes: u64, lists: Lists) -> Self {
        let (changes, words, sources) = (Vec::new(), Vec::new(), HashMap::new());
        Self { project, head, changes, words, policy: None, sources, query_bytes, lists }
    }
}

/// A view, and the subjects of lists in it.
type Found = (View, BTreeMap<String, SubjectSet>);

impl Datasets {
    /// A view that covers everything committed before this call.
    pub(crate) async fn view(&self, project: ProjectId) -> Result<View> {
        Ok(self.view_with(project, Lists::new()).await?.0)
    }

    /// The same, and whom lists name under the identity map of that view.
    pub(crate) async fn view_with(&self, project: ProjectId, lists: Lists) -> Result<Found> {
        let mut loaded = self.slot(project).lock_owned().await;
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        // After the lock: whoever waited for it need not read the log twice.
        let head = log::head(&mut connection, project).await?;
        drop(connection);
        if loaded.as_ref().is_some_and(|loaded| loaded.covers(head)) {
            let missing = Missing::nothing(project, head, self.query_bytes, lists);
            let (sender, receiver) = mpsc::channel(1);
            // There is room for it, and whoever is gone has failed and says why.
            let _ = sender.try_send(Part::End);
            return spawn_blocking(move || take_in(loaded, receiver, missing)).await?;
        }
        // A transaction only for its planner setting; it ends unchanged.
        let mut connection = self.pool.begin().await.map_err(StoreError::from)?;
        northstar_store::ingestion::prefer_indexes(&mut connection).await?;
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
        let query_bytes = self.query_bytes;
        let missing =
            Missing { project, head, changes, words, policy, sources, query_bytes, lists };
        let (sender, receiver) = mpsc::channel(BLOCKS_IN_FLIGHT);
        let taking_in = spawn_blocking(move || take_in(loaded, receiver, missing));
        let stretch = (watermark, head.position);
        let read = read(&mut connection, project, stretch, &names, sender).await;
        let view = taking_in.await?;
        read?;
        view
    }
}

/// Reads the log in blocks. A receiver that is gone has failed and says why.
async fn read(
    connection: &mut PgConnection,
    project: ProjectId,
    (after, up_to): (i64, i64),
    sources: &HashMap<String, i32>,
    sender: Sender<Part>,
) -> Result<()> {
    if after < up_to {
        let after = archived::read(connection, project, after, sources, &sender).await?;
        let mut blocks = pin!(log::events(connection, project, after, up_to));
        while let Some(block) = blocks.next().await {
            if sender.send(Part::Events(block?)).await.is_err() {
                return Ok(());
            }
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
) -> Result<Found> {
    // A panic leaves the slot empty: the data set is made again from its files.
    let Some(mut loaded) = guard.take() else { return Err(Error::Interrupted) };
    let view = loaded.take_in(parts, missing);
    *guard = Some(loaded);
    view
}

impl Loaded {
    /// Whether everything up to a head of the log is taken in.
    fn covers(&self, head: Head) -> bool {
        let known = &self.known;
        known.erasure_version == head.erasure_version
            && known.identity_version >= head.identity_version
            && known.consent_version >= head.consent_version
            && known.consent_policy_version == Some(head.consent_policy_version)
            && self.dataset.watermark().max(0) >= head.position
    }

    /// Fails when the reader did not come to its end. What was taken in until
    /// then stays and need not be read again.
    fn take_in(&mut self, mut parts: Receiver<Part>, missing: Missing) -> Result<Found> {
        let Missing { project, head, changes, words, policy, sources, query_bytes, lists } =
            missing;
        let known = self.dataset.watermark().max(0);
        let mut progress = Progress::begin(project, known, head.position);
        loop {
            match parts.blocking_recv() {
                None => return Err(Error::Interrupted),
                Some(Part::Events(events)) => {
                    self.append(project, &events, &sources)?;
                    if let Some(progress) = &mut progress {
                        progress.reached(self.dataset.watermark());
                    }
                }
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
        let snapshot = self.dataset.snapshot()?.within_memory(query_bytes);
        let excluded_events = snapshot.excluded_events();
        let subjects = |list: &[Member]| {
            let named = list.iter().map(|member| (&*member.kind, &*member.value));
            self.dataset.subjects_named(named)
        };
        let found = lists.into_iter().map(|(name, list)| (name, subjects(&list))).collect();
        Ok((View { snapshot, head, excluded_events }, found))
    }

    fn append(
        &mut self,
        project: ProjectId,
        events: &Events,
        sources: &HashMap<i32, String>,
    ) -> Result<()> {
        let first_position = events.first_position;
        let corrupt = |not| corrupt(project, first_position, not);
        let facts = events.block.facts().map_err(corrupt)?;
        let properties = events.block.properties().map_err(corrupt)?;
        let (source_names, source_codes) = code_sources(&facts.sources, sources);
        self.dataset.append_columns(&EventColumns {
            first_position,
            names: coded(&facts.names),
            sources: Coded { entries: source_names, codes: &source_codes },
            user_ids: coded(&facts.user_ids),
            anonymous_ids: coded(&facts.anonymous_ids),
            account_ids: coded(&facts.account_ids),
            effective_micros: &facts.effective_micros,
            sequences: &facts.sequences,
            properties: read_properties(project, first_position, &properties),
            rows: read_rows(project, first_position, &properties),
        })?;
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

/// The error for events whose columns cannot be read.
pub(super) fn corrupt(project: ProjectId, first_position: i64, not: NotABlock) -> Error {
    Error::from(StoreError::Corrupt {
        table: "ingestion.event_blocks",
        column: "content",
        row: format!("project {project}, positions from {first_position}"),
        value: not.to_string(),
    })
}

fn coded(column: &TextColumn) -> Coded<'_> {
    Coded { entries: column.entries().collect(), codes: column.codes() }
}

/// The names of the sources of events that come with numbers.
fn code_sources<'a>(numbers: &[i64], names: &'a HashMap<i32, String>) -> (Vec<&'a str>, Vec<u32>) {
    let mut known: Vec<i64> = Vec::new();
    let mut entries = Vec::new();
    let codes = numbers
        .iter()
        .map(|number| {
            // A block has few sources.
            let code = known.iter().position(|known| known == number).unwrap_or_else(|| {
                known.push(*number);
                let name = i32::try_from(*number).ok().and_then(|number| names.get(&number));
                entries.push(name.map_or("", String::as_str));
                known.len() - 1
            });
            u32::try_from(code).expect("a block has few sources")
        })
        .collect();
    (entries, codes)
}

/// The distinct values of every property, parsed once each. One event that another
/// program wrote wrongly must not stop every number of the project, so what
/// cannot be read is left out.
fn read_properties(
    project: ProjectId,
    first_position: i64,
    properties: &PropertyColumns,
) -> Vec<Property<'_>> {
    let unreadable = |name: &str, problem: serde_json::Error| {
        tracing::error!(
            project.id = project.0,
            block.first_position = first_position,
            property = name,
            problem = %problem,
            "events counted without a property that cannot be read"
        );
    };
    properties
        .columns()
        .map(|(key, column)| {
            let name = serde_json::from_str::<String>(&format!("\"{key}\""));
            let readable = name.is_ok();
            let name = name.unwrap_or_else(|problem| {
                unreadable(key, problem);
                key.to_owned()
            });
            let values = column.entries().map(|value| {
                let value = serde_json::from_str::<Value>(value);
                value.map_err(|problem| unreadable(&name, problem)).ok().filter(|_| readable)
            });
            let values = values.collect();
            Property { name, values, codes: column.codes() }
        })
        .collect()
}

fn read_rows(
    project: ProjectId,
    first_position: i64,
    properties: &PropertyColumns,
) -> Vec<Properties<'_>> {
    let whole = properties.whole();
    let mut taken = 0..;
    (first_position..)
        .zip(properties.rows())
        .map(|(position, shape)| match shape {
            RowShape::Keys(keys) => Properties::Coded(keys),
            RowShape::Whole => {
                let text = taken.next().map_or("", |row| whole.get(row));
                Properties::Own(read_object(project, position, text))
            }
        })
        .collect()
}

/// The properties of an event, or none when they cannot be read.
fn read_object(project: ProjectId, position: i64, text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(properties @ Value::Object(_)) => properties,
        read => {
            let problem = read.err().map_or_else(|| "not an object".to_owned(), |e| e.to_string());
            tracing::error!(
                project.id = project.0,
                event.position = position,
                problem,
                "event counted without its properties, which cannot be read"
            );
            Value::Object(serde_json::Map::new())
        }
    }
}
