//! Segments: immutable runs of events as columns, in a mapped file or in memory, in one and the same format.

mod check;
mod column;
mod dictionary;
mod layout;
mod write;

use std::{collections::HashMap, fs::File, path::Path};

use memmap2::Mmap;

pub(crate) use column::{Codes, Ints};
pub(crate) use dictionary::{Interner, Scalar, ScalarInterner, Scalars, Seeded, Strings};
use layout::{
    CodesLayout, FIRST_ENTRY, IntsLayout, Layout, MISSING, NUMBER, NumbersLayout, PropertyLayout,
    Section, StringsLayout,
};
pub(crate) use write::{MOST_PROPERTIES, Pick, Written, write};

use crate::{
    dataset::SegmentInfo,
    error::{Error, Result, SegmentFault},
};

/// Whose id an actor key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ActorKind {
    /// The event names nobody.
    Nobody = 0,
    User = 1,
    Anonymous = 2,
}

/// Columns that every event has a place in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Field {
    Name = 0,
    Source = 1,
    UserId = 2,
    AnonymousId = 3,
    AccountId = 4,
}

impl Field {
    pub(crate) const ALL: [Self; 5] =
        [Self::Name, Self::Source, Self::UserId, Self::AnonymousId, Self::AccountId];
}

/// A column of optional strings: code 0 is absent, code `i` is string `i - 1`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StringColumn<'a> {
    pub codes: Codes<'a>,
    pub strings: Strings<'a>,
}

/// Numbers of the cells whose code says so.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Numbers<'a> {
    Ints(Ints<'a>),
    Floats(&'a [[u8; 8]]),
}

impl Numbers<'_> {
    #[inline(always)]
    pub(crate) fn get(self, cell: usize) -> f64 {
        match self {
            Self::Ints(ints) => ints.get(cell) as f64,
            Self::Floats(floats) => f64::from_le_bytes(floats[cell]),
        }
    }

    pub(crate) fn scalar(self, cell: usize) -> Scalar<'static> {
        match self {
            Self::Ints(ints) => Scalar::Int(ints.get(cell)),
            Self::Floats(floats) => Scalar::Float(f64::from_le_bytes(floats[cell])),
        }
    }
}

/// A property of the events of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PropertyColumn<'a> {
    /// Rows of the cells when the column is sparse; otherwise cell and row are the same.
    pub rows: Option<&'a [[u8; 4]]>,
    pub codes: Codes<'a>,
    pub entries: Scalars<'a>,
    pub numbers: Option<Numbers<'a>>,
}

impl PropertyColumn<'_> {
    pub(crate) const NUMBER: u32 = NUMBER;
    pub(crate) const FIRST_ENTRY: u32 = FIRST_ENTRY;

    /// Calls `visit` with row, cell and code of every event that has the property.
    pub(crate) fn for_each_present(&self, events: usize, mut visit: impl FnMut(usize, usize, u32)) {
        match self.rows {
            Some(rows) => {
                for (cell, row) in rows.iter().enumerate() {
                    visit(u32::from_le_bytes(*row) as usize, cell, self.codes.get(cell));
                }
            }
            None => self.codes.for_each(0..events, |row, code| {
                if code != MISSING {
                    visit(row, row, code);
                }
            }),
        }
    }
}

/// Everything of a run of events that a merge reads.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub events: usize,
    pub effective: &'a [[u8; 8]],
    pub sequence: Ints<'a>,
    pub position: Ints<'a>,
    pub fields: [StringColumn<'a>; 5],
    /// By path.
    pub properties: Vec<(&'a str, PropertyColumn<'a>)>,
}

#[derive(Debug)]
enum Backing {
    Mapped(Mmap),
    Heap(Vec<u8>),
}

/// An immutable run of events, checked completely when it was opened.
#[derive(Debug)]
pub(crate) struct Segment {
    backing: Backing,
    layout: Layout,
    by_path: HashMap<String, usize>,
    /// For each field whether every event has it.
    complete: [bool; 5],
    /// Number of events by the code of their name.
    name_counts: Vec<u32>,
}

impl Segment {
    /// Maps and checks a file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |action| move |source| Error::Io { action, path: path.to_owned(), source };
        let file = File::open(path).map_err(io("open"))?;
        #[expect(
            unsafe_code,
            reason = "mapping a file is unsafe because another process could change it under us; \
                                        segments are written once under another name, renamed, and never changed"
        )]
        let map = unsafe { Mmap::map(&file) }.map_err(io("map"))?;
        Self::check(Backing::Mapped(map))
            .map_err(|fault| Error::Segment { path: path.to_owned(), fault })
    }

    /// Takes a file image that lies in memory.
    pub(crate) fn from_image(image: Vec<u8>) -> Result<Self, SegmentFault> {
        Self::check(Backing::Heap(image))
    }

    fn check(backing: Backing) -> Result<Self, SegmentFault> {
        let layout = check::check(backing.bytes())?;
        let by_path = layout
            .properties
            .iter()
            .enumerate()
            .map(|(at, column)| (column.path.clone(), at))
            .collect();
        let mut segment =
            Self { backing, layout, by_path, complete: [false; 5], name_counts: Vec::new() };
        segment.complete = Field::ALL.map(|field| segment.field(field).codes.all_present());
        let names = segment.field(Field::Name);
        let mut counts = vec![0; names.strings.len() + 1];
        names.codes.for_each(0..segment.events(), |_, code| counts[code as usize] += 1);
        segment.name_counts = counts;
        Ok(segment)
    }

    /// Number of events by the code of their name.
    pub(crate) fn name_counts(&self) -> &[u32] {
        &self.name_counts
    }

    /// Whether every event has a field.
    pub(crate) fn is_complete(&self, field: Field) -> bool {
        self.complete[field as usize]
    }

    pub(crate) fn events(&self) -> usize {
        self.layout.events as usize
    }

    pub(crate) fn actors(&self) -> usize {
        self.layout.actor_kinds.bytes as usize
    }

    /// Kind and key of an actor.
    pub(crate) fn actor(&self, actor: usize) -> (ActorKind, &str) {
        let kind = match self.bytes(self.layout.actor_kinds)[actor] {
            0 => ActorKind::Nobody,
            1 => ActorKind::User,
            _ => ActorKind::Anonymous,
        };
        (kind, self.strings(self.layout.actor_keys).get(actor))
    }

    /// First row of each actor, and after the last one the number of rows.
    pub(crate) fn actor_rows(&self) -> &[[u8; 4]] {
        words(self.bytes(self.layout.actor_rows))
    }

    pub(crate) fn min_effective(&self) -> i64 {
        self.layout.min_effective
    }

    pub(crate) fn max_effective(&self) -> i64 {
        self.layout.max_effective
    }

    pub(crate) fn positions(&self) -> (i64, i64) {
        (self.layout.first_position, self.layout.last_position)
    }

    pub(crate) fn effective(&self) -> &[[u8; 8]] {
        words(self.bytes(self.layout.effective))
    }

    pub(crate) fn sequence(&self) -> Ints<'_> {
        self.ints(self.layout.sequence)
    }

    pub(crate) fn position(&self) -> Ints<'_> {
        self.ints(self.layout.position)
    }

    pub(crate) fn field(&self, field: Field) -> StringColumn<'_> {
        let layout = self.layout.fields[field as usize];
        StringColumn { codes: self.codes(layout.codes), strings: self.strings(layout.strings) }
    }

    pub(crate) fn property(&self, path: &str) -> Option<PropertyColumn<'_>> {
        Some(self.property_column(&self.layout.properties[*self.by_path.get(path)?]))
    }

    pub(crate) fn property_paths(&self) -> impl Iterator<Item = &str> {
        self.layout.properties.iter().map(|column| column.path.as_str())
    }

    pub(crate) fn view(&self) -> View<'_> {
        View {
            events: self.events(),
            effective: self.effective(),
            sequence: self.sequence(),
            position: self.position(),
            fields: Field::ALL.map(|field| self.field(field)),
            properties: self
                .layout
                .properties
                .iter()
                .map(|column| (column.path.as_str(), self.property_column(column)))
                .collect(),
        }
    }

    /// What the manifest says about it under the name `file`.
    pub(crate) fn info(&self, file: String) -> SegmentInfo {
        let bytes = self.backing.bytes();
        SegmentInfo {
            file,
            bytes: bytes.len() as u64,
            events: self.layout.events,
            first_position: self.layout.first_position,
            last_position: self.layout.last_position,
            min_effective_micros: self.layout.min_effective,
            max_effective_micros: self.layout.max_effective,
            checksum: check::directory_checksum(bytes),
        }
    }

    fn bytes(&self, section: Section) -> &[u8] {
        check::slice(self.backing.bytes(), section)
    }

    fn codes(&self, layout: CodesLayout) -> Codes<'_> {
        Codes::new(layout.width, self.bytes(layout.section))
            .expect("widths were checked on opening")
    }

    fn ints(&self, layout: IntsLayout) -> Ints<'_> {
        Ints::new(layout.base, layout.width, self.bytes(layout.section))
            .expect("widths were checked on opening")
    }

    fn strings(&self, layout: StringsLayout) -> Strings<'_> {
        Strings::Packed {
            offsets: words(self.bytes(layout.offsets)),
            text: self.bytes(layout.text),
        }
    }

    fn property_column(&self, layout: &PropertyLayout) -> PropertyColumn<'_> {
        PropertyColumn {
            rows: layout.rows.map(|rows| words(self.bytes(rows))),
            codes: self.codes(layout.codes),
            entries: Scalars::Packed {
                tags: self.bytes(layout.tags),
                offsets: words(self.bytes(layout.values.offsets)),
                bytes: self.bytes(layout.values.text),
            },
            numbers: layout.numbers.map(|numbers| match numbers {
                NumbersLayout::Ints(ints) => Numbers::Ints(self.ints(ints)),
                NumbersLayout::Floats(floats) => Numbers::Floats(words(self.bytes(floats))),
            }),
        }
    }
}

impl Backing {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Heap(image) => image,
        }
    }
}

fn words<const N: usize>(bytes: &[u8]) -> &[[u8; N]] {
    bytes.as_chunks::<N>().0
}
