//! The answer, as it is printed by `--json`.

use serde::Serialize;

use super::arguments::Kind;

/// The comparison of the variants of one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The file, as named.
    pub file: String,
    /// Column of the variant.
    pub variant_column: String,
    /// Name of the control.
    pub control: String,
    /// Column of the metric, or `numerator/denominator`.
    pub metric: String,
    /// The estimator.
    pub kind: Kind,
    /// Level of all intervals.
    pub confidence: f64,
    /// What became of the rows: read = used + missing_variant + missing_metric + bad.
    pub rows: Rows,
    /// The control first, then the others by name.
    pub variants: Vec<Variant>,
    /// One for each variant but the control, in the same order.
    pub comparisons: Vec<Comparison>,
    /// Whether the variants received their planned traffic.
    pub srm: SampleRatio,
    /// What a reader should know before trusting the numbers.
    pub notes: Vec<String>,
}

/// Accounting of the rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rows {
    /// Rows of the file.
    pub read: u64,
    /// Rows that are in the comparison.
    pub used: u64,
    /// Rows without a variant.
    pub missing_variant: u64,
    /// Rows with a variant but without a value (or denominator, or covariate).
    pub missing_metric: u64,
    /// Rows that could not be read; not zero only with `--skip-bad-rows`.
    pub bad: u64,
}

/// One variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Rows with a value.
    pub n: u64,
    /// Rate, mean or ratio; absent without rows, or for a ratio over zero.
    pub mean: Option<f64>,
    /// Sum of the values (of the numerator, for a ratio).
    pub sum: f64,
    /// Sum of the denominator of a ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denominator: Option<f64>,
    /// Sample standard deviation of a mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_deviation: Option<f64>,
    /// Standard error of a ratio by the delta method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// Wilson's score interval of a proportion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wilson: Option<Ends>,
    /// Rows assigned to the variant, with or without a value: what the sample-ratio check counts.
    pub assigned: u64,
}

/// The ends of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ends {
    /// Lower end.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
}

/// One variant against the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The variant.
    pub variant: String,
    /// Variant minus control.
    pub absolute: Estimate,
    /// Variant over control, minus one.
    pub relative: Estimate,
    /// P-value of the absolute difference after Holm's adjustment for the number of variants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value_holm: Option<f64>,
    /// More about a proportion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proportion: Option<ProportionDetails>,
    /// More about a mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub welch: Option<WelchDetails>,
    /// What the covariate did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covariate: Option<CovariateDetails>,
}

/// An estimate with its interval. What does not exist is null, and `reason` says why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// The estimate.
    pub estimate: Option<f64>,
    /// Lower end of the interval.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// Two-sided p-value.
    pub p_value: Option<f64>,
    /// Standard error of the estimate.
    pub standard_error: Option<f64>,
    /// How it was estimated.
    pub method: &'static str,
    /// Why something is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The other customary answers for two proportions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProportionDetails {
    /// Newcombe's hybrid score interval of the difference: prefer it when an arm has few successes.
    pub newcombe: Ends,
    /// z with the pooled standard error.
    pub z_pooled: Option<f64>,
    /// z with the standard error of the Wald interval.
    pub z_unpooled: Option<f64>,
    /// Its p-value.
    pub p_value_unpooled: Option<f64>,
    /// Pearson's chi-square without continuity correction.
    pub chi2: Option<f64>,
    /// Chi-square with Yates's continuity correction.
    pub chi2_yates: Option<f64>,
    /// Its p-value.
    pub p_value_yates: Option<f64>,
}

/// The test behind a difference of means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WelchDetails {
    /// The statistic.
    pub t: Option<f64>,
    /// Welch-Satterthwaite degrees of freedom.
    pub df: Option<f64>,
}

/// The adjustment by a covariate, fitted over the two arms of this comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CovariateDetails {
    /// The slope taken out.
    pub theta: f64,
    /// Adjusted mean of the control.
    pub control_mean: Option<f64>,
    /// Adjusted mean of the variant.
    pub variant_mean: Option<f64>,
}

/// The sample-ratio check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleRatio {
    /// Pearson's statistic.
    pub chi2: f64,
    /// Degrees of freedom.
    pub df: u32,
    /// Upper-tail p-value.
    pub p_value: f64,
    /// Whether the split is broken (p below 0.001).
    pub alarm: bool,
    /// The traffic of each variant.
    pub variants: Vec<Traffic>,
}

/// Planned and observed traffic of a variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Traffic {
    /// The variant.
    pub name: String,
    /// Planned share.
    pub weight: f64,
    /// Rows assigned.
    pub observed: u64,
    /// Rows the plan would give it.
    pub expected: f64,
}
