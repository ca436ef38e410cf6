//! Events in the order of arrival, as columns that still grow.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    columns::{Coded, EventColumns, Properties},
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
    /// Of the value looked at last, see [`Tail::resolve`].
    cells: Vec<Cell>,
}

/// A property column and a code in it.
type Cell = (u32, u32);

/// What is known of the columns of a block while its events are taken in: the codes of this tail for those of the block,
/// found when an event first has them.
#[derive(Debug)]
pub(crate) struct Taking<'a> {
    columns: &'a EventColumns<'a>,
    /// For name, source, user, anonymous id and account: the code here of each code there.
    fields: [Vec<Option<[u8; 4]>>; 5],
    /// For each property and code: where its cells begin and end in `cells`.
    values: Vec<Vec<Option<(u32, u32)>>>,
    cells: Vec<Cell>,
    /// For each property: how many of its codes were taken.
    next: Vec<usize>,
}

impl<'a> Taking<'a> {
    pub(crate) fn new(columns: &'a EventColumns<'a>) -> Self {
        let known = |coded: &Coded<'_>| vec![None; coded.entries.len()];
        Self {
            columns,
            fields: Self::coded(columns).map(known),
            values: columns.properties.iter().map(|all| vec![None; all.values.len()]).collect(),
            cells: Vec::new(),
            next: vec![0; columns.properties.len()],
        }
    }

    fn coded(columns: &'a EventColumns<'a>) -> [&'a Coded<'a>; 5] {
        let EventColumns { names, sources, user_ids, anonymous_ids, account_ids, .. } = columns;
        [names, sources, user_ids, anonymous_ids, account_ids]
    }

    /// Leaves an event out.
    pub(crate) fn skip(&mut self, row: usize) {
        if let Properties::Coded(properties) = &self.columns.rows[row] {
            for property in *properties {
                self.next[*property as usize] += 1;
            }
        }
    }
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
        let row = self.next_row()?;
        self.own_properties(row, event.position, event.properties)?;
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

    /// Appends one of many events, of the actor numbered `actor`, which is new in this tail when it has a `key`.
    pub(crate) fn push_coded(
        &mut self,
        taking: &mut Taking<'_>,
        index: usize,
        actor: u32,
        key: Option<(ActorKind, &str)>,
    ) -> Result<()> {
        let columns = taking.columns;
        let position = columns.first_position + index as i64;
        let row = self.next_row()?;
        match &columns.rows[index] {
            Properties::Own(object) => self.own_properties(row, position, object)?,
            Properties::Coded(properties) => {
                for property in *properties {
                    let property = *property as usize;
                    let of = &columns.properties[property];
                    let code = of.codes[taking.next[property]] as usize;
                    taking.next[property] += 1;
                    let (begin, end) = match taking.values[property][code] {
                        Some(cells) => cells,
                        None => {
                            let begin = taking.cells.len() as u32;
                            if let Some(value) = &of.values[code] {
                                self.path.clear();
                                self.path.push_str(&of.name);
                                self.resolve(value);
                                taking.cells.append(&mut self.cells);
                            }
                            let cells = (begin, taking.cells.len() as u32);
                            taking.values[property][code] = Some(cells);
                            cells
                        }
                    };
                    for cell in &taking.cells[begin as usize..end as usize] {
                        self.set(row, *cell);
                    }
                }
            }
        }
        if let Some((kind, key)) = key
            && actor != NOBODY
            && !self.keys.contains_key(&actor)
        {
            self.keys.insert(actor, (kind, key.into()));
        }
        self.actors.push(actor);
        self.effective.push(columns.effective_micros[index].to_le_bytes());
        self.sequence.push(columns.sequences[index].to_le_bytes());
        self.position.push(position.to_le_bytes());
        let coded = Taking::coded(columns);
        for (number, (field, coded)) in self.fields.iter_mut().zip(coded).enumerate() {
            let code = coded.codes[index] as usize;
            let known = &mut taking.fields[number][code];
            let code = *known.get_or_insert_with(|| {
                // Names and sources are never absent; an empty id is.
                let absent = number >= 2 && coded.entries[code].is_empty();
                let code = if absent { 0 } else { field.strings.intern(coded.entries[code]) + 1 };
                code.to_le_bytes()
            });
            field.codes.push(code);
        }
        Ok(())
    }

    fn next_row(&self) -> Result<u32> {
        u32::try_from(self.actors.len()).ok().filter(|row| *row < u32::MAX - 1).ok_or_else(|| {
            Error::TooLarge { what: "number of events", limit: u64::from(u32::MAX - 1) }
        })
    }

    fn own_properties(&mut self, row: u32, position: i64, properties: &Value) -> Result<()> {
        let Value::Object(properties) = properties else {
            return Err(Error::PropertiesNotAnObject { position });
        };
        for (name, value) in properties {
            self.path.clear();
            self.path.push_str(name);
            self.resolve(value);
            let cells = std::mem::take(&mut self.cells);
            for cell in &cells {
                self.set(row, *cell);
            }
            self.cells = cells;
            self.cells.clear();
        }
        Ok(())
    }

    /// Appends to `self.cells` what the value at `self.path` is in every column that it has a place in.
    fn resolve(&mut self, value: &Value) {
        let json;
        let scalar = match value {
            Value::Object(members) => {
                let length = self.path.len();
                for (name, member) in members {
                    self.path.push('.');
                    self.path.push_str(name);
                    self.resolve(member);
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
        let code = self.properties[column].values.intern(scalar) + PropertyColumn::FIRST_ENTRY;
        self.cells.push((column as u32, code));
    }

    fn set(&mut self, row: u32, (column, code): Cell) {
        let column = &mut self.properties[column as usize];
        // `{"a.b": 1, "a": {"b": 2}}` names one path twice: the last value stands.
        if column.rows.last() == Some(&row.to_le_bytes()) {
            column.codes.pop();
        } else {
            column.rows.push(row.to_le_bytes());
        }
        column.codes.push(code.to_le_bytes());
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
