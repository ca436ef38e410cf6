//! Bloom filters over runs of keys.
//!
//! Each is a split block Bloom filter as Parquet has them
//! (<https://parquet.apache.org/docs/file-format/bloomfilter/>): 32 bytes hold a
//! key, one bit in each of eight words, so a look-up touches one cache line. The
//! keys are SHA-256 already and are not hashed again. All filters have the same
//! size, and a key has the same place in each; so the filters of eight runs lie
//! side by side, place by place, and a look-up reads 256 bytes in a row instead
//! of eight places far apart.

use northstar_store::ingestion::keys::MessageKey;

/// Places of a filter. With 700,000 keys these are 24 bits a key, and one key in
/// 10,000 is found in a run that does not have it.
const PLACES: usize = 1 << 16;
/// Filters that lie side by side.
const ABREAST: usize = 8;
/// Bytes of a filter, as it is stored: its places one after the other, each of
/// eight little-endian words of 32 bits.
pub(super) const FILTER_BYTES: usize = PLACES * size_of::<Place>();

type Place = [u32; 8];

/// From the specification.
const SALT: Place = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

fn place_of(key: MessageKey) -> usize {
    (key.0 >> 112) as usize % PLACES
}

fn bits_of(key: MessageKey) -> Place {
    let low = key.0 as u32;
    SALT.map(|salt| 1 << (low.wrapping_mul(salt) >> 27))
}

/// The filter over keys, as it is stored.
pub(super) fn build(keys: impl Iterator<Item = MessageKey>) -> Vec<u8> {
    let mut places: Vec<Place> = vec![[0; 8]; PLACES];
    for key in keys {
        for (word, bit) in places[place_of(key)].iter_mut().zip(bits_of(key)) {
            *word |= bit;
        }
    }
    places.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
}

/// The filters of all runs of a project.
#[derive(Debug, Default)]
pub(super) struct Filters {
    groups: Vec<Group>,
    filters: usize,
}

/// Up to eight filters, place by place. The last group has room for no more than twice
/// as many as it holds: one filter is 2 MiB.
#[derive(Debug)]
struct Group {
    /// Filters that there is room for: 1, 2, 4 or 8.
    width: usize,
    places: Box<[Place]>,
}

impl Group {
    fn new(width: usize) -> Self {
        Self { width, places: vec![[0; 8]; PLACES * width].into_boxed_slice() }
    }

    /// The same filters, with room for as many more.
    fn widened(&self) -> Self {
        let mut wide = Self::new(self.width * 2);
        let rows = wide.places.chunks_exact_mut(self.width * 2);
        for (wide, narrow) in rows.zip(self.places.chunks_exact(self.width)) {
            wide[..self.width].copy_from_slice(narrow);
        }
        wide
    }

    /// What the filters have in a place.
    fn at(&self, place: usize) -> &[Place] {
        &self.places[place * self.width..][..self.width]
    }
}

impl Filters {
    /// Adds a filter, with the next number; `false` when it has not the size of one.
    pub(super) fn push(&mut self, filter: &[u8]) -> bool {
        if filter.len() != FILTER_BYTES {
            return false;
        }
        let column = self.filters % ABREAST;
        match self.groups.last_mut() {
            Some(group) if column > 0 => {
                if column == group.width {
                    *group = group.widened();
                }
            }
            _ => self.groups.push(Group::new(1)),
        }
        let group = self.groups.last_mut().expect("one was just made if there was none");
        let words = filter.as_chunks::<4>().0;
        for (row, words) in group.places.chunks_exact_mut(group.width).zip(words.as_chunks::<8>().0)
        {
            row[column] = words.map(u32::from_le_bytes);
        }
        self.filters += 1;
        true
    }

    /// Memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.groups.iter().map(|group| group.width * FILTER_BYTES).sum()
    }

    /// Numbers of the filters that may have a key.
    pub(super) fn candidates(&self, key: MessageKey) -> impl Iterator<Item = usize> {
        let (place, bits) = (place_of(key), bits_of(key));
        self.groups.iter().enumerate().flat_map(move |(group, filters)| {
            filters.at(place).iter().enumerate().filter_map(move |(column, words)| {
                // Without a branch for each word, so that they are compared at once.
                let missing =
                    words.iter().zip(&bits).fold(0, |missing, (word, bit)| missing | (bit & !word));
                (missing == 0).then_some(group * ABREAST + column)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn a_filter_never_misses_a_key_and_seldom_has_one_too_many() {
        let mut random = StdRng::seed_from_u64(7);
        let mut keys =
            |count: usize| (0..count).map(|_| MessageKey(random.random())).collect::<Vec<_>>();
        let runs: Vec<Vec<MessageKey>> = vec![keys(700_000), keys(1_000), keys(10)];
        let mut filters = Filters::default();
        // Ten, so that a second group begins.
        for run in runs.iter().cycle().take(10) {
            assert!(filters.push(&build(run.iter().copied())));
        }
        assert!(!filters.push(&[0; 32]));
        for (number, run) in runs.iter().enumerate() {
            for key in run.iter().take(1_000) {
                let found: Vec<usize> = filters.candidates(*key).collect();
                for copy in (number..10).step_by(3) {
                    assert!(found.contains(&copy), "{key:?} of run {number} in {found:?}");
                }
            }
        }
        let strangers = keys(100_000);
        let wrong = strangers
            .iter()
            .filter(|key| filters.candidates(**key).any(|candidate| candidate == 0))
            .count();
        assert!(wrong < 50, "{wrong} of 100,000 keys are found where they are not");
    }
}
