//! Writing a segment: any number of runs, picked in the wanted order, one column at a time.

use std::io::{self, Write};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    ActorKind, PropertyColumn, View,
    column::{Codes, encode_codes, encode_ints},
    dictionary::{Interner, Scalar, ScalarInterner, Scalars, Strings},
    layout::{
        ALIGNMENT, CodesLayout, FIRST_ENTRY, HEADER_BYTES, IntsLayout, Layout, MAGIC, MISSING,
        NUMBER, NumbersLayout, PropertyLayout, Section, StringColumnLayout, StringsLayout, VERSION,
    },
};

/// Distinct numbers up to which a property keeps them in its dictionary: a table of them stays in the first-level
/// cache, and they can be grouped by without hashing.
const DICTIONARY_NUMBERS: usize = 4_096;

/// Distinct properties that a run of events keeps as columns. Producers choose the names, so without a bound one of
/// them could fill the memory with columns that hold a value each. What is beyond is in the log, and absent in answers.
pub(crate) const MOST_PROPERTIES: usize = 10_000;

/// One row of one of the runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pick {
    pub run: u32,
    pub row: u32,
}

/// The actors of a segment in order, and the rows of their events.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    /// Kind and key per actor.
    pub actors: Vec<(ActorKind, &'a str)>,
    /// First pick of each actor, and after the last one the number of picks.
    pub actor_rows: Vec<u32>,
    /// Every row of every run exactly once, by (actor, effective time, sequence, position).
    pub picks: Vec<Pick>,
}

/// Writes a segment to `sink`. There must be at least one pick.
///
/// # Errors
/// Those of the sink, and [`io::ErrorKind::FileTooLarge`] when one dictionary outgrows 4 GiB.
pub(crate) fn write(
    runs: &[View<'_>],
    order: &Written<'_>,
    sink: &mut dyn Write,
) -> io::Result<()> {
    let mut out = Sink { sink, offset: 0 };
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_le_bytes());
    header.resize(HEADER_BYTES, 0);
    out.raw(&header)?;
    let layout = Writer { runs, order, inverse: inverse(runs, &order.picks) }.columns(&mut out)?;
    let directory = out.section(&serde_json::to_vec(&layout)?)?;
    for word in [directory.offset, directory.bytes, directory.xxh3] {
        out.raw(&word.to_le_bytes())?;
    }
    out.raw(&MAGIC)
}

/// Row in the segment of every row of every run.
fn inverse(runs: &[View<'_>], picks: &[Pick]) -> Vec<Vec<u32>> {
    let mut inverse: Vec<Vec<u32>> = runs.iter().map(|run| vec![0; run.events]).collect();
    for (row, pick) in picks.iter().enumerate() {
        inverse[pick.run as usize][pick.row as usize] = row as u32;
    }
    inverse
}

struct Writer<'a> {
    runs: &'a [View<'a>],
    order: &'a Written<'a>,
    inverse: Vec<Vec<u32>>,
}

impl Writer<'_> {
    fn columns(&self, out: &mut Sink<'_>) -> io::Result<Layout> {
        let picked = |value: &dyn Fn(&View<'_>, usize) -> i64| -> Vec<i64> {
            self.order
                .picks
                .iter()
                .map(|pick| value(&self.runs[pick.run as usize], pick.row as usize))
                .collect()
        };
        let times = picked(&|run, row| i64::from_le_bytes(run.effective[row]));
        let sequences = picked(&|run, row| run.sequence.get(row));
        let positions = picked(&|run, row| run.position.get(row));
        let kinds: Vec<u8> = self.order.actors.iter().map(|(kind, _)| *kind as u8).collect();
        Ok(Layout {
            events: times.len() as u64,
            first_position: positions.iter().copied().min().unwrap_or_default(),
            last_position: positions.iter().copied().max().unwrap_or_default(),
            min_effective: times.iter().copied().min().unwrap_or_default(),
            max_effective: times.iter().copied().max().unwrap_or_default(),
            actor_kinds: out.section(&kinds)?,
            actor_keys: out.strings(self.order.actors.iter().map(|(_, key)| key))?,
            actor_rows: out.section(&encode_codes(4, self.order.actor_rows.iter().copied()))?,
            effective: out
                .section(&times.iter().flat_map(|time| time.to_le_bytes()).collect::<Vec<u8>>())?,
            sequence: out.ints(&sequences)?,
            position: out.ints(&positions)?,
            fields: (0..super::Field::ALL.len())
                .map(|field| self.field(field, out))
                .collect::<io::Result<_>>()?,
            properties: self.properties(out)?,
        })
    }

    fn field(&self, field: usize, out: &mut Sink<'_>) -> io::Result<StringColumnLayout> {
        let mut interner = Interner::default();
        let recode: Vec<Vec<u32>> = self
            .runs
            .iter()
            .map(|run| {
                let strings = run.fields[field].strings;
                [0].into_iter()
                    .chain(strings.iter().map(|text| interner.intern(text) + 1))
                    .collect()
            })
            .collect();
        let width = Codes::width_for(interner.strings().len() as u32);
        let codes = self.order.picks.iter().map(|pick| {
            recode[pick.run as usize]
                [self.runs[pick.run as usize].fields[field].codes.get(pick.row as usize) as usize]
        });
        let codes = CodesLayout { width, section: out.section(&encode_codes(width, codes))? };
        Ok(StringColumnLayout {
            codes,
            strings: out.strings(Strings::Boxed(interner.strings()).iter())?,
        })
    }

    fn properties(&self, out: &mut Sink<'_>) -> io::Result<Vec<PropertyLayout>> {
        let mut columns: Vec<(&str, usize, PropertyColumn<'_>)> = Vec::new();
        for (number, run) in self.runs.iter().enumerate() {
            columns.extend(run.properties.iter().map(|(path, column)| (*path, number, *column)));
        }
        columns.sort_by_key(|(path, run, _)| (*path, *run));
        let mut properties: Vec<&[(&str, usize, PropertyColumn<'_>)]> =
            columns.chunk_by(|left, right| left.0 == right.0).collect();
        if properties.len() > MOST_PROPERTIES {
            let events = |parts: &&[(&str, usize, PropertyColumn<'_>)]| -> usize {
                parts
                    .iter()
                    .map(|(_, run, part)| part.rows.map_or(self.runs[*run].events, <[_]>::len))
                    .sum()
            };
            // Those that most events have; of equals the first by name.
            properties.sort_by_cached_key(|parts| std::cmp::Reverse(events(parts)));
            properties.truncate(MOST_PROPERTIES);
            properties.sort_unstable_by_key(|parts| parts[0].0);
        }
        properties.into_iter().map(|parts| self.property(parts, out)).collect()
    }

    /// The columns of one path in the runs that have it, as one column.
    fn property(
        &self,
        parts: &[(&str, usize, PropertyColumn<'_>)],
        out: &mut Sink<'_>,
    ) -> io::Result<PropertyLayout> {
        let mut all = ScalarInterner::default();
        for (_, _, part) in parts {
            part.entries.iter().for_each(|entry| _ = all.intern(entry));
        }
        let distinct_numbers =
            all.values().iter().filter(|value| value.borrow().number().is_some()).count();
        let wide = distinct_numbers > DICTIONARY_NUMBERS
            || parts.iter().any(|(_, _, part)| part.numbers.is_some());

        let mut entries = ScalarInterner::default();
        let recodes: Vec<Vec<(u32, Number)>> = parts
            .iter()
            .map(|(_, _, part)| {
                let recode = |entry: Scalar<'_>| match entry {
                    Scalar::Int(_) | Scalar::Float(_) if wide => (NUMBER, entry.into()),
                    entry => (entries.intern(entry) + FIRST_ENTRY, Number::None),
                };
                part.entries.iter().map(recode).collect()
            })
            .collect();
        // Row in the segment to be, code and number of every cell, run by run.
        let for_each = |visit: &mut dyn FnMut(u32, u32, Number)| {
            for ((_, run, part), recode) in parts.iter().zip(&recodes) {
                let inverse = &self.inverse[*run];
                part.for_each_present(self.runs[*run].events, |row, cell, code| {
                    let (code, number) = match (code, part.numbers) {
                        (NUMBER, Some(numbers)) => (NUMBER, numbers.scalar(cell).into()),
                        (NUMBER, None) => return,
                        _ => recode[(code - FIRST_ENTRY) as usize],
                    };
                    visit(inverse[row], code, number);
                });
            }
        };
        let events = self.order.picks.len();
        let width = Codes::width_for(entries.values().len() as u32 + FIRST_ENTRY - 1);
        let cell_bytes = usize::from(width) + if wide { 8 } else { 0 };
        let mut present = 0;
        for_each(&mut |_, _, _| present += 1);
        let sparse = present * (4 + cell_bytes) < events * cell_bytes;
        let (mut rows, mut codes, mut numbers) = (None, Vec::new(), Vec::new());
        if sparse {
            let mut cells = Vec::with_capacity(present);
            for_each(&mut |row, code, number| cells.push((row, code, number)));
            cells.sort_unstable_by_key(|(row, _, _)| *row);
            rows = Some(out.section(&encode_codes(4, cells.iter().map(|(row, _, _)| *row)))?);
            codes.extend(cells.iter().map(|(_, code, _)| *code));
            if wide {
                numbers.extend(cells.iter().map(|(_, _, number)| *number));
            }
        } else {
            codes.resize(events, MISSING);
            numbers.resize(if wide { events } else { 0 }, Number::None);
            for_each(&mut |row, code, number| {
                codes[row as usize] = code;
                if wide {
                    numbers[row as usize] = number;
                }
            });
        }
        let tags: Vec<u8> = entries.values().iter().map(|entry| entry.borrow().parts().0).collect();
        Ok(PropertyLayout {
            path: parts[0].0.to_owned(),
            rows,
            codes: CodesLayout {
                width,
                section: out.section(&encode_codes(width, codes.into_iter()))?,
            },
            tags: out.section(&tags)?,
            values: out
                .strings(Scalars::Owned(entries.values()).iter().map(|entry| entry.parts().1))?,
            numbers: if wide { Some(out.numbers(&numbers)?) } else { None },
        })
    }
}

#[derive(Clone, Copy)]
enum Number {
    None,
    Int(i64),
    Float(f64),
}

impl From<Scalar<'_>> for Number {
    fn from(value: Scalar<'_>) -> Self {
        match value {
            Scalar::Int(value) => Self::Int(value),
            Scalar::Float(value) => Self::Float(value),
            _ => Self::None,
        }
    }
}

/// Appends sections and remembers where they lie.
struct Sink<'a> {
    sink: &'a mut dyn Write,
    offset: u64,
}

impl Sink<'_> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.offset += bytes.len() as u64;
        self.sink.write_all(bytes)
    }

    fn section(&mut self, bytes: &[u8]) -> io::Result<Section> {
        let padding = self.offset.next_multiple_of(ALIGNMENT as u64) - self.offset;
        self.raw(&[0; ALIGNMENT][..padding as usize])?;
        let section =
            Section { offset: self.offset, bytes: bytes.len() as u64, xxh3: xxh3_64(bytes) };
        self.raw(bytes)?;
        Ok(section)
    }

    fn ints(&mut self, values: &[i64]) -> io::Result<IntsLayout> {
        let (base, width, bytes) = encode_ints(values);
        Ok(IntsLayout { base, width, section: self.section(&bytes)? })
    }

    fn numbers(&mut self, numbers: &[Number]) -> io::Result<NumbersLayout> {
        if numbers.iter().any(|number| matches!(number, Number::Float(_))) {
            let floats = numbers.iter().flat_map(|number| {
                let float = match number {
                    Number::None => f64::NAN,
                    Number::Int(value) => *value as f64,
                    Number::Float(value) => *value,
                };
                float.to_le_bytes()
            });
            return Ok(NumbersLayout::Floats(self.section(&floats.collect::<Vec<u8>>())?));
        }
        let filler = numbers
            .iter()
            .find_map(|number| if let Number::Int(value) = number { Some(*value) } else { None });
        let ints = numbers.iter().map(|number| match number {
            Number::Int(value) => *value,
            Number::None | Number::Float(_) => filler.unwrap_or_default(),
        });
        Ok(NumbersLayout::Ints(self.ints(&ints.collect::<Vec<i64>>())?))
    }

    fn strings(
        &mut self,
        strings: impl Iterator<Item = impl AsRef<[u8]>>,
    ) -> io::Result<StringsLayout> {
        let (mut text, mut offsets) = (Vec::new(), 0u32.to_le_bytes().to_vec());
        for string in strings {
            text.extend_from_slice(string.as_ref());
            let end = u32::try_from(text.len()).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "a dictionary of a segment outgrows 4 GiB",
                )
            })?;
            offsets.extend(end.to_le_bytes());
        }
        Ok(StringsLayout { offsets: self.section(&offsets)?, text: self.section(&text)? })
    }
}
