//! Comparison of two means: Welch's t, the relative lift, and both after adjustment for a covariate (CUPED).

use crate::{
    Arm, Confidence, Effect, Interval, Moments, PairMoments, Undefined, distribution,
    effect::{self, Estimated},
};

/// Everything said about two means; `treatment - control` throughout.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Difference of the means.
    pub difference: f64,
    /// Welch's unequal-variances t test: t interval and t p-value.
    pub absolute: Result<Effect, Undefined>,
    /// The test statistic; `None` when `absolute` does not exist.
    pub t: Option<f64>,
    /// Welch-Satterthwaite degrees of freedom; `None` when `absolute` does not exist.
    pub df: Option<f64>,
    /// Relative lift by the delta method with normal interval and p-value.
    pub relative: Result<Effect, Undefined>,
}

/// Compares two means by Welch's t test (Welch 1947): standard error `sqrt(v_c + v_t)` with
/// `v = s^2 / n`, degrees of freedom `(v_c + v_t)^2 / (v_c^2 / (n_c - 1) + v_t^2 / (n_t - 1))`
/// (Satterthwaite 1946).
///
/// # Errors
/// [`Undefined::TooFewObservations`] for an arm of fewer than two, [`Undefined::Overflow`] for moments that are not finite.
/// Parts that do not exist are errors of their own field.
pub fn compare(
    control: &Moments,
    treatment: &Moments,
    confidence: Confidence,
) -> Result<Comparison, Undefined> {
    let c = estimated(Arm::Control, control)?;
    let t = estimated(Arm::Treatment, treatment)?;
    let difference = t.value - c.value;
    if !difference.is_finite() {
        return Err(Undefined::Overflow);
    }
    let relative = effect::relative(c, t, confidence);
    let variance = c.variance + t.variance;
    let standard_error = variance.sqrt();
    if let Err(reason) = effect::check(difference, standard_error) {
        return Ok(Comparison { difference, absolute: Err(reason), t: None, df: None, relative });
    }
    // Shares instead of squares of variances: those underflow for values around 1e-80.
    let (share_c, share_t) = (c.variance / variance, t.variance / variance);
    let df = 1.0
        / (share_c * share_c / (control.n() - 1) as f64
            + share_t * share_t / (treatment.n() - 1) as f64);
    let statistic = difference / standard_error;
    let absolute = Effect {
        estimate: difference,
        standard_error,
        interval: Interval::around(difference, confidence.t(df) * standard_error),
        p_value: distribution::t_two_sided(statistic, df),
    };
    Ok(Comparison {
        difference,
        absolute: Ok(absolute),
        t: Some(statistic),
        df: Some(df),
        relative,
    })
}

/// Two arms after the part that a covariate from before the experiment explains has been taken out.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjusted {
    /// The slope taken out, from both arms together.
    pub theta: f64,
    /// The adjusted control arm.
    pub control: Moments,
    /// The adjusted treatment arm.
    pub treatment: Moments,
}

/// CUPED: replaces `y` by `y - theta (x - mean(x))` with `theta = cov(y, x) / var(x)` over both arms
/// (Deng, Xu, Kohavi & Walker 2013, "Improving the Sensitivity of Online Controlled Experiments by
/// Utilizing Pre-Experiment Data"). Compare the result with [`compare`].
///
/// `y` of the pairs is the metric, `x` the covariate, which must not depend on the treatment.
///
/// # Errors
/// [`Undefined::TooFewObservations`] for an arm of fewer than two, [`Undefined::NoVariance`] if the covariate is constant.
pub fn adjust(control: &PairMoments, treatment: &PairMoments) -> Result<Adjusted, Undefined> {
    estimated(Arm::Control, &control.y())?;
    estimated(Arm::Treatment, &treatment.y())?;
    let mut both = *control;
    both.merge(treatment);
    let covariate = both.x();
    let (Some(covariance), Some(variance), Some(centre)) =
        (both.covariance(), covariate.variance(), covariate.mean())
    else {
        return Err(Undefined::NoVariance);
    };
    if variance <= 0.0 {
        return Err(Undefined::NoVariance);
    }
    let theta = covariance / variance;
    if !theta.is_finite() {
        return Err(Undefined::Overflow);
    }
    Ok(Adjusted {
        theta,
        control: control.residual(theta, centre),
        treatment: treatment.residual(theta, centre),
    })
}

/// The mean and its variance `s^2 / n`.
fn estimated(arm: Arm, moments: &Moments) -> Result<Estimated, Undefined> {
    match (moments.mean(), moments.variance()) {
        (Some(value), Some(variance)) => {
            Ok(Estimated { value, variance: variance / moments.n() as f64 })
        }
        _ => Err(Undefined::TooFewObservations { arm, needed: 2, found: moments.n() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(values: &[f64]) -> Moments {
        values.iter().copied().collect()
    }

    #[test]
    fn an_arm_of_one_is_too_small() {
        let error = compare(&sample(&[1.0]), &sample(&[1.0, 2.0]), Confidence::P95)
            .expect_err("one control");
        assert_eq!(error.to_string(), "the control arm has 1 observations, at least 2 are needed");
    }

    #[test]
    fn constant_arms_have_a_difference_but_no_test() {
        let comparison =
            compare(&sample(&[2.0, 2.0]), &sample(&[3.0, 3.0]), Confidence::P95).expect("two each");
        assert_eq!(comparison.difference, 1.0);
        assert_eq!(comparison.absolute, Err(Undefined::NoVariance));
        assert_eq!(comparison.df, None);
    }

    #[test]
    fn a_control_mean_of_zero_has_no_relative_lift() {
        let comparison = compare(&sample(&[-1.0, 1.0]), &sample(&[3.0, 4.0]), Confidence::P95)
            .expect("two each");
        assert_eq!(comparison.relative, Err(Undefined::ZeroBaseline));
        assert!(comparison.absolute.is_ok());
    }

    #[test]
    fn a_value_that_is_not_finite_is_reported_and_does_not_leak() {
        let comparison =
            compare(&sample(&[1.0, f64::INFINITY]), &sample(&[1.0, 2.0]), Confidence::P95);
        assert_eq!(comparison, Err(Undefined::Overflow));
    }

    #[test]
    fn equal_arms_have_the_degrees_of_freedom_of_the_pooled_test() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0];
        let comparison =
            compare(&sample(&values), &sample(&values), Confidence::P95).expect("five each");
        assert!((comparison.df.expect("defined") - 8.0).abs() < 1e-12);
        assert_eq!(comparison.absolute.expect("defined").p_value, 1.0);
    }

    #[test]
    fn a_constant_covariate_cannot_adjust_anything() {
        let mut arm = PairMoments::EMPTY;
        [1.0, 2.0, 3.0].into_iter().for_each(|y| arm.push(y, 7.0));
        assert_eq!(adjust(&arm, &arm), Err(Undefined::NoVariance));
    }

    proptest! {
        #[test]
        fn no_answer_is_ever_not_a_number(
            control in proptest::collection::vec(-1e3..1e3_f64, 0..20),
            treatment in proptest::collection::vec(-1e3..1e3_f64, 0..20),
        ) {
            if let Ok(comparison) = compare(&sample(&control), &sample(&treatment), Confidence::P95) {
                for effect in [comparison.absolute, comparison.relative].into_iter().flatten() {
                    prop_assert!(effect.interval.contains(effect.estimate));
                    prop_assert!((0.0..=1.0).contains(&effect.p_value));
                    prop_assert!(effect.standard_error > 0.0);
                }
            }
        }
    }
}
