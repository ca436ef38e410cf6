//! Properties: a JSON text cut at its outermost commas, the values in a column for each key.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::NotABlock;
use super::bytes::{Reader, put_varint};
use super::column::{
    Strings, TextColumn, Texts, TextsWriter, read_codes, write_codes, write_strings,
};

/// Most keys of a block; the texts of events with further ones are kept whole.
const MAX_KEYS: usize = 1_024;
/// Most values of a block: far beyond what a block is cut at.
const MAX_VALUES: usize = 64 << 20;

/// A key and its value, as they stand in the text.
type Member<'a> = (&'a str, &'a str);

/// Cuts a JSON object, written without white space, into its members; `false` for any other text. Joining the members
/// again gives the very same text.
fn cut<'a>(text: &'a str, members: &mut Vec<Member<'a>>) -> bool {
    members.clear();
    let bytes = text.as_bytes();
    if bytes == b"{}" {
        return true;
    }
    if bytes.len() < 2 || bytes[0] != b'{' || bytes[bytes.len() - 1] != b'}' {
        return false;
    }
    let mut at = 1;
    loop {
        if bytes.get(at) != Some(&b'"') {
            return false;
        }
        let Some(end) = end_of_string(bytes, at) else { return false };
        let key = &text[at + 1..end - 1];
        if bytes.get(end) != Some(&b':') {
            return false;
        }
        let begin = end + 1;
        let Some(end) = end_of_value(bytes, begin) else { return false };
        members.push((key, &text[begin..end]));
        match bytes[end] {
            b',' => at = end + 1,
            // The last byte, and not one before.
            _ => return end == bytes.len() - 1,
        }
    }
}

/// Where the string that begins at a quote ends, after its closing quote.
fn end_of_string(bytes: &[u8], quote: usize) -> Option<usize> {
    let mut at = quote + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the comma or brace is that ends a value.
fn end_of_value(bytes: &[u8], begin: usize) -> Option<usize> {
    let (mut at, mut depth) = (begin, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => at = end_of_string(bytes, at)?,
            b'{' | b'[' => (at, depth) = (at + 1, depth + 1),
            b',' | b'}' if depth == 0 => return Some(at),
            b'}' | b']' => (at, depth) = (at + 1, depth.checked_sub(1)?),
            _ => at += 1,
        }
    }
}

/// Encodes properties.
#[derive(Debug, Default)]
pub(super) struct PropertiesWriter<'a> {
    keys: Vec<&'a str>,
    key_numbers: HashMap<&'a str, u32, RandomState>,
    shapes: Vec<Vec<u32>>,
    shape_numbers: HashMap<Vec<u32>, u32, RandomState>,
    /// The shape of each event; `None` for one whose text is whole.
    codes: Vec<Option<u32>>,
    values: Vec<TextsWriter<'a>>,
    whole: TextsWriter<'a>,
    /// The shape that events of a name had last.
    shape_by_name: Vec<u32>,
    members: Vec<Member<'a>>,
    shape: Vec<u32>,
}

impl<'a> PropertiesWriter<'a> {
    /// Appends the properties of an event. `name` is the code of its name: events of a name mostly have the same keys.
    pub(super) fn push(&mut self, text: &'a str, name: u32) {
        let mut members = std::mem::take(&mut self.members);
        let shape = if cut(text, &mut members) { self.shape_of(&members, name) } else { None };
        match shape {
            None => {
                self.whole.push(text);
            }
            Some(shape) => {
                for (key, (_, value)) in self.shapes[shape as usize].iter().zip(&members) {
                    self.values[*key as usize].push(value);
                }
            }
        }
        self.codes.push(shape);
        self.members = members;
    }

    fn shape_of(&mut self, members: &[Member<'a>], name: u32) -> Option<u32> {
        if let Some(last) = self.shape_by_name.get(name as usize)
            && let Some(keys) = self.shapes.get(*last as usize)
            && keys.len() == members.len()
            && keys
                .iter()
                .zip(members)
                .all(|(key, (member, _))| self.keys[*key as usize] == *member)
        {
            return Some(*last);
        }
        self.shape.clear();
        for (key, _) in members {
            let number = match self.key_numbers.get(key) {
                Some(number) => *number,
                None if self.keys.len() == MAX_KEYS => return None,
                None => {
                    let number = self.keys.len() as u32;
                    self.keys.push(*key);
                    self.key_numbers.insert(*key, number);
                    self.values.push(TextsWriter::default());
                    number
                }
            };
            self.shape.push(number);
        }
        let shape = match self.shape_numbers.get(self.shape.as_slice()) {
            Some(shape) => *shape,
            None => {
                let shape = self.shapes.len() as u32;
                self.shapes.push(self.shape.clone());
                self.shape_numbers.insert(self.shape.clone(), shape);
                shape
            }
        };
        let name = name as usize;
        if self.shape_by_name.len() <= name {
            self.shape_by_name.resize(name + 1, u32::MAX);
        }
        self.shape_by_name[name] = shape;
        Some(shape)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.codes.len() * 16);
        write_strings(&mut out, &self.keys);
        put_varint(&mut out, self.shapes.len() as u64);
        for shape in &self.shapes {
            put_varint(&mut out, shape.len() as u64);
            for key in shape {
                put_varint(&mut out, (*key).into());
            }
        }
        let whole = self.shapes.len() as u32;
        let codes: Vec<u32> = self.codes.iter().map(|shape| shape.unwrap_or(whole)).collect();
        // One more than the shapes, whether or not a text is whole: every code of a block without a shape is 0.
        write_codes(&mut out, &codes, self.shapes.len() + 1);
        for values in self.values {
            values.finish(&mut out);
        }
        self.whole.finish(&mut out);
        out
    }
}

/// The properties of a block, by key.
#[derive(Clone, Debug)]
pub struct PropertyColumns {
    keys: Strings,
    shapes: Vec<Vec<u32>>,
    codes: Vec<u32>,
    values: Vec<TextColumn>,
    whole: TextColumn,
}

/// What one event has.
#[derive(Clone, Copy, Debug)]
pub enum RowShape<'a> {
    /// A value of each of these keys, in the order of its text: the next of each column.
    Keys(&'a [u32]),
    /// A text that was not cut: the next of [`PropertyColumns::whole`].
    Whole,
}

impl PropertyColumns {
    pub(super) fn read(section: &[u8], rows: usize) -> Result<Self, NotABlock> {
        let mut reader = Reader::new(section);
        let keys = Strings::read(&mut reader, MAX_KEYS)?;
        let shapes = reader.length(rows)?;
        let shapes = (0..shapes)
            .map(|_| {
                let length = reader.length(MAX_VALUES)?;
                (0..length)
                    .map(|_| match u32::try_from(reader.varint()?) {
                        Ok(key) if (key as usize) < keys.len() => Ok(key),
                        _ => Err(NotABlock("a shape with a key that is not there")),
                    })
                    .collect()
            })
            .collect::<Result<Vec<Vec<u32>>, NotABlock>>()?;
        let codes = read_codes(&mut reader, rows, shapes.len() + 1)?;
        let mut events = vec![0_usize; shapes.len() + 1];
        for code in &codes {
            events[*code as usize] += 1;
        }
        let mut counts = vec![0_usize; keys.len()];
        let mut values = 0_usize;
        for (shape, events) in shapes.iter().zip(&events) {
            values = values.saturating_add(shape.len().saturating_mul(*events));
            if values > MAX_VALUES {
                return Err(NotABlock("more values than a block holds"));
            }
            for key in shape {
                counts[*key as usize] += events;
            }
        }
        let values = counts
            .into_iter()
            .map(|count| Texts::read(&mut reader, count))
            .collect::<Result<_, _>>()?;
        let whole = Texts::read(&mut reader, events[shapes.len()])?;
        reader.end()?;
        Ok(Self { keys, shapes, codes, values, whole })
    }

    /// Each key, as it stands in the text with its escapes, and its values, as JSON, of the events that have it.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, &TextColumn)> {
        (0..self.keys.len()).map(|key| self.keys.get(key)).zip(&self.values)
    }

    /// What each event has, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = RowShape<'_>> {
        self.codes.iter().map(|code| match self.shapes.get(*code as usize) {
            Some(keys) => RowShape::Keys(keys),
            None => RowShape::Whole,
        })
    }

    /// The texts that were not cut, of the events that have no shape.
    pub fn whole(&self) -> &TextColumn {
        &self.whole
    }

    /// The text of one event after the other.
    pub(super) fn texts(&self) -> PropertyTexts<'_> {
        PropertyTexts { columns: self, row: 0, next: vec![0; self.values.len()], next_whole: 0 }
    }
}

/// Puts texts together again.
pub(super) struct PropertyTexts<'a> {
    columns: &'a PropertyColumns,
    row: usize,
    next: Vec<usize>,
    next_whole: usize,
}

impl PropertyTexts<'_> {
    /// Replaces `text` by the properties of the next event.
    pub(super) fn next_into(&mut self, text: &mut String) {
        text.clear();
        let columns = self.columns;
        let code = columns.codes[self.row];
        self.row += 1;
        let Some(shape) = columns.shapes.get(code as usize) else {
            text.push_str(columns.whole.get(self.next_whole));
            self.next_whole += 1;
            return;
        };
        text.push('{');
        for (index, key) in shape.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            let key = *key as usize;
            text.push('"');
            text.push_str(columns.keys.get(key));
            text.push_str("\":");
            text.push_str(columns.values[key].get(self.next[key]));
            self.next[key] += 1;
        }
        text.push('}');
    }
}
