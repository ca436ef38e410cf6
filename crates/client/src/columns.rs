//! Builds batches of columns, which cost a fraction of batches of events.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use northstar_proto::ingestion::v1 as pb;
use pb::property_column::Values;
use pb::value::Kind;

/// Most events of a batch.
pub const MAX_BATCH_EVENTS: usize = 10_000;
/// Most bytes of a batch, as [`ColumnsBuilder::bytes`] counts them.
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// What a number, a boolean and a time count for.
const NUMBER_BYTES: usize = 8;

/// An event without its properties. An empty text is one the event does not
/// have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row<'a> {
    /// Id given by the producer, unique per source, 1 to 200 bytes.
    pub message_id: &'a str,
    /// What happened, 1 to 200 bytes.
    pub name: &'a str,
    /// Id of a known person.
    pub user_id: &'a str,
    /// Id of a device or session.
    pub anonymous_id: &'a str,
    /// Id of the account.
    pub account_id: &'a str,
    /// Region it belongs to.
    pub region: &'a str,
    /// What the actor agreed to, if the event says so.
    pub consent: Option<&'a pb::Consent>,
    /// When it happened, in microseconds since 1970-01-01T00:00:00Z.
    pub occurred_micros: Option<i64>,
    /// When it is sent, in the same unit.
    pub sent_micros: Option<i64>,
    /// Orders events of the same time.
    pub sequence: i64,
}

/// The value of a property.
#[derive(Clone, Copy, Debug)]
pub enum Property<'a> {
    /// A string.
    Text(&'a str),
    /// A 64-bit integer.
    Int(i64),
    /// A double; NaN and infinities are refused for their event.
    Double(f64),
    /// A boolean.
    Bool(bool),
    /// A list, an object or null, as JSON text.
    Json(&'a str),
}

impl<'a> From<&'a str> for Property<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Property<'_> {
    fn from(integer: i64) -> Self {
        Self::Int(integer)
    }
}

impl From<f64> for Property<'_> {
    fn from(double: f64) -> Self {
        Self::Double(double)
    }
}

impl From<bool> for Property<'_> {
    fn from(boolean: bool) -> Self {
        Self::Bool(boolean)
    }
}

/// Collects events in columns.
///
/// ```no_run
/// use northstar_client::columns::{ColumnsBuilder, Row};
/// use northstar_client::proto::ingestion::v1::IngestColumnsRequest;
/// use northstar_client::{Clients, result_runs};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let northstar = Clients::connect("http://localhost:50051", "ns_...")?;
/// let mut columns = ColumnsBuilder::default();
/// for order in 0..5_000 {
///     columns.push(
///         Row {
///             message_id: &format!("order-{order}"),
///             name: "Order Completed",
///             user_id: "u1",
///             occurred_micros: Some(1_772_409_600_000_000 + order),
///             ..Row::default()
///         },
///         [("currency", "EUR".into()), ("amount", 12.5.into())],
///     );
///     if columns.is_full() {
///         // Send what there is, and go on.
///     }
/// }
/// let request = IngestColumnsRequest {
///     source: "shop".into(),
///     columns: Some(columns.finish()),
/// };
/// let answer = northstar.ingestion().ingest_columns(request).await?.into_inner();
/// for result in result_runs::expand(answer.result_runs) {
///     println!("{:?} {}", result.outcome(), result.position);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct ColumnsBuilder {
    count: usize,
    bytes: usize,
    message_ids: pb::Texts,
    names: TextsBuilder,
    user_ids: TextsBuilder,
    anonymous_ids: TextsBuilder,
    account_ids: TextsBuilder,
    regions: TextsBuilder,
    consents: pb::ConsentColumn,
    occurred: TimesBuilder,
    sent: TimesBuilder,
    sequences: Vec<i64>,
    properties: Vec<PropertyBuilder>,
    by_key: HashMap<(String, Type), usize>,
}

impl ColumnsBuilder {
    /// Adds an event. A key that comes twice makes the batch one that is
    /// refused.
    pub fn push<'a>(
        &mut self,
        row: Row<'_>,
        properties: impl IntoIterator<Item = (&'a str, Property<'a>)>,
    ) {
        append(&mut self.message_ids, row.message_id);
        self.names.push(row.name);
        self.user_ids.push(row.user_id);
        self.anonymous_ids.push(row.anonymous_id);
        self.account_ids.push(row.account_id);
        self.regions.push(row.region);
        let texts =
            [row.message_id, row.name, row.user_id, row.anonymous_id, row.account_id, row.region];
        self.bytes += texts.iter().map(|text| text.len()).sum::<usize>();
        self.push_consent(row.consent);
        for (times, time) in
            [(&mut self.occurred, row.occurred_micros), (&mut self.sent, row.sent_micros)]
        {
            if let Some(micros) = time {
                times.push(self.count, micros);
                self.bytes += NUMBER_BYTES;
            }
        }
        self.sequences.push(row.sequence);
        self.bytes += NUMBER_BYTES;
        for (key, value) in properties {
            self.bytes += key.len() + value.bytes();
            let index = self.column(key, value.kind());
            self.properties[index].push(self.count, value);
        }
        self.count += 1;
    }

    /// Adds an event that is there as a message. Times are cut to whole
    /// microseconds, as the log does, too; one that does not fit 64 bits of
    /// them becomes the greatest or smallest that does, and is refused for its
    /// event.
    pub fn push_event(&mut self, event: &pb::Event) {
        let micros = |time: &prost_types::Timestamp| {
            let micros = i64::from(time.nanos).div_euclid(1000);
            time.seconds.saturating_mul(1_000_000).saturating_add(micros)
        };
        // Written out first, because rows borrow.
        let nested: Vec<(&str, String)> = event
            .properties
            .iter()
            .filter(|(_, value)| is_nested(value))
            .map(|(key, value)| {
                let mut json = String::new();
                write_json(&mut json, value);
                (key.as_str(), json)
            })
            .collect();
        let flat = event.properties.iter().filter_map(|(key, value)| {
            let value = match value.kind.as_ref()? {
                Kind::StringValue(text) => Property::Text(text),
                Kind::IntValue(integer) => Property::Int(*integer),
                Kind::DoubleValue(double) => Property::Double(*double),
                Kind::BoolValue(boolean) => Property::Bool(*boolean),
                Kind::ListValue(_) | Kind::StructValue(_) => return None,
            };
            Some((key.as_str(), value))
        });
        let nested = nested.iter().map(|(key, json)| (*key, Property::Json(json)));
        let row = Row {
            message_id: &event.message_id,
            name: &event.name,
            user_id: &event.user_id,
            anonymous_id: &event.anonymous_id,
            account_id: &event.account_id,
            occurred_micros: event.occurred_time.as_ref().map(micros),
            sent_micros: event.sent_time.as_ref().map(micros),
            sequence: event.sequence,
            region: &event.region,
            consent: event.consent.as_ref(),
        };
        self.push(row, flat.chain(nested));
    }

    /// Events so far.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no event yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far, as the server counts them: every text of every event.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the batch should be sent: it is full, or an event of ordinary
    /// size, up to 128 KiB, may not fit any more.
    pub fn is_full(&self) -> bool {
        self.count >= MAX_BATCH_EVENTS || self.bytes + 128 * 1024 > MAX_BATCH_BYTES
    }

    /// The columns; the builder is empty again.
    pub fn finish(&mut self) -> pb::EventColumns {
        let built = std::mem::take(self);
        let count = built.count;
        let sequences = built.sequences;
        pb::EventColumns {
            event_count: u32::try_from(count).unwrap_or(u32::MAX),
            message_ids: Some(pb::TextColumn {
                values: Some(built.message_ids),
                codes: Vec::new(),
            }),
            names: built.names.finish(),
            user_ids: built.user_ids.finish(),
            anonymous_ids: built.anonymous_ids.finish(),
            account_ids: built.account_ids.finish(),
            regions: built.regions.finish(),
            consents: Some(built.consents).filter(|consents| !consents.values.is_empty()),
            occurred_times: built.occurred.finish(count),
            sent_times: built.sent.finish(count),
            sequences: if sequences.iter().all(|sequence| *sequence == 0) {
                Vec::new()
            } else {
                sequences
            },
            properties: built.properties.into_iter().map(|column| column.finish(count)).collect(),
        }
    }

    fn push_consent(&mut self, consent: Option<&pb::Consent>) {
        let column = &mut self.consents;
        let Some(consent) = consent else {
            column.codes.push(0);
            return;
        };
        let purposes = consent.granted_purposes.iter().chain(&consent.denied_purposes);
        self.bytes += purposes.map(String::len).sum::<usize>();
        // There are few, and the last is the likeliest.
        let known = column.values.iter().rposition(|known| known == consent);
        let index = known.unwrap_or_else(|| {
            column.values.push(consent.clone());
            column.values.len() - 1
        });
        column.codes.push(u32::try_from(index + 1).unwrap_or(u32::MAX));
    }

    fn column(&mut self, key: &str, kind: Type) -> usize {
        // Producers have few keys, in the same order from event to event.
        let known = self.properties.iter().position(|column| column.is(key, kind));
        let few = self.properties.len() <= 16;
        if let Some(known) = known.filter(|_| few) {
            return known;
        }
        let next = self.properties.len();
        let index = *self.by_key.entry((key.to_owned(), kind)).or_insert(next);
        if index == next {
            self.properties.push(PropertyBuilder::new(key, kind));
        }
        index
    }
}

fn append(texts: &mut pb::Texts, text: &str) {
    texts.text.push_str(text);
    texts.lengths.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
}

/// A dictionary. Two texts of one hash are both kept, for codes may point to
/// equal texts.
#[derive(Debug, Default)]
struct TextsBuilder {
    texts: pb::Texts,
    codes: Vec<u32>,
    /// Code and start of a text, by its hash.
    known: HashMap<u64, (u32, usize)>,
    hasher: RandomState,
}

impl TextsBuilder {
    fn push(&mut self, text: &str) {
        let hash = self.hasher.hash_one(text);
        let next = u32::try_from(self.texts.lengths.len()).unwrap_or(u32::MAX);
        let start = self.texts.text.len();
        let (code, at) = *self.known.entry(hash).or_insert((next, start));
        let same = code != next
            && self.texts.lengths[code as usize] as usize == text.len()
            && &self.texts.text[at..at + text.len()] == text;
        if same {
            self.codes.push(code);
        } else {
            append(&mut self.texts, text);
            self.codes.push(next);
        }
    }

    /// Nothing when all texts are empty; no codes when all differ.
    fn finish(self) -> Option<pb::TextColumn> {
        let (values, codes) = self.parts();
        if values.text.is_empty() {
            return None;
        }
        Some(pb::TextColumn { values: Some(values), codes })
    }

    fn parts(self) -> (pb::Texts, Vec<u32>) {
        let own = self.texts.lengths.len() == self.codes.len();
        (self.texts, if own { Vec::new() } else { self.codes })
    }
}

#[derive(Debug, Default)]
struct TimesBuilder {
    steps: Vec<i64>,
    last: i64,
    presence: PresenceBuilder,
}

impl TimesBuilder {
    fn push(&mut self, event: usize, micros: i64) {
        // Wraps only for times that are none, which come out as others that are
        // none or are refused.
        self.steps.push(micros.wrapping_sub(self.last));
        self.last = micros;
        self.presence.set(event);
    }

    fn finish(self, count: usize) -> Option<pb::TimeColumn> {
        if self.steps.is_empty() {
            return None;
        }
        let presence = self.presence.finish(self.steps.len(), count);
        Some(pb::TimeColumn { steps_micros: self.steps, presence })
    }
}

#[derive(Debug, Default)]
struct PresenceBuilder(Vec<u8>);

impl PresenceBuilder {
    fn set(&mut self, event: usize) {
        if self.0.len() <= event / 8 {
            self.0.resize(event / 8 + 1, 0);
        }
        self.0[event / 8] |= 1 << (event % 8);
    }

    fn finish(mut self, present: usize, count: usize) -> Vec<u8> {
        if present == count {
            return Vec::new();
        }
        self.0.resize(count.div_ceil(8), 0);
        self.0
    }
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Type {
    Text,
    Int,
    Double,
    Bool,
    Json,
}

impl Property<'_> {
    fn kind(&self) -> Type {
        match self {
            Self::Text(_) => Type::Text,
            Self::Int(_) => Type::Int,
            Self::Double(_) => Type::Double,
            Self::Bool(_) => Type::Bool,
            Self::Json(_) => Type::Json,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
            Self::Int(_) | Self::Double(_) | Self::Bool(_) => NUMBER_BYTES,
        }
    }
}

#[derive(Debug)]
struct PropertyBuilder {
    key: String,
    kind: Type,
    present: usize,
    presence: PresenceBuilder,
    texts: TextsBuilder,
    ints: Vec<i64>,
    doubles: Vec<f64>,
    bools: Vec<bool>,
}

impl PropertyBuilder {
    fn new(key: &str, kind: Type) -> Self {
        Self {
            key: key.to_owned(),
            kind,
            present: 0,
            presence: PresenceBuilder::default(),
            texts: TextsBuilder::default(),
            ints: Vec::new(),
            doubles: Vec::new(),
            bools: Vec::new(),
        }
    }

    fn is(&self, key: &str, kind: Type) -> bool {
        self.kind == kind && self.key == key
    }

    fn push(&mut self, event: usize, value: Property<'_>) {
        self.present += 1;
        self.presence.set(event);
        match value {
            Property::Text(text) | Property::Json(text) => self.texts.push(text),
            Property::Int(integer) => self.ints.push(integer),
            Property::Double(double) => self.doubles.push(double),
            Property::Bool(boolean) => self.bools.push(boolean),
        }
    }

    fn finish(self, count: usize) -> pb::PropertyColumn {
        let (texts, codes) = self.texts.parts();
        let values = match self.kind {
            Type::Text => Values::StringValues(texts),
            Type::Json => Values::JsonValues(texts),
            Type::Int => Values::IntValues(pb::IntValues { values: self.ints }),
            Type::Double => Values::DoubleValues(pb::DoubleValues { values: self.doubles }),
            Type::Bool => Values::BoolValues(pb::BoolValues { values: self.bools }),
        };
        let presence = self.presence.finish(self.present, count);
        pb::PropertyColumn { key: self.key, presence, codes, values: Some(values) }
    }
}

fn is_nested(value: &pb::Value) -> bool {
    matches!(value.kind, None | Some(Kind::ListValue(_) | Kind::StructValue(_)))
}

/// Appends a value as JSON. What JSON cannot say (NaN, infinities) becomes a
/// text that is no JSON, so that the event is refused rather than changed.
fn write_json(out: &mut String, value: &pb::Value) {
    match &value.kind {
        None => out.push_str("null"),
        Some(Kind::StringValue(text)) => write_text(out, text),
        Some(Kind::IntValue(integer)) => out.push_str(&integer.to_string()),
        // The shortest text that reads back as the same number, with a point or
        // an exponent.
        Some(Kind::DoubleValue(double)) => out.push_str(&format!("{double:?}")),
        Some(Kind::BoolValue(boolean)) => out.push_str(if *boolean { "true" } else { "false" }),
        Some(Kind::ListValue(list)) => {
            out.push('[');
            for (index, value) in list.values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(out, value);
            }
            out.push(']');
        }
        Some(Kind::StructValue(object)) => {
            out.push('{');
            for (index, (key, value)) in object.fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(out, key);
                out.push(':');
                write_json(out, value);
            }
            out.push('}');
        }
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
