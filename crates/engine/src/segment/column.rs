//! Views of columns as they lie in a file: little-endian bytes read in place, no alignment needed, no `unsafe`.

/// A column of dictionary codes of 1, 2 or 4 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Codes<'a> {
    /// Every code is 0, and nothing is stored.
    Zero,
    One(&'a [u8]),
    Two(&'a [[u8; 2]]),
    Four(&'a [[u8; 4]]),
}

impl<'a> Codes<'a> {
    /// Reads `bytes` as codes of `width` bytes; `None` when the width is unknown or does not divide the length.
    pub(crate) fn new(width: u8, bytes: &'a [u8]) -> Option<Self> {
        match width {
            0 => bytes.is_empty().then_some(Self::Zero),
            1 => Some(Self::One(bytes)),
            2 => exact(bytes).map(Self::Two),
            4 => exact(bytes).map(Self::Four),
            _ => None,
        }
    }

    /// Bytes that a code needs when the largest is `max`.
    pub(crate) fn width_for(max: u32) -> u8 {
        match max {
            0 => 0,
            1..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 4,
        }
    }

    #[inline(always)]
    pub(crate) fn get(self, row: usize) -> u32 {
        match self {
            Self::Zero => 0,
            Self::One(codes) => u32::from(codes[row]),
            Self::Two(codes) => u32::from(u16::from_le_bytes(codes[row])),
            Self::Four(codes) => u32::from_le_bytes(codes[row]),
        }
    }

    /// Number of stored codes; `None` when nothing is stored.
    pub(crate) fn len(self) -> Option<usize> {
        match self {
            Self::Zero => None,
            Self::One(codes) => Some(codes.len()),
            Self::Two(codes) => Some(codes.len()),
            Self::Four(codes) => Some(codes.len()),
        }
    }

    pub(crate) fn max(self) -> u32 {
        match self {
            Self::Zero => 0,
            Self::One(codes) => u32::from(codes.iter().copied().max().unwrap_or(0)),
            Self::Two(codes) => {
                u32::from(codes.iter().map(|code| u16::from_le_bytes(*code)).max().unwrap_or(0))
            }
            Self::Four(codes) => {
                codes.iter().map(|code| u32::from_le_bytes(*code)).max().unwrap_or(0)
            }
        }
    }

    /// Whether no code is 0.
    pub(crate) fn all_present(self) -> bool {
        match self {
            Self::Zero => false,
            Self::One(codes) => !codes.contains(&0),
            Self::Two(codes) => !codes.contains(&[0; 2]),
            Self::Four(codes) => !codes.contains(&[0; 4]),
        }
    }

    /// Calls `visit` with every row of a range and its code, with the width decided once.
    #[inline(always)]
    pub(crate) fn for_each(self, rows: std::ops::Range<usize>, mut visit: impl FnMut(usize, u32)) {
        match self {
            Self::Zero => rows.for_each(|row| visit(row, 0)),
            Self::One(codes) => {
                codes[rows.clone()]
                    .iter()
                    .zip(rows)
                    .for_each(|(code, row)| visit(row, u32::from(*code)));
            }
            Self::Two(codes) => codes[rows.clone()]
                .iter()
                .zip(rows)
                .for_each(|(code, row)| visit(row, u32::from(u16::from_le_bytes(*code)))),
            Self::Four(codes) => {
                codes[rows.clone()]
                    .iter()
                    .zip(rows)
                    .for_each(|(code, row)| visit(row, u32::from_le_bytes(*code)));
            }
        }
    }
}

/// A column of integers as distances of 0, 1, 2, 4 or 8 bytes from a base.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ints<'a> {
    base: i64,
    distances: Distances<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Distances<'a> {
    Narrow(Codes<'a>),
    Eight(&'a [[u8; 8]]),
}

impl<'a> Ints<'a> {
    pub(crate) fn new(base: i64, width: u8, bytes: &'a [u8]) -> Option<Self> {
        let distances = if width == 8 {
            Distances::Eight(exact(bytes)?)
        } else {
            Distances::Narrow(Codes::new(width, bytes)?)
        };
        Some(Self { base, distances })
    }

    /// Plain 8-byte integers.
    pub(crate) fn plain(values: &'a [[u8; 8]]) -> Self {
        Self { base: 0, distances: Distances::Eight(values) }
    }

    pub(crate) fn len(self) -> Option<usize> {
        match self.distances {
            Distances::Narrow(codes) => codes.len(),
            Distances::Eight(values) => Some(values.len()),
        }
    }

    #[inline(always)]
    pub(crate) fn get(self, row: usize) -> i64 {
        match self.distances {
            Distances::Narrow(codes) => self.base.wrapping_add(i64::from(codes.get(row))),
            Distances::Eight(values) => self.base.wrapping_add(i64::from_le_bytes(values[row])),
        }
    }
}

/// Encodes integers as distances from their smallest: base, width and bytes.
pub(crate) fn encode_ints(values: &[i64]) -> (i64, u8, Vec<u8>) {
    let (min, max) =
        (values.iter().copied().min().unwrap_or(0), values.iter().copied().max().unwrap_or(0));
    match u32::try_from(i128::from(max) - i128::from(min)) {
        Ok(span) => {
            let width = Codes::width_for(span);
            let distances = values.iter().map(|value| value.wrapping_sub(min) as u32);
            (min, width, encode_codes(width, distances))
        }
        Err(_) => (0, 8, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
    }
}

/// Encodes codes with `width` bytes each; they must fit.
pub(crate) fn encode_codes(width: u8, codes: impl Iterator<Item = u32>) -> Vec<u8> {
    match width {
        0 => Vec::new(),
        1 => codes.map(|code| code as u8).collect(),
        2 => codes.flat_map(|code| (code as u16).to_le_bytes()).collect(),
        _ => codes.flat_map(u32::to_le_bytes).collect(),
    }
}

/// A byte slice as whole little-endian words; `None` when there is a remainder.
pub(crate) fn exact<const N: usize>(bytes: &[u8]) -> Option<&[[u8; N]]> {
    let (words, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then_some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_survive_encoding(values in prop_oneof![
            proptest::collection::vec(any::<i64>(), 0..50),
            proptest::collection::vec(1_000_000i64..1_000_300, 0..50),
            proptest::collection::vec(-70_000i64..70_000, 0..50),
        ]) {
            let (base, width, bytes) = encode_ints(&values);
            let view = Ints::new(base, width, &bytes).expect("a view");
            prop_assert_eq!((0..values.len()).map(|row| view.get(row)).collect::<Vec<_>>(), values);
        }
    }

    #[test]
    fn bytes_that_do_not_divide_into_words_are_no_column() {
        assert!(Codes::new(2, &[1, 2, 3]).is_none());
        assert!(Codes::new(3, &[1, 2, 3]).is_none());
        assert!(Codes::new(0, &[1]).is_none());
        assert!(Ints::new(0, 8, &[0; 9]).is_none());
    }
}
