//! A block: the events of one commit as dictionary-coded, compressed columns.
//!
//! One row of the log holds one block, so a commit of thousands of events writes a few rows, and a reader that wants
//! columns gets columns. Whoever receives events notes them in an [`Events`]; the writer of the log picks from them
//! and encodes with a [`BlockWriter`]; a [`Block`] is what reads them back, exactly: the text of the properties is the
//! same to the byte, so a body hash can be computed again.
//!
//! # Format 1
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the format: 1 |
//! | 4 | CRC-32 (IEEE 802.3) of everything that follows, little-endian |
//! | varint | number of events, 1 to 65,536 |
//! | | three sections: facts, properties, delivery |
//!
//! A *varint* is LEB128 of 64 bits (as in Protocol Buffers); a *zigzag* is a signed number folded into one.
//!
//! A *section* is a varint with its length, a varint with the length stored, and the stored bytes. When the two lengths
//! differ, the bytes are one Zstandard frame (RFC 8878). Sections are read one by one: numbers are computed from the
//! first two.
//!
//! - **facts**: source (integers), name, user id, anonymous id, account id, region, consent (texts; an empty one is
//!   absent), effective time and sequence (integers).
//! - **properties**: see below.
//! - **delivery**: message id (texts), occurred, whether it has a sent time (0 or 1), received minus sent, received, time
//!   correction (integers; 0 none, 1 skew, 2 clamped).
//!
//! Times are microseconds since 1970-01-01 UTC.
//!
//! A column of *integers*: the least as a zigzag, a divisor of all differences to it as a varint, a byte with a width of
//! 0 to 8, and per row so many bytes, little-endian: value = least + divisor x what they say. A constant costs nothing
//! a row; whole seconds cost no more than they must.
//!
//! A column of *codes*: a byte, and what follows from it. 0: every code is 0, and nothing follows; 1, 2 or 4: so many
//! bytes a row, little-endian; 255: the code is the number of the row, and nothing follows.
//!
//! A list of *strings*: a varint with their number, a varint for the length of each, and then all of them, in UTF-8.
//! A column of *texts*: the distinct ones as a list, and a column of codes into it.
//!
//! **Properties** are a JSON object in a text that is kept as it is. It is cut at its outermost commas, by key. The
//! section holds the keys as a list (as they stand in the text, escapes and all); a varint with the number of
//! *shapes*, and for each shape a varint with the number of its keys and a varint for each; a column of codes: the shape
//! of every event, one more than the last shape for a text that is kept whole; for every key a column of texts with the
//! values, as JSON, of those events whose shape has the key; and a column of texts with those that are whole. A text is
//! kept whole when it is not written as this program writes it, or when the block has 1,024 keys already, so that
//! nobody makes a block expensive by inventing keys.
//!
//! # Format 0
//!
//! What the migration from one row an event wrote: a zero byte, and a JSON array of
//! `[source, message id, name, user id, anonymous id, account id, region, consent, occurred, sent or null, received,
//! effective, sequence, correction, properties as a text]`. It is only read.

mod bytes;
mod column;
mod events;
mod format_zero;
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;

use column::{Integers, Texts, TextsWriter};
use properties::PropertiesWriter;

pub use column::TextColumn;
pub use events::{Events, Row};
pub use properties::{PropertyColumns, RowShape};

use self::bytes::Reader;

/// The number of the format that is written.
const FORMAT: u8 = 1;
/// Most events of a block.
pub const MAX_EVENTS: usize = 65_536;
/// Most bytes of a section before compression. Blocks are cut far below; what says more is no block.
const MAX_SECTION_BYTES: usize = 256 << 20;
/// Zstandard's fastest regular level: what higher ones save is not worth their time on the way of a commit.
const LEVEL: i32 = 1;
/// Shorter sections are not worth compressing.
const MIN_COMPRESSED: usize = 128;

/// Why bytes are not a block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotABlock(pub(crate) &'static str);

impl fmt::Display for NotABlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotABlock {}

/// Encodes events into a block, one after the other.
#[derive(Debug, Default)]
pub struct BlockWriter<'a> {
    events: usize,
    sources: Vec<i64>,
    names: TextsWriter<'a>,
    user_ids: TextsWriter<'a>,
    anonymous_ids: TextsWriter<'a>,
    account_ids: TextsWriter<'a>,
    regions: TextsWriter<'a>,
    consents: TextsWriter<'a>,
    effective: Vec<i64>,
    sequences: Vec<i64>,
    properties: PropertiesWriter<'a>,
    message_ids: Vec<&'a str>,
    occurred: Vec<i64>,
    has_sent: Vec<i64>,
    transit: Vec<i64>,
    received: Vec<i64>,
    corrections: Vec<i64>,
}

impl<'a> BlockWriter<'a> {
    /// Appends an event; at most [`MAX_EVENTS`].
    pub fn push(&mut self, row: &Row<'a>) {
        debug_assert!(self.events < MAX_EVENTS, "a block is cut before it is too long");
        self.events += 1;
        self.sources.push(row.source.into());
        let name = self.names.push(row.name);
        self.user_ids.push(row.user_id);
        self.anonymous_ids.push(row.anonymous_id);
        self.account_ids.push(row.account_id);
        self.regions.push(row.region);
        self.consents.push(row.consent);
        self.effective.push(row.effective_micros);
        self.sequences.push(row.sequence);
        self.properties.push(row.properties, name);
        self.message_ids.push(row.message_id);
        self.occurred.push(row.occurred_micros);
        self.has_sent.push(row.sent_micros.is_some().into());
        self.transit.push(row.sent_micros.map_or(0, |sent| row.received_micros.wrapping_sub(sent)));
        self.received.push(row.received_micros);
        self.corrections.push(row.correction.into());
    }

    /// Events so far.
    pub fn len(&self) -> usize {
        self.events
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// The block. An empty one cannot be read back: the log has no use for it.
    pub fn finish(self) -> Vec<u8> {
        let mut facts = Vec::with_capacity(self.events * 24);
        column::write_integers(&mut facts, &self.sources);
        for texts in [
            self.names,
            self.user_ids,
            self.anonymous_ids,
            self.account_ids,
            self.regions,
            self.consents,
        ] {
            texts.finish(&mut facts);
        }
        column::write_integers(&mut facts, &self.effective);
        column::write_integers(&mut facts, &self.sequences);
        let properties = self.properties.finish();
        let mut delivery = Vec::with_capacity(self.events * 48);
        column::write_plain_texts(&mut delivery, &self.message_ids);
        for integers in
            [self.occurred, self.has_sent, self.transit, self.received, self.corrections]
        {
            column::write_integers(&mut delivery, &integers);
        }

        let mut block = Vec::with_capacity(16 + self.events * 48);
        block.push(FORMAT);
        block.extend_from_slice(&[0; 4]);
        bytes::put_varint(&mut block, self.events as u64);
        for section in [facts, properties, delivery] {
            put_section(&mut block, &section);
        }
        let checksum = crc32fast::hash(&block[5..]);
        block[1..5].copy_from_slice(&checksum.to_le_bytes());
        block
    }
}

fn put_section(block: &mut Vec<u8>, section: &[u8]) {
    let compressed = if section.len() < MIN_COMPRESSED {
        None
    } else {
        // Fails only when it has no memory for its own tables; the section is as readable without it.
        zstd::bulk::compress(section, LEVEL).ok().filter(|smaller| smaller.len() < section.len())
    };
    let stored = compressed.as_deref().unwrap_or(section);
    bytes::put_varint(block, section.len() as u64);
    bytes::put_varint(block, stored.len() as u64);
    block.extend_from_slice(stored);
}

/// A block as it lies in the log, its checksum verified. Its sections are decoded when they are asked for.
#[derive(Clone, Debug)]
pub struct Block {
    events: usize,
    content: Vec<u8>,
    /// Where the stored bytes of each section begin and end, and their length decoded.
    sections: [(usize, usize, usize); 3],
}

/// What every number is computed from.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Number of the source of each event.
    pub sources: Vec<i64>,
    /// Event names.
    pub names: TextColumn,
    /// Ids of known people; an empty one is absent, as in the columns that follow.
    pub user_ids: TextColumn,
    /// Ids of devices or sessions.
    pub anonymous_ids: TextColumn,
    /// Ids of accounts.
    pub account_ids: TextColumn,
    /// Regions.
    pub regions: TextColumn,
    /// The text forms of [`Consent`](northstar_domain::consent::Consent).
    pub consents: TextColumn,
    /// The time every KPI uses, in microseconds since 1970-01-01 UTC.
    pub effective_micros: Vec<i64>,
    /// Order given by the client among events of the same time.
    pub sequences: Vec<i64>,
}

/// What is known of how events came.
#[derive(Clone, Debug)]
struct Delivery {
    message_ids: TextColumn,
    occurred: Vec<i64>,
    has_sent: Vec<i64>,
    transit: Vec<i64>,
    received: Vec<i64>,
    corrections: Vec<i64>,
}

impl Block {
    /// Reads a block.
    ///
    /// # Errors
    /// When the bytes are no block, or not whole.
    pub fn open(content: Vec<u8>) -> Result<Self, NotABlock> {
        match content.first() {
            Some(&FORMAT) => Self::open_columns(content),
            Some(0) => Self::open_columns(format_zero::rewrite(&content[1..])?),
            Some(_) => Err(NotABlock("a format that this version does not know")),
            None => Err(NotABlock("no bytes")),
        }
    }

    fn open_columns(content: Vec<u8>) -> Result<Self, NotABlock> {
        let checksum = content.get(1..5).ok_or(NotABlock("shorter than its head"))?;
        if crc32fast::hash(&content[5..]).to_le_bytes() != checksum {
            return Err(NotABlock("the checksum does not agree"));
        }
        let mut reader = Reader::new(&content[5..]);
        let events = reader.length(MAX_EVENTS)?;
        if events == 0 {
            return Err(NotABlock("no events"));
        }
        let mut sections = [(0, 0, 0); 3];
        for section in &mut sections {
            let decoded = reader.length(MAX_SECTION_BYTES)?;
            let stored = reader.length(MAX_SECTION_BYTES)?;
            let begin = 5 + reader.position();
            reader.take(stored)?;
            *section = (begin, begin + stored, decoded);
        }
        reader.end()?;
        Ok(Self { events, content, sections })
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.events
    }

    /// Never: a block holds events.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    fn section(&self, index: usize) -> Result<Vec<u8>, NotABlock> {
        let (begin, end, decoded) = self.sections[index];
        let stored = &self.content[begin..end];
        if stored.len() == decoded {
            return Ok(stored.to_vec());
        }
        let section = zstd::bulk::decompress(stored, decoded)
            .map_err(|_| NotABlock("a section is no Zstandard frame"))?;
        if section.len() != decoded {
            return Err(NotABlock("a section is shorter than it says"));
        }
        Ok(section)
    }

    /// The columns that every number is computed from.
    ///
    /// # Errors
    /// When they are corrupt.
    pub fn facts(&self) -> Result<Facts, NotABlock> {
        let section = self.section(0)?;
        let mut reader = Reader::new(&section);
        let rows = self.events;
        let facts = Facts {
            sources: Integers::read(&mut reader, rows)?,
            names: Texts::read(&mut reader, rows)?,
            user_ids: Texts::read(&mut reader, rows)?,
            anonymous_ids: Texts::read(&mut reader, rows)?,
            account_ids: Texts::read(&mut reader, rows)?,
            regions: Texts::read(&mut reader, rows)?,
            consents: Texts::read(&mut reader, rows)?,
            effective_micros: Integers::read(&mut reader, rows)?,
            sequences: Integers::read(&mut reader, rows)?,
        };
        reader.end()?;
        Ok(facts)
    }

    /// The properties, by key.
    ///
    /// # Errors
    /// When they are corrupt.
    pub fn properties(&self) -> Result<PropertyColumns, NotABlock> {
        PropertyColumns::read(&self.section(1)?, self.events)
    }

    fn delivery(&self) -> Result<Delivery, NotABlock> {
        let section = self.section(2)?;
        let mut reader = Reader::new(&section);
        let rows = self.events;
        let delivery = Delivery {
            message_ids: Texts::read(&mut reader, rows)?,
            occurred: Integers::read(&mut reader, rows)?,
            has_sent: Integers::read(&mut reader, rows)?,
            transit: Integers::read(&mut reader, rows)?,
            received: Integers::read(&mut reader, rows)?,
            corrections: Integers::read(&mut reader, rows)?,
        };
        reader.end()?;
        Ok(delivery)
    }

    /// Hands every event of a range of rows to `visit`, in order.
    ///
    /// # Errors
    /// When a column is corrupt.
    pub fn visit(
        &self,
        rows: std::ops::Range<usize>,
        mut visit: impl FnMut(Row<'_>),
    ) -> Result<(), NotABlock> {
        let (facts, delivery) = (self.facts()?, self.delivery()?);
        let properties = self.properties()?;
        let mut text = String::new();
        let mut texts = properties.texts();
        for row in 0..rows.end.min(self.events) {
            texts.next_into(&mut text);
            if row < rows.start {
                continue;
            }
            let narrow = |value: i64| value.try_into().ok();
            visit(Row {
                source: i32::try_from(facts.sources[row])
                    .map_err(|_| NotABlock("a source beyond its range"))?,
                message_id: delivery.message_ids.get(row),
                name: facts.names.get(row),
                user_id: facts.user_ids.get(row),
                anonymous_id: facts.anonymous_ids.get(row),
                account_id: facts.account_ids.get(row),
                region: facts.regions.get(row),
                consent: facts.consents.get(row),
                occurred_micros: delivery.occurred[row],
                sent_micros: (delivery.has_sent[row] != 0)
                    .then(|| delivery.received[row].wrapping_sub(delivery.transit[row])),
                received_micros: delivery.received[row],
                effective_micros: facts.effective_micros[row],
                sequence: facts.sequences[row],
                correction: narrow(delivery.corrections[row])
                    .ok_or(NotABlock("a correction beyond its range"))?,
                properties: &text,
            });
        }
        Ok(())
    }
}
