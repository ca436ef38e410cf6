//! Which variant a subject gets: a hash, nothing else, so that every replica and
//! every SDK that speaks hash version 2 of GrowthBook gives the same answer
//! (`packages/sdk-js/src/util.ts`, <https://docs.growthbook.io/lib/build-your-own>).

/// The one version of the hash there is.
pub const HASH_VERSION: i32 = 2;

/// Number of buckets a subject may fall into.
const BUCKETS: u32 = 10_000;

/// Why a subject got what it got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The variant with this index.
    Variant(usize),
    /// The experiment does not cover the subject's bucket.
    NotCovered,
}

/// FNV-1a, 32 bits, over UTF-16 code units, as JavaScript strings are hashed
/// (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn fnv1a32(units: impl Iterator<Item = u16>) -> u32 {
    units.fold(0x811c_9dc5, |hash, unit| (hash ^ u32::from(unit)).wrapping_mul(0x0100_0193))
}

/// Place of a subject, from 0 up to but not including 1, in steps of 1/10,000:
/// FNV of the decimal digits of FNV of seed and subject.
pub fn place(seed: &str, subject: &str) -> f64 {
    let inner = fnv1a32(seed.encode_utf16().chain(subject.encode_utf16()));
    let outer = fnv1a32(inner.to_string().encode_utf16());
    f64::from(outer % BUCKETS) / f64::from(BUCKETS)
}

/// The variant of a subject. Variant `i` owns the places from the sum of the
/// weights before it on, for `coverage` times its own weight; a larger coverage
/// therefore adds subjects and moves none. Weights are divided by their sum.
pub fn assign(seed: &str, subject: &str, weights: &[f64], coverage: f64) -> Outcome {
    let place = place(seed, subject);
    let sum: f64 = weights.iter().sum();
    let mut start = 0.0;
    for (index, weight) in weights.iter().enumerate() {
        let share = weight / sum;
        if place >= start && place < start + coverage * share {
            return Outcome::Variant(index);
        }
        start += share;
    }
    Outcome::NotCovered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Outcome, assign, place};

    #[test]
    fn the_published_places_are_met() {
        // GrowthBook's SDK specification, `packages/sdk-js/test/cases.json`, hash version 2.
        for (seed, subject, expected) in [("seed", "a", 0.0505), ("foo", "ab", 0.2575)] {
            assert_eq!(place(seed, subject), expected, "{seed} {subject}");
        }
    }

    #[test]
    fn a_character_beyond_the_basic_plane_is_two_code_units() {
        let units: Vec<u16> = "😀".encode_utf16().collect();
        assert_eq!(units.len(), 2);
        assert_ne!(place("seed", "😀"), place("seed", "a"));
    }

    #[test]
    fn weights_are_kept_over_many_subjects() {
        let mut counts = [0_u32; 3];
        for subject in 0..100_000 {
            match assign("checkout", &format!("user-{subject}"), &[2.0, 1.0, 1.0], 1.0) {
                Outcome::Variant(index) => counts[index] += 1,
                Outcome::NotCovered => panic!("everybody is covered"),
            }
        }
        for (count, expected) in counts.into_iter().zip([50_000, 25_000, 25_000]) {
            assert!(count.abs_diff(expected) < 700, "{count} of {expected}");
        }
    }

    proptest! {
        #[test]
        fn more_coverage_adds_subjects_and_moves_none(
            subject in ".{1,20}", less in 0.01..1.0_f64, more in 0.0..1.0_f64,
        ) {
            let weights = [0.2, 0.5, 0.3];
            let few = assign("seed", &subject, &weights, less);
            let many = assign("seed", &subject, &weights, less + (1.0 - less) * more);
            if few != Outcome::NotCovered {
                prop_assert_eq!(few, many);
            }
        }

        #[test]
        fn only_the_ratio_of_weights_counts(subject in ".{1,20}", factor in 1..1000_u32) {
            let scaled = [0.25, 0.75].map(|weight| weight * f64::from(factor));
            prop_assert_eq!(
                assign("seed", &subject, &[0.25, 0.75], 1.0),
                assign("seed", &subject, &scaled, 1.0)
            );
        }
    }
}
