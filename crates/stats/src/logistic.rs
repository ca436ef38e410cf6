//! Logistic regression, for the chance of being treated given what was known before.

use crate::dense::Symmetric;

const MOST_ITERATIONS: u32 = 50;
const SETTLED: f64 = 1e-10;
/// A linear predictor beyond this is a chance within 1e-13 of 0 or 1: the groups are separated.
const SEPARATED: f64 = 30.0;

/// A fitted model.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    /// The constant, then one coefficient per column; 0 for a column that depends on others.
    pub coefficients: Vec<f64>,
    /// Linear predictor of every row: the logarithm of the odds.
    pub log_odds: Vec<f64>,
    /// Log-likelihood at the maximum.
    pub log_likelihood: f64,
    /// Steps that were needed.
    pub iterations: u32,
}

/// Why a model has no maximum-likelihood fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfitted {
    /// Every row has the same outcome.
    #[error("everybody has the same outcome, so nothing can be learned from the covariates")]
    OneOutcome,
    /// The covariates tell the outcomes apart without error, so coefficients grow without bound.
    #[error("the covariates tell the groups apart without error, so no comparable subjects exist")]
    Separated,
    /// The iteration did not settle.
    #[error("the iteration did not settle")]
    NotSettled,
}

/// Fits `P(outcome) = 1 / (1 + exp(-(b0 + b x)))` by iteratively reweighted least squares, which for this link is
/// Newton's method (McCullagh & Nelder 1989, section 2.5). Columns are centred and scaled inside, so that their units do
/// not matter.
///
/// # Errors
/// [`Unfitted`] where the likelihood has no maximum.
///
/// # Panics
/// When a column has not as many values as there are outcomes.
pub fn fit(columns: &[&[f64]], outcomes: &[bool]) -> Result<Logistic, Unfitted> {
    let n = outcomes.len();
    assert!(columns.iter().all(|column| column.len() == n), "a value per outcome");
    let successes = outcomes.iter().filter(|outcome| **outcome).count();
    if successes == 0 || successes == n {
        return Err(Unfitted::OneOutcome);
    }
    let scales: Vec<(f64, f64)> = columns.iter().map(|column| centre_and_scale(column)).collect();
    let k = columns.len() + 1;
    let mut beta = vec![0.0; k];
    beta[0] = (successes as f64 / (n - successes) as f64).ln();
    let mut row = vec![1.0; k];
    for iteration in 1..=MOST_ITERATIONS {
        let mut information = Symmetric::zero(k);
        let mut score = vec![0.0; k];
        for (at, outcome) in outcomes.iter().enumerate() {
            scaled_row(columns, &scales, at, &mut row);
            let chance = chance(dot(&beta, &row));
            let residual = f64::from(u8::from(*outcome)) - chance;
            score.iter_mut().zip(&row).for_each(|(score, x)| *score += residual * x);
            information.add_outer(&row, chance * (1.0 - chance));
        }
        let (step, _) = information.solve(&score);
        beta.iter_mut().zip(&step).for_each(|(beta, step)| *beta += step);
        if beta.iter().any(|beta| !beta.is_finite()) {
            return Err(Unfitted::Separated);
        }
        if step.iter().all(|step| step.abs() < SETTLED) {
            return finish(columns, &scales, &beta, outcomes, iteration);
        }
    }
    // Separation shows as coefficients that go on growing.
    let widest = (0..n)
        .map(|at| {
            scaled_row(columns, &scales, at, &mut row);
            dot(&beta, &row).abs()
        })
        .fold(0.0, f64::max);
    Err(if widest > SEPARATED { Unfitted::Separated } else { Unfitted::NotSettled })
}

fn finish(
    columns: &[&[f64]],
    scales: &[(f64, f64)],
    beta: &[f64],
    outcomes: &[bool],
    iterations: u32,
) -> Result<Logistic, Unfitted> {
    let mut row = vec![1.0; beta.len()];
    let mut log_odds = Vec::with_capacity(outcomes.len());
    let mut log_likelihood = 0.0;
    for (at, outcome) in outcomes.iter().enumerate() {
        scaled_row(columns, scales, at, &mut row);
        let predictor = dot(beta, &row);
        let signed = if *outcome { predictor } else { -predictor };
        log_likelihood -=
            if signed > 0.0 { (-signed).exp().ln_1p() } else { signed.exp().ln_1p() - signed };
        log_odds.push(predictor);
    }
    if log_likelihood > -1e-6 {
        return Err(Unfitted::Separated);
    }
    let mut coefficients: Vec<f64> =
        beta[1..].iter().zip(scales).map(|(beta, (_, scale))| beta / scale).collect();
    let shift: f64 = coefficients
        .iter()
        .zip(scales)
        .map(|(coefficient, (centre, _))| coefficient * centre)
        .sum();
    coefficients.insert(0, beta[0] - shift);
    Ok(Logistic { coefficients, log_odds, log_likelihood, iterations })
}

/// `1 / (1 + exp(-x))` without overflow.
pub(crate) fn chance(log_odds: f64) -> f64 {
    if log_odds >= 0.0 {
        1.0 / (1.0 + (-log_odds).exp())
    } else {
        let odds = log_odds.exp();
        odds / (1.0 + odds)
    }
}

fn centre_and_scale(column: &[f64]) -> (f64, f64) {
    let moments: crate::Moments = column.iter().copied().collect();
    let spread = moments.standard_deviation().unwrap_or(0.0);
    (moments.mean().unwrap_or(0.0), if spread > 0.0 { spread } else { 1.0 })
}

fn scaled_row(columns: &[&[f64]], scales: &[(f64, f64)], at: usize, row: &mut [f64]) {
    for ((cell, column), (centre, scale)) in row[1..].iter_mut().zip(columns).zip(scales) {
        *cell = (column[at] - centre) / scale;
    }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_groups_give_their_log_odds() {
        // 3 of 10 against 8 of 10: the coefficient is the log odds ratio.
        let mut x = vec![0.0; 10];
        x.extend([1.0; 10]);
        let outcomes: Vec<bool> =
            (0..20).map(|at| if at < 10 { at < 3 } else { at < 18 }).collect();
        let fitted = fit(&[&x], &outcomes).expect("it has a maximum");
        assert!((fitted.coefficients[0] - (0.3_f64 / 0.7).ln()).abs() < 1e-10);
        let ratio = (0.8_f64 / 0.2).ln() - (0.3_f64 / 0.7).ln();
        assert!((fitted.coefficients[1] - ratio).abs() < 1e-10);
    }

    #[test]
    fn groups_that_are_told_apart_have_no_fit() {
        let outcomes = [false, false, false, true, true, true];
        assert_eq!(fit(&[&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], &outcomes), Err(Unfitted::Separated));
        assert_eq!(fit(&[&[1.0, 2.0]], &[true, true]), Err(Unfitted::OneOutcome));
    }

    #[test]
    fn a_column_given_twice_counts_once() {
        let x: Vec<f64> = (0..40).map(|at| f64::from(at % 7)).collect();
        let outcomes: Vec<bool> = (0..40).map(|at| (at * 13 + at % 7) % 5 < 2).collect();
        let once = fit(&[&x], &outcomes).expect("it has a maximum");
        let twice = fit(&[&x, &x], &outcomes).expect("it has a maximum");
        assert_eq!(twice.coefficients[2], 0.0);
        assert!((once.coefficients[1] - twice.coefficients[1]).abs() < 1e-9);
    }
}
