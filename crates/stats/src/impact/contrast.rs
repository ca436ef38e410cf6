//! Treated against untreated within strata: the average effect on the treated, with its uncertainty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ImpactError, Strata};
use crate::{
    Arm, Confidence, Effect, Interval, Moments, Undefined, dense::Symmetric, distribution,
    effect::check,
};

/// Effects on the treated for one or more outcomes of the same subjects, with their joint covariance.
#[derive(Debug, Clone, PartialEq)]
pub struct Contrast {
    estimates: Vec<f64>,
    covariance: Symmetric,
    df: Vec<f64>,
    clusters: u64,
}

/// A joint test that several effects are zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Wald {
    /// `b' V^-1 b`.
    pub chi2: f64,
    /// How many effects are independent.
    pub df: u32,
    /// Upper tail of the chi-square law.
    pub p_value: f64,
}

impl Contrast {
    /// How many outcomes were compared.
    pub fn len(&self) -> usize {
        self.estimates.len()
    }

    /// Whether no outcome was compared.
    pub fn is_empty(&self) -> bool {
        self.estimates.is_empty()
    }

    /// Subjects, or clusters of them, that the uncertainty rests on.
    pub fn clusters(&self) -> u64 {
        self.clusters
    }

    /// The effect on one outcome, with an interval of Student's t.
    ///
    /// # Errors
    /// [`Undefined::NoVariance`] when nothing varies.
    pub fn effect(&self, outcome: usize, confidence: Confidence) -> Result<Effect, Undefined> {
        let estimate = self.estimates[outcome];
        let standard_error = self.covariance.get(outcome, outcome).sqrt();
        check(estimate, standard_error)?;
        let df = self.df[outcome];
        let half = confidence.t(df) * standard_error;
        Ok(Effect {
            estimate,
            standard_error,
            interval: Interval::around(estimate, half),
            p_value: distribution::t_two_sided(estimate / standard_error, df),
        })
    }

    /// Tests that the effects on the outcomes in a range are all zero (Wald 1943); `None` for an empty range or when
    /// nothing varies.
    pub fn wald(&self, outcomes: std::ops::Range<usize>) -> Option<Wald> {
        let estimates = &self.estimates[outcomes.clone()];
        let (solution, rank) = self.covariance.block(outcomes.start, outcomes.end).solve(estimates);
        let chi2: f64 = solution.iter().zip(estimates).map(|(left, right)| left * right).sum();
        let df = u32::try_from(rank).ok().filter(|rank| *rank > 0)?;
        chi2.is_finite().then(|| Wald {
            chi2,
            df,
            p_value: distribution::chi_square_upper_tail(chi2, df),
        })
    }
}

/// The mean of a cell and of its arm, per outcome.
#[derive(Clone)]
struct Group {
    n: u64,
    means: Vec<f64>,
}

/// The average effect on the matched treated, stratum by stratum:
/// `sum_s (n_T^s / N_T) (mean_T^s - mean_U^s)` (Imbens & Rubin 2015, "Causal Inference for Statistics, Social, and
/// Biomedical Sciences", section 17.5). With the change of a subject as its outcome this is difference in differences
/// on matched groups (Heckman, Ichimura & Todd 1997).
///
/// The variances of the two arms **add**: `sum_s (n_T^s / N_T)^2 (s_T^2 / n_T^s + s_U^2 / n_U^s)`, with the degrees of
/// freedom of Satterthwaite (1946); in one stratum this is Welch's test. A cell of one subject has no variance of its
/// own, so its subject deviates from the mean of the whole arm. With `clusters`, the deviations of a cluster are summed
/// before they are squared (Liang & Zeger 1986), corrected by `G / (G - 1) * (N - 1) / (N - cells)`, with `G - 1`
/// degrees of freedom (Cameron & Miller 2015).
///
/// # Errors
/// [`ImpactError::NoOverlap`] when no stratum holds both kinds, [`Undefined::TooFewObservations`] for fewer than two
/// matched subjects of a kind, [`Undefined::Overflow`] for outcomes that are not finite.
pub fn contrast(
    treated: &[bool],
    strata: &Strata,
    outcomes: &[&[f64]],
    clusters: Option<&[u32]>,
) -> Result<Contrast, ImpactError> {
    let cells = strata.cells(treated);
    let matched = strata.matched(treated);
    if matched.strata == 0 {
        return Err(ImpactError::NoOverlap);
    }
    for (arm, found) in
        [(Arm::Treatment, matched.treated_matched), (Arm::Control, matched.untreated_matched)]
    {
        if found < 2 {
            return Err(Undefined::TooFewObservations { arm, needed: 2, found }.into());
        }
    }
    let k = outcomes.len();
    if outcomes.iter().any(|outcome| outcome.iter().any(|value| !value.is_finite())) {
        return Err(Undefined::Overflow.into());
    }
    // Cell `2 s` is the untreated of stratum s, `2 s + 1` the treated.
    let key = |at: usize| 2 * strata.of()[at] as usize + usize::from(treated[at]);
    let empty = Group { n: 0, means: vec![0.0; k] };
    let mut groups = vec![empty.clone(); 2 * cells.len()];
    let mut arms = [empty.clone(), empty];
    let members = || (0..treated.len()).filter(|at| cells[strata.of()[*at] as usize].both());
    for at in members() {
        for group in [&mut groups[key(at)], &mut arms[usize::from(treated[at])]] {
            group.n += 1;
            for (mean, outcome) in group.means.iter_mut().zip(outcomes) {
                *mean += (outcome[at] - *mean) / group.n as f64;
            }
        }
    }
    let total = matched.treated_matched as f64;
    let mut estimates = vec![0.0; k];
    for (stratum, cell) in cells.iter().enumerate().filter(|(_, cell)| cell.both()) {
        let share = cell.treated as f64 / total;
        for (outcome, estimate) in estimates.iter_mut().enumerate() {
            let difference =
                groups[2 * stratum + 1].means[outcome] - groups[2 * stratum].means[outcome];
            *estimate += share * difference;
        }
    }

    // What one subject contributes to the error of the estimate.
    let influence = |at: usize, corrected: bool, into: &mut [f64]| -> usize {
        let (number, cell) = (key(at), cells[strata.of()[at] as usize]);
        let own = &groups[number];
        let reference = if own.n > 1 { own } else { &arms[usize::from(treated[at])] };
        let weight = if treated[at] {
            1.0 / total
        } else {
            -(cell.treated as f64 / total) / cell.untreated as f64
        };
        let n = reference.n as f64;
        let weight = if corrected { weight * (n / (n - 1.0)).sqrt() } else { weight };
        for ((into, outcome), mean) in into.iter_mut().zip(outcomes).zip(&reference.means) {
            *into = weight * (outcome[at] - mean);
        }
        number
    };
    let mut covariance = Symmetric::zero(k);
    let mut row = vec![0.0; k];
    let observed = matched.treated_matched + matched.untreated_matched;
    let (df, count) = match clusters {
        None => {
            // Share of the variance that comes from each cell, for the degrees of freedom.
            let mut of_cell: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
            for at in members() {
                let number = influence(at, true, &mut row);
                covariance.add_outer(&row, 1.0);
                let parts = of_cell.entry(number).or_insert_with(|| vec![0.0; k]);
                parts.iter_mut().zip(&row).for_each(|(part, value)| *part += value * value);
            }
            let df = (0..k).map(|outcome| {
                let variance = covariance.get(outcome, outcome);
                let sum: f64 = of_cell
                    .iter()
                    .map(|(number, parts)| {
                        let own = groups[*number].n;
                        let n = if own > 1 { own } else { arms[number % 2].n };
                        let share = parts[outcome] / variance;
                        share * share / (n - 1) as f64
                    })
                    .sum();
                if sum > 0.0 { 1.0 / sum } else { 1.0 }
            });
            (df.collect(), observed)
        }
        Some(clusters) => {
            let mut sums: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
            for at in members() {
                influence(at, false, &mut row);
                let sum = sums.entry(clusters[at]).or_insert_with(|| vec![0.0; k]);
                sum.iter_mut().zip(&row).for_each(|(sum, value)| *sum += value);
            }
            let found = sums.len() as u64;
            if found < 2 {
                let arm = Arm::Treatment;
                return Err(Undefined::TooFewObservations { arm, needed: 2, found }.into());
            }
            sums.values().for_each(|sum| covariance.add_outer(sum, 1.0));
            let (g, n) = (found as f64, observed as f64);
            let spent = n - 2.0 * matched.strata as f64;
            let small = if spent > 0.0 { (n - 1.0) / spent } else { 1.0 };
            covariance.scale(g / (g - 1.0) * small);
            (vec![g - 1.0; k], found)
        }
    };
    Ok(Contrast { estimates, covariance, df, clusters: count })
}

/// The change of the treated alone: mean of the differences, with Student's interval. Whatever else happened
/// meanwhile is in it.
///
/// # Errors
/// [`Undefined::TooFewObservations`] for fewer than two, [`Undefined::NoVariance`] when all changed alike.
pub fn before_after(changes: &Moments, confidence: Confidence) -> Result<Effect, Undefined> {
    let (Some(estimate), Some(variance)) = (changes.mean(), changes.variance()) else {
        let arm = Arm::Treatment;
        return Err(Undefined::TooFewObservations { arm, needed: 2, found: changes.n() });
    };
    let standard_error = (variance / changes.n() as f64).sqrt();
    check(estimate, standard_error)?;
    let df = (changes.n() - 1) as f64;
    Ok(Effect {
        estimate,
        standard_error,
        interval: Interval::around(estimate, confidence.t(df) * standard_error),
        p_value: distribution::t_two_sided(estimate / standard_error, df),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mean;

    proptest! {
        #[test]
        fn one_stratum_is_welchs_test(
            yes in proptest::collection::vec(-1e3..1e3_f64, 2..30),
            no in proptest::collection::vec(-1e3..1e3_f64, 2..30),
        ) {
            let values: Vec<f64> = yes.iter().chain(&no).copied().collect();
            let treated: Vec<bool> = (0..values.len()).map(|at| at < yes.len()).collect();
            let strata = Strata::whole(values.len());
            let ours = contrast(&treated, &strata, &[&values], None).expect("two of each");
            let welch = mean::compare(
                &no.into_iter().collect(), &yes.into_iter().collect(), Confidence::P95,
            ).expect("two of each").absolute.expect("they vary");
            let ours = ours.effect(0, Confidence::P95).expect("they vary");
            prop_assert!((ours.estimate - welch.estimate).abs() < 1e-8);
            prop_assert!((ours.standard_error / welch.standard_error - 1.0).abs() < 1e-9);
            prop_assert!((ours.p_value - welch.p_value).abs() < 1e-8);
        }

        #[test]
        fn clusters_of_one_are_nearly_no_clusters(
            values in proptest::collection::vec(-1e2..1e2_f64, 40..60),
        ) {
            let treated: Vec<bool> = (0..values.len()).map(|at| at % 2 == 0).collect();
            let clusters: Vec<u32> = (0..values.len() as u32).collect();
            let strata = Strata::whole(values.len());
            let se = |clusters| {
                let contrast = contrast(&treated, &strata, &[&values], clusters).expect("sound");
                contrast.effect(0, Confidence::P95).expect("they vary").standard_error
            };
            prop_assert!((se(Some(&clusters)) / se(None) - 1.0).abs() < 0.03);
        }
    }

    #[test]
    fn the_worked_example_of_the_documentation_holds() {
        let treated = [true, true, false, false, true, true, false, false];
        let plan = [0, 0, 0, 0, 1, 1, 1, 1];
        let changes = [3.0, 4.0, 2.0, 1.0, 2.0, 1.0, 0.0, 1.0];
        let strata = Strata::whole(8).split_by(&plan);
        let found = contrast(&treated, &strata, &[&changes], None).expect("sound");
        let effect = found.effect(0, Confidence::P95).expect("they vary");
        assert!((effect.estimate - 1.5).abs() < 1e-12);
        assert!((effect.standard_error - 0.5).abs() < 1e-12);
        // Four degrees of freedom: t = 2.776.
        assert!((effect.interval.low - 0.112).abs() < 5e-4, "{effect:?}");
        assert!((effect.interval.high - 2.888).abs() < 5e-4, "{effect:?}");
    }

    #[test]
    fn a_repeated_subject_does_not_make_the_interval_narrower() {
        let (mut values, mut treated, mut clusters) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..20_u32 {
            for _ in 0..50 {
                values.push(f64::from(at % 5));
                treated.push(at % 2 == 0);
                clusters.push(at);
            }
        }
        let strata = Strata::whole(values.len());
        let se = |clusters| {
            let contrast = contrast(&treated, &strata, &[&values], clusters).expect("sound");
            contrast.effect(0, Confidence::P95).expect("they vary").standard_error
        };
        assert!(se(Some(&clusters)) > 5.0 * se(None));
    }
}
