//! What a segment file looks like.
//!
//! ```text
//! header   16 bytes   magic, version u32, zero u32
//! sections            each aligned to 64 bytes, gaps are zero
//! directory           JSON of [`Layout`]: where every section lies, with its xxh3-64
//! trailer  32 bytes   directory offset u64, length u64, xxh3-64 u64, magic
//! ```
//! Everything is little-endian. Events are sorted by (actor, effective time, sequence, position).

use serde::{Deserialize, Serialize};

pub(crate) const MAGIC: [u8; 8] = *b"NRTHSEG\x01";
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 16;
pub(crate) const TRAILER_BYTES: usize = 32;
pub(crate) const ALIGNMENT: usize = 64;

/// Code of a cell without the property.
pub(crate) const MISSING: u32 = 0;
/// Code of a cell whose number stands in the number column.
pub(crate) const NUMBER: u32 = 1;
/// Code of the first dictionary entry of a property.
pub(crate) const FIRST_ENTRY: u32 = 2;

/// A run of bytes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Section {
    pub offset: u64,
    pub bytes: u64,
    pub xxh3: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IntsLayout {
    pub base: i64,
    pub width: u8,
    pub section: Section,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodesLayout {
    pub width: u8,
    pub section: Section,
}

/// Offsets (one more than there are strings) and the text they cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StringsLayout {
    pub offsets: Section,
    pub text: Section,
}

/// Code 0 is absent, code `i` is string `i - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StringColumnLayout {
    pub codes: CodesLayout,
    pub strings: StringsLayout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NumbersLayout {
    Ints(IntsLayout),
    Floats(Section),
}

/// Codes are [`MISSING`], [`NUMBER`], or [`FIRST_ENTRY`] and up. With `rows` the column is sparse: codes and numbers
/// belong to the listed rows only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PropertyLayout {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Section>,
    pub codes: CodesLayout,
    pub tags: Section,
    pub values: StringsLayout,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<NumbersLayout>,
}

/// The directory of a segment file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    pub events: u64,
    pub first_position: i64,
    pub last_position: i64,
    pub min_effective: i64,
    pub max_effective: i64,
    /// One byte per actor: [`ActorKind`](super::ActorKind).
    pub actor_kinds: Section,
    pub actor_keys: StringsLayout,
    /// First row of each actor, and after the last one the number of rows.
    pub actor_rows: Section,
    pub effective: Section,
    pub sequence: IntsLayout,
    pub position: IntsLayout,
    /// In the order of [`Field`](super::Field).
    pub fields: Vec<StringColumnLayout>,
    /// By path.
    pub properties: Vec<PropertyLayout>,
}
