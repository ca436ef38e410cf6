//! Reads batches of map events from the bytes they came as, without a message
//! in between: the texts and the properties of all events go into one piece of
//! memory, so that an event costs no allocation.
//!
//! The answers are those of prost, which stays the judge: whatever producers do
//! not send in earnest (a field twice, a group, a wrong type, bad UTF-8, NaN) is
//! [`Unusual`], and then prost decodes the whole request.

use northstar_domain::event::{Event, Fault, MAX_PROPERTIES_BYTES, MAX_PROPERTIES_DEPTH};
use northstar_proto::Encoded;
use northstar_proto::ingestion::v1 as pb;
use prost::bytes::Bytes;
use prost::{DecodeError, Message as _};
use prost_types::Timestamp;

use crate::convert::{consent_text, write_number, write_text};
use crate::events::{Events, invalid_time, missing_occurred_time};

/// A request of map events.
pub(crate) struct MapBatch {
    /// The client's number of the request, in a stream.
    pub(crate) sequence: i64,
    /// Name of the source.
    pub(crate) source: String,
    /// The events.
    pub(crate) events: Box<dyn Events>,
    /// Columns in their place, in a stream.
    pub(crate) columns: Option<pb::EventColumns>,
}

/// Reads a unary request.
///
/// # Errors
/// Those of prost.
pub(crate) fn ingest_events(
    request: &Encoded<pb::IngestEventsRequest>,
) -> Result<MapBatch, DecodeError> {
    match walk(request.bytes(), Numbers { sequence: None, source: 1, events: 2 }) {
        Ok(batch) => Ok(batch),
        Err(Unusual) => {
            let pb::IngestEventsRequest { source, events } = request.decode()?;
            Ok(MapBatch { sequence: 0, source, events: Box::new(events), columns: None })
        }
    }
}

/// Reads a request of a stream.
///
/// # Errors
/// Those of prost.
pub(crate) fn stream_events(
    request: &Encoded<pb::StreamEventsRequest>,
) -> Result<MapBatch, DecodeError> {
    match walk(request.bytes(), Numbers { sequence: Some(1), source: 2, events: 3 }) {
        Ok(batch) => Ok(batch),
        Err(Unusual) => {
            let pb::StreamEventsRequest { sequence, source, events, columns } = request.decode()?;
            Ok(MapBatch { sequence, source, events: Box::new(events), columns })
        }
    }
}

/// Something that prost shall judge.
#[derive(Clone, Copy, Debug)]
struct Unusual;

type Walk<T> = Result<T, Unusual>;

/// The numbers of a request's fields. A stream's columns are left to prost,
/// whose columns are few and large.
#[derive(Clone, Copy)]
struct Numbers {
    sequence: Option<u32>,
    source: u32,
    events: u32,
}

/// A request's events.
struct Walked {
    body: Bytes,
    events: Vec<Found>,
    /// The texts of each event, one after the other: its ids, its name, its
    /// region, its consent, and its properties as JSON.
    texts: String,
}

/// An event.
struct Found {
    /// Where it lies in the body.
    place: Span,
    occurred: Option<Timestamp>,
    sent: Option<Timestamp>,
    sequence: i64,
    start: usize,
    /// Where each text ends: message id, name, user, anonymous, account, region,
    /// consent, properties.
    ends: [usize; 8],
}

impl Events for Walked {
    fn len(&self) -> usize {
        self.events.len()
    }

    fn each(&self, take: &mut dyn FnMut(Result<Event<'_>, Fault>)) {
        for found in &self.events {
            take(self.view(found));
        }
    }

    fn encode(&self, index: usize) -> Vec<u8> {
        self.body[self.events[index].place.range()].to_vec()
    }
}

impl Walked {
    fn view(&self, found: &Found) -> Result<Event<'_>, Fault> {
        let occurred = found.occurred.as_ref().ok_or_else(missing_occurred_time)?;
        let time =
            |field, time| crate::convert::time_from_proto(time).ok_or_else(|| invalid_time(field));
        let [a, b, c, d, e, f, g, h] = found.ends;
        Ok(Event {
            occurred_at: time("occurred_time", occurred)?,
            sent_at: found.sent.as_ref().map(|sent| time("sent_time", sent)).transpose()?,
            sequence: found.sequence,
            message_id: &self.texts[found.start..a],
            name: &self.texts[a..b],
            user_id: &self.texts[b..c],
            anonymous_id: &self.texts[c..d],
            account_id: &self.texts[d..e],
            region: &self.texts[e..f],
            consent: &self.texts[f..g],
            properties: &self.texts[g..h],
        })
    }
}

fn walk(body: &Bytes, numbers: Numbers) -> Walk<MapBatch> {
    let mut writer = Writer { body, out: Vec::with_capacity(body.len()), entries: Vec::new() };
    let mut fields = Reader { body, at: 0, end: body.len() };
    let mut events = Vec::new();
    let (mut sequence, mut source) = (0, Span::default());
    while let Some((number, value)) = fields.next()? {
        match value {
            Value::Bytes(place) if number == numbers.events => {
                events.push(writer.event(place)?);
            }
            Value::Bytes(place) if number == numbers.source => source = writer.text(place)?,
            Value::Varint(value) if Some(number) == numbers.sequence => {
                sequence = value.cast_signed();
            }
            _ => return Err(Unusual),
        }
    }
    let source = std::str::from_utf8(&body[source.range()]).map_err(|_| Unusual)?.to_owned();
    let texts = String::from_utf8(writer.out).map_err(|_| Unusual)?;
    let events = Walked { body: body.clone(), events, texts };
    Ok(MapBatch { sequence, source, events: Box::new(events), columns: None })
}

/// A piece of the body.
#[derive(Clone, Copy, Default)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn range(self) -> std::ops::Range<usize> {
        self.start..self.end
    }
}

/// The value of a field, as <https://protobuf.dev/programming-guides/encoding/>
/// writes it.
#[derive(Clone, Copy)]
enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(Span),
    Fixed32,
}

/// Reads the fields of one message.
struct Reader<'a> {
    body: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn new(body: &'a [u8], place: Span) -> Self {
        Self { body, at: place.start, end: place.end }
    }

    fn next(&mut self) -> Walk<Option<(u32, Value)>> {
        if self.at == self.end {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Unusual)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let span = self.take(8)?;
                let bytes = &self.body[span.range()];
                Value::Fixed64(bytes.try_into().map_err(|_| Unusual)?)
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Unusual)?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(Unusual),
        };
        match key >> 3 {
            0 => Err(Unusual),
            number => Ok(Some((number, value))),
        }
    }

    fn take(&mut self, length: usize) -> Walk<Span> {
        if length > self.end - self.at {
            return Err(Unusual);
        }
        let start = self.at;
        self.at += length;
        Ok(Span { start, end: self.at })
    }

    fn varint(&mut self) -> Walk<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            if self.at == self.end {
                return Err(Unusual);
            }
            let byte = self.body[self.at];
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(Unusual);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Unusual)
    }
}

/// A property, or a field of an object.
#[derive(Clone, Copy, Default)]
struct Entry {
    key: Span,
    value: Option<Span>,
}

/// Writes the texts of events.
struct Writer<'a> {
    body: &'a [u8],
    out: Vec<u8>,
    /// Entries of the objects being written, the innermost last.
    entries: Vec<Entry>,
}

impl Writer<'_> {
    fn event(&mut self, place: Span) -> Walk<Found> {
        let mut texts = [Span::default(); 6];
        let mut consent = None;
        let (mut occurred, mut sent, mut sequence) = (None, None, 0);
        let mut fields = Reader::new(self.body, place);
        self.entries.clear();
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1..=5, Value::Bytes(place)) => {
                    texts[number as usize - 1] = self.text(place)?;
                }
                (6, Value::Bytes(place)) if occurred.is_none() => {
                    occurred = Some(self.time(place)?);
                }
                (7, Value::Bytes(place)) if sent.is_none() => sent = Some(self.time(place)?),
                (8, Value::Varint(value)) => sequence = value.cast_signed(),
                (9, Value::Bytes(place)) => {
                    let entry = self.entry(place)?;
                    self.entries.push(entry);
                }
                (10, Value::Bytes(place)) => texts[5] = self.text(place)?,
                (11, Value::Bytes(place)) if consent.is_none() => consent = Some(place),
                // What is new in a later version of the contract, and whatever
                // is wrong, prost knows.
                _ => return Err(Unusual),
            }
        }
        let start = self.out.len();
        let mut ends = [start; 8];
        for (text, end) in texts.iter().zip(&mut ends) {
            self.out.extend_from_slice(&self.body[text.range()]);
            *end = self.out.len();
        }
        if let Some(consent) = consent {
            let consent = pb::Consent::decode(&self.body[consent.range()]);
            let text = consent_text(&consent.map_err(|_| Unusual)?).map_err(|_| Unusual)?;
            self.out.extend_from_slice(text.as_bytes());
        }
        ends[6] = self.out.len();
        self.object(0, MAX_PROPERTIES_DEPTH)?;
        if self.out.len() - ends[6] > MAX_PROPERTIES_BYTES {
            return Err(Unusual);
        }
        ends[7] = self.out.len();
        Ok(Found { place, occurred, sent, sequence, start, ends })
    }

    fn text(&self, place: Span) -> Walk<Span> {
        std::str::from_utf8(&self.body[place.range()]).map_err(|_| Unusual)?;
        Ok(place)
    }

    fn time(&self, place: Span) -> Walk<Timestamp> {
        let mut time = Timestamp::default();
        let mut fields = Reader::new(self.body, place);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Varint(value)) => time.seconds = value.cast_signed(),
                // Like every int32, cut to 32 bits.
                (2, Value::Varint(value)) => time.nanos = (value as u32).cast_signed(),
                _ => return Err(Unusual),
            }
        }
        Ok(time)
    }

    fn entry(&self, place: Span) -> Walk<Entry> {
        let mut entry = Entry::default();
        let mut fields = Reader::new(self.body, place);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(place)) => entry.key = place,
                (2, Value::Bytes(place)) if entry.value.is_none() => entry.value = Some(place),
                _ => return Err(Unusual),
            }
        }
        Ok(entry)
    }

    /// Writes the entries from `first` on as an object, and forgets them.
    fn object(&mut self, first: usize, depth: usize) -> Walk<()> {
        let (body, entries) = (self.body, &mut self.entries[first..]);
        let key = |entry: &Entry| &body[entry.key.range()];
        // Maps travel in any order. Of two entries with one key the later
        // counts, so that the sort must be stable.
        if !entries.is_sorted_by_key(key) {
            entries.sort_by_key(key);
        }
        self.out.push(b'{');
        let end = self.entries.len();
        for index in first..end {
            let Entry { key, value } = self.entries[index];
            let key = &body[key.range()];
            if let Some(next) = self.entries[..end].get(index + 1)
                && key == &body[next.key.range()]
            {
                return Err(Unusual);
            }
            if index > first {
                self.out.push(b',');
            }
            self.string(key)?;
            self.out.push(b':');
            match value {
                None => self.out.extend_from_slice(b"null"),
                Some(value) => self.value(value, depth)?,
            }
        }
        self.out.push(b'}');
        self.entries.truncate(first);
        Ok(())
    }

    fn value(&mut self, place: Span, depth: usize) -> Walk<()> {
        let mut fields = Reader::new(self.body, place);
        let kind = fields.next()?;
        if fields.next()?.is_some() {
            return Err(Unusual);
        }
        match kind {
            None => self.out.extend_from_slice(b"null"),
            Some((1, Value::Bytes(text))) => {
                let body = self.body;
                self.string(&body[text.range()])?;
            }
            Some((2, Value::Varint(integer))) => {
                write_number(&mut self.out, &integer.cast_signed());
            }
            Some((3, Value::Fixed64(bytes))) => {
                let double = f64::from_le_bytes(bytes);
                if !double.is_finite() {
                    return Err(Unusual);
                }
                write_number(&mut self.out, &double);
            }
            Some((4, Value::Varint(value))) => {
                let text: &[u8] = if value == 0 { b"false" } else { b"true" };
                self.out.extend_from_slice(text);
            }
            Some((5, Value::Bytes(list))) => self.list(list, depth)?,
            Some((6, Value::Bytes(object))) => {
                let depth = depth.checked_sub(1).ok_or(Unusual)?;
                let first = self.entries.len();
                let mut fields = Reader::new(self.body, object);
                while let Some((number, value)) = fields.next()? {
                    let (1, Value::Bytes(place)) = (number, value) else { return Err(Unusual) };
                    let entry = self.entry(place)?;
                    self.entries.push(entry);
                }
                self.object(first, depth)?;
            }
            Some(_) => return Err(Unusual),
        }
        Ok(())
    }

    fn list(&mut self, place: Span, depth: usize) -> Walk<()> {
        let depth = depth.checked_sub(1).ok_or(Unusual)?;
        self.out.push(b'[');
        let mut fields = Reader::new(self.body, place);
        let mut first = true;
        while let Some((number, value)) = fields.next()? {
            let (1, Value::Bytes(place)) = (number, value) else { return Err(Unusual) };
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            self.value(place, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Walk<()> {
        let text = std::str::from_utf8(bytes).map_err(|_| Unusual)?;
        write_text(&mut self.out, text).map_err(|_| Unusual)
    }
}

#[cfg(test)]
mod tests;
