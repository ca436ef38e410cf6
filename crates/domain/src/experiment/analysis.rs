//! What the data say about an experiment, and the ship rule.

use serde::{Deserialize, Serialize};

use crate::kpi::Direction;

/// Share of subjects in more than one variant above which nothing is decided.
const MULTIPLE_EXPOSURE_LIMIT: f64 = 0.01;

/// The result of an experiment at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Analysis {
    /// Name of the experiment.
    pub experiment: String,
    /// Whether the horizon is reached.
    pub horizon_reached: bool,
    /// Variants with their sizes and means, control first.
    pub variants: Vec<VariantSummary>,
    /// Primary metric of every other variant against control; empty while
    /// withheld.
    pub comparisons: Vec<Comparison>,
    /// Guardrails of every other variant against control; empty while withheld.
    pub guardrails: Vec<GuardrailResult>,
    /// Sample-ratio check of the assignment.
    pub sample_ratio: SampleRatio,
    /// Subjects seen in more than one variant.
    pub multiple_exposure_subjects: i64,
    /// What the ship rule says.
    pub recommendation: Recommendation,
    /// Variant it would ship.
    pub recommended_variant: Option<String>,
    /// Why, in one sentence.
    pub explanation: String,
    /// Log position the numbers cover.
    pub log_position: i64,
}

/// One arm.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct VariantSummary {
    /// Name of the variant.
    pub variant: String,
    /// Subjects.
    pub subjects: i64,
    /// Mean of the primary metric; absent while withheld.
    pub mean: Option<f64>,
}

/// A number with its interval.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Estimate {
    /// Point estimate.
    pub estimate: f64,
    /// Lower end of the interval.
    pub ci_low: f64,
    /// Upper end of the interval.
    pub ci_high: f64,
    /// Two-sided p-value against no difference.
    pub p_value: Option<f64>,
}

/// One variant against control.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the variant.
    pub variant: String,
    /// Name of the metric.
    pub metric: String,
    /// Difference; absent when the data do not allow it.
    pub absolute: Option<Estimate>,
    /// Difference relative to control; absent when control is zero.
    pub relative: Option<Estimate>,
    /// Whether the difference is significant at the plan's level, after Holm's
    /// correction over variants.
    pub significant: bool,
}

/// One guardrail of one variant against control.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct GuardrailResult {
    /// Name of the variant.
    pub variant: String,
    /// Name of the metric.
    pub metric: String,
    /// Which way is better for it.
    pub direction: Direction,
    /// Difference relative to control; absent when control is zero or the data
    /// do not allow it.
    pub relative: Option<Estimate>,
    /// The margin of the charter.
    pub margin: f64,
    /// Whether the interval excludes a worsening beyond the margin.
    pub non_inferior: bool,
}

impl GuardrailResult {
    /// Judges a relative difference against the margin: non-inferior when even
    /// the worse end of the interval is not worse than the margin allows. Of a
    /// difference that does not exist nothing is shown.
    pub fn judge(
        variant: &str,
        metric: &str,
        direction: Direction,
        relative: Option<Estimate>,
        margin: f64,
    ) -> Self {
        let non_inferior = relative.is_some_and(|relative| match direction {
            Direction::Increase => relative.ci_low > -margin,
            Direction::Decrease => relative.ci_high < margin,
        });
        let (variant, metric) = (variant.to_owned(), metric.to_owned());
        Self { variant, metric, direction, relative, margin, non_inferior }
    }

    /// Whether even the better end of the interval is worse than the margin
    /// allows.
    fn is_harmed(&self) -> bool {
        self.relative.is_some_and(|relative| match self.direction {
            Direction::Increase => relative.ci_high < -self.margin,
            Direction::Decrease => relative.ci_low > self.margin,
        })
    }
}

/// The check of arm sizes against weights.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct SampleRatio {
    /// Pearson's chi-square.
    pub chi_square: f64,
    /// Its p-value.
    pub p_value: f64,
    /// Whether the p-value is below 0.001: do not decide.
    pub mismatch: bool,
}

/// What the ship rule says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recommendation {
    /// The horizon is not reached; keep running.
    Wait,
    /// The primary metric is better and every guardrail is non-inferior.
    Ship,
    /// The primary metric is worse or a guardrail is harmed.
    RollBack,
    /// Neither; a person should look.
    Review,
    /// A quality check failed; do not decide on these data.
    Unhealthy,
}

impl Analysis {
    /// Applies the ship rule: at least one variant whose primary metric is
    /// significantly better and whose every guardrail is significantly
    /// non-inferior ships, the best of them; else a primary metric that is
    /// significantly worse, or a guardrail harmed beyond its margin, rolls back;
    /// else a person looks. Data that fail a quality check decide nothing,
    /// and nothing is decided before the horizon.
    #[must_use]
    pub fn judged(self, direction: Direction) -> Self {
        let (recommendation, variant, explanation) = self.judge(direction);
        Self { recommendation, recommended_variant: variant, explanation, ..self }
    }

    fn judge(&self, direction: Direction) -> (Recommendation, Option<String>, String) {
        if let Some(fault) = self.fault() {
            return (Recommendation::Unhealthy, None, fault);
        }
        if !self.horizon_reached {
            let why = "the horizon is not reached; results are withheld until then".to_owned();
            return (Recommendation::Wait, None, why);
        }
        let gain = |comparison: &Comparison| {
            comparison.absolute.map_or(0.0, |absolute| direction.gain(absolute.estimate, 0.0))
        };
        let moved = || self.comparisons.iter().filter(|comparison| comparison.significant);
        let best = moved()
            .filter(|comparison| gain(comparison) > 0.0 && self.guards_hold(&comparison.variant))
            .max_by(|a, b| gain(a).total_cmp(&gain(b)));
        if let Some(best) = best {
            let why = format!(
                "{} moves {} the right way, and every guardrail is shown not to get worse beyond \
                 its margin",
                best.variant, best.metric
            );
            return (Recommendation::Ship, Some(best.variant.clone()), why);
        }
        if let Some(worse) = moved().find(|comparison| gain(comparison) < 0.0) {
            let why = format!("{} moves {} the wrong way", worse.variant, worse.metric);
            return (Recommendation::RollBack, None, why);
        }
        if let Some(harmed) = self.guardrails.iter().find(|guardrail| guardrail.is_harmed()) {
            let why = format!("{} harms {} beyond its margin", harmed.variant, harmed.metric);
            return (Recommendation::RollBack, None, why);
        }
        (Recommendation::Review, None, self.what_is_missing(moved().next().is_some()))
    }

    /// The quality check that fails, if one does.
    fn fault(&self) -> Option<String> {
        if self.sample_ratio.mismatch {
            return Some(format!(
                "the sizes of the variants do not fit their weights (p = {:.2e}); find out why \
                 before reading anything else",
                self.sample_ratio.p_value
            ));
        }
        let once: i64 = self.variants.iter().map(|variant| variant.subjects).sum();
        let many = self.multiple_exposure_subjects;
        #[expect(clippy::cast_precision_loss, reason = "a share to three digits needs no more")]
        let share = many as f64 / (once + many).max(1) as f64;
        (share > MULTIPLE_EXPOSURE_LIMIT).then(|| {
            format!(
                "{many} subjects ({:.1} %) were seen in more than one variant; the assignment or \
                 the identities are broken",
                share * 100.0
            )
        })
    }

    fn guards_hold(&self, variant: &str) -> bool {
        self.guardrails
            .iter()
            .filter(|guardrail| guardrail.variant == variant)
            .all(|guardrail| guardrail.non_inferior)
    }

    fn what_is_missing(&self, primary_moved: bool) -> String {
        if !primary_moved {
            return "no variant moves the primary metric significantly".to_owned();
        }
        let open: Vec<_> = self
            .guardrails
            .iter()
            .filter(|guardrail| !guardrail.non_inferior)
            .map(|guardrail| format!("{} of {}", guardrail.metric, guardrail.variant))
            .collect();
        format!(
            "the primary metric is better, but these guardrails are not shown to hold: {}",
            open.join(", ")
        )
    }
}

#[cfg(test)]
#[path = "analysis_tests.rs"]
mod tests;
