//! Batches whose events lie in columns: checked as a whole, then read event by
//! event, without an allocation for each.

mod consent;
mod property;
mod text;
mod time;

use northstar_domain::event::{Event, Fault, MAX_BATCH_BYTES, MAX_BATCH_EVENTS};
use northstar_proto::ingestion::v1 as pb;
use prost::Message as _;

use self::consent::ConsentColumn;
use self::property::PropertyColumn;
use self::text::TextColumn;
use self::time::TimeColumn;
use crate::convert::{properties_to_proto, time_to_proto};
use crate::error::Error;
use crate::events::{Events, invalid_time, missing_occurred_time};

/// What a number, a boolean and a time count for, in bytes.
const NUMBER_BYTES: usize = 8;

/// Columns that fit each other.
#[derive(Debug)]
pub(crate) struct Columns {
    count: usize,
    message_ids: TextColumn,
    names: TextColumn,
    user_ids: TextColumn,
    anonymous_ids: TextColumn,
    account_ids: TextColumn,
    regions: TextColumn,
    consents: ConsentColumn,
    occurred: TimeColumn,
    sent: TimeColumn,
    /// One an event, or none.
    sequences: Vec<i64>,
    /// By key.
    properties: Vec<PropertyColumn>,
}

impl Columns {
    /// Checks columns: that they are of the same length, that every code has a
    /// value, and that the events are no more than a batch may hold. A
    /// dictionary makes few bytes into many, so they are counted before one is
    /// written.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the column, or [`Error::TooLarge`].
    pub(crate) fn check(columns: pb::EventColumns) -> Result<Self, Error> {
        let count = columns.event_count as usize;
        if count > MAX_BATCH_EVENTS {
            return Err(Error::TooLarge { what: "events", found: count, limit: MAX_BATCH_EVENTS });
        }
        let text = |name, column| TextColumn::check(name, column, count);
        let sequences = columns.sequences;
        if !sequences.is_empty() && sequences.len() != count {
            return Err(differs("columns.sequences", sequences.len(), count));
        }
        let mut properties: Vec<_> = columns
            .properties
            .into_iter()
            .enumerate()
            .map(|(index, column)| PropertyColumn::check(index, column, count))
            .collect::<Result<_, _>>()?;
        properties.sort_by(|a, b| a.key.cmp(&b.key));
        property::check_once(&properties, count)?;
        let columns = Self {
            count,
            message_ids: text("columns.message_ids", columns.message_ids)?,
            names: text("columns.names", columns.names)?,
            user_ids: text("columns.user_ids", columns.user_ids)?,
            anonymous_ids: text("columns.anonymous_ids", columns.anonymous_ids)?,
            account_ids: text("columns.account_ids", columns.account_ids)?,
            regions: text("columns.regions", columns.regions)?,
            consents: ConsentColumn::check(columns.consents.unwrap_or_default(), count)?,
            occurred: TimeColumn::check("columns.occurred_times", columns.occurred_times, count)?,
            sent: TimeColumn::check("columns.sent_times", columns.sent_times, count)?,
            sequences,
            properties,
        };
        let bytes = columns.bytes();
        if bytes > MAX_BATCH_BYTES {
            return Err(Error::TooLarge { what: "bytes", found: bytes, limit: MAX_BATCH_BYTES });
        }
        Ok(columns)
    }

    /// Bytes of all events, as the contract counts them.
    pub(crate) fn bytes(&self) -> usize {
        let texts = [
            &self.message_ids,
            &self.names,
            &self.user_ids,
            &self.anonymous_ids,
            &self.account_ids,
            &self.regions,
        ];
        let texts: usize = texts.iter().map(|column| column.bytes(self.count)).sum();
        let texts = texts + self.consents.bytes();
        let numbers = self.sequences.len() + self.occurred.len() + self.sent.len();
        let properties: usize = self.properties.iter().map(PropertyColumn::bytes).sum();
        texts + numbers * NUMBER_BYTES + properties
    }

    fn view<'a>(&'a self, index: usize, properties: &'a mut String) -> Result<Event<'a>, Fault> {
        let occurred = self.occurred.get(index).ok_or_else(missing_occurred_time)?;
        let occurred_at = occurred.ok_or_else(|| invalid_time("occurred_time"))?;
        let sent_at = self.sent.get(index);
        let sent_at =
            sent_at.map(|sent| sent.ok_or_else(|| invalid_time("sent_time"))).transpose()?;
        property::write(&self.properties, index, properties)?;
        let consent = self.consents.get(index)?;
        Ok(Event {
            message_id: self.message_ids.get(index),
            name: self.names.get(index),
            user_id: self.user_ids.get(index),
            anonymous_id: self.anonymous_ids.get(index),
            account_id: self.account_ids.get(index),
            occurred_at,
            sent_at,
            sequence: self.sequences.get(index).copied().unwrap_or_default(),
            properties,
            region: self.regions.get(index),
            consent,
        })
    }
}

impl Events for Columns {
    fn len(&self) -> usize {
        self.count
    }

    fn each(&self, take: &mut dyn FnMut(Result<Event<'_>, Fault>)) {
        let mut properties = String::with_capacity(1024);
        for index in 0..self.count {
            properties.clear();
            take(self.view(index, &mut properties));
        }
    }

    fn encode(&self, index: usize) -> Vec<u8> {
        let mut properties = String::new();
        // Whoever is asked for was an event when the batch was read.
        let Ok(event) = self.view(index, &mut properties) else { return Vec::new() };
        let properties = serde_json::from_str(event.properties).unwrap_or_default();
        pb::Event {
            message_id: event.message_id.to_owned(),
            name: event.name.to_owned(),
            user_id: event.user_id.to_owned(),
            anonymous_id: event.anonymous_id.to_owned(),
            account_id: event.account_id.to_owned(),
            occurred_time: Some(time_to_proto(event.occurred_at)),
            sent_time: event.sent_at.map(time_to_proto),
            sequence: event.sequence,
            properties: properties_to_proto(properties),
            region: event.region.to_owned(),
            consent: self.consents.sent(index).cloned(),
        }
        .encode_to_vec()
    }
}

/// The error of a column that is longer or shorter than the others.
fn differs(field: impl Into<String>, found: usize, expected: usize) -> Error {
    Error::invalid(field, format!("has {found} entries where {expected} are expected"))
}

/// Checks the codes of a column of so many entries: one each and each with a
/// value, or none and a value each.
fn check_codes(field: &str, codes: &[u32], values: usize, entries: usize) -> Result<(), Error> {
    if codes.is_empty() {
        if values != entries {
            return Err(differs(format!("{field}.values"), values, entries));
        }
        return Ok(());
    }
    if codes.len() != entries {
        return Err(differs(format!("{field}.codes"), codes.len(), entries));
    }
    match codes.iter().position(|code| *code as usize >= values) {
        None => Ok(()),
        Some(place) => Err(Error::invalid(
            format!("{field}.codes[{place}]"),
            format!("is {}, but there are {values} values", codes[place]),
        )),
    }
}

/// Which events a column tells of.
#[derive(Debug, Default)]
struct Presence {
    /// 64 events each; none when the column tells of all.
    words: Vec<u64>,
    /// How many events before each word are told of.
    ranks: Vec<usize>,
}

impl Presence {
    /// Checks a bitmap; returns how many events have a bit, too.
    fn check(field: &str, bitmap: &[u8], count: usize) -> Result<(Self, usize), Error> {
        if bitmap.is_empty() {
            return Ok((Self::default(), count));
        }
        if bitmap.len() != count.div_ceil(8) {
            return Err(differs(format!("{field}.presence"), bitmap.len(), count.div_ceil(8)));
        }
        if !count.is_multiple_of(8) && bitmap.last().is_some_and(|last| last >> (count % 8) != 0) {
            let problem = format!("has a bit beyond the {count} events");
            return Err(Error::invalid(format!("{field}.presence"), problem));
        }
        let mut presence = Self::default();
        let mut present = 0;
        for bytes in bitmap.chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            let word = u64::from_le_bytes(word);
            presence.words.push(word);
            presence.ranks.push(present);
            present += word.count_ones() as usize;
        }
        Ok((presence, present))
    }

    /// Which entry of the column an event has, if it has one.
    fn rank(&self, event: usize) -> Option<usize> {
        if self.words.is_empty() {
            return Some(event);
        }
        let (word, bit) = (self.words[event / 64], event % 64);
        let before = word & ((1 << bit) - 1);
        (word >> bit & 1 == 1).then(|| self.ranks[event / 64] + before.count_ones() as usize)
    }
}

#[cfg(test)]
mod tests;
