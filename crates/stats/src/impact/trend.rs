//! Whether the groups moved alike before: event study, joint test of the leads, placebo.

use super::{ImpactError, Strata, contrast, contrast::Wald};
use crate::{Confidence, Effect, Undefined};

/// A pre-period test below this says that the groups were drifting apart already.
pub const DIVERGING_BELOW: f64 = 0.05;

/// The difference between the groups in one period, relative to the last period before day zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Period {
    /// Periods from day zero: -1 is the last before, 0 the first after.
    pub offset: i32,
    /// The difference in differences; `None` for the reference, which is 0 by definition.
    pub effect: Option<Result<Effect, Undefined>>,
}

/// An event study.
#[derive(Debug, Clone, PartialEq)]
pub struct Study {
    /// Every period in order.
    pub periods: Vec<Period>,
    /// Joint test that all leads are zero; absent with fewer than two periods before.
    pub leads: Option<Wald>,
    /// A treatment that never happened: the later half of the periods before against the earlier half.
    pub placebo: Option<Result<Effect, Undefined>>,
}

impl Study {
    /// Whether the groups were drifting apart before anybody was treated.
    pub fn diverges(&self) -> bool {
        self.leads.is_some_and(|leads| leads.p_value < DIVERGING_BELOW)
    }
}

/// Differences between matched treated and untreated subjects by period relative to day zero (Sun & Abraham 2021,
/// "Estimating dynamic treatment effects in event studies with heterogeneous treatment effects": every treated subject
/// is compared with untreated ones only). Groups that would have moved alike show leads around zero; leads that do
/// not are evidence against, while leads that do are no proof (Roth 2022, "Pretest with Caution").
///
/// `before` and `after` hold one column per period of equal length, each in the order of time.
///
/// # Errors
/// As [`contrast`](super::contrast()).
pub fn study(
    treated: &[bool],
    strata: &Strata,
    before: &[Vec<f64>],
    after: &[Vec<f64>],
    clusters: Option<&[u32]>,
    confidence: Confidence,
) -> Result<Study, ImpactError> {
    let Some((reference, leads)) = before.split_last() else {
        return Ok(Study { periods: Vec::new(), leads: None, placebo: None });
    };
    let relative = |column: &Vec<f64>| -> Vec<f64> {
        column.iter().zip(reference).map(|(value, reference)| value - reference).collect()
    };
    let mut columns: Vec<Vec<f64>> = leads.iter().chain(after).map(relative).collect();
    // The halves leave out the middle one of an odd number of periods.
    let half = before.len() / 2;
    if half > 0 {
        let mean = |periods: &[Vec<f64>], at: usize| {
            periods.iter().map(|period| period[at]).sum::<f64>() / periods.len() as f64
        };
        let late = &before[before.len() - half..];
        columns.push(
            (0..treated.len()).map(|at| mean(late, at) - mean(&before[..half], at)).collect(),
        );
    }
    let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let compared = contrast(treated, strata, &columns, clusters)?;
    let offset = |at: usize| at as i32 - before.len() as i32;
    let mut periods: Vec<Period> = (0..leads.len())
        .map(|at| Period { offset: offset(at), effect: Some(compared.effect(at, confidence)) })
        .collect();
    periods.push(Period { offset: -1, effect: None });
    for at in leads.len()..leads.len() + after.len() {
        let effect = Some(compared.effect(at, confidence));
        periods.push(Period { offset: offset(at + 1), effect });
    }
    Ok(Study {
        periods,
        leads: if leads.is_empty() { None } else { compared.wald(0..leads.len()) },
        placebo: (half > 0).then(|| compared.effect(compared.len() - 1, confidence)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forty subjects with noise that repeats, treated ones on a slope of their own.
    fn columns(slope: f64) -> (Vec<bool>, Vec<Vec<f64>>) {
        let treated: Vec<bool> = (0..40).map(|at| at % 2 == 0).collect();
        let period = |period: usize| {
            let noise = |at: usize| ((at * 7 + period * 13 + at * period * 5) % 11) as f64 / 11.0;
            let drift = |at: usize| if at.is_multiple_of(2) { slope * period as f64 } else { 0.0 };
            (0..40).map(|at| noise(at) + drift(at)).collect()
        };
        (treated, (0..4).map(period).collect())
    }

    #[test]
    fn groups_that_drift_apart_are_seen() {
        let (treated, before) = columns(1.0);
        let strata = Strata::whole(40);
        let found = study(&treated, &strata, &before, &[], None, Confidence::P95).expect("sound");
        assert!(found.diverges());
        assert_eq!(
            found.periods.iter().map(|period| period.offset).collect::<Vec<_>>(),
            [-4, -3, -2, -1]
        );
    }

    #[test]
    fn groups_that_move_alike_pass() {
        let (treated, periods) = columns(0.0);
        let strata = Strata::whole(40);
        let found = study(&treated, &strata, &periods[..3], &periods[3..], None, Confidence::P95)
            .expect("sound");
        assert!(!found.diverges(), "{found:?}");
        assert_eq!(found.periods.last().map(|period| period.offset), Some(0));
    }
}
