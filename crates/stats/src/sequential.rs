//! Intervals that stay valid however often one looks: the asymptotic confidence sequence.
//!
//! A fixed-horizon interval is only right at the horizon; looking early and stopping on success
//! breaks it. The interval here holds at all sample sizes at once, at the price of width
//! (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit theory and
//! asymptotic confidence sequences", Annals of Statistics; arXiv 2103.06476v7, eqs 9 and 134).

use serde::{Deserialize, Serialize};

use crate::{Confidence, Effect, InputError, Interval, Undefined, effect};

/// The two choices behind an always-valid interval. Both must be made before the data are seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ConfidenceSequence {
    confidence: Confidence,
    tightest_at: f64,
}

impl Default for ConfidenceSequence {
    /// 95 %, tightest at 5,000 observations.
    fn default() -> Self {
        Self { confidence: Confidence::P95, tightest_at: 5_000.0 }
    }
}

impl ConfidenceSequence {
    /// A sequence whose intervals are tightest at a total of `tightest_at` observations over both arms.
    ///
    /// # Errors
    /// [`InputError::OutOfRange`] unless `tightest_at` is positive and finite.
    pub fn new(confidence: Confidence, tightest_at: f64) -> Result<Self, InputError> {
        if !(tightest_at > 0.0 && tightest_at.is_finite()) {
            return Err(InputError::OutOfRange {
                name: "sample size of the tightest interval",
                value: tightest_at,
                range: "greater than 0",
            });
        }
        Ok(Self { confidence, tightest_at })
    }

    /// The mixture's spread: `rho = sqrt((-2 ln alpha + ln(1 - 2 ln alpha)) / N*)` (eq. 134, to first order).
    pub fn rho(&self) -> f64 {
        let log_alpha = self.confidence.alpha().ln();
        ((-2.0 * log_alpha + (1.0 - 2.0 * log_alpha).ln()) / self.tightest_at).sqrt()
    }

    /// Half the width of the interval of a mean of `n` observations with standard deviation `s`:
    /// `s sqrt(2 (n rho^2 + 1) / (n rho)^2 ln(sqrt(n rho^2 + 1) / alpha))` (eq. 9).
    fn half_width(&self, s: f64, n: f64) -> f64 {
        half_width(s, n, self.rho().powi(2), self.confidence.alpha())
    }

    /// Replaces the interval and p-value of an effect by always-valid ones.
    ///
    /// `observations` is the total over both arms. The p-value inverts the interval:
    /// `min(1, sqrt(n rho^2 + 1) exp(-rho^2 (estimate / se)^2 n / (2 (n rho^2 + 1))))`.
    ///
    /// # Errors
    /// [`Undefined::NoVariance`] or [`Undefined::Overflow`] for an effect without a usable standard error or observation.
    pub fn widen(&self, fixed: &Effect, observations: u64) -> Result<Effect, Undefined> {
        effect::check(fixed.estimate, fixed.standard_error)?;
        if observations == 0 {
            return Err(Undefined::NoVariance);
        }
        let n = observations as f64;
        let spread = n * self.rho().powi(2) + 1.0;
        let z = fixed.estimate / fixed.standard_error;
        // n rho^2 / (n rho^2 + 1), as the evidence is scaled.
        let shrink = (spread - 1.0) / spread;
        let p_value = (0.5 * spread.ln() - 0.5 * z * z * shrink).exp().min(1.0);
        let half_width = self.half_width(fixed.standard_error * n.sqrt(), n);
        Ok(Effect { interval: Interval::around(fixed.estimate, half_width), p_value, ..*fixed })
    }
}

fn half_width(s: f64, n: f64, rho_squared: f64, alpha: f64) -> f64 {
    let spread = n * rho_squared + 1.0;
    s * (2.0 * spread / (n * n * rho_squared) * (0.5 * spread.ln() - alpha.ln())).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_widths_equal_the_published_formula() {
        // n, s, rho^2, half width at alpha 0.05 (reference_stats/classical_reference.json).
        for (n, s, rho_squared, expected) in [
            (10.0, 1.0, 0.01, 2.587_557_187_7),
            (10.0, 0.3, 0.001, 2.335_655_394_97),
            (100.0, 1.0, 0.001, 0.818_257_428_906),
            (1_000.0, 1.0, 0.01, 0.096_064_019_288_7),
            (100_000.0, 0.3, 0.001, 0.003_105_058_103_02),
        ] {
            let actual = half_width(s, n, rho_squared, 0.05);
            assert!((actual / expected - 1.0).abs() < 1e-11, "{actual} is not {expected}");
        }
    }

    #[test]
    fn rho_of_the_default_is_the_published_one() {
        assert!((ConfidenceSequence::default().rho() - 0.039_840_066_8).abs() < 1e-10);
    }

    #[test]
    fn a_tuning_size_of_zero_is_refused() {
        assert!(ConfidenceSequence::new(Confidence::P95, 0.0).is_err());
    }

    proptest! {
        #[test]
        fn the_interval_is_wider_than_the_fixed_one_and_agrees_with_its_p_value(
            estimate in -1.0..1.0_f64, standard_error in 1e-3..1.0_f64, observations in 2u64..1_000_000,
        ) {
            let fixed = Effect::normal(estimate, standard_error, Confidence::P95).expect("positive error");
            let always = ConfidenceSequence::default().widen(&fixed, observations).expect("positive error");
            prop_assert!(always.interval.low < fixed.interval.low && fixed.interval.high < always.interval.high);
            prop_assert!(always.p_value >= fixed.p_value);
            if (always.p_value - 0.05).abs() > 1e-9 {
                prop_assert_eq!(always.interval.contains(0.0), always.p_value > 0.05);
            }
        }
    }
}
