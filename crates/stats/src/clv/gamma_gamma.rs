//! The Gamma-Gamma model: how much a customer spends per purchase, apart from how often.

use libm::lgamma;
use serde::{Deserialize, Serialize};

use super::{FEWEST_REPEATS, Unfitted};
use crate::{PairMoments, minimise::minimise, special::digamma};

/// Parameters of the model (Fader & Hardie 2013, "The Gamma-Gamma Model of Monetary Value"; Fader, Hardie & Lee 2005,
/// "RFM and CLV"): a purchase is gamma with shape `p` and a rate that is gamma with shape `q` and rate `v` over
/// customers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GammaGamma {
    /// Shape of the amounts of one customer.
    pub p: f64,
    /// Shape of the rates over customers.
    pub q: f64,
    /// Rate of the rates, in units of money.
    pub v: f64,
}

/// A fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FittedGammaGamma {
    /// Where the likelihood is highest.
    pub model: GammaGamma,
    /// The log-likelihood there.
    pub log_likelihood: f64,
    /// How many customers it was fitted to.
    pub customers: u64,
    /// Correlation of how often and how much, which the model takes to be none: beyond a few tenths, do not trust it.
    pub correlation: f64,
}

impl GammaGamma {
    /// Fits the model by maximum likelihood to customers with so many purchases of such a mean amount (eq. 1a of the
    /// note). Whoever has no purchase or a mean of zero or less is left out: a gamma law has no place for them.
    ///
    /// # Errors
    /// [`Unfitted`] for too few customers or a likelihood without maximum.
    pub fn fit(customers: &[(u32, f64)]) -> Result<FittedGammaGamma, Unfitted> {
        let mut kept: Vec<(f64, f64)> = customers
            .iter()
            .filter(|(frequency, mean)| *frequency > 0 && mean.is_finite() && *mean > 0.0)
            .map(|(frequency, mean)| (f64::from(*frequency), *mean))
            .collect();
        if kept.len() < FEWEST_REPEATS {
            return Err(Unfitted::TooFewRepeats { found: kept.len(), needed: FEWEST_REPEATS });
        }
        kept.sort_by(|left, right| left.0.total_cmp(&right.0));
        let total = kept.len() as f64;
        let mean_amount = kept.iter().map(|(_, mean)| mean).sum::<f64>() / total;
        let objective = |at: &[f64], gradient: &mut [f64]| {
            let model = Self::from_logarithms(at);
            let value = model.likelihood_and_gradient(&kept, gradient);
            let parameters = [model.p, model.q, model.v];
            gradient
                .iter_mut()
                .zip(parameters)
                .for_each(|(slope, parameter)| *slope *= -parameter / total);
            -value / total
        };
        let found = minimise(&[1.0, 1.0, mean_amount.ln()], objective);
        if !found.converged || !found.at.iter().all(|logarithm| logarithm.abs() < 25.0) {
            return Err(Unfitted::NoMaximum);
        }
        let mut pairs = PairMoments::EMPTY;
        kept.iter().for_each(|(frequency, mean)| pairs.push(*frequency, *mean));
        let spread = |moments: crate::Moments| moments.standard_deviation().unwrap_or(0.0);
        let spreads = spread(pairs.x()) * spread(pairs.y());
        Ok(FittedGammaGamma {
            model: Self::from_logarithms(&found.at),
            log_likelihood: -found.value * total,
            customers: kept.len() as u64,
            correlation: match pairs.covariance() {
                Some(covariance) if spreads > 0.0 => covariance / spreads,
                _ => 0.0,
            },
        })
    }

    fn from_logarithms(at: &[f64]) -> Self {
        Self { p: at[0].exp(), q: at[1].exp(), v: at[2].exp() }
    }

    fn likelihood_and_gradient(&self, customers: &[(f64, f64)], gradient: &mut [f64]) -> f64 {
        let Self { p, q, v } = *self;
        let (ln_v, lgamma_q, digamma_q) = (v.ln(), lgamma(q), digamma(q));
        let (mut of, mut last) = ([0.0; 3], f64::NAN);
        gradient.fill(0.0);
        let mut sum = 0.0;
        for (x, mean) in customers {
            let px = p * x;
            if *x != last {
                last = *x;
                let both = digamma(px + q);
                of = [
                    lgamma(px + q) - lgamma(px) - lgamma_q + q * ln_v + px * x.ln(),
                    both - digamma(px),
                    both,
                ];
            }
            let (ln_mean, spent) = (mean.ln(), x * mean + v);
            let ln_spent = spent.ln();
            sum += of[0] + (px - 1.0) * ln_mean - (px + q) * ln_spent;
            gradient[0] += x * (of[1] + ln_mean + x.ln() - ln_spent);
            gradient[1] += of[2] - digamma_q + ln_v - ln_spent;
            gradient[2] += q / v - (px + q) / spent;
        }
        sum
    }

    /// Expected mean amount of a customer with so many purchases of such a mean amount: between their own and
    /// everybody's, the nearer to their own the more they bought (eq. 5 of the note). Absent for `q <= 1`, where the
    /// law of amounts over customers has no mean, unless the customer's own purchases bring one.
    pub fn expected_amount(&self, frequency: u32, mean: f64) -> Option<f64> {
        let x = f64::from(frequency);
        let below = self.p * x + self.q - 1.0;
        let own = if frequency == 0 { 0.0 } else { x * mean };
        (below > 0.0).then(|| self.p * (self.v + own) / below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_unknown_spends_what_everybody_does() {
        let model = GammaGamma { p: 6.25, q: 3.74, v: 15.44 };
        let mean = model.p * model.v / (model.q - 1.0);
        assert!((model.expected_amount(0, 0.0).expect("q above 1") - mean).abs() < 1e-12);
        let loyal = model.expected_amount(10_000, 50.0).expect("q above 1");
        assert!((loyal - 50.0).abs() < 0.01, "{loyal}");
        assert_eq!(GammaGamma { q: 0.9, ..model }.expected_amount(0, 0.0), None);
    }

    #[test]
    fn two_customers_are_too_few() {
        assert!(matches!(
            GammaGamma::fit(&[(1, 5.0), (2, 6.0), (3, 0.0)]),
            Err(Unfitted::TooFewRepeats { found: 2, .. })
        ));
    }
}
