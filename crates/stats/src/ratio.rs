//! Comparison of two ratio metrics: a sum over a sum, where the unit of randomisation is neither.

use crate::{
    Arm, Confidence, Effect, PairMoments, Undefined,
    effect::{self, Estimated},
};

/// The ratio of one arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Sum of the numerators over sum of the denominators.
    pub value: f64,
    /// Its standard error by the delta method; zero if the numerator is a fixed multiple of the denominator.
    pub standard_error: f64,
}

/// Everything said about two ratios; `treatment - control` throughout.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The control's ratio.
    pub control: Ratio,
    /// The treatment's ratio.
    pub treatment: Ratio,
    /// Difference of the ratios.
    pub difference: f64,
    /// Normal interval and z test of the difference.
    pub absolute: Result<Effect, Undefined>,
    /// Relative lift by the delta method.
    pub relative: Result<Effect, Undefined>,
}

/// Ratio of one arm: `R = mean(y) / mean(x)` with variance `var(y - R x) / (n mean(x)^2)`, the delta
/// method with the unit of randomisation as the unit of observation (Deng, Knoblich & Lu 2018, eq. 4).
///
/// # Errors
/// [`Undefined::TooFewObservations`] for fewer than two units, [`Undefined::ZeroDenominator`].
pub fn estimate(arm: Arm, units: &PairMoments) -> Result<Ratio, Undefined> {
    let too_few = Undefined::TooFewObservations { arm, needed: 2, found: units.n() };
    if units.n() < 2 {
        return Err(too_few);
    }
    let (Some(numerator), Some(denominator)) = (units.y().mean(), units.x().mean()) else {
        return Err(too_few);
    };
    if denominator == 0.0 {
        return Err(Undefined::ZeroDenominator { arm });
    }
    let value = numerator / denominator;
    let spread = units.residual(value, 0.0).variance().ok_or(too_few)?;
    let standard_error = (spread / units.n() as f64).sqrt() / denominator.abs();
    if !value.is_finite() || !standard_error.is_finite() {
        return Err(Undefined::Overflow);
    }
    Ok(Ratio { value, standard_error })
}

/// Compares two ratio metrics.
///
/// # Errors
/// As [`estimate`] for either arm. Parts that do not exist are errors of their own field.
pub fn compare(
    control: &PairMoments,
    treatment: &PairMoments,
    confidence: Confidence,
) -> Result<Comparison, Undefined> {
    let control = estimate(Arm::Control, control)?;
    let treatment = estimate(Arm::Treatment, treatment)?;
    let difference = treatment.value - control.value;
    let standard_error = control.standard_error.hypot(treatment.standard_error);
    let as_estimated = |ratio: Ratio| Estimated {
        value: ratio.value,
        variance: ratio.standard_error * ratio.standard_error,
    };
    Ok(Comparison {
        control,
        treatment,
        difference,
        absolute: Effect::normal(difference, standard_error, confidence),
        relative: effect::relative(as_estimated(control), as_estimated(treatment), confidence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mean;

    fn units(pairs: &[(f64, f64)]) -> PairMoments {
        let mut moments = PairMoments::EMPTY;
        pairs.iter().for_each(|&(y, x)| moments.push(y, x));
        moments
    }

    #[test]
    fn a_denominator_of_one_gives_the_standard_error_of_the_mean() {
        let control = units(&[(1.0, 1.0), (4.0, 1.0), (2.0, 1.0)]);
        let treatment = units(&[(3.0, 1.0), (5.0, 1.0), (9.0, 1.0)]);
        let ratio = compare(&control, &treatment, Confidence::P95).expect("three units each");
        let means =
            mean::compare(&control.y(), &treatment.y(), Confidence::P95).expect("three units each");
        let (ratio, means) = (ratio.absolute.expect("varies"), means.absolute.expect("varies"));
        assert!((ratio.standard_error - means.standard_error).abs() < 1e-12);
        assert_eq!(ratio.estimate, means.estimate);
    }

    #[test]
    fn a_denominator_of_zero_names_its_arm() {
        let empty = units(&[(1.0, 0.0), (2.0, 0.0)]);
        let sound = units(&[(1.0, 1.0), (2.0, 3.0)]);
        let error = compare(&sound, &empty, Confidence::P95).expect_err("no denominator");
        assert_eq!(error, Undefined::ZeroDenominator { arm: Arm::Treatment });
    }

    #[test]
    fn a_fixed_multiple_has_no_variance() {
        let fixed = units(&[(2.0, 1.0), (4.0, 2.0), (6.0, 3.0)]);
        let comparison = compare(&fixed, &fixed, Confidence::P95).expect("three units each");
        assert_eq!(comparison.absolute, Err(Undefined::NoVariance));
    }
}
