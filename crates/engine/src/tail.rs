//! Events in the order of arrival, as columns that still grow.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    error::{Error, Result},
    event::EventRecord,
    identity::NOBODY,
    segment::{
        ActorKind, Codes, Interner, Ints, MOST_PROPERTIES, Pick, PropertyColumn, Scalar,
        ScalarInterner, Scalars, Seeded, StringColumn, Strings, View, Written,
    },
};

/// Events that no segment holds yet.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Number of the raw actor of each event.
    actors: Vec<u32>,
    /// Kind and key of the actors that occur.
    keys: HashMap<u32, (ActorKind, Box<str>), Seeded>,
    effective: Vec<[u8; 8]>,
    sequence: Vec<[u8; 8]>,
    position: Vec<[u8; 8]>,
    fields: [TailField; 5],
    paths: HashMap<Box<str>, usize, Seeded>,
    properties: Vec<TailProperty>,
    path: String,
}

#[derive(Debug, Default)]
struct TailField {
    /// 0 is absent.
    codes: Vec<[u8; 4]>,
    strings: Interner,
}

#[derive(Debug, Default)]
struct TailProperty {
    rows: Vec<[u8; 4]>,
    codes: Vec<[u8; 4]>,
    values: ScalarInterner,
}

impl Tail {
    pub(crate) fn len(&self) -> usize {
        self.actors.len()
    }

    /// Appends an event of the actor numbered `actor`.
    pub(crate) fn push(
        &mut self,
        event: &EventRecord<'_>,
        actor: u32,
        key: (ActorKind, &str),
    ) -> Result<()> {
        let Value::Object(properties) = event.properties else {
            return Err(Error::PropertiesNotAnObject { position: event.position });
        };
        let row =
            u32::try_from(self.actors.len()).ok().filter(|row| *row < u32::MAX - 1).ok_or_else(
                || Error::TooLarge { what: "number of events", limit: u64::from(u32::MAX - 1) },
            )?;
        for (name, value) in properties {
            self.path.clear();
            self.path.push_str(name);
            self.property(row, value);
        }
        if actor != NOBODY && !self.keys.contains_key(&actor) {
            self.keys.insert(actor, (key.0, key.1.into()));
        }
        self.actors.push(actor);
        self.effective.push(event.effective_micros.to_le_bytes());
        self.sequence.push(event.sequence.to_le_bytes());
        self.position.push(event.position.to_le_bytes());
        let fields = [
            Some(event.name),
            Some(event.source),
            event.actor.user_id,
            event.actor.anonymous_id,
            event.account_id,
        ];
        for (field, text) in self.fields.iter_mut().zip(fields) {
            let code = text.map_or(0, |text| field.strings.intern(text) + 1);
            field.codes.push(code.to_le_bytes());
        }
        Ok(())
    }

    /// Takes in the value at `self.path`.
    fn property(&mut self, row: u32, value: &Value) {
        let json;
        let scalar = match value {
            Value::Object(members) => {
                let length = self.path.len();
                for (name, member) in members {
                    self.path.push('.');
                    self.path.push_str(name);
                    self.property(row, member);
                    self.path.truncate(length);
                }
                return;
            }
            Value::Null => Scalar::Null,
            Value::Bool(value) => Scalar::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(value) => Scalar::Int(value),
                None => Scalar::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Scalar::Str(text),
            Value::Array(_) => {
                json = value.to_string();
                Scalar::Json(&json)
            }
        };
        let column = match self.paths.get(self.path.as_str()) {
            Some(column) => *column,
            // Which names come first is up to the log, so every replica keeps the same.
            None if self.properties.len() == MOST_PROPERTIES => return,
            None => {
                self.paths.insert(self.path.as_str().into(), self.properties.len());
                self.properties.push(TailProperty::default());
                self.properties.len() - 1
            }
        };
        let column = &mut self.properties[column];
        let code = (column.values.intern(scalar) + PropertyColumn::FIRST_ENTRY).to_le_bytes();
        // `{"a.b": 1, "a": {"b": 2}}` names one path twice: the last value stands.
        if column.rows.last() == Some(&row.to_le_bytes()) {
            column.codes.pop();
        } else {
            column.rows.push(row.to_le_bytes());
        }
        column.codes.push(code);
    }

    pub(crate) fn view(&self) -> View<'_> {
        let mut properties: Vec<(&str, PropertyColumn<'_>)> = self
            .paths
            .iter()
            .map(|(path, column)| {
                let column = &self.properties[*column];
                let view = PropertyColumn {
                    rows: Some(&column.rows),
                    codes: Codes::Four(&column.codes),
                    entries: Scalars::Owned(column.values.values()),
                    numbers: None,
                };
                (&**path, view)
            })
            .collect();
        properties.sort_unstable_by_key(|(path, _)| *path);
        View {
            events: self.len(),
            effective: &self.effective,
            sequence: Ints::plain(&self.sequence),
            position: Ints::plain(&self.position),
            fields: self.fields.each_ref().map(|field| StringColumn {
                codes: Codes::Four(&field.codes),
                strings: Strings::Boxed(field.strings.strings()),
            }),
            properties,
        }
    }

    /// The order in which a segment holds these events. `subjects` gives the subject of every actor.
    pub(crate) fn order(&self, subjects: &[u32]) -> Written<'_> {
        let mut keys: Vec<(u32, u32, i64, i64, u32)> = (0..self.len())
            .map(|row| {
                let actor = self.actors[row];
                let subject = subjects.get(actor as usize).copied().unwrap_or(NOBODY);
                let (time, sequence) = (
                    i64::from_le_bytes(self.effective[row]),
                    i64::from_le_bytes(self.sequence[row]),
                );
                (subject, actor, time, sequence, row as u32)
            })
            .collect();
        // Positions rise with the row, so the row stands for the position.
        keys.sort_unstable();
        let mut written = Written { actors: Vec::new(), actor_rows: Vec::new(), picks: Vec::new() };
        for of_actor in keys.chunk_by(|left, right| left.1 == right.1) {
            let actor = match self.keys.get(&of_actor[0].1) {
                Some((kind, key)) => (*kind, &**key),
                None => (ActorKind::Nobody, ""),
            };
            written.actors.push(actor);
            written.actor_rows.push(written.picks.len() as u32);
            written.picks.extend(of_actor.iter().map(|key| Pick { run: 0, row: key.4 }));
        }
        written.actor_rows.push(written.picks.len() as u32);
        written
    }
}
