//! Why a statistic cannot be had: wrong input on one side, a quantity that does not exist on the other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The numbers handed in contradict themselves; the caller has a bug or a corrupt source.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    /// More successes than trials.
    #[error(
        "{successes} successes out of {trials} trials: there cannot be more successes than trials"
    )]
    MoreSuccessesThanTrials {
        /// Successes as given.
        successes: u64,
        /// Trials as given.
        trials: u64,
    },
    /// A value that must be finite is infinite or not a number.
    #[error("{name} is {value}, which is not a finite number")]
    NotFinite {
        /// Which argument.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A value lies outside the range it must keep.
    #[error("{name} is {value}, but must be {range}")]
    OutOfRange {
        /// Which argument.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The allowed range in words.
        range: &'static str,
    },
    /// Sums that no sample can have (the Cauchy-Schwarz inequality is violated), or sums of an empty sample that are not zero.
    #[error("the sums of {name} are impossible: n {n}, sum {sum}, sum of squares {sum_sq}")]
    ImpossibleSums {
        /// Which variable.
        name: &'static str,
        /// Number of observations.
        n: u64,
        /// Sum of the values.
        sum: f64,
        /// Sum of the squared values.
        sum_sq: f64,
    },
    /// Counts and weights of a sample-ratio check do not pair up.
    #[error("{counts} counts but {weights} weights: each variant needs exactly one weight")]
    WeightsMissing {
        /// Number of counts.
        counts: usize,
        /// Number of weights.
        weights: usize,
    },
    /// The planned shares do not add up to one.
    #[error("the weights sum to {sum}, but shares of the traffic must sum to 1")]
    WeightsDoNotSumToOne {
        /// What they sum to.
        sum: f64,
    },
}

/// One of the two arms of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// The arm compared against.
    Control,
    /// The arm whose effect is asked for.
    Treatment,
}

impl fmt::Display for Arm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Control => "control",
            Self::Treatment => "treatment",
        })
    }
}

/// The input is sound, but the asked quantity does not exist for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Undefined {
    /// An arm is too small for the estimator.
    #[error("the {arm} arm has {found} observations, at least {needed} are needed")]
    TooFewObservations {
        /// The small arm.
        arm: Arm,
        /// The least number that would do.
        needed: u64,
        /// What it has.
        found: u64,
    },
    /// Nothing varies, so there is no standard error to hold the difference against.
    #[error("no arm varies, so the difference has no standard error")]
    NoVariance,
    /// A relative effect divides by the control's value, which is zero.
    #[error("the control's value is zero, so a relative effect does not exist")]
    ZeroBaseline,
    /// A ratio divides by the mean of its denominator, which is zero in this arm.
    #[error("the denominator of the ratio sums to zero in the {arm} arm")]
    ZeroDenominator {
        /// The arm without a denominator.
        arm: Arm,
    },
    /// The numbers are too large to be combined in 64-bit floating point.
    #[error("the values are too large or too small for 64-bit arithmetic")]
    Overflow,
}
