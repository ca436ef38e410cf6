//! The complete check of a segment file: after it, no read of a column can leave the file or its dictionary.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    column::{Codes, Ints, exact},
    dictionary::{Scalar, Strings},
    layout::{
        ALIGNMENT, CodesLayout, FIRST_ENTRY, HEADER_BYTES, IntsLayout, Layout, MAGIC,
        NumbersLayout, PropertyLayout, Section, StringsLayout, TRAILER_BYTES, VERSION,
    },
};
use crate::error::SegmentFault;

/// Checks a file image and returns its directory.
pub(crate) fn check(image: &[u8]) -> Result<Layout, SegmentFault> {
    let needed = (HEADER_BYTES + TRAILER_BYTES) as u64;
    if (image.len() as u64) < needed {
        return Err(SegmentFault::Truncated { needed, found: image.len() as u64 });
    }
    let (body, trailer) = image.split_at(image.len() - TRAILER_BYTES);
    if body[..8] != MAGIC || trailer[24..] != MAGIC {
        return Err(SegmentFault::BadMagic);
    }
    let version = u32::from_le_bytes([body[8], body[9], body[10], body[11]]);
    if version != VERSION {
        return Err(SegmentFault::BadVersion { found: version, supported: VERSION });
    }
    let directory =
        Section { offset: word(trailer, 0), bytes: word(trailer, 8), xxh3: word(trailer, 16) };
    let mut checker = Checker { body, covered: vec![(0, 12)] };
    let text = checker.section("directory", directory)?;
    let layout: Layout = serde_json::from_slice(text)
        .map_err(|fault| SegmentFault::BadDirectory(fault.to_string()))?;
    checker.layout(&layout)?;
    checker.gaps()?;
    Ok(layout)
}

/// Checksum of the directory, which in turn holds the checksum of every section.
pub(crate) fn directory_checksum(image: &[u8]) -> u64 {
    word(&image[image.len() - TRAILER_BYTES..], 16)
}

/// Bytes of a section that was checked.
pub(crate) fn slice(image: &[u8], section: Section) -> &[u8] {
    &image[section.offset as usize..(section.offset + section.bytes) as usize]
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"))
}

fn inconsistent(section: &str, problem: impl Into<String>) -> SegmentFault {
    SegmentFault::Inconsistent { section: section.to_owned(), problem: problem.into() }
}

struct Checker<'a> {
    body: &'a [u8],
    /// Byte ranges that a checksum or a comparison covers.
    covered: Vec<(u64, u64)>,
}

impl<'a> Checker<'a> {
    fn section(&mut self, name: &str, section: Section) -> Result<&'a [u8], SegmentFault> {
        let found = self.body.len() as u64;
        let end = section
            .offset
            .checked_add(section.bytes)
            .ok_or_else(|| inconsistent(name, "offset and length overflow"))?;
        if end > found {
            return Err(SegmentFault::Truncated { needed: end, found });
        }
        let bytes = &self.body[section.offset as usize..end as usize];
        if xxh3_64(bytes) != section.xxh3 {
            return Err(SegmentFault::BadChecksum { section: name.to_owned() });
        }
        self.covered.push((section.offset, end));
        Ok(bytes)
    }

    /// Every byte that no section covers must be a zero of the alignment.
    fn gaps(&mut self) -> Result<(), SegmentFault> {
        self.covered.sort_unstable();
        let mut at = 0;
        let end = self.body.len() as u64;
        for (start, until) in self.covered.iter().copied().chain([(end, end)]) {
            if start > at {
                let gap = &self.body[at as usize..start as usize];
                if gap.len() >= ALIGNMENT || gap.iter().any(|byte| *byte != 0) {
                    return Err(inconsistent(
                        "padding",
                        format!("bytes {at}..{start} belong to no section"),
                    ));
                }
            }
            at = at.max(until);
        }
        Ok(())
    }

    fn layout(&mut self, layout: &Layout) -> Result<(), SegmentFault> {
        let events = u32::try_from(layout.events)
            .map_err(|_| inconsistent("events", "more than 4,294,967,295"))?
            as usize;
        if events == 0
            || layout.first_position > layout.last_position
            || layout.min_effective > layout.max_effective
        {
            return Err(inconsistent(
                "directory",
                "no events, or ranges that end before they begin",
            ));
        }
        let kinds = self.section("actor kinds", layout.actor_kinds)?;
        if kinds.iter().any(|kind| *kind > 2) {
            return Err(inconsistent("actor kinds", "unknown kind"));
        }
        let keys = self.strings("actor keys", layout.actor_keys)?;
        let rows: &[[u8; 4]] = exact(self.section("actor rows", layout.actor_rows)?)
            .ok_or_else(|| inconsistent("actor rows", "length is no multiple of 4"))?;
        if keys.len() != kinds.len() || rows.len() != kinds.len() + 1 {
            return Err(inconsistent("actor rows", "not one key and one range per actor"));
        }
        let rising =
            rows.windows(2).all(|pair| u32::from_le_bytes(pair[0]) <= u32::from_le_bytes(pair[1]));
        if !rising
            || u32::from_le_bytes(rows[0]) != 0
            || u32::from_le_bytes(rows[kinds.len()]) as usize != events
        {
            return Err(inconsistent("actor rows", "ranges do not cut the rows"));
        }
        let effective: &[[u8; 8]] = exact(self.section("effective", layout.effective)?)
            .ok_or_else(|| inconsistent("effective", "length is no multiple of 8"))?;
        let outside = |time: &[u8; 8]| {
            !(layout.min_effective..=layout.max_effective).contains(&i64::from_le_bytes(*time))
        };
        if effective.len() != events || effective.iter().any(outside) {
            return Err(inconsistent("effective", "not one time in the stated range per event"));
        }
        self.ints("sequence", layout.sequence, events)?;
        self.ints("position", layout.position, events)?;
        if layout.fields.len() != super::Field::ALL.len() {
            return Err(inconsistent("fields", "not the five fixed columns"));
        }
        for (field, column) in super::Field::ALL.iter().zip(&layout.fields) {
            let name = format!("{field:?}");
            let strings = self.strings(&name, column.strings)?;
            let codes = self.codes(&name, column.codes, events)?;
            if codes.max() as usize > strings.len() {
                return Err(inconsistent(&name, "code outside the dictionary"));
            }
        }
        for pair in layout.properties.windows(2) {
            if pair[0].path >= pair[1].path {
                return Err(inconsistent("properties", "paths are not sorted and distinct"));
            }
        }
        layout.properties.iter().try_for_each(|property| self.property(property, events))
    }

    fn property(&mut self, property: &PropertyLayout, events: usize) -> Result<(), SegmentFault> {
        let name = format!("property {}", property.path);
        let cells = match property.rows {
            None => events,
            Some(rows) => {
                let rows: &[[u8; 4]] = exact(self.section(&name, rows)?)
                    .ok_or_else(|| inconsistent(&name, "rows are cut"))?;
                let rising = rows
                    .windows(2)
                    .all(|pair| u32::from_le_bytes(pair[0]) < u32::from_le_bytes(pair[1]));
                if !rising
                    || rows.last().is_some_and(|row| u32::from_le_bytes(*row) as usize >= events)
                {
                    return Err(inconsistent(&name, "rows are not rising and within the segment"));
                }
                rows.len()
            }
        };
        let tags = self.section(&name, property.tags)?;
        let bytes = self.section(&name, property.values.text)?;
        let offsets = self.offsets(&name, property.values.offsets, bytes.len())?;
        if offsets.len() != tags.len() + 1 {
            return Err(inconsistent(&name, "not one tag per value"));
        }
        for (tag, pair) in tags.iter().zip(offsets.windows(2)) {
            let range = u32::from_le_bytes(pair[0]) as usize..u32::from_le_bytes(pair[1]) as usize;
            if Scalar::from_parts(*tag, &bytes[range]).is_none() {
                return Err(inconsistent(&name, "a value does not fit its type"));
            }
        }
        let codes = self.codes(&name, property.codes, cells)?;
        if codes.max() as usize >= tags.len() + FIRST_ENTRY as usize {
            return Err(inconsistent(&name, "code outside the dictionary"));
        }
        match property.numbers {
            None => Ok(()),
            Some(NumbersLayout::Ints(ints)) => self.ints(&name, ints, cells),
            Some(NumbersLayout::Floats(section)) => match exact::<8>(self.section(&name, section)?)
            {
                Some(floats) if floats.len() == cells => Ok(()),
                _ => Err(inconsistent(&name, "not one number per cell")),
            },
        }
    }

    fn codes(
        &mut self,
        name: &str,
        layout: CodesLayout,
        cells: usize,
    ) -> Result<Codes<'a>, SegmentFault> {
        let codes = Codes::new(layout.width, self.section(name, layout.section)?)
            .ok_or_else(|| inconsistent(name, "width of the codes"))?;
        match codes.len() {
            Some(len) if len != cells => {
                Err(inconsistent(name, format!("{len} codes for {cells} cells")))
            }
            _ => Ok(codes),
        }
    }

    fn ints(&mut self, name: &str, layout: IntsLayout, cells: usize) -> Result<(), SegmentFault> {
        let ints = Ints::new(layout.base, layout.width, self.section(name, layout.section)?)
            .ok_or_else(|| inconsistent(name, "width of the integers"))?;
        match ints.len() {
            Some(len) if len != cells => {
                Err(inconsistent(name, format!("{len} integers for {cells} cells")))
            }
            _ => Ok(()),
        }
    }

    fn offsets(
        &mut self,
        name: &str,
        section: Section,
        length: usize,
    ) -> Result<&'a [[u8; 4]], SegmentFault> {
        let offsets: &[[u8; 4]] = exact(self.section(name, section)?)
            .ok_or_else(|| inconsistent(name, "offsets are cut"))?;
        let rising = offsets
            .windows(2)
            .all(|pair| u32::from_le_bytes(pair[0]) <= u32::from_le_bytes(pair[1]));
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
            return Err(inconsistent(name, "no offsets"));
        };
        if !rising
            || u32::from_le_bytes(*first) != 0
            || u32::from_le_bytes(*last) as usize != length
        {
            return Err(inconsistent(name, "offsets do not cut the text"));
        }
        Ok(offsets)
    }

    fn strings(&mut self, name: &str, layout: StringsLayout) -> Result<Strings<'a>, SegmentFault> {
        let bytes = self.section(name, layout.text)?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| inconsistent(name, "text is not UTF-8"))?;
        let offsets = self.offsets(name, layout.offsets, bytes.len())?;
        if offsets.iter().any(|offset| !text.is_char_boundary(u32::from_le_bytes(*offset) as usize))
        {
            return Err(inconsistent(name, "an offset cuts a character"));
        }
        Ok(Strings::Packed { offsets, text: bytes })
    }
}
