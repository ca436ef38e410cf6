//! An estimated effect with its interval, and the one relative-effect formula all metric kinds share.

use serde::{Deserialize, Serialize};

use crate::{Confidence, Undefined, distribution};

/// A closed interval, `low <= high`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// The interval of `half_width` on either side of `centre`.
    pub(crate) fn around(centre: f64, half_width: f64) -> Self {
        Self { low: centre - half_width, high: centre + half_width }
    }

    /// Whether `value` lies inside, ends included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// A difference between treatment and control: estimate, uncertainty, and the two-sided p-value of "no effect".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Treatment minus control, or for a relative effect treatment / control - 1.
    pub estimate: f64,
    /// Standard error of the estimate, positive.
    pub standard_error: f64,
    /// Confidence interval of the estimate.
    pub interval: Interval,
    /// Two-sided p-value, in [0, 1].
    pub p_value: f64,
}

impl Effect {
    /// An estimate with a normal standard error.
    ///
    /// # Errors
    /// [`Undefined::NoVariance`] for a standard error of zero, [`Undefined::Overflow`] if a number left the range of `f64`.
    pub(crate) fn normal(
        estimate: f64,
        standard_error: f64,
        confidence: Confidence,
    ) -> Result<Self, Undefined> {
        check(estimate, standard_error)?;
        Ok(Self {
            estimate,
            standard_error,
            interval: Interval::around(estimate, confidence.z() * standard_error),
            p_value: distribution::normal_two_sided(estimate / standard_error),
        })
    }
}

/// Refuses an estimate that has no usable standard error.
pub(crate) fn check(estimate: f64, standard_error: f64) -> Result<(), Undefined> {
    if !estimate.is_finite() || !standard_error.is_finite() {
        return Err(Undefined::Overflow);
    }
    if standard_error <= 0.0 {
        return Err(Undefined::NoVariance);
    }
    Ok(())
}

/// A value of one arm and the variance of that value (not of one observation).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimated {
    pub value: f64,
    pub variance: f64,
}

/// `treatment / control - 1` with the delta-method variance `v_t / m_c^2 + m_t^2 v_c / m_c^4`
/// and a normal interval (Deng, Knoblich & Lu 2018, "Applying the Delta Method in Metric Analytics", eq. 3).
///
/// # Errors
/// [`Undefined::ZeroBaseline`] if the control's value is zero, else as [`Effect::normal`].
pub(crate) fn relative(
    control: Estimated,
    treatment: Estimated,
    confidence: Confidence,
) -> Result<Effect, Undefined> {
    if control.value == 0.0 {
        return Err(Undefined::ZeroBaseline);
    }
    let ratio = treatment.value / control.value;
    // Written as a difference over the baseline: `ratio - 1` loses digits when the arms are close.
    let estimate = (treatment.value - control.value) / control.value;
    let scale = 1.0 / control.value;
    let variance =
        treatment.variance * scale * scale + ratio * ratio * control.variance * scale * scale;
    Effect::normal(estimate, variance.sqrt(), confidence)
}
