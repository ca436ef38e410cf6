//! Events handed over as columns instead of one by one.

use northstar_engine::{Appended, Coded, Dataset, EventColumns, Properties, Property};
use serde_json::Value;

use crate::world::Event;

/// Distinct texts by first appearance, and the codes of all.
#[derive(Default)]
struct Texts<'a> {
    entries: Vec<&'a str>,
    codes: Vec<u32>,
}

impl<'a> Texts<'a> {
    fn of(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for text in texts {
            let known = all.entries.iter().position(|entry| *entry == text);
            let code = known.unwrap_or_else(|| {
                all.entries.push(text);
                all.entries.len() - 1
            });
            all.codes.push(code as u32);
        }
        all
    }

    fn coded(&self) -> Coded<'_> {
        Coded { entries: self.entries.clone(), codes: &self.codes }
    }
}

/// Appends events in blocks, each as long as positions follow one another.
pub fn append(dataset: &mut Dataset, events: &[Event]) -> Appended {
    let mut appended = Appended::default();
    for block in events.chunk_by(|left, right| left.position + 1 == right.position) {
        let of = append_block(dataset, block);
        appended.accepted += of.accepted;
        appended.ignored += of.ignored;
    }
    appended
}

/// A key, its distinct values, and the code of each event's value.
type Told<'a> = (&'a str, Vec<Option<Value>>, Vec<u32>);

fn append_block(dataset: &mut Dataset, events: &[Event]) -> Appended {
    let mut properties: Vec<Told<'_>> = Vec::new();
    let mut shapes: Vec<Option<Vec<u32>>> = Vec::new();
    for event in events {
        let object = event.properties.as_object().expect("properties are an object");
        // Every fourth event brings its own object.
        if event.position % 4 == 0 {
            shapes.push(None);
            continue;
        }
        let mut shape = Vec::new();
        for (name, value) in object {
            let found = properties.iter().position(|(known, ..)| known == name);
            let number = found.unwrap_or_else(|| {
                properties.push((name, Vec::new(), Vec::new()));
                properties.len() - 1
            });
            let (_, values, codes) = &mut properties[number];
            let code = values.iter().position(|known| known.as_ref() == Some(value));
            codes.push(code.unwrap_or(values.len()) as u32);
            if code.is_none() {
                values.push(Some(value.clone()));
            }
            shape.push(number as u32);
        }
        shapes.push(Some(shape));
    }
    let names = Texts::of(events.iter().map(|event| event.name));
    let sources = Texts::of(events.iter().map(|event| event.source));
    let users = Texts::of(events.iter().map(|event| event.user.as_deref().unwrap_or_default()));
    let devices =
        Texts::of(events.iter().map(|event| event.anonymous.as_deref().unwrap_or_default()));
    let accounts =
        Texts::of(events.iter().map(|event| event.account.as_deref().unwrap_or_default()));
    let times: Vec<i64> = events.iter().map(|event| event.time).collect();
    let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
    dataset
        .append_columns(&EventColumns {
            first_position: events[0].position,
            names: names.coded(),
            sources: sources.coded(),
            user_ids: users.coded(),
            anonymous_ids: devices.coded(),
            account_ids: accounts.coded(),
            effective_micros: &times,
            sequences: &sequences,
            properties: properties
                .iter()
                .map(|(name, values, codes)| Property {
                    name: (*name).to_owned(),
                    values: values.clone(),
                    codes,
                })
                .collect(),
            rows: shapes
                .iter()
                .zip(events)
                .map(|(shape, event)| match shape {
                    Some(shape) => Properties::Coded(shape),
                    None => Properties::Own(event.properties.clone()),
                })
                .collect(),
        })
        .expect("an append")
}
