//! How many observations an experiment needs before it may be read, and how likely it is to notice an effect.

use serde::{Deserialize, Serialize};

use crate::{Confidence, InputError, distribution};

/// What an experiment is planned for, apart from the metric: two-sided error, power, split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Design {
    confidence: Confidence,
    power: f64,
    treatment_per_control: f64,
}

impl Default for Design {
    /// Two-sided 5 %, power 80 %, equal arms.
    fn default() -> Self {
        Self { confidence: Confidence::P95, power: 0.8, treatment_per_control: 1.0 }
    }
}

impl Design {
    /// A design with `treatment_per_control` treatment units for every control unit.
    ///
    /// # Errors
    /// [`InputError::OutOfRange`] unless `alpha / 2 < power < 1` and the split is positive and finite.
    pub fn new(
        confidence: Confidence,
        power: f64,
        treatment_per_control: f64,
    ) -> Result<Self, InputError> {
        if !(power > confidence.alpha() / 2.0 && power < 1.0) {
            return Err(InputError::OutOfRange {
                name: "power",
                value: power,
                range: "below 1 and above the error probability of one side",
            });
        }
        if !(treatment_per_control > 0.0 && treatment_per_control.is_finite()) {
            return Err(InputError::OutOfRange {
                name: "treatment units per control unit",
                value: treatment_per_control,
                range: "greater than 0",
            });
        }
        Ok(Self { confidence, power, treatment_per_control })
    }

    fn z_power(&self) -> f64 {
        distribution::normal_upper_quantile(1.0 - self.power)
    }

    fn sizes(&self, control: f64) -> SampleSize {
        SampleSize { control, treatment: control * self.treatment_per_control }
    }
}

/// Units needed in each arm, before rounding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SampleSize {
    /// Units in the control arm.
    pub control: f64,
    /// Units in the treatment arm.
    pub treatment: f64,
}

impl SampleSize {
    /// Whole units over both arms, each arm rounded up. Saturates at the largest integer.
    pub fn total(&self) -> u64 {
        (self.control.ceil() as u64).saturating_add(self.treatment.ceil() as u64)
    }
}

/// Units needed to notice that a proportion moved from `baseline` to `target`, by the pooled z test:
/// `(z_alpha sqrt((1 + 1/r) p q) + z_power sqrt(p_c q_c + p_t q_t / r))^2 / (p_t - p_c)^2`
/// (Fleiss, Levin & Paik 2003, "Statistical Methods for Rates and Proportions", eq. 4.14, no continuity correction).
///
/// # Errors
/// [`InputError::OutOfRange`] unless both rates lie strictly between 0 and 1 and differ.
pub fn proportion_sample_size(
    baseline: f64,
    target: f64,
    design: &Design,
) -> Result<SampleSize, InputError> {
    let difference = rates_differ(baseline, target)?;
    let r = design.treatment_per_control;
    let overall = (baseline + r * target) / (1.0 + r);
    let under_null = ((1.0 + 1.0 / r) * overall * (1.0 - overall)).sqrt();
    let under_effect = (baseline * (1.0 - baseline) + target * (1.0 - target) / r).sqrt();
    let needed =
        (design.confidence.z() * under_null + design.z_power() * under_effect) / difference;
    Ok(design.sizes(needed * needed))
}

/// Chance that the pooled z test of arms of this size notices a move from `baseline` to `target`, in either direction.
///
/// # Errors
/// [`InputError::OutOfRange`] unless both rates lie strictly between 0 and 1 and differ, and both arms have units.
pub fn proportion_power(
    baseline: f64,
    target: f64,
    control: u64,
    treatment: u64,
    confidence: Confidence,
) -> Result<f64, InputError> {
    let difference = rates_differ(baseline, target)?;
    at_least("control units", control, 1)?;
    at_least("treatment units", treatment, 1)?;
    let (n_c, n_t) = (control as f64, treatment as f64);
    let overall = (n_c * baseline + n_t * target) / (n_c + n_t);
    let under_null = (overall * (1.0 - overall) * (1.0 / n_c + 1.0 / n_t)).sqrt();
    let under_effect = (baseline * (1.0 - baseline) / n_c + target * (1.0 - target) / n_t).sqrt();
    let critical = confidence.z() * under_null;
    Ok(distribution::normal_upper_tail((critical - difference) / under_effect)
        + distribution::normal_upper_tail((critical + difference) / under_effect))
}

/// Units needed to notice that a mean moved by `difference`, where one unit varies with `standard_deviation`:
/// the normal formula `(1 + 1/r) (z_alpha + z_power)^2 sd^2 / difference^2` plus Guenther's `z_alpha^2 / (2 (1 + r))`
/// for the use of t (Guenther 1981, "Sample size formulas for normal theory t tests").
///
/// # Errors
/// [`InputError::OutOfRange`] unless `standard_deviation` is positive and `difference` is not zero, both finite.
pub fn mean_sample_size(
    difference: f64,
    standard_deviation: f64,
    design: &Design,
) -> Result<SampleSize, InputError> {
    let effect_size = standardised(difference, standard_deviation)?;
    let r = design.treatment_per_control;
    let z = design.confidence.z();
    let normal = (1.0 + 1.0 / r) * ((z + design.z_power()) / effect_size).powi(2);
    Ok(design.sizes(normal + z * z / (2.0 * (1.0 + r))))
}

/// Chance that a t test of arms of this size notices a move of the mean by `difference`.
///
/// The noncentral t is taken by Johnson and Welch's normal approximation (1940):
/// `P(T > t) = Phi((delta - t (1 - 1/(4 df))) / sqrt(1 + t^2 / (2 df)))`, good to about 0.001.
///
/// # Errors
/// [`InputError::OutOfRange`] as [`mean_sample_size`], and for an arm of fewer than two units.
pub fn mean_power(
    difference: f64,
    standard_deviation: f64,
    control: u64,
    treatment: u64,
    confidence: Confidence,
) -> Result<f64, InputError> {
    let effect_size = standardised(difference, standard_deviation)?;
    at_least("control units", control, 2)?;
    at_least("treatment units", treatment, 2)?;
    let (n_c, n_t) = (control as f64, treatment as f64);
    let df = n_c + n_t - 2.0;
    let noncentrality = effect_size / (1.0 / n_c + 1.0 / n_t).sqrt();
    let critical = confidence.t(df);
    let centre = critical * (1.0 - 1.0 / (4.0 * df));
    let spread = (1.0 + critical * critical / (2.0 * df)).sqrt();
    Ok(distribution::normal_upper_tail((centre - noncentrality) / spread)
        + distribution::normal_upper_tail((centre + noncentrality) / spread))
}

/// The absolute difference of two rates that can be told apart.
fn rates_differ(baseline: f64, target: f64) -> Result<f64, InputError> {
    for (name, value) in [("baseline", baseline), ("target", target)] {
        if !(value > 0.0 && value < 1.0) {
            return Err(InputError::OutOfRange { name, value, range: "between 0 and 1" });
        }
    }
    if baseline == target {
        return Err(InputError::OutOfRange {
            name: "target",
            value: target,
            range: "different from the baseline",
        });
    }
    Ok((target - baseline).abs())
}

/// Cohen's d, positive.
fn standardised(difference: f64, standard_deviation: f64) -> Result<f64, InputError> {
    if !(standard_deviation > 0.0 && standard_deviation.is_finite()) {
        return Err(InputError::OutOfRange {
            name: "standard deviation",
            value: standard_deviation,
            range: "greater than 0",
        });
    }
    if difference == 0.0 || !difference.is_finite() {
        return Err(InputError::OutOfRange {
            name: "difference",
            value: difference,
            range: "other than 0",
        });
    }
    Ok((difference / standard_deviation).abs())
}

fn at_least(name: &'static str, units: u64, least: u64) -> Result<(), InputError> {
    if units < least {
        return Err(InputError::OutOfRange {
            name,
            value: units as f64,
            range: "enough to estimate a variance",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_at_the_required_size_is_the_asked_one() {
        let design = Design::new(Confidence::P95, 0.9, 0.5).expect("valid");
        let size = proportion_sample_size(0.1, 0.12, &design).expect("valid");
        let (control, treatment) = (size.control.ceil() as u64, size.treatment.ceil() as u64);
        let power =
            proportion_power(0.1, 0.12, control, treatment, Confidence::P95).expect("valid");
        assert!((power - 0.9).abs() < 1e-3, "{power}");

        let size = mean_sample_size(2.0, 10.0, &design).expect("valid");
        let (control, treatment) = (size.control.ceil() as u64, size.treatment.ceil() as u64);
        let power = mean_power(2.0, 10.0, control, treatment, Confidence::P95).expect("valid");
        assert!((power - 0.9).abs() < 1e-3, "{power}");
    }

    #[test]
    fn power_of_the_textbook_t_test() {
        // Cohen's d 0.5 with 64 units an arm: 0.8014596 by the noncentral t (G*Power).
        let power = mean_power(0.5, 1.0, 64, 64, Confidence::P95).expect("valid");
        assert!((power - 0.801_459_6).abs() < 1e-3, "{power}");
    }

    #[test]
    fn the_total_counts_whole_units_of_both_arms() {
        assert_eq!(SampleSize { control: 10.2, treatment: 5.1 }.total(), 17);
    }

    #[test]
    fn questions_without_an_effect_have_no_sample_size() {
        let design = Design::default();
        assert!(proportion_sample_size(0.1, 0.1, &design).is_err());
        assert!(proportion_sample_size(0.0, 0.1, &design).is_err());
        assert!(mean_sample_size(0.0, 1.0, &design).is_err());
        assert!(mean_sample_size(1.0, 0.0, &design).is_err());
        assert!(Design::new(Confidence::P95, 0.02, 1.0).is_err());
        assert!(Design::new(Confidence::P95, 0.8, 0.0).is_err());
    }
}
