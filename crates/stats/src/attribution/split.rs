//! Contributions of segments that sum exactly to the change.

use serde::{Deserialize, Serialize};

/// A sum before and after.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Additive {
    /// In the period compared with.
    pub before: f64,
    /// In the period asked about.
    pub after: f64,
}

/// What is above and below the line of a ratio, before and after.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RateMix {
    /// Above the line.
    pub numerator: Additive,
    /// Below the line.
    pub denominator: Additive,
}

impl Additive {
    /// After less before.
    pub fn change(self) -> f64 {
        self.after - self.before
    }

    pub(super) fn add(&mut self, other: Self) {
        self.before += other.before;
        self.after += other.after;
    }
}

impl RateMix {
    pub(super) fn add(&mut self, other: Self) {
        self.numerator.add(other.numerator);
        self.denominator.add(other.denominator);
    }

    /// Before and after; `None` where the denominator is zero.
    pub fn rates(self) -> (Option<f64>, Option<f64>) {
        let rate = |numerator: f64, denominator: f64| {
            (denominator != 0.0).then(|| numerator / denominator)
        };
        (
            rate(self.numerator.before, self.denominator.before),
            rate(self.numerator.after, self.denominator.after),
        )
    }
}

/// What one segment contributed to the change of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// In total: `rate + mix`.
    pub total: f64,
    /// Because the segment's own number changed.
    pub rate: f64,
    /// Because the segment became a larger or smaller part of the whole; 0 for sums.
    pub mix: f64,
}

/// The change of a sum is the sum of the changes.
pub fn additive(segments: &[Additive]) -> Vec<Contribution> {
    segments
        .iter()
        .map(|segment| Contribution { total: segment.change(), rate: segment.change(), mix: 0.0 })
        .collect()
}

/// Splits the change of a ratio of sums into what the segments' own ratios and what their weights did (Kitagawa 1955,
/// "Components of a Difference Between Two Rates"): with weight `w` (share of the denominator) and ratio `r`,
///
/// - rate: `(w_0 + w_1) / 2 * (r_1 - r_0)`,
/// - mix: `((r_0 + r_1) / 2 - (R_0 + R_1) / 2) * (w_1 - w_0)`, where `R` is the whole.
///
/// Taking the whole off in the second line changes no sum, as the weights always sum to 1, and gives a segment that
/// grew a positive mix only when its ratio is above that of the whole. All contributions together are the change. A
/// segment that exists in one period only has kept the ratio it has, so it contributes by mix alone.
///
/// `None` when the whole has no denominator in either period.
pub fn rate_and_mix(segments: &[RateMix]) -> Option<Vec<Contribution>> {
    let mut whole = RateMix::default();
    segments.iter().for_each(|segment| whole.add(*segment));
    let (Some(whole_before), Some(whole_after)) = whole.rates() else { return None };
    let middle = 0.5 * (whole_before + whole_after);
    Some(
        segments
            .iter()
            .map(|segment| {
                let weight_before = segment.denominator.before / whole.denominator.before;
                let weight_after = segment.denominator.after / whole.denominator.after;
                let (before, after) = match segment.rates() {
                    (Some(before), Some(after)) => (before, after),
                    (Some(only), None) | (None, Some(only)) => (only, only),
                    (None, None) => (middle, middle),
                };
                let rate = 0.5 * (weight_before + weight_after) * (after - before);
                let mix = (0.5 * (before + after) - middle) * (weight_after - weight_before);
                Contribution { total: rate + mix, rate, mix }
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ratio(before: (f64, f64), after: (f64, f64)) -> RateMix {
        RateMix {
            numerator: Additive { before: before.0, after: after.0 },
            denominator: Additive { before: before.1, after: after.1 },
        }
    }

    #[test]
    fn simpsons_paradox_is_all_mix() {
        // Both ratios stay, the weight moves from the good to the bad segment.
        let good = ratio((90.0, 100.0), (9.0, 10.0));
        let bad = ratio((1.0, 10.0), (10.0, 100.0));
        let split = rate_and_mix(&[good, bad]).expect("denominators");
        assert!(split.iter().all(|part| part.rate.abs() < 1e-15));
        assert!(split.iter().all(|part| part.mix < 0.0), "{split:?}");
    }

    #[test]
    fn a_new_segment_contributes_by_mix_alone() {
        let old = ratio((10.0, 100.0), (10.0, 100.0));
        let new = ratio((0.0, 0.0), (50.0, 100.0));
        let split = rate_and_mix(&[old, new]).expect("denominators");
        assert_eq!(split[1].rate, 0.0);
        assert!((split[0].total + split[1].total - 0.2).abs() < 1e-15);
        assert_eq!(rate_and_mix(&[ratio((0.0, 0.0), (1.0, 1.0))]), None);
    }

    proptest! {
        #[test]
        fn contributions_sum_to_the_change(
            segments in proptest::collection::vec(
                (0.0..100.0_f64, 1.0..100.0_f64, 0.0..100.0_f64, 0.0..100.0_f64), 1..20),
        ) {
            let segments: Vec<RateMix> = segments
                .into_iter()
                .map(|(a, b, c, d)| {
                    let d = d.floor();
                    ratio((a, b), (if d == 0.0 { 0.0 } else { c }, d))
                })
                .collect();
            let mut whole = RateMix::default();
            segments.iter().for_each(|segment| whole.add(*segment));
            if let (Some(before), Some(after)) = whole.rates() {
                let split = rate_and_mix(&segments).expect("denominators");
                let sum: f64 = split.iter().map(|part| part.total).sum();
                prop_assert!((sum - (after - before)).abs() < 1e-9 * (1.0 + before.abs() + after.abs()));
            }
        }
    }
}
