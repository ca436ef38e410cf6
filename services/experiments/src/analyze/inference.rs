//! From sums to effects: which estimator belongs to which kind of outcome.

use northstar_domain::experiment::{Estimate, ExperimentSpec};
use northstar_proto::metrics::v1::{QueryVariantStatisticsResponse, VariantStatistics};
use northstar_stats::{
    Arm, Confidence, Effect, InputError, Moments, PairMoments, Proportion, RatioStats, SampleStats,
    Undefined, mean, proportion, ratio,
};

/// What one arm showed.
#[derive(Clone, Debug)]
pub(super) enum Sample {
    /// Subjects that did, out of all.
    Proportion(Proportion),
    /// One number per subject.
    Mean(Moments),
    /// A numerator and a denominator per subject.
    Ratio(PairMoments),
}

/// A treatment against control. What does not exist is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Difference {
    /// Difference.
    pub(super) absolute: Option<Estimate>,
    /// Difference relative to control.
    pub(super) relative: Option<Estimate>,
}

impl Sample {
    pub(super) fn subjects(&self) -> u64 {
        match self {
            Self::Proportion(proportion) => proportion.trials(),
            Self::Mean(moments) => moments.n(),
            Self::Ratio(pair) => pair.n(),
        }
    }

    /// The metric over the whole arm.
    pub(super) fn mean(&self) -> Option<f64> {
        match self {
            Self::Proportion(proportion) => proportion.rate(),
            Self::Mean(moments) => moments.mean(),
            Self::Ratio(pair) => {
                let (numerator, denominator) = (pair.y().mean()?, pair.x().mean()?);
                (denominator != 0.0).then(|| numerator / denominator)
            }
        }
    }
}

/// The arms of an answer in the order of the definition; a variant that nobody
/// was exposed to is an empty arm. Variants that the definition does not know
/// are left out.
pub(super) fn arms(
    spec: &ExperimentSpec,
    answer: &QueryVariantStatisticsResponse,
) -> Result<Vec<Sample>, InputError> {
    // The denominator is zero for everybody unless the metric is a ratio.
    let is_ratio = answer.variants.iter().any(|row| row.sum_dd > 0.0);
    let empty = VariantStatistics::default();
    spec.variants
        .iter()
        .map(|variant| {
            let row = answer.variants.iter().find(|row| row.variant == variant.name);
            let row = row.unwrap_or(&empty);
            if answer.proportion {
                read_proportion(row).map(Sample::Proportion)
            } else if is_ratio {
                read_ratio(row).map(Sample::Ratio)
            } else {
                read_mean(row).map(Sample::Mean)
            }
        })
        .collect()
}

fn subjects_of(row: &VariantStatistics) -> Result<u64, InputError> {
    u64::try_from(row.subjects).map_err(|_| InputError::OutOfRange {
        name: "subjects",
        #[expect(clippy::cast_precision_loss, reason = "shown to a person in an error")]
        value: row.subjects as f64,
        range: "at least 0",
    })
}

fn read_proportion(row: &VariantStatistics) -> Result<Proportion, InputError> {
    // A sum of zeros and ones is a whole number that a double holds exactly.
    if !(row.sum_y >= 0.0 && row.sum_y.fract() == 0.0 && row.sum_y < 9e15) {
        return Err(InputError::OutOfRange {
            name: "sum of a 0/1 outcome",
            value: row.sum_y,
            range: "a whole number, at least 0",
        });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let successes = row.sum_y as u64;
    Proportion::new(successes, subjects_of(row)?)
}

fn read_mean(row: &VariantStatistics) -> Result<Moments, InputError> {
    Moments::try_from(SampleStats { n: subjects_of(row)?, sum: row.sum_y, sum_sq: row.sum_yy })
}

fn read_ratio(row: &VariantStatistics) -> Result<PairMoments, InputError> {
    PairMoments::try_from(RatioStats {
        n: subjects_of(row)?,
        sum_y: row.sum_y,
        sum_yy: row.sum_yy,
        sum_x: row.sum_d,
        sum_xx: row.sum_dd,
        sum_xy: row.sum_yd,
    })
}

/// Every variant but the first against the first, by name.
pub(super) fn against_control<'a>(
    spec: &'a ExperimentSpec,
    arms: &[Sample],
    confidence: Confidence,
) -> Vec<(&'a str, Difference)> {
    let Some((control, treatments)) = arms.split_first() else { return Vec::new() };
    spec.variants
        .iter()
        .skip(1)
        .zip(treatments)
        .map(|(variant, arm)| (variant.name.as_str(), compare(control, arm, confidence)))
        .collect()
}

fn compare(control: &Sample, treatment: &Sample, confidence: Confidence) -> Difference {
    let (absolute, relative) = match (control, treatment) {
        (Sample::Proportion(control), Sample::Proportion(treatment)) => {
            match proportion::compare(*control, *treatment, confidence) {
                Ok(found) => (found.absolute, found.relative),
                Err(reason) => (Err(reason), Err(reason)),
            }
        }
        (Sample::Mean(control), Sample::Mean(treatment)) => {
            match mean::compare(control, treatment, confidence) {
                Ok(found) => (found.absolute, found.relative),
                Err(reason) => (Err(reason), Err(reason)),
            }
        }
        (Sample::Ratio(control), Sample::Ratio(treatment)) => {
            match ratio::compare(control, treatment, confidence) {
                Ok(found) => (found.absolute, found.relative),
                Err(reason) => (Err(reason), Err(reason)),
            }
        }
        // The arms of one answer are of one kind.
        _ => {
            let empty = Undefined::TooFewObservations { arm: Arm::Control, needed: 1, found: 0 };
            (Err(empty), Err(empty))
        }
    };
    Difference { absolute: absolute.ok().map(estimate), relative: relative.ok().map(estimate) }
}

fn estimate(effect: Effect) -> Estimate {
    Estimate {
        estimate: effect.estimate,
        ci_low: effect.interval.low,
        ci_high: effect.interval.high,
        p_value: Some(effect.p_value),
    }
}

#[cfg(test)]
mod tests {
    use northstar_domain::experiment::Variant;

    use super::*;

    fn spec() -> ExperimentSpec {
        let variant = |name: &str| Variant { name: name.to_owned(), weight: 1.0 };
        ExperimentSpec {
            variants: vec![variant("control"), variant("treatment")],
            ..ExperimentSpec::default()
        }
    }

    fn row(variant: &str, subjects: i64, sum_y: f64, sum_yy: f64) -> VariantStatistics {
        VariantStatistics {
            variant: variant.to_owned(),
            subjects,
            sum_y,
            sum_yy,
            ..VariantStatistics::default()
        }
    }

    fn difference(answer: &QueryVariantStatisticsResponse) -> Difference {
        let arms = arms(&spec(), answer).unwrap();
        against_control(&spec(), &arms, Confidence::P95)[0].1
    }

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 5e-6 * expected.abs().max(1.0)
    }

    #[test]
    fn a_proportion_is_compared_by_wald_and_pooled_z() {
        // Rows in the wrong order, and one of a variant that is not ours.
        let answer = QueryVariantStatisticsResponse {
            variants: vec![
                row("treatment", 30, 16.0, 16.0),
                row("stray", 5, 1.0, 1.0),
                row("control", 28, 14.0, 14.0),
            ],
            proportion: true,
            ..QueryVariantStatisticsResponse::default()
        };
        let found = difference(&answer);
        // By hand: 16/30 - 14/28 = 1/30; se = sqrt(.25/28 + (16/30)(14/30)/30).
        let absolute = found.absolute.unwrap();
        let se = (0.25_f64 / 28.0 + 16.0 * 14.0 / 900.0 / 30.0).sqrt();
        assert!(close(absolute.estimate, 1.0 / 30.0));
        assert!(close(absolute.ci_low, 1.0 / 30.0 - 1.959_964 * se));
        // Published by GrowthBook: relative 14/28 vs 16/30, CI (-0.47767, 0.61101) with t; the
        // normal interval is the same estimate and a slightly smaller width.
        let relative = found.relative.unwrap();
        assert!(close(relative.estimate, 1.0 / 15.0));
        assert!(relative.ci_low > -0.47767 && relative.ci_high < 0.61101);
        assert!((relative.ci_high - 0.61101).abs() < 0.02);
    }

    #[test]
    fn a_mean_is_compared_by_welch() {
        // Published by GrowthBook: absolute 0.29, CI (0.04538, 0.53462), p 0.02016.
        let answer = QueryVariantStatisticsResponse {
            variants: vec![
                row("control", 3407, 1396.87, 52_377.976_7),
                row("treatment", 3461, 2422.7, 134_698.29),
            ],
            ..QueryVariantStatisticsResponse::default()
        };
        let absolute = difference(&answer).absolute.unwrap();
        assert!(close(absolute.estimate, 0.29), "{absolute:?}");
        assert!((absolute.ci_low - 0.04538).abs() < 1e-5, "{absolute:?}");
        assert!((absolute.ci_high - 0.53462).abs() < 1e-5, "{absolute:?}");
        assert!((absolute.p_value.unwrap() - 0.02016).abs() < 1e-5, "{absolute:?}");
    }

    #[test]
    fn a_ratio_is_the_sum_over_the_sum() {
        let ratio = |variant: &str, factor: f64| VariantStatistics {
            sum_d: 200.0,
            sum_dd: 500.0,
            sum_yd: 260.0 * factor,
            ..row(variant, 100, 100.0 * factor, 150.0 * factor * factor)
        };
        let answer = QueryVariantStatisticsResponse {
            variants: vec![ratio("control", 1.0), ratio("treatment", 1.2)],
            ..QueryVariantStatisticsResponse::default()
        };
        let samples = arms(&spec(), &answer).unwrap();
        assert_eq!(samples[0].mean(), Some(0.5));
        let found = difference(&answer);
        assert!(close(found.absolute.unwrap().estimate, 0.1));
        assert!(close(found.relative.unwrap().estimate, 0.2));
    }

    #[test]
    fn an_arm_that_nobody_is_in_has_no_difference() {
        let answer = QueryVariantStatisticsResponse {
            variants: vec![row("control", 10, 5.0, 5.0)],
            proportion: true,
            ..QueryVariantStatisticsResponse::default()
        };
        let found = difference(&answer);
        assert!(found.absolute.is_none() && found.relative.is_none());
    }

    #[test]
    fn impossible_sums_are_an_error_and_not_a_number() {
        let answer = QueryVariantStatisticsResponse {
            variants: vec![row("control", 10, 11.0, 11.0)],
            proportion: true,
            ..QueryVariantStatisticsResponse::default()
        };
        assert!(arms(&spec(), &answer).is_err());
    }
}
