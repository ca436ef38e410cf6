//! One proportion and the comparison of two: Wald, Wilson, Newcombe, chi-square, delta method.

use serde::{Deserialize, Serialize};

use crate::{
    Arm, Confidence, Effect, InputError, Interval, Undefined, distribution,
    effect::{self, Estimated},
};

/// Successes out of trials in one arm. Merging is addition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proportion {
    successes: u64,
    trials: u64,
}

impl Proportion {
    /// `successes` out of `trials`.
    ///
    /// # Errors
    /// [`InputError::MoreSuccessesThanTrials`].
    pub fn new(successes: u64, trials: u64) -> Result<Self, InputError> {
        if successes > trials {
            return Err(InputError::MoreSuccessesThanTrials { successes, trials });
        }
        Ok(Self { successes, trials })
    }

    /// Adds another part of the same arm.
    pub fn merge(&mut self, other: Self) {
        self.successes += other.successes;
        self.trials += other.trials;
    }

    /// Number of successes.
    pub fn successes(self) -> u64 {
        self.successes
    }

    /// Number of trials.
    pub fn trials(self) -> u64 {
        self.trials
    }

    /// Successes over trials; `None` without a trial.
    pub fn rate(self) -> Option<f64> {
        (self.trials > 0).then(|| self.successes as f64 / self.trials as f64)
    }

    /// Wilson's score interval without continuity correction (Wilson 1927), inside [0, 1]; `None` without a trial.
    pub fn wilson(self, confidence: Confidence) -> Option<Interval> {
        let rate = self.rate()?;
        let n = self.trials as f64;
        let z = confidence.z();
        let shrink = 1.0 + z * z / n;
        let centre = (rate + z * z / (2.0 * n)) / shrink;
        let half_width = z * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt() / shrink;
        Some(Interval {
            // At the edges the formula gives 0 or 1 exactly, up to rounding.
            low: if self.successes == 0 { 0.0 } else { (centre - half_width).max(0.0) },
            high: if self.successes == self.trials { 1.0 } else { (centre + half_width).min(1.0) },
        })
    }

    /// The rate and its variance `p (1 - p) / n`.
    fn estimated(self, arm: Arm) -> Result<Estimated, Undefined> {
        let rate = self.rate().ok_or(Undefined::TooFewObservations { arm, needed: 1, found: 0 })?;
        Ok(Estimated { value: rate, variance: rate * (1.0 - rate) / self.trials as f64 })
    }
}

/// A z statistic and its two-sided p-value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ZTest {
    /// Standard error in the denominator.
    pub standard_error: f64,
    /// Difference over standard error.
    pub z: f64,
    /// Two-sided p-value.
    pub p_value: f64,
}

impl ZTest {
    fn new(difference: f64, standard_error: f64) -> Result<Self, Undefined> {
        effect::check(difference, standard_error)?;
        let z = difference / standard_error;
        Ok(Self { standard_error, z, p_value: distribution::normal_two_sided(z) })
    }
}

/// Everything said about two proportions; `treatment - control` throughout.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Difference of the rates.
    pub difference: f64,
    /// The default answer: Wald interval (unpooled standard error), p-value of the pooled z test.
    pub absolute: Result<Effect, Undefined>,
    /// Relative lift by the delta method; interval and p-value belong to the lift itself.
    pub relative: Result<Effect, Undefined>,
    /// z test with the pooled rate, which is what "no difference" implies. `z^2` is the chi-square statistic.
    pub pooled: Result<ZTest, Undefined>,
    /// z test with the Wald standard error: rejects exactly when the Wald interval excludes zero.
    pub unpooled: Result<ZTest, Undefined>,
    /// Newcombe's hybrid score interval, defined even when no arm varies.
    pub newcombe: Interval,
}

/// Compares two proportions.
///
/// - Wald: `d ± z sqrt(p_c (1 - p_c) / n_c + p_t (1 - p_t) / n_t)`.
/// - Pooled z: standard error `sqrt(p (1 - p) (1/n_c + 1/n_t))` with `p` over both arms.
/// - Newcombe: method 10 without continuity correction (Newcombe 1998, "Interval estimation for the
///   difference between independent proportions", Statistics in Medicine 17).
///
/// # Errors
/// [`Undefined::TooFewObservations`] if an arm is empty. Parts that do not exist are errors of their own field.
pub fn compare(
    control: Proportion,
    treatment: Proportion,
    confidence: Confidence,
) -> Result<Comparison, Undefined> {
    let c = control.estimated(Arm::Control)?;
    let t = treatment.estimated(Arm::Treatment)?;
    let difference = t.value - c.value;

    let mut both = control;
    both.merge(treatment);
    let overall = both.successes as f64 / both.trials as f64;
    let pooled_variance =
        overall * (1.0 - overall) * (1.0 / control.trials as f64 + 1.0 / treatment.trials as f64);
    let pooled = ZTest::new(difference, pooled_variance.sqrt());
    let unpooled = ZTest::new(difference, (c.variance + t.variance).sqrt());

    let absolute = Effect::normal(difference, (c.variance + t.variance).sqrt(), confidence)
        .and_then(|wald| Ok(Effect { p_value: pooled?.p_value, ..wald }));
    let relative = effect::relative(c, t, confidence);
    let newcombe = newcombe(control, treatment, confidence)?;
    Ok(Comparison { difference, absolute, relative, pooled, unpooled, newcombe })
}

/// Newcombe's hybrid score interval of `treatment - control`.
fn newcombe(
    control: Proportion,
    treatment: Proportion,
    confidence: Confidence,
) -> Result<Interval, Undefined> {
    let c = control.estimated(Arm::Control)?.value;
    let t = treatment.estimated(Arm::Treatment)?.value;
    let empty = |arm| Undefined::TooFewObservations { arm, needed: 1, found: 0 };
    let around_c = control.wilson(confidence).ok_or_else(|| empty(Arm::Control))?;
    let around_t = treatment.wilson(confidence).ok_or_else(|| empty(Arm::Treatment))?;
    let difference = t - c;
    Ok(Interval {
        low: difference - (t - around_t.low).hypot(around_c.high - c),
        high: difference + (around_t.high - t).hypot(c - around_c.low),
    })
}

/// Whether to subtract half a unit from every deviation of a 2x2 table (Yates 1934).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// Pearson's statistic as it is.
    Uncorrected,
    /// Yates's correction: conservative in small samples.
    Yates,
}

/// A chi-square statistic with its upper-tail p-value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChiSquare {
    /// The statistic.
    pub chi2: f64,
    /// Degrees of freedom.
    pub df: u32,
    /// Upper-tail p-value.
    pub p_value: f64,
}

/// Pearson's chi-square test of independence of the 2x2 table of two proportions:
/// `n (|ad - bc| - correction)^2 / (row sums * column sums)`, one degree of freedom.
///
/// # Errors
/// [`Undefined::TooFewObservations`] for an empty arm, [`Undefined::NoVariance`] if all trials ended alike.
pub fn chi_square(
    control: Proportion,
    treatment: Proportion,
    continuity: Continuity,
) -> Result<ChiSquare, Undefined> {
    control.estimated(Arm::Control)?;
    treatment.estimated(Arm::Treatment)?;
    let (n_c, n_t) = (control.trials as f64, treatment.trials as f64);
    let (yes_c, yes_t) = (control.successes as f64, treatment.successes as f64);
    let total = n_c + n_t;
    let yes = yes_c + yes_t;
    let no = total - yes;
    if yes == 0.0 || no == 0.0 {
        return Err(Undefined::NoVariance);
    }
    // Divided by the margins early: the textbook product of four counts leaves 53 bits at a few thousand trials.
    let deviation = (yes_t - n_t * (yes / total)).abs();
    let corrected = match continuity {
        Continuity::Uncorrected => deviation,
        Continuity::Yates => (deviation - 0.5).max(0.0),
    };
    let chi2 = corrected * corrected * (total / n_c) * (total / n_t) * (total / yes) / no;
    Ok(ChiSquare { chi2, df: 1, p_value: distribution::chi_square_upper_tail(chi2, 1) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proportion(successes: u64, trials: u64) -> Proportion {
        Proportion::new(successes, trials).expect("a valid proportion")
    }

    #[test]
    fn more_successes_than_trials_are_refused() {
        let error = Proportion::new(3, 2).expect_err("3 of 2");
        assert_eq!(
            error.to_string(),
            "3 successes out of 2 trials: there cannot be more successes than trials"
        );
    }

    #[test]
    fn an_empty_arm_names_itself() {
        let error = compare(proportion(1, 2), proportion(0, 0), Confidence::P95)
            .expect_err("empty treatment");
        assert_eq!(
            error,
            Undefined::TooFewObservations { arm: Arm::Treatment, needed: 1, found: 0 }
        );
    }

    #[test]
    fn arms_without_a_success_have_a_newcombe_interval_and_no_test() {
        let comparison = compare(proportion(0, 10), proportion(0, 20), Confidence::P95)
            .expect("both arms observed");
        assert_eq!(comparison.absolute, Err(Undefined::NoVariance));
        assert_eq!(comparison.pooled, Err(Undefined::NoVariance));
        assert_eq!(comparison.relative, Err(Undefined::ZeroBaseline));
        assert!(comparison.newcombe.contains(0.0));
    }

    #[test]
    fn opposite_certainties_have_a_pooled_test_but_no_wald_interval() {
        let comparison = compare(proportion(0, 10), proportion(10, 10), Confidence::P95)
            .expect("both arms observed");
        assert_eq!(comparison.absolute, Err(Undefined::NoVariance));
        assert!(comparison.pooled.expect("the pooled rate varies").p_value < 1e-4);
    }

    #[test]
    fn chi_square_of_a_constant_outcome_is_undefined() {
        let result = chi_square(proportion(5, 5), proportion(7, 7), Continuity::Uncorrected);
        assert_eq!(result, Err(Undefined::NoVariance));
    }

    proptest! {
        #[test]
        fn chi_square_is_the_square_of_the_pooled_z(
            n_c in 1u64..100_000, n_t in 1u64..100_000, share_c in 0.0..1.0_f64, share_t in 0.0..1.0_f64,
        ) {
            let control = proportion((n_c as f64 * share_c) as u64, n_c);
            let treatment = proportion((n_t as f64 * share_t) as u64, n_t);
            let comparison = compare(control, treatment, Confidence::P95).expect("both arms observed");
            match (comparison.pooled, chi_square(control, treatment, Continuity::Uncorrected)) {
                (Ok(test), Ok(square)) => prop_assert!((square.chi2 - test.z * test.z).abs() <= 1e-6 * (1e-6 + square.chi2)),
                (pooled, square) => prop_assert_eq!(pooled.err(), square.err()),
            }
        }

        #[test]
        fn intervals_contain_their_estimate_and_swap_with_the_arms(
            n_c in 1u64..5_000, n_t in 1u64..5_000, share_c in 0.0..1.0_f64, share_t in 0.0..1.0_f64,
        ) {
            let control = proportion((n_c as f64 * share_c) as u64, n_c);
            let treatment = proportion((n_t as f64 * share_t) as u64, n_t);
            let forth = compare(control, treatment, Confidence::P95).expect("both arms observed");
            let back = compare(treatment, control, Confidence::P95).expect("both arms observed");
            prop_assert!(forth.newcombe.contains(forth.difference));
            prop_assert!((forth.newcombe.low + back.newcombe.high).abs() < 1e-12);
            let wilson = control.wilson(Confidence::P95).expect("trials");
            prop_assert!(0.0 <= wilson.low && wilson.high <= 1.0 && wilson.contains(control.rate().expect("trials")));
        }
    }
}
