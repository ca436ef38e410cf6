//! Columns of integers, codes and texts.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::NotABlock;
use super::bytes::{Reader, put_varint, put_zigzag};

/// Codes that are all zero, and nothing follows.
const ALL_ZERO: u8 = 0;
/// Codes that are the number of their row, and nothing follows.
const ROW_NUMBERS: u8 = 255;

pub(super) fn write_integers(out: &mut Vec<u8>, values: &[i64]) {
    let least = values.iter().copied().min().unwrap_or(0);
    // Below 2^64 whatever the values, in wrapping arithmetic.
    let above = |value: &i64| value.wrapping_sub(least) as u64;
    let divisor = values.iter().map(above).fold(0, |common, difference| match common {
        1 => 1,
        _ => greatest_common_divisor(common, difference),
    });
    let divisor = divisor.max(1);
    let largest = values.iter().map(above).max().unwrap_or(0) / divisor;
    let width = (64 - largest.leading_zeros()).div_ceil(8) as usize;
    put_zigzag(out, least);
    put_varint(out, divisor);
    out.push(width as u8);
    out.reserve(values.len() * width);
    for value in values {
        let scaled = if divisor == 1 { above(value) } else { above(value) / divisor };
        out.extend_from_slice(&scaled.to_le_bytes()[..width]);
    }
}

fn greatest_common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// Reading of integers.
pub(super) struct Integers;

impl Integers {
    pub(super) fn read(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<i64>, NotABlock> {
        let least = reader.zigzag()?;
        let divisor = reader.varint()?;
        let width = usize::from(reader.byte()?);
        if width > 8 {
            return Err(NotABlock("an integer of more than 64 bits"));
        }
        if width == 0 {
            return Ok(vec![least; rows]);
        }
        let bytes = reader.take(rows * width)?;
        Ok(bytes
            .chunks_exact(width)
            .map(|bytes| {
                let mut word = [0; 8];
                word[..width].copy_from_slice(bytes);
                least.wrapping_add(u64::from_le_bytes(word).wrapping_mul(divisor) as i64)
            })
            .collect())
    }
}

/// Writes codes, all of which are below `distinct`.
pub(super) fn write_codes(out: &mut Vec<u8>, codes: &[u32], distinct: usize) {
    let is_row_number = |(row, code): (usize, &u32)| *code as usize == row;
    if distinct <= 1 {
        out.push(ALL_ZERO);
    } else if distinct == codes.len() && codes.iter().enumerate().all(is_row_number) {
        out.push(ROW_NUMBERS);
    } else if distinct <= 1 << 8 {
        out.push(1);
        out.extend(codes.iter().map(|code| *code as u8));
    } else if distinct <= 1 << 16 {
        out.push(2);
        out.extend(codes.iter().flat_map(|code| (*code as u16).to_le_bytes()));
    } else {
        out.push(4);
        out.extend(codes.iter().flat_map(|code| code.to_le_bytes()));
    }
}

/// Reads codes and checks that all are below `distinct`.
pub(super) fn read_codes(
    reader: &mut Reader<'_>,
    rows: usize,
    distinct: usize,
) -> Result<Vec<u32>, NotABlock> {
    let codes: Vec<u32> = match reader.byte()? {
        ALL_ZERO => vec![0; rows],
        ROW_NUMBERS => (0..rows as u32).collect(),
        1 => reader.take(rows)?.iter().map(|code| (*code).into()).collect(),
        2 => reader
            .take(rows * 2)?
            .as_chunks::<2>()
            .0
            .iter()
            .map(|code| u16::from_le_bytes(*code).into())
            .collect(),
        4 => reader
            .take(rows * 4)?
            .as_chunks::<4>()
            .0
            .iter()
            .map(|code| u32::from_le_bytes(*code))
            .collect(),
        _ => return Err(NotABlock("codes of an unknown width")),
    };
    if codes.iter().any(|code| *code as usize >= distinct) {
        return Err(NotABlock("a code beyond its dictionary"));
    }
    Ok(codes)
}

pub(super) fn write_strings(out: &mut Vec<u8>, strings: &[&str]) {
    put_varint(out, strings.len() as u64);
    for string in strings {
        put_varint(out, string.len() as u64);
    }
    for string in strings {
        out.extend_from_slice(string.as_bytes());
    }
}

/// Texts that hardly ever repeat, each as it comes.
pub(super) fn write_plain_texts(out: &mut Vec<u8>, texts: &[&str]) {
    write_strings(out, texts);
    out.push(if texts.len() == 1 { ALL_ZERO } else { ROW_NUMBERS });
}

/// Numbers texts by first appearance.
#[derive(Debug, Default)]
pub(super) struct TextsWriter<'a> {
    codes: Vec<u32>,
    known: HashMap<&'a str, u32, RandomState>,
    strings: Vec<&'a str>,
}

impl<'a> TextsWriter<'a> {
    /// Appends a text and returns its code.
    pub(super) fn push(&mut self, text: &'a str) -> u32 {
        // The same as before, as names, sources and people often are: no hash.
        if let Some(last) = self.codes.last()
            && self.strings[*last as usize] == text
        {
            let last = *last;
            self.codes.push(last);
            return last;
        }
        let next = self.strings.len() as u32;
        let code = *self.known.entry(text).or_insert_with(|| {
            self.strings.push(text);
            next
        });
        self.codes.push(code);
        code
    }

    pub(super) fn finish(self, out: &mut Vec<u8>) {
        write_strings(out, &self.strings);
        write_codes(out, &self.codes, self.strings.len());
    }
}

/// A list of strings in one piece.
#[derive(Clone, Debug, Default)]
pub(super) struct Strings {
    bytes: String,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Strings {
    pub(super) fn read(reader: &mut Reader<'_>, most: usize) -> Result<Self, NotABlock> {
        let strings = reader.length(most)?;
        let mut end = 0_u32;
        let mut ends = Vec::with_capacity(strings);
        for _ in 0..strings {
            let length = u32::try_from(reader.varint()?).ok();
            end = length
                .and_then(|length| end.checked_add(length))
                .ok_or(NotABlock("strings of more than 4 GiB"))?;
            ends.push(end);
        }
        let bytes = reader.take(end as usize)?;
        let bytes = std::str::from_utf8(bytes).map_err(|_| NotABlock("a string is not UTF-8"))?;
        if ends.iter().any(|end| !bytes.is_char_boundary(*end as usize)) {
            return Err(NotABlock("a string ends within a character"));
        }
        Ok(Self { bytes: bytes.to_owned(), ends })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> &str {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[begin..self.ends[index] as usize]
    }
}

/// Texts of a block: the distinct ones, and for each row the code of its own.
#[derive(Clone, Debug)]
pub struct TextColumn {
    strings: Strings,
    codes: Vec<u32>,
}

impl TextColumn {
    /// The distinct texts, by code.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.strings.len()).map(|code| self.strings.get(code))
    }

    /// The code of each row.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The text of a row.
    pub fn get(&self, row: usize) -> &str {
        self.strings.get(self.codes[row] as usize)
    }
}

/// Reading of texts.
pub(super) struct Texts;

impl Texts {
    pub(super) fn read(reader: &mut Reader<'_>, rows: usize) -> Result<TextColumn, NotABlock> {
        let strings = Strings::read(reader, rows)?;
        let codes = read_codes(reader, rows, strings.len())?;
        Ok(TextColumn { strings, codes })
    }
}
