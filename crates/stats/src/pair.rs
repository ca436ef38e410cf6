//! Moments of two variables observed on the same units: what a ratio metric needs.

use serde::{Deserialize, Serialize};

use crate::{InputError, Moments, moments};

/// Sufficient statistics of a ratio metric as plain sums: `y` is the numerator, `x` the denominator, one pair a unit.
///
/// Merging is addition. Convert to [`PairMoments`] to compute with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RatioStats {
    /// Number of units.
    pub n: u64,
    /// Sum of the numerators.
    pub sum_y: f64,
    /// Sum of the squared numerators.
    pub sum_yy: f64,
    /// Sum of the denominators.
    pub sum_x: f64,
    /// Sum of the squared denominators.
    pub sum_xx: f64,
    /// Sum of the products.
    pub sum_xy: f64,
}

impl RatioStats {
    /// Adds another part of the same sample.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.sum_y += other.sum_y;
        self.sum_yy += other.sum_yy;
        self.sum_x += other.sum_x;
        self.sum_xx += other.sum_xx;
        self.sum_xy += other.sum_xy;
    }
}

/// Means, spreads and co-moment of pairs `(y, x)`, updated and merged without cancellation
/// (Pébay 2008, "Formulas for Robust, One-Pass Parallel Computation of Covariances", SAND2008-6212).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PairMoments {
    n: u64,
    mean_y: f64,
    mean_x: f64,
    m2_y: f64,
    m2_x: f64,
    co_moment: f64,
}

impl PairMoments {
    /// The empty sample.
    pub const EMPTY: Self =
        Self { n: 0, mean_y: 0.0, mean_x: 0.0, m2_y: 0.0, m2_x: 0.0, co_moment: 0.0 };

    /// Adds one unit with numerator `y` and denominator `x`.
    pub fn push(&mut self, y: f64, x: f64) {
        self.n += 1;
        let n = self.n as f64;
        let deviation_y = y - self.mean_y;
        let deviation_x = x - self.mean_x;
        self.mean_y += deviation_y / n;
        self.mean_x += deviation_x / n;
        self.m2_y += deviation_y * (y - self.mean_y);
        self.m2_x += deviation_x * (x - self.mean_x);
        self.co_moment += deviation_y * (x - self.mean_x);
    }

    /// Adds another part of the same sample.
    pub fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        if self.n == 0 {
            *self = *other;
            return;
        }
        let total = (self.n + other.n) as f64;
        let share = other.n as f64 / total;
        let weight = self.n as f64 * share;
        let shift_y = other.mean_y - self.mean_y;
        let shift_x = other.mean_x - self.mean_x;
        self.m2_y += other.m2_y + shift_y * shift_y * weight;
        self.m2_x += other.m2_x + shift_x * shift_x * weight;
        self.co_moment += other.co_moment + shift_y * shift_x * weight;
        self.mean_y += shift_y * share;
        self.mean_x += shift_x * share;
        self.n += other.n;
    }

    /// Number of units.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The numerator alone.
    pub fn y(&self) -> Moments {
        Moments::from_raw(self.n, self.mean_y, self.m2_y)
    }

    /// The denominator alone.
    pub fn x(&self) -> Moments {
        Moments::from_raw(self.n, self.mean_x, self.m2_x)
    }

    /// Sample covariance (divisor `n - 1`); `None` for fewer than two units.
    pub fn covariance(&self) -> Option<f64> {
        (self.n > 1).then(|| self.co_moment / (self.n - 1) as f64)
    }

    /// Moments of `y - slope * (x - centre)`, the residual of a line through the pairs.
    pub(crate) fn residual(&self, slope: f64, centre: f64) -> Moments {
        let m2 = self.m2_y - 2.0 * slope * self.co_moment + slope * slope * self.m2_x;
        Moments::from_raw(self.n, self.mean_y - slope * (self.mean_x - centre), m2.max(0.0))
    }
}

impl TryFrom<RatioStats> for PairMoments {
    type Error = InputError;

    /// Reads sums. What rounding alone can explain of a negative variance counts as zero.
    fn try_from(sums: RatioStats) -> Result<Self, InputError> {
        moments::finite("sum of products", sums.sum_xy)?;
        let m2_y = moments::centred("the numerator", sums.n, sums.sum_y, sums.sum_yy)?;
        let m2_x = moments::centred("the denominator", sums.n, sums.sum_x, sums.sum_xx)?;
        if sums.n == 0 {
            return Ok(Self::EMPTY);
        }
        let n = sums.n as f64;
        let co_moment = if sums.n == 1 { 0.0 } else { sums.sum_xy - sums.sum_y / n * sums.sum_x };
        let limit = (m2_y * m2_x).sqrt();
        let rounding = 1e-9 * (sums.sum_yy * sums.sum_xx).sqrt();
        if co_moment.abs() > limit + rounding {
            return Err(InputError::OutOfRange {
                name: "sum of products",
                value: sums.sum_xy,
                range: "within what the two variances allow",
            });
        }
        Ok(Self {
            n: sums.n,
            mean_y: sums.sum_y / n,
            mean_x: sums.sum_x / n,
            m2_y,
            m2_x,
            co_moment,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn collect(pairs: &[(f64, f64)]) -> PairMoments {
        let mut moments = PairMoments::EMPTY;
        pairs.iter().for_each(|&(y, x)| moments.push(y, x));
        moments
    }

    #[test]
    fn covariance_of_a_line_is_slope_times_variance() {
        let moments = collect(&[(2.0, 1.0), (4.0, 2.0), (6.0, 3.0), (8.0, 4.0)]);
        let variance = moments.x().variance().expect("four units");
        assert_eq!(moments.covariance(), Some(2.0 * variance));
        assert_eq!(moments.residual(2.0, 0.0).variance(), Some(0.0));
    }

    #[test]
    fn a_covariance_beyond_the_variances_is_refused() {
        let sums =
            RatioStats { n: 2, sum_y: 0.0, sum_yy: 2.0, sum_x: 0.0, sum_xx: 2.0, sum_xy: 5.0 };
        assert!(matches!(PairMoments::try_from(sums), Err(InputError::OutOfRange { .. })));
    }

    proptest! {
        #[test]
        fn merging_parts_equals_the_whole(
            pairs in proptest::collection::vec((-1e4..1e4_f64, -1e4..1e4_f64), 2..60),
            cut in 0usize..60,
        ) {
            let cut = cut.min(pairs.len());
            let whole = collect(&pairs);
            let mut merged = collect(&pairs[..cut]);
            merged.merge(&collect(&pairs[cut..]));
            let scale = 1e-9 * (1.0 + whole.m2_x.max(whole.m2_y));
            prop_assert_eq!(merged.n(), whole.n());
            prop_assert!((merged.co_moment - whole.co_moment).abs() <= scale);
            prop_assert!((merged.m2_y - whole.m2_y).abs() <= scale);
            prop_assert!((merged.m2_x - whole.m2_x).abs() <= scale);
        }
    }
}
