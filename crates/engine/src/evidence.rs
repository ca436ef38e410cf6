//! What lies behind a cell of an answer: its subjects and its events.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use crate::{
    error::Result,
    event::{Actor, EventRecord},
    identity::Identity,
    kernels,
    query::Query,
    runs::{self, Run},
    segment::{ActorKind, Field, PropertyColumn, Scalar},
    snapshot::Snapshot,
    subjects::{SubjectName, SubjectSet},
    tail::Tail,
};

/// One cell of an answer, as its row names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// First instant of the bucket; `None` for [`Grain::Total`](crate::Grain::Total).
    pub bucket_start: Option<i64>,
    /// Value per breakdown, in their order; `None` where the event has none.
    pub dimensions: Vec<Option<String>>,
}

/// An event that contributes to a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contribution {
    /// Its position in the log.
    pub position: i64,
    pub(crate) run: u32,
    pub(crate) row: u32,
    /// Which of [`Contributions::roles`] it plays, as bits.
    pub roles: u64,
}

/// The events that contribute to a cell, and what kept others out.
#[derive(Debug, Clone)]
pub struct Contributions {
    pub(crate) snapshot: Snapshot,
    /// What an event can be for the metric, for example `step 1` or `numerator.event`.
    pub roles: Vec<String>,
    /// Events by their positions.
    pub events: Vec<Contribution>,
    /// Events of the kinds that begin a count, in the bucket, whose subjects' consent is lacking.
    pub without_consent: u64,
    /// Events of these names, in the bucket, that a filter or a set of subjects kept out.
    pub filtered: u64,
    /// Events in the cell without the value that the metric needs.
    pub without_value: u64,
}

/// An event as the log has it, with its subject.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundEvent {
    /// Its position in the log.
    pub position: i64,
    /// Its name.
    pub name: String,
    /// Name of its source.
    pub source: String,
    /// Whom it belongs to; `None` for nobody.
    pub subject: Option<SubjectName>,
    /// Its account.
    pub account_id: Option<String>,
    /// Its effective time, in microseconds since 1970-01-01 UTC.
    pub effective_micros: i64,
    /// Its properties by their dotted paths.
    pub properties: Map<String, Value>,
}

impl Snapshot {
    /// The subjects behind a cell of the answer to a question: those over whose events alone the metric has that cell
    /// with something in it; for a ratio, either of its parts.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn behind(&self, query: &Query, cell: &Cell) -> Result<SubjectSet> {
        kernels::behind(self, query, cell)
    }

    /// The events behind a cell. Of metrics per event those that are counted, also those of nobody; of journeys
    /// (funnels, retention, times) the events of their kinds by the subjects behind the cell, from what began the
    /// journey up to the end of its window.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn contributions(&self, query: &Query, cell: &Cell) -> Result<Contributions> {
        kernels::contributions(self, query, cell)
    }

    /// The history of one subject as a view of its own.
    pub(crate) fn alone(&self, subject: u32) -> Result<Self> {
        let mut identity = Identity::default();
        let mut tail = Tail::default();
        let (mut first, mut previous): (Option<SubjectName>, Option<u32>) = (None, None);
        let mut positions: Vec<(i64, &Run, u32)> = Vec::new();
        for part in self.index().parts_of(subject) {
            let run = &*self.runs()[part.run as usize];
            let position = run.segment.position();
            let rows = (part.start..part.end).map(|row| (position.get(row as usize), run, row));
            let known = |position: i64| self.position().is_none_or(|known| position <= known);
            positions.extend(rows.filter(|(position, _, _)| known(*position)));
        }
        // Rows of a tail are in the order of the log.
        positions.sort_unstable_by_key(|(position, _, _)| *position);
        for (position, run, row) in positions {
            let (kind, key) = run.segment.actor(run.actor_of(row));
            let actor = identity.actor(kind, key);
            // All its actors are one subject, named after the first; most rows are of the actor before.
            if previous.replace(actor) != Some(actor) {
                let name = SubjectName::of_actor(kind, key);
                let first = first.get_or_insert_with(|| name.clone());
                identity.point_to((&name.kind, &name.value), (&first.kind, &first.value));
            }
            let properties = Value::Object(properties(run, row as usize));
            let text = |field| text(run, field, row as usize);
            let event = EventRecord {
                position,
                name: text(Field::Name).unwrap_or_default(),
                source: text(Field::Source).unwrap_or_default(),
                actor: Actor {
                    user_id: text(Field::UserId),
                    anonymous_id: text(Field::AnonymousId),
                },
                account_id: text(Field::AccountId),
                effective_micros: i64::from_le_bytes(run.segment.effective()[row as usize]),
                sequence: run.segment.sequence().get(row as usize),
                properties: &properties,
            };
            tail.push(&event, actor, (kind, key))?;
        }
        let everybody: SubjectSet = identity.subjects().iter().copied().collect();
        let within = |members: &SubjectSet| {
            if members.contains(subject) { everybody.clone() } else { SubjectSet::default() }
        };
        let cohorts: BTreeMap<String, SubjectSet> =
            self.cohorts().iter().map(|(name, members)| (name.clone(), within(members))).collect();
        let run = runs::freeze(&tail, identity.subjects(), |kind, key| identity.known(kind, key))?;
        let runs = vec![Arc::new(run)];
        let view = Self::new(runs, &identity, self.watermark(), self.folder());
        Ok(view.with_cohorts(cohorts))
    }

    fn event(&self, run: u32, row: u32) -> FoundEvent {
        let run = &self.runs()[run as usize];
        let (actor, at) = (run.actor_of(row), row as usize);
        let owned = |field| text(run, field, at).map(str::to_owned);
        let subject = match run.segment.actor(actor) {
            (ActorKind::Nobody, _) => None,
            (kind, key) => self
                .subject_of(run.actors[actor])
                .and_then(|subject| self.name(subject))
                .or_else(|| Some(SubjectName::of_actor(kind, key))),
        };
        FoundEvent {
            position: run.segment.position().get(at),
            name: owned(Field::Name).unwrap_or_default(),
            source: owned(Field::Source).unwrap_or_default(),
            subject,
            account_id: owned(Field::AccountId),
            effective_micros: i64::from_le_bytes(run.segment.effective()[at]),
            properties: properties(run, at),
        }
    }
}

impl Contributions {
    /// An event with everything that the log says about it.
    pub fn event(&self, contribution: &Contribution) -> FoundEvent {
        self.snapshot.event(contribution.run, contribution.row)
    }

    /// The events after a position.
    pub fn after(&self, position: i64) -> &[Contribution] {
        &self.events[self.events.partition_point(|event| event.position <= position)..]
    }
}

fn text(run: &Run, field: Field, row: usize) -> Option<&str> {
    let column = run.segment.field(field);
    let code = column.codes.get(row).checked_sub(1)?;
    Some(column.strings.get(code as usize))
}

/// The properties of an event by their dotted paths.
fn properties(run: &Run, row: usize) -> Map<String, Value> {
    let value = |path: &str| {
        let column = run.segment.property(path)?;
        let cell = match column.rows {
            Some(rows) => {
                rows.binary_search_by_key(&(row as u32), |row| u32::from_le_bytes(*row)).ok()?
            }
            None => row,
        };
        match (column.codes.get(cell), column.numbers) {
            (PropertyColumn::NUMBER, Some(numbers)) => Some(json(numbers.scalar(cell))),
            (code, _) => {
                let entry = code.checked_sub(PropertyColumn::FIRST_ENTRY)?;
                Some(json(column.entries.get(entry as usize)))
            }
        }
    };
    run.segment
        .property_paths()
        .filter_map(|path| value(path).map(|value| (path.to_owned(), value)))
        .collect()
}

fn json(scalar: Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => Value::from(value),
        Scalar::Int(value) => Value::from(value),
        Scalar::Float(value) => Value::from(value),
        Scalar::Str(text) => Value::from(text),
        Scalar::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    }
}
