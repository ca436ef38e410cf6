//! Count, mean and spread of one variable: built from a stream, merged from parts, or read from sums.

use serde::{Deserialize, Serialize};

use crate::InputError;

/// Sufficient statistics of a sample as plain sums, the form in which they travel between services.
///
/// Merging is addition. Convert to [`Moments`] to compute with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SampleStats {
    /// Number of observations.
    pub n: u64,
    /// Sum of the values.
    pub sum: f64,
    /// Sum of the squared values.
    pub sum_sq: f64,
}

impl SampleStats {
    /// Adds another part of the same sample.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.sum += other.sum;
        self.sum_sq += other.sum_sq;
    }
}

/// Count, mean and sum of squared deviations of a sample.
///
/// Kept in this form because `sum_sq - sum^2 / n` cancels: for values around 1e9 with a spread of 1
/// it has no correct digit left. Updating is Welford's method (1962), merging is Chan, Golub and
/// LeVeque's (1983).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    n: u64,
    mean: f64,
    m2: f64,
}

impl Moments {
    /// The empty sample.
    pub const EMPTY: Self = Self { n: 0, mean: 0.0, m2: 0.0 };

    /// A sample described by its size, mean and sum of squared deviations from the mean.
    ///
    /// # Errors
    /// [`InputError`] if a number is not finite, `m2` is negative, or a sample of at most one value deviates from itself.
    pub fn from_parts(n: u64, mean: f64, m2: f64) -> Result<Self, InputError> {
        finite("mean", mean)?;
        finite("m2", m2)?;
        if m2 < 0.0 || (n <= 1 && m2 != 0.0) || (n == 0 && mean != 0.0) {
            return Err(InputError::OutOfRange {
                name: "m2",
                value: m2,
                range: "at least 0, and 0 for fewer than two observations",
            });
        }
        Ok(Self { n, mean, m2 })
    }

    /// A sample described by its size, mean and variance (divisor `n - 1`), as published tables give it.
    ///
    /// # Errors
    /// As [`Moments::from_parts`].
    pub fn from_mean_and_variance(n: u64, mean: f64, variance: f64) -> Result<Self, InputError> {
        Self::from_parts(n, mean, variance * n.saturating_sub(1) as f64)
    }

    /// Parts already known to be consistent.
    pub(crate) fn from_raw(n: u64, mean: f64, m2: f64) -> Self {
        Self { n, mean, m2 }
    }

    /// Adds one observation. A value that is not finite makes every later answer [`crate::Undefined::Overflow`].
    pub fn push(&mut self, value: f64) {
        self.n += 1;
        let deviation = value - self.mean;
        self.mean += deviation / self.n as f64;
        self.m2 += deviation * (value - self.mean);
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
        let shift = other.mean - self.mean;
        let share = other.n as f64 / total;
        self.m2 += other.m2 + shift * shift * self.n as f64 * share;
        self.mean += shift * share;
        self.n += other.n;
    }

    /// Number of observations.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Arithmetic mean; `None` for an empty sample.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then_some(self.mean)
    }

    /// Sum of the values, 0 for an empty sample.
    pub fn sum(&self) -> f64 {
        self.mean * self.n as f64
    }

    /// Sum of squared deviations from the mean.
    pub fn m2(&self) -> f64 {
        self.m2
    }

    /// Sample variance (divisor `n - 1`); `None` for fewer than two observations.
    pub fn variance(&self) -> Option<f64> {
        (self.n > 1).then(|| self.m2 / (self.n - 1) as f64)
    }

    /// Sample standard deviation; `None` for fewer than two observations.
    pub fn standard_deviation(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// The same sample as sums.
    pub fn to_sums(&self) -> SampleStats {
        SampleStats {
            n: self.n,
            sum: self.sum(),
            sum_sq: self.m2 + self.mean * self.mean * self.n as f64,
        }
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<Values: IntoIterator<Item = f64>>(values: Values) -> Self {
        let mut moments = Self::EMPTY;
        values.into_iter().for_each(|value| moments.push(value));
        moments
    }
}

impl TryFrom<SampleStats> for Moments {
    type Error = InputError;

    /// Reads sums. What rounding alone can explain of a negative variance counts as zero.
    fn try_from(sums: SampleStats) -> Result<Self, InputError> {
        let m2 = centred("the sample", sums.n, sums.sum, sums.sum_sq)?;
        Ok(Self { n: sums.n, mean: if sums.n == 0 { 0.0 } else { sums.sum / sums.n as f64 }, m2 })
    }
}

pub(crate) fn finite(name: &'static str, value: f64) -> Result<(), InputError> {
    if value.is_finite() { Ok(()) } else { Err(InputError::NotFinite { name, value }) }
}

/// Sum of squared deviations from sums, zero where only rounding is left, an error where rounding cannot explain it.
pub(crate) fn centred(
    name: &'static str,
    n: u64,
    sum: f64,
    sum_sq: f64,
) -> Result<f64, InputError> {
    finite("sum", sum)?;
    finite("sum of squares", sum_sq)?;
    let impossible = InputError::ImpossibleSums { name, n, sum, sum_sq };
    if n == 0 {
        return if sum == 0.0 && sum_sq == 0.0 { Ok(0.0) } else { Err(impossible) };
    }
    let m2 = sum_sq - sum / n as f64 * sum;
    let rounding = 1e-9 * sum_sq.abs();
    if n == 1 {
        return if m2.abs() <= rounding { Ok(0.0) } else { Err(impossible) };
    }
    if m2 < -rounding { Err(impossible) } else { Ok(m2.max(0.0)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_spread_around_a_large_mean_survives() {
        let moments: Moments = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0].into_iter().collect();
        assert_eq!(moments.mean(), Some(1e9 + 10.0));
        assert_eq!(moments.variance(), Some(30.0));
    }

    #[test]
    fn an_empty_sample_has_no_mean_and_one_value_no_variance() {
        assert_eq!(Moments::EMPTY.mean(), None);
        let one: Moments = [3.0].into_iter().collect();
        assert_eq!((one.mean(), one.variance()), (Some(3.0), None));
    }

    #[test]
    fn sums_that_no_sample_can_have_are_refused() {
        let impossible = SampleStats { n: 10, sum: 100.0, sum_sq: 10.0 };
        assert!(matches!(
            Moments::try_from(impossible),
            Err(InputError::ImpossibleSums { n: 10, .. })
        ));
        let nothing = SampleStats { n: 0, sum: 1.0, sum_sq: 1.0 };
        assert!(matches!(Moments::try_from(nothing), Err(InputError::ImpossibleSums { n: 0, .. })));
        let broken = SampleStats { n: 1, sum: f64::NAN, sum_sq: 1.0 };
        assert!(matches!(Moments::try_from(broken), Err(InputError::NotFinite { .. })));
    }

    #[test]
    fn rounding_does_not_turn_a_constant_sample_into_an_error() {
        let sums = SampleStats { n: 3, sum: 0.3, sum_sq: 0.03 };
        let moments = Moments::try_from(sums).expect("a constant sample");
        assert!(moments.variance().expect("three values") < 1e-17);
    }

    proptest! {
        #[test]
        fn merging_parts_equals_the_whole(
            values in proptest::collection::vec(-1e6..1e6_f64, 0..60),
            cut in 0usize..60,
        ) {
            let cut = cut.min(values.len());
            let whole: Moments = values.iter().copied().collect();
            let mut merged: Moments = values[..cut].iter().copied().collect();
            merged.merge(&values[cut..].iter().copied().collect());
            prop_assert_eq!(merged.n(), whole.n());
            prop_assert!((merged.mean - whole.mean).abs() <= 1e-9 * (1.0 + whole.mean.abs()));
            prop_assert!((merged.m2 - whole.m2).abs() <= 1e-9 * (1.0 + whole.m2));
        }

        #[test]
        fn sums_and_moments_describe_the_same_sample(values in proptest::collection::vec(-1e3..1e3_f64, 2..60)) {
            let moments: Moments = values.iter().copied().collect();
            let back = Moments::try_from(moments.to_sums()).expect("sums of a real sample");
            prop_assert!((back.mean - moments.mean).abs() <= 1e-9 * (1.0 + moments.mean.abs()));
            prop_assert!((back.m2 - moments.m2).abs() <= 1e-7 * (1.0 + moments.to_sums().sum_sq));
        }
    }
}
