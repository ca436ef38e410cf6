//! The confidence level of an interval, checked once so that no estimator has to check it again.

use serde::{Deserialize, Serialize};

use crate::{InputError, distribution};

/// A confidence level, strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Confidence {
    alpha: f64,
}

impl Confidence {
    /// The customary 95 %.
    pub const P95: Self = Self { alpha: 0.05 };

    /// A level such as 0.95.
    ///
    /// # Errors
    /// [`InputError::OutOfRange`] unless `0 < level < 1`.
    pub fn new(level: f64) -> Result<Self, InputError> {
        if !(level > 0.0 && level < 1.0) {
            return Err(InputError::OutOfRange {
                name: "confidence level",
                value: level,
                range: "between 0 and 1",
            });
        }
        Self::from_alpha(1.0 - level)
    }

    /// The level `1 - alpha`, for an error probability such as 0.05.
    ///
    /// # Errors
    /// [`InputError::OutOfRange`] unless `0 < alpha < 1`.
    pub fn from_alpha(alpha: f64) -> Result<Self, InputError> {
        if !(alpha > 0.0 && alpha < 1.0) {
            return Err(InputError::OutOfRange {
                name: "alpha",
                value: alpha,
                range: "between 0 and 1",
            });
        }
        Ok(Self { alpha })
    }

    /// The level, for example 0.95.
    pub fn level(self) -> f64 {
        1.0 - self.alpha
    }

    /// The error probability of both tails together, for example 0.05.
    pub fn alpha(self) -> f64 {
        self.alpha
    }

    /// The two-sided normal critical value, 1.959964 at 95 %.
    pub fn z(self) -> f64 {
        distribution::normal_upper_quantile(self.alpha / 2.0)
    }

    /// The two-sided critical value of Student's t with `df` degrees of freedom.
    pub(crate) fn t(self, df: f64) -> f64 {
        distribution::t_upper_quantile(self.alpha / 2.0, df)
    }
}

impl Default for Confidence {
    fn default() -> Self {
        Self::P95
    }
}

impl TryFrom<f64> for Confidence {
    type Error = InputError;

    fn try_from(level: f64) -> Result<Self, InputError> {
        Self::new(level)
    }
}

impl From<Confidence> for f64 {
    fn from(confidence: Confidence) -> Self {
        confidence.level()
    }
}
