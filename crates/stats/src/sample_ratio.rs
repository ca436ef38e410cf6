//! Sample-ratio mismatch: did the arms receive the traffic they were promised?

use serde::{Deserialize, Serialize};

use crate::{InputError, distribution};

/// Below this p-value the split is broken, not unlucky.
///
/// Far below 0.05 because the check runs on every refresh of every experiment (Fabijan et al. 2019,
/// "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments").
pub const ALARM_BELOW: f64 = 0.001;

/// How far the sum of the weights may be from 1: enough for thirds written with six digits.
const WEIGHT_TOLERANCE: f64 = 1e-5;

/// Outcome of the check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRatio {
    /// Pearson's statistic `sum (observed - expected)^2 / expected`.
    pub chi2: f64,
    /// Degrees of freedom, the number of arms minus one.
    pub df: u32,
    /// Upper-tail p-value.
    pub p_value: f64,
    /// Expected count of each arm, in the order given.
    pub expected: Vec<f64>,
}

impl SampleRatio {
    /// Whether the assignment is too unlikely under the plan to trust any comparison.
    pub fn is_alarm(&self) -> bool {
        self.p_value < ALARM_BELOW
    }
}

/// Pearson's chi-square goodness-of-fit test of counts against planned shares (Pearson 1900).
///
/// Weights are rescaled to sum to 1 exactly, so thirds may be written as 0.333333.
/// With no observation at all the statistic is 0 and the p-value 1.
///
/// # Errors
/// [`InputError::WeightsMissing`] unless there is one weight per count and at least two of them,
/// [`InputError::OutOfRange`] for a weight that is not positive, [`InputError::WeightsDoNotSumToOne`].
pub fn check(counts: &[u64], weights: &[f64]) -> Result<SampleRatio, InputError> {
    if counts.len() != weights.len() || counts.len() < 2 {
        return Err(InputError::WeightsMissing { counts: counts.len(), weights: weights.len() });
    }
    if let Some(&value) = weights.iter().find(|weight| !(weight.is_finite() && **weight > 0.0)) {
        return Err(InputError::OutOfRange { name: "weight", value, range: "greater than 0" });
    }
    let sum: f64 = weights.iter().sum();
    if (sum - 1.0).abs() > WEIGHT_TOLERANCE {
        return Err(InputError::WeightsDoNotSumToOne { sum });
    }
    let total = counts.iter().sum::<u64>() as f64;
    let expected: Vec<f64> = weights.iter().map(|weight| total * weight / sum).collect();
    let chi2 = if total == 0.0 {
        0.0
    } else {
        counts
            .iter()
            .zip(&expected)
            .map(|(&count, &expected)| (count as f64 - expected).powi(2) / expected)
            .sum()
    };
    let df = u32::try_from(counts.len() - 1).unwrap_or(u32::MAX);
    Ok(SampleRatio { chi2, df, p_value: distribution::chi_square_upper_tail(chi2, df), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_split_has_p_one() {
        let check = check(&[50, 50], &[0.5, 0.5]).expect("valid");
        assert_eq!((check.chi2, check.df, check.p_value), (0.0, 1, 1.0));
        assert!(!check.is_alarm());
    }

    #[test]
    fn an_arm_that_received_nothing_is_an_alarm() {
        assert!(check(&[1_000, 0], &[0.5, 0.5]).expect("valid").is_alarm());
    }

    #[test]
    fn nothing_observed_is_no_mismatch() {
        assert_eq!(check(&[0, 0], &[0.9, 0.1]).expect("valid").p_value, 1.0);
    }

    #[test]
    fn weights_that_are_not_shares_are_refused() {
        assert!(matches!(
            check(&[1, 2], &[0.5, 0.6]),
            Err(InputError::WeightsDoNotSumToOne { .. })
        ));
        assert!(matches!(check(&[1, 2], &[1.0, 0.0]), Err(InputError::OutOfRange { .. })));
        assert!(matches!(check(&[1, 2], &[1.0, f64::NAN]), Err(InputError::OutOfRange { .. })));
        assert!(matches!(check(&[1, 2], &[1.0]), Err(InputError::WeightsMissing { .. })));
        assert!(matches!(check(&[1], &[1.0]), Err(InputError::WeightsMissing { .. })));
    }
}
