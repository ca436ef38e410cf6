//! Properties: every value is written as JSON once, however many events have it.

use std::collections::BTreeMap;

use northstar_domain::event::{Fault, MAX_PROPERTIES_BYTES, Reason};
use northstar_proto::ingestion::v1 as pb;
use pb::property_column::Values;

use super::text::Texts;
use super::{NUMBER_BYTES, Presence, check_codes};
use crate::convert::{property_fault, too_large, write_json, write_number, write_text};
use crate::error::Error;

/// The values of one key and type.
#[derive(Debug)]
pub(super) struct PropertyColumn {
    pub(super) key: String,
    /// `"key":`, or why it can be no key.
    key_json: Result<String, Fault>,
    /// All values as JSON, one after the other.
    json: String,
    /// Where each ends.
    ends: Vec<usize>,
    /// Values that are none.
    faults: BTreeMap<usize, Fault>,
    presence: Presence,
    /// The value of each event that has one; none when each has its own.
    codes: Vec<u32>,
    /// Bytes of all events, as the contract counts them.
    bytes: usize,
    index: usize,
}

impl PropertyColumn {
    pub(super) fn check(
        index: usize,
        column: pb::PropertyColumn,
        count: usize,
    ) -> Result<Self, Error> {
        let field = format!("columns.properties[{index}]");
        let pb::PropertyColumn { key, presence, codes, values } = column;
        let (presence, present) = Presence::check(&field, &presence, count)?;
        let values = match values {
            Some(values) => values,
            None if present == 0 => Values::BoolValues(pb::BoolValues::default()),
            None => return Err(Error::invalid(format!("{field}.values"), "must be set")),
        };
        let written = Written::of(&field, &key, values)?;
        check_codes(&field, &codes, written.ends.len(), present)?;

        let texts: usize = match codes.as_slice() {
            [] => (0..present).map(|slot| written.sizes.of(slot)).sum(),
            codes => codes.iter().map(|slot| written.sizes.of(*slot as usize)).sum(),
        };
        let bytes = present * key.len() + texts;
        let mut key_json = Vec::with_capacity(key.len() + 3);
        let key_json = write_text(&mut key_json, &key)
            .map_err(|fault| property_fault(fault, &key))
            .map(|()| {
                key_json.push(b':');
                String::from_utf8(key_json).expect("JSON made of texts is a text")
            });
        let Written { json, ends, faults, sizes: _ } = written;
        Ok(Self { key, key_json, json, ends, faults, presence, codes, bytes, index })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The value of an event, if it has one.
    fn slot(&self, event: usize) -> Option<usize> {
        let rank = self.presence.rank(event)?;
        Some(if self.codes.is_empty() { rank } else { self.codes[rank] as usize })
    }

    fn value(&self, slot: usize) -> Result<&str, Fault> {
        if let Some(fault) = self.faults.get(&slot) {
            return Err(fault.clone());
        }
        let start = if slot == 0 { 0 } else { self.ends[slot - 1] };
        Ok(&self.json[start..self.ends[slot]])
    }
}

/// Checks that no event has a key twice. The columns are sorted by key.
pub(super) fn check_once(columns: &[PropertyColumn], count: usize) -> Result<(), Error> {
    for same in columns.chunk_by(|a, b| a.key == b.key).filter(|same| same.len() > 1) {
        let mut taken = vec![false; count];
        for column in same {
            for (event, taken) in taken.iter_mut().enumerate() {
                let has = column.presence.rank(event).is_some();
                if has && *taken {
                    return Err(Error::invalid(
                        format!("columns.properties[{}].presence", column.index),
                        format!("event {event} has the property {:?} twice", column.key),
                    ));
                }
                *taken |= has;
            }
        }
    }
    Ok(())
}

/// Writes the properties of an event as JSON.
pub(super) fn write(
    columns: &[PropertyColumn],
    event: usize,
    out: &mut String,
) -> Result<(), Fault> {
    out.push('{');
    for column in columns {
        let Some(slot) = column.slot(event) else { continue };
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(column.key_json.as_ref().map_err(Clone::clone)?);
        out.push_str(column.value(slot)?);
    }
    out.push('}');
    if out.len() > MAX_PROPERTIES_BYTES { Err(too_large(out.len())) } else { Ok(()) }
}

/// The values of a column as JSON.
struct Written {
    json: String,
    ends: Vec<usize>,
    faults: BTreeMap<usize, Fault>,
    sizes: Sizes,
}

/// What values count for, in bytes.
enum Sizes {
    Numbers,
    Texts(Texts),
}

impl Sizes {
    fn of(&self, slot: usize) -> usize {
        match self {
            Self::Numbers => NUMBER_BYTES,
            Self::Texts(texts) => texts.get(slot).len(),
        }
    }
}

impl Written {
    fn of(field: &str, key: &str, values: Values) -> Result<Self, Error> {
        let mut json = Vec::new();
        let mut ends = Vec::new();
        let mut faults = BTreeMap::new();
        let mut fault = |slot: usize, fault: Fault| {
            faults.insert(slot, fault);
        };
        let sizes = match values {
            Values::IntValues(pb::IntValues { values }) => {
                for value in values {
                    write_number(&mut json, &value);
                    ends.push(json.len());
                }
                Sizes::Numbers
            }
            Values::DoubleValues(pb::DoubleValues { values }) => {
                for (slot, value) in values.into_iter().enumerate() {
                    if value.is_finite() {
                        write_number(&mut json, &value);
                    } else {
                        fault(slot, not_finite(key));
                    }
                    ends.push(json.len());
                }
                Sizes::Numbers
            }
            Values::BoolValues(pb::BoolValues { values }) => {
                for value in values {
                    json.extend_from_slice(if value { b"true" } else { b"false" });
                    ends.push(json.len());
                }
                Sizes::Numbers
            }
            Values::StringValues(texts) => {
                let texts = Texts::check(&format!("{field}.string_values"), texts)?;
                for (slot, text) in texts.iter().enumerate() {
                    if let Err(inner) = write_text(&mut json, text) {
                        fault(slot, property_fault(inner, key));
                    }
                    ends.push(json.len());
                }
                Sizes::Texts(texts)
            }
            Values::JsonValues(texts) => {
                let texts = Texts::check(&format!("{field}.json_values"), texts)?;
                for (slot, text) in texts.iter().enumerate() {
                    let start = json.len();
                    if let Err(wrong) = write_json(&mut json, text, key) {
                        json.truncate(start);
                        fault(slot, wrong);
                    }
                    ends.push(json.len());
                }
                Sizes::Texts(texts)
            }
        };
        let json = String::from_utf8(json).expect("JSON made of texts is a text");
        Ok(Self { json, ends, faults, sizes })
    }
}

fn not_finite(key: &str) -> Fault {
    Fault::new(
        Reason::InvalidNumber,
        format!("properties.{key}"),
        "NaN and infinities are no JSON numbers",
    )
}
