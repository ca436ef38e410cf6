//! The chance of being treated, given what was known before, and where the groups overlap.

use serde::{Deserialize, Serialize};

use super::{ImpactError, Panel};
use crate::logistic::{self, chance};

/// Fitted chances of being treated.
#[derive(Debug, Clone, PartialEq)]
pub struct Propensity {
    log_odds: Vec<f64>,
}

/// How far the groups could have been one another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Share of the treated whose chance lies within the range of the untreated.
    pub treated_in_range: f64,
    /// Share of all subjects with a chance between 0.1 and 0.9, the rule of thumb of Crump, Hotz, Imbens & Mitnik
    /// (2009), "Dealing with limited overlap in estimation of average treatment effects".
    pub between_tenths: f64,
    /// Area under the ROC curve: 0.5 when the covariates say nothing about who is treated, 1 when they say it all and
    /// nobody is comparable.
    pub concordance: f64,
}

impl Propensity {
    /// Logistic regression of the treatment on every covariate (Rosenbaum & Rubin 1983, "The central role of the
    /// propensity score"), categories as indicators.
    ///
    /// # Errors
    /// [`ImpactError::Propensity`] when the groups are told apart without error.
    pub fn fit(panel: &Panel<'_>) -> Result<Self, ImpactError> {
        let columns = panel.columns();
        let columns: Vec<&[f64]> = columns.iter().map(|(_, column)| column.as_slice()).collect();
        let fitted = logistic::fit(&columns, panel.treated())?;
        Ok(Self { log_odds: fitted.log_odds })
    }

    /// Logarithm of the odds of treatment per subject.
    pub fn log_odds(&self) -> &[f64] {
        &self.log_odds
    }

    /// Where the groups overlap.
    pub fn overlap(&self, treated: &[bool]) -> Overlap {
        let of = |kind: bool| -> Vec<f64> {
            let mut odds: Vec<f64> = self
                .log_odds
                .iter()
                .zip(treated)
                .filter(|(_, treated)| **treated == kind)
                .map(|(odds, _)| *odds)
                .collect();
            odds.sort_by(f64::total_cmp);
            odds
        };
        let (yes, no) = (of(true), of(false));
        let share = |count: usize, of: usize| count as f64 / (of as f64).max(1.0);
        let (low, high) = (no.first().copied(), no.last().copied());
        let in_range =
            yes.iter().filter(|odds| Some(**odds) >= low && Some(**odds) <= high).count();
        let tenths =
            self.log_odds.iter().filter(|odds| (0.1..=0.9).contains(&chance(**odds))).count();
        // Pairs in which the treated one has the higher chance; ties count half (Mann & Whitney 1947).
        let ahead: f64 = yes
            .iter()
            .map(|odds| {
                let below = no.partition_point(|other| other < odds);
                let same = no.partition_point(|other| other <= odds) - below;
                below as f64 + 0.5 * same as f64
            })
            .sum();
        Overlap {
            treated_in_range: share(in_range, yes.len()),
            between_tenths: share(tenths, self.log_odds.len()),
            concordance: ahead / (yes.len() as f64 * no.len() as f64).max(1.0),
        }
    }
}
