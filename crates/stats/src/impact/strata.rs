//! Like with like: strata within which treated and untreated subjects are compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ImpactError, Panel, Propensity, Values};

/// How an amount is coarsened before subjects are matched on it exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coarsening {
    /// Not at all: equal values match.
    Exact,
    /// So many bins of equal width over the range.
    EqualWidth(u32),
    /// Bins of equal width, as many as Sturges' rule has for so many subjects: `ceil(log2(n) + 1)`.
    Sturges,
    /// So many bins of about equal numbers of subjects. A value that many share has a bin of its own, so that the
    /// many who never did something are not mixed with those who did it once.
    Quantiles(u32),
    /// At these points; a value at a point belongs to the bin above.
    Cuts(Vec<f64>),
}

impl Coarsening {
    /// The bin of every value.
    fn bins(&self, values: &[f64]) -> Result<Vec<u32>, ImpactError> {
        let bins = match self {
            Self::Exact => {
                let mut distinct = values.to_vec();
                distinct.sort_by(f64::total_cmp);
                distinct.dedup();
                distinct
            }
            Self::EqualWidth(bins) => equal_width(values, at_least_one("bins", *bins)?),
            Self::Sturges => {
                let bins = ((values.len().max(1) as f64).log2() + 1.0).ceil() as u32;
                equal_width(values, bins)
            }
            Self::Quantiles(bins) => quantile_starts(values, at_least_one("quantiles", *bins)?),
            Self::Cuts(cuts) => {
                let mut cuts = cuts.clone();
                cuts.sort_by(f64::total_cmp);
                cuts
            }
        };
        Ok(values.iter().map(|value| bins.partition_point(|cut| cut <= value) as u32).collect())
    }
}

fn at_least_one(name: &'static str, value: u32) -> Result<u32, ImpactError> {
    if value == 0 {
        return Err(ImpactError::OutOfRange {
            name,
            value: value.to_string(),
            range: "at least 1",
        });
    }
    Ok(value)
}

/// The inner borders of equal bins.
fn equal_width(values: &[f64], bins: u32) -> Vec<f64> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (1..bins).map(|bin| low + (high - low) * f64::from(bin) / f64::from(bins)).collect()
}

/// The first value of every bin but the lowest.
fn quantile_starts(values: &[f64], bins: u32) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut starts = Vec::new();
    let mut from = 0;
    while from < sorted.len() {
        // A bin takes its share, and then whoever has the same value as its last.
        let share = (sorted.len() as f64 / f64::from(bins)).ceil() as usize;
        let last = sorted[(from + share.max(1)).min(sorted.len()) - 1];
        let first = sorted[from];
        let crowd = sorted[from..].partition_point(|value| *value <= first);
        // A value that fills its bin alone keeps it alone.
        let end = if crowd >= share {
            from + crowd
        } else {
            from + sorted[from..].partition_point(|value| *value <= last)
        };
        if end < sorted.len() {
            starts.push(sorted[end]);
        }
        from = end;
    }
    starts
}

/// The stratum of every subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strata {
    of: Vec<u32>,
}

/// Who found a counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Matched {
    /// Treated subjects.
    pub treated: u64,
    /// Of those, how many share a stratum with an untreated one; the others are in no comparison, and the answer is
    /// not about them.
    pub treated_matched: u64,
    /// Untreated subjects.
    pub untreated: u64,
    /// Of those, how many share a stratum with a treated one.
    pub untreated_matched: u64,
    /// How many equally weighted untreated subjects would say as much: `(sum w)^2 / sum w^2` (Kish 1965).
    pub effective_untreated: f64,
    /// Strata with both kinds.
    pub strata: u64,
}

/// Treated and untreated subjects of a stratum.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    pub treated: u64,
    pub untreated: u64,
}

impl Cell {
    pub(super) fn both(self) -> bool {
        self.treated > 0 && self.untreated > 0
    }
}

impl Strata {
    /// Everybody in one stratum: no matching at all.
    pub fn whole(subjects: usize) -> Self {
        Self { of: vec![0; subjects] }
    }

    /// Subjects with the same values of every covariate.
    ///
    /// # Errors
    /// [`ImpactError::NoOverlap`] when no stratum holds both kinds.
    pub fn exact(panel: &Panel<'_>) -> Result<Self, ImpactError> {
        Self::coarsened(panel, &Coarsening::Exact)
    }

    /// Coarsened exact matching (Iacus, King & Porro 2012, "Causal Inference without Balance Checking"): amounts are
    /// put into bins, categories stay as they are, and subjects match who agree in all of them.
    ///
    /// # Errors
    /// [`ImpactError::NoOverlap`] when no stratum holds both kinds, [`ImpactError::OutOfRange`] for no bins.
    pub fn coarsened(panel: &Panel<'_>, coarsening: &Coarsening) -> Result<Self, ImpactError> {
        let mut strata = Self::whole(panel.treated().len());
        for covariate in panel.covariates() {
            strata = match &covariate.values {
                Values::Number(values) => strata.split_by(&coarsening.bins(values)?),
                Values::Category(values) => strata.split_by(values),
            };
        }
        strata.overlapping(panel.treated())
    }

    /// Classes of equal numbers of treated subjects by their chance of treatment (Rosenbaum & Rubin 1984, "Reducing
    /// Bias in Observational Studies Using Subclassification on the Propensity Score": five classes remove about nine
    /// tenths of the bias that the covariates cause).
    ///
    /// # Errors
    /// [`ImpactError::NoOverlap`] when no class holds both kinds, [`ImpactError::OutOfRange`] for no classes.
    pub fn by_propensity(
        panel: &Panel<'_>,
        propensity: &Propensity,
        classes: u32,
    ) -> Result<Self, ImpactError> {
        at_least_one("classes", classes)?;
        let mut of_treated: Vec<f64> = propensity
            .log_odds()
            .iter()
            .zip(panel.treated())
            .filter(|(_, treated)| **treated)
            .map(|(odds, _)| *odds)
            .collect();
        of_treated.sort_by(f64::total_cmp);
        let borders: Vec<f64> = (1..classes)
            .map(|class| quantile(&of_treated, f64::from(class) / f64::from(classes)))
            .collect();
        let of = propensity
            .log_odds()
            .iter()
            .map(|odds| borders.partition_point(|border| border < odds) as u32)
            .collect();
        Self { of }.overlapping(panel.treated())
    }

    /// The same strata, each split by a key such as the week of day zero.
    #[must_use]
    pub fn split_by(&self, keys: &[u32]) -> Self {
        let mut numbers: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        let of = self
            .of
            .iter()
            .zip(keys)
            .map(|(stratum, key)| {
                let next = numbers.len() as u32;
                *numbers.entry((*stratum, *key)).or_insert(next)
            })
            .collect();
        Self { of }
    }

    /// The strata of some of the subjects, by their numbers.
    #[must_use]
    pub fn subset(&self, subjects: &[usize]) -> Self {
        Self { of: subjects.iter().map(|subject| self.of[*subject]).collect() }
    }

    /// Fails unless some stratum holds both kinds.
    ///
    /// # Errors
    /// [`ImpactError::NoOverlap`].
    pub fn overlapping(self, treated: &[bool]) -> Result<Self, ImpactError> {
        if self.cells(treated).into_iter().any(Cell::both) {
            Ok(self)
        } else {
            Err(ImpactError::NoOverlap)
        }
    }

    /// The stratum of every subject.
    pub fn of(&self) -> &[u32] {
        &self.of
    }

    pub(super) fn cells(&self, treated: &[bool]) -> Vec<Cell> {
        let strata = self.of.iter().max().map_or(0, |highest| *highest as usize + 1);
        let mut cells = vec![Cell::default(); strata];
        for (stratum, treated) in self.of.iter().zip(treated) {
            let cell = &mut cells[*stratum as usize];
            if *treated {
                cell.treated += 1;
            } else {
                cell.untreated += 1;
            }
        }
        cells
    }

    /// Weights under which the untreated stand for the treated (Iacus, King & Porro 2012, section 3.1): 1 for a matched
    /// treated subject, `(n_T^s / n_U^s) (N_U / N_T)` for an untreated one in stratum `s`, where `N` counts the
    /// matched; 0 for who found no counterpart. The weights of the untreated sum to their number.
    pub fn weights(&self, treated: &[bool]) -> Vec<f64> {
        let cells = self.cells(treated);
        let matched = cells.iter().filter(|cell| cell.both());
        let (all_treated, all_untreated) = matched.fold((0, 0), |(treated, untreated), cell| {
            (treated + cell.treated, untreated + cell.untreated)
        });
        let overall = all_untreated as f64 / (all_treated as f64).max(1.0);
        self.of
            .iter()
            .zip(treated)
            .map(|(stratum, treated)| {
                let cell = cells[*stratum as usize];
                match (cell.both(), *treated) {
                    (false, _) => 0.0,
                    (true, true) => 1.0,
                    (true, false) => cell.treated as f64 / cell.untreated as f64 * overall,
                }
            })
            .collect()
    }

    /// Who found a counterpart.
    pub fn matched(&self, treated: &[bool]) -> Matched {
        let mut matched = Matched {
            treated: 0,
            treated_matched: 0,
            untreated: 0,
            untreated_matched: 0,
            effective_untreated: 0.0,
            strata: 0,
        };
        let (mut sum, mut squares) = (0.0, 0.0);
        for cell in self.cells(treated) {
            matched.treated += cell.treated;
            matched.untreated += cell.untreated;
            if cell.both() {
                matched.strata += 1;
                matched.treated_matched += cell.treated;
                matched.untreated_matched += cell.untreated;
                // A common factor of all weights has no part in the effective number.
                let weight = cell.treated as f64 / cell.untreated as f64;
                sum += weight * cell.untreated as f64;
                squares += weight * weight * cell.untreated as f64;
            }
        }
        if squares > 0.0 {
            matched.effective_untreated = sum * sum / squares;
        }
        matched
    }
}

/// Quantile of sorted values by linear interpolation (Hyndman & Fan 1996, definition 7).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len().saturating_sub(1)) as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len().saturating_sub(1));
    sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::impact::Covariate;

    #[test]
    fn the_many_who_never_did_it_have_a_bin_of_their_own() {
        let mut values = vec![0.0; 60];
        values.extend((1..=40).map(f64::from));
        let bins = Coarsening::Quantiles(5).bins(&values).expect("five bins");
        assert!(bins[..60].iter().all(|bin| *bin == 0));
        assert_eq!(bins[60..80], [1; 20]);
        assert_eq!(bins[80..], [2; 20]);
    }

    #[test]
    fn a_cut_belongs_to_the_bin_above() {
        let bins = Coarsening::Cuts(vec![10.0, 5.0]).bins(&[4.9, 5.0, 9.9, 10.0]).expect("cuts");
        assert_eq!(bins, [0, 1, 1, 2]);
    }

    #[test]
    fn who_has_no_counterpart_weighs_nothing() {
        let treated = [true, true, true, false, false, false, false];
        let panel =
            Panel::new(&treated, vec![Covariate::category("plan", vec![0, 0, 1, 0, 2, 2, 0])])
                .expect("sound");
        let strata = Strata::exact(&panel).expect("overlap");
        assert_eq!(strata.weights(&treated), [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        let matched = strata.matched(&treated);
        assert_eq!((matched.treated_matched, matched.untreated_matched), (2, 2));
        assert_eq!(matched.effective_untreated, 2.0);
    }

    #[test]
    fn strata_without_overlap_are_refused() {
        let treated = [true, false];
        let panel = Panel::new(&treated, vec![Covariate::number("visits", vec![1.0, 2.0])]);
        assert_eq!(Strata::exact(&panel.expect("sound")), Err(ImpactError::NoOverlap));
    }

    proptest! {
        #[test]
        fn weights_sum_to_the_matched_of_either_kind(
            subjects in proptest::collection::vec((any::<bool>(), 0_u32..4, 0_u32..3), 2..80),
        ) {
            let treated: Vec<bool> = subjects.iter().map(|subject| subject.0).collect();
            let keys: Vec<u32> = subjects.iter().map(|subject| subject.1).collect();
            let more: Vec<u32> = subjects.iter().map(|subject| subject.2).collect();
            let strata = Strata::whole(treated.len()).split_by(&keys).split_by(&more);
            let (matched, weights) = (strata.matched(&treated), strata.weights(&treated));
            let sum = |kind: bool| -> f64 {
                weights.iter().zip(&treated).filter(|(_, t)| **t == kind).map(|(w, _)| w).sum()
            };
            prop_assert!((sum(true) - matched.treated_matched as f64).abs() < 1e-9);
            prop_assert!((sum(false) - matched.untreated_matched as f64).abs() < 1e-9);
            prop_assert!(matched.effective_untreated <= matched.untreated_matched as f64 + 1e-9);
        }
    }
}
