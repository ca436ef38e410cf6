//! Ratios of two amounts per subject, as amounts of which a mean can be taken.

use crate::{Arm, Undefined};

/// Values whose weighted mean over an arm is the arm's ratio of sums, and whose spread is that of the ratio: for a
/// subject with `y` above the line and `x` below it, `R + (y - R x) / mean(x)`, where `R = sum(w y) / sum(w x)`.
///
/// This is the delta method with the subject as the unit of observation (Deng, Knoblich & Lu 2018, "Applying the Delta
/// Method in Metric Analytics", eq. 4), under the weights of a matching. Whatever compares means under these weights
/// compares ratios with these values; the uncertainty of the weights themselves has no part in it.
///
/// # Errors
/// [`Undefined::ZeroDenominator`] for an arm with nothing below the line, [`Undefined::Overflow`] for what is not
/// finite.
pub fn linearised(
    above: &[f64],
    below: &[f64],
    treated: &[bool],
    weights: &[f64],
) -> Result<Vec<f64>, Undefined> {
    let arms = [(false, Arm::Control), (true, Arm::Treatment)].map(|(kind, arm)| {
        let (mut y, mut x, mut total) = (0.0, 0.0, 0.0);
        for (at, weight) in weights.iter().enumerate().filter(|(at, _)| treated[*at] == kind) {
            y += weight * above[at];
            x += weight * below[at];
            total += weight;
        }
        // Nobody of this arm takes part: there is no ratio, and no comparison that would ask for it.
        if total == 0.0 {
            return Ok((0.0, 1.0));
        }
        if x == 0.0 {
            return Err(Undefined::ZeroDenominator { arm });
        }
        let (ratio, mean) = (y / x, x / total);
        if !ratio.is_finite() || !mean.is_finite() {
            return Err(Undefined::Overflow);
        }
        Ok((ratio, mean))
    });
    let [untreated, adopted] = arms;
    let (untreated, adopted) = (untreated?, adopted?);
    let value = |((above, below), treated): ((&f64, &f64), &bool)| {
        let (ratio, mean) = if *treated { adopted } else { untreated };
        ratio + (above - ratio * below) / mean
    };
    Ok(above.iter().zip(below).zip(treated).map(value).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Confidence, PairMoments, impact, ratio};

    proptest! {
        #[test]
        fn without_matching_it_is_the_comparison_of_two_ratios(
            yes in proptest::collection::vec((0.0..1e3_f64, 0.5..10.0_f64), 2..30),
            no in proptest::collection::vec((0.0..1e3_f64, 0.5..10.0_f64), 2..30),
        ) {
            let moments = |pairs: &[(f64, f64)]| {
                let mut moments = PairMoments::EMPTY;
                pairs.iter().for_each(|(y, x)| moments.push(*y, *x));
                moments
            };
            let plain = ratio::compare(&moments(&no), &moments(&yes), Confidence::P95)
                .and_then(|found| found.absolute);
            let treated: Vec<bool> =
                yes.iter().map(|_| true).chain(no.iter().map(|_| false)).collect();
            let (above, below): (Vec<f64>, Vec<f64>) = yes.iter().chain(&no).copied().unzip();
            let strata = impact::Strata::whole(treated.len());
            let weights = strata.weights(&treated);
            let values = linearised(&above, &below, &treated, &weights).expect("finite");
            let found = impact::contrast(&treated, &strata, &[&values], None)
                .expect("two of each")
                .effect(0, Confidence::P95);
            if let (Ok(plain), Ok(found)) = (plain, found) {
                let near = |left: f64, right: f64| (left - right).abs() <= 1e-9 * (1.0 + right.abs());
                prop_assert!(near(found.estimate, plain.estimate));
                prop_assert!(near(found.standard_error, plain.standard_error));
            }
        }

        #[test]
        fn the_weighted_mean_of_an_arm_is_its_ratio_of_sums(
            subjects in proptest::collection::vec(
                (any::<bool>(), 0.0..50.0_f64, 0.5..9.0_f64, 0.1..4.0_f64), 1..40,
            ),
        ) {
            let treated: Vec<bool> = subjects.iter().map(|subject| subject.0).collect();
            let above: Vec<f64> = subjects.iter().map(|subject| subject.1).collect();
            let below: Vec<f64> = subjects.iter().map(|subject| subject.2).collect();
            let weights: Vec<f64> = subjects.iter().map(|subject| subject.3).collect();
            let values = linearised(&above, &below, &treated, &weights).expect("finite");
            for kind in [false, true] {
                let sum = |of: &dyn Fn(usize) -> f64| -> f64 {
                    (0..treated.len()).filter(|at| treated[*at] == kind).map(of).sum()
                };
                let total = sum(&|at| weights[at]);
                if total > 0.0 {
                    let mean = sum(&|at| weights[at] * values[at]) / total;
                    let ratio =
                        sum(&|at| weights[at] * above[at]) / sum(&|at| weights[at] * below[at]);
                    prop_assert!((mean - ratio).abs() < 1e-9 * (1.0 + ratio));
                }
            }
        }
    }

    #[test]
    fn a_denominator_of_one_changes_nothing_and_one_of_zero_names_its_arm() {
        let (treated, weights) = ([true, true, false], [1.0, 1.0, 1.0]);
        let above = [3.0, 5.0, 2.0];
        assert_eq!(linearised(&above, &[1.0; 3], &treated, &weights), Ok(above.to_vec()));
        let error =
            linearised(&above, &[1.0, 1.0, 0.0], &treated, &weights).expect_err("nothing below");
        assert_eq!(error, Undefined::ZeroDenominator { arm: Arm::Control });
    }
}
