//! Whether treated and untreated subjects are alike, before and after matching.

use serde::{Deserialize, Serialize};

use super::Panel;

/// A standardised difference beyond this is imbalance (Austin 2009, "Balance diagnostics for comparing the distribution
/// of baseline covariates between treatment groups"; Stuart 2010).
pub const IMBALANCED_ABOVE: f64 = 0.1;

/// One covariate, or one category of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the covariate; `name=number` for a category.
    pub covariate: String,
    /// Everybody.
    pub before: Compared,
    /// The matched, weighted.
    pub after: Compared,
}

/// A covariate in both groups.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Mean of the treated.
    pub treated_mean: f64,
    /// Mean of the untreated.
    pub untreated_mean: f64,
    /// Difference of the means over the standard deviation of all treated; absent when those do not vary.
    pub standardised_difference: Option<f64>,
    /// Variance of the treated over that of the untreated; absent when the untreated do not vary.
    pub variance_ratio: Option<f64>,
}

impl Compared {
    /// Whether the groups differ too much for comfort.
    pub fn is_imbalanced(&self) -> bool {
        match self.standardised_difference {
            Some(difference) => difference.abs() > IMBALANCED_ABOVE,
            None => self.treated_mean != self.untreated_mean,
        }
    }
}

/// The balance of every covariate. The deviation that standardises is that of all treated subjects before and after
/// (Stuart 2010, "Matching Methods for Causal Inference", section 4.1), so that the two columns can be compared.
pub fn table(panel: &Panel<'_>, weights: &[f64]) -> Vec<Row> {
    let treated = panel.treated();
    let everybody = vec![1.0; treated.len()];
    panel
        .columns()
        .into_iter()
        .map(|(covariate, values)| {
            let spread = Weighted::of(&values, &everybody, treated, true).variance().map(f64::sqrt);
            let compared = |weights: &[f64]| {
                let yes = Weighted::of(&values, weights, treated, true);
                let no = Weighted::of(&values, weights, treated, false);
                Compared {
                    treated_mean: yes.mean,
                    untreated_mean: no.mean,
                    standardised_difference: spread
                        .filter(|spread| *spread > 0.0)
                        .map(|spread| (yes.mean - no.mean) / spread),
                    variance_ratio: match (yes.variance(), no.variance()) {
                        (Some(yes), Some(no)) if no > 0.0 => Some(yes / no),
                        _ => None,
                    },
                }
            };
            Row { before: compared(&everybody), after: compared(weights), covariate }
        })
        .collect()
}

/// Weighted mean and spread of one group.
struct Weighted {
    mean: f64,
    sum: f64,
    squares: f64,
    deviations: f64,
}

impl Weighted {
    fn of(values: &[f64], weights: &[f64], treated: &[bool], kind: bool) -> Self {
        let members = || {
            let group = values.iter().zip(weights).zip(treated);
            group.filter(|(_, treated)| **treated == kind).map(|(pair, _)| pair)
        };
        let (sum, total, squares) = members()
            .fold((0.0, 0.0, 0.0), |(sum, total, squares), (v, w)| {
                (sum + w, total + w * v, squares + w * w)
            });
        let mean = if sum > 0.0 { total / sum } else { 0.0 };
        let deviations = members().map(|(v, w)| w * (v - mean) * (v - mean)).sum();
        Self { mean, sum, squares, deviations }
    }

    /// The variance of a weighted sample, without bias for reliability weights: `sum w d^2 / (W - sum w^2 / W)`.
    fn variance(&self) -> Option<f64> {
        let freedom = self.sum - self.squares / self.sum;
        (self.sum > 0.0 && freedom > 1e-9).then(|| self.deviations / freedom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::impact::{Covariate, Strata};

    #[test]
    fn exact_matching_balances_what_it_matched_on() {
        let treated = [true, true, false, false, false];
        let covariates = vec![Covariate::category("plan", vec![1, 1, 1, 0, 0])];
        let panel = Panel::new(&treated, covariates).expect("sound");
        let weights = Strata::exact(&panel).expect("overlap").weights(&treated);
        let table = table(&panel, &weights);
        assert_eq!(table[1].covariate, "plan=1");
        // All treated have plan 1, so nothing standardises, but the means tell.
        assert!(table[1].before.is_imbalanced());
        assert!(!table[1].after.is_imbalanced());
    }
}
