//! Dictionaries: the strings and typed values that codes stand for.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A table of strings, packed in a file or boxed while it still grows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Strings<'a> {
    Packed { offsets: &'a [[u8; 4]], text: &'a [u8] },
    Boxed(&'a [Box<str>]),
}

impl<'a> Strings<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Packed { offsets, .. } => offsets.len().saturating_sub(1),
            Self::Boxed(strings) => strings.len(),
        }
    }

    /// The string of a code; offsets and text were checked when the file was opened.
    pub(crate) fn get(self, code: usize) -> &'a str {
        match self {
            Self::Packed { offsets, text } => {
                let (start, end) =
                    (u32::from_le_bytes(offsets[code]), u32::from_le_bytes(offsets[code + 1]));
                std::str::from_utf8(&text[start as usize..end as usize]).unwrap_or_default()
            }
            Self::Boxed(strings) => &strings[code],
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'a str> {
        (0..self.len()).map(move |code| self.get(code))
    }
}

/// One value of a property.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'a str),
    /// An array, as JSON text.
    Json(&'a str),
}

impl<'a> Scalar<'a> {
    /// The number, for sums and comparisons of numbers.
    pub(crate) fn number(self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(value as f64),
            Self::Float(value) => Some(value),
            _ => None,
        }
    }

    /// How the value reads as a dimension; null reads as absent.
    pub(crate) fn label(self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            Self::Float(value) => Some(value.to_string()),
            Self::Str(text) | Self::Json(text) => Some(text.to_owned()),
        }
    }

    /// Tag and bytes, as stored in a file.
    pub(crate) fn parts(self) -> (u8, Part<'a>) {
        match self {
            Self::Null => (0, Part::Text("")),
            Self::Bool(false) => (1, Part::Text("")),
            Self::Bool(true) => (2, Part::Text("")),
            Self::Int(value) => (3, Part::Word(value.to_le_bytes())),
            Self::Float(value) => (4, Part::Word(value.to_bits().to_le_bytes())),
            Self::Str(text) => (5, Part::Text(text)),
            Self::Json(text) => (6, Part::Text(text)),
        }
    }

    /// The value of stored parts; `None` when they do not fit together.
    pub(crate) fn from_parts(tag: u8, bytes: &'a [u8]) -> Option<Self> {
        let word = || <[u8; 8]>::try_from(bytes).ok();
        match tag {
            0 => bytes.is_empty().then_some(Self::Null),
            1 | 2 => bytes.is_empty().then_some(Self::Bool(tag == 2)),
            3 => Some(Self::Int(i64::from_le_bytes(word()?))),
            4 => Some(Self::Float(f64::from_bits(u64::from_le_bytes(word()?)))),
            5 => std::str::from_utf8(bytes).ok().map(Self::Str),
            6 => std::str::from_utf8(bytes).ok().map(Self::Json),
            _ => None,
        }
    }
}

/// Stored bytes of a [`Scalar`].
pub(crate) enum Part<'a> {
    Text(&'a str),
    Word([u8; 8]),
}

impl AsRef<[u8]> for Part<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Word(word) => word,
        }
    }
}

/// An owned [`Scalar`]; floats compare by their bits, so that it can be a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum OwnedScalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(u64),
    Str(Box<str>),
    Json(Box<str>),
}

impl OwnedScalar {
    pub(crate) fn borrow(&self) -> Scalar<'_> {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(value) => Scalar::Int(*value),
            Self::Float(bits) => Scalar::Float(f64::from_bits(*bits)),
            Self::Str(text) => Scalar::Str(text),
            Self::Json(text) => Scalar::Json(text),
        }
    }
}

impl From<Scalar<'_>> for OwnedScalar {
    fn from(value: Scalar<'_>) -> Self {
        match value {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Int(value) => Self::Int(value),
            Scalar::Float(value) => Self::Float(value.to_bits()),
            Scalar::Str(text) => Self::Str(text.into()),
            Scalar::Json(text) => Self::Json(text.into()),
        }
    }
}

/// A table of typed values, packed in a file or owned while it still grows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalars<'a> {
    Packed { tags: &'a [u8], offsets: &'a [[u8; 4]], bytes: &'a [u8] },
    Owned(&'a [OwnedScalar]),
}

impl<'a> Scalars<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Packed { tags, .. } => tags.len(),
            Self::Owned(values) => values.len(),
        }
    }

    /// The value of an entry; entries were checked when the file was opened.
    pub(crate) fn get(self, entry: usize) -> Scalar<'a> {
        match self {
            Self::Packed { tags, offsets, bytes } => {
                let (start, end) =
                    (u32::from_le_bytes(offsets[entry]), u32::from_le_bytes(offsets[entry + 1]));
                Scalar::from_parts(tags[entry], &bytes[start as usize..end as usize])
                    .unwrap_or(Scalar::Null)
            }
            Self::Owned(values) => values[entry].borrow(),
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Scalar<'a>> {
        (0..self.len()).map(move |entry| self.get(entry))
    }
}

/// Numbers strings by first appearance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interner {
    codes: HashMap<Box<str>, u32, Seeded>,
    strings: Vec<Box<str>>,
}

impl Interner {
    /// The code of a string, new or known. Codes stay below `u32::MAX`: memory runs out long before.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        if let Some(code) = self.codes.get(text) {
            return *code;
        }
        let code = self.strings.len() as u32;
        self.codes.insert(text.into(), code);
        self.strings.push(text.into());
        code
    }

    pub(crate) fn strings(&self) -> &[Box<str>] {
        &self.strings
    }
}

/// Numbers typed values by first appearance.
#[derive(Debug, Clone, Default)]
pub(crate) struct ScalarInterner {
    strings: HashMap<Box<str>, u32, Seeded>,
    others: HashMap<OwnedScalar, u32, Seeded>,
    values: Vec<OwnedScalar>,
}

impl ScalarInterner {
    pub(crate) fn intern(&mut self, value: Scalar<'_>) -> u32 {
        let code = self.values.len() as u32;
        if let Scalar::Str(text) = value {
            if let Some(known) = self.strings.get(text) {
                return *known;
            }
            self.strings.insert(text.into(), code);
        } else {
            let owned = OwnedScalar::from(value);
            if let Some(known) = self.others.get(&owned) {
                return *known;
            }
            self.others.insert(owned, code);
        }
        self.values.push(value.into());
        code
    }

    pub(crate) fn values(&self) -> &[OwnedScalar] {
        &self.values
    }
}

/// xxh3 with a seed of the process, so that nobody can prepare keys that collide.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Self {
        Self(std::hash::RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Seeded {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher(self.0)
    }
}

pub(crate) struct SeededHasher(u64);

impl SeededHasher {
    fn mix(&mut self, word: u64) {
        let product =
            u128::from(self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for SeededHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value) + 1);
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value) + 1);
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_i64(&mut self, value: i64) {
        self.mix(value as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
