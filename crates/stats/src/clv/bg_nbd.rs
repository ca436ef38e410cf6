//! The BG/NBD model: customers buy at random while they are customers, and may leave after any purchase.

use std::collections::BTreeMap;

use libm::lgamma;
use serde::{Deserialize, Serialize};

use super::{Customer, FEWEST_REPEATS, Unfitted};
use crate::{
    minimise::minimise,
    special::{digamma, hypergeometric},
};

/// Parameters of the model (Fader, Hardie & Lee 2005, "Counting Your Customers the Easy Way: An Alternative to the
/// Pareto/NBD Model", Marketing Science 24(2)): the purchase rate is gamma with shape `r` and rate `alpha`, the chance
/// of leaving after a purchase is beta with `a` and `b`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BgNbd {
    /// Shape of the purchase rates.
    pub r: f64,
    /// Rate of the purchase rates, in units of time.
    pub alpha: f64,
    /// First parameter of the chance to leave.
    pub a: f64,
    /// Second parameter of the chance to leave.
    pub b: f64,
}

/// A fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FittedBgNbd {
    /// Where the likelihood is highest.
    pub model: BgNbd,
    /// The log-likelihood there.
    pub log_likelihood: f64,
    /// How many customers it was fitted to.
    pub customers: u64,
    /// Steps of the search.
    pub iterations: u32,
}

/// Customers with the same history.
struct Alike {
    frequency: f64,
    recency: f64,
    age: f64,
    customers: f64,
}

impl BgNbd {
    /// Fits the model by maximum likelihood (eq. 6 of the paper).
    ///
    /// # Errors
    /// [`Unfitted`] for histories that cannot be, too few repeat customers, or a likelihood without maximum.
    pub fn fit(customers: &[Customer]) -> Result<FittedBgNbd, Unfitted> {
        let alike = group(customers)?;
        let total = customers.len() as f64;
        let mean_age: f64 = customers.iter().map(|customer| customer.age).sum::<f64>() / total;
        let objective = |at: &[f64], gradient: &mut [f64]| {
            let model = Self::from_logarithms(at);
            let value = model.likelihood_and_gradient(&alike, gradient);
            // Slopes along the logarithms, of the mean: of the order of 1 whatever the data.
            let parameters = [model.r, model.alpha, model.a, model.b];
            gradient
                .iter_mut()
                .zip(parameters)
                .for_each(|(slope, parameter)| *slope *= -parameter / total);
            -value / total
        };
        let found = minimise(&[0.0, mean_age.max(f64::MIN_POSITIVE).ln(), 0.0, 0.0], objective);
        let model = Self::from_logarithms(&found.at);
        if !found.converged || !found.at.iter().all(|logarithm| logarithm.abs() < 25.0) {
            return Err(Unfitted::NoMaximum);
        }
        Ok(FittedBgNbd {
            model,
            log_likelihood: -found.value * total,
            customers: customers.len() as u64,
            iterations: found.iterations,
        })
    }

    fn from_logarithms(at: &[f64]) -> Self {
        Self { r: at[0].exp(), alpha: at[1].exp(), a: at[2].exp(), b: at[3].exp() }
    }

    /// Log-likelihood of histories.
    ///
    /// # Errors
    /// [`Unfitted::Impossible`] for a history that cannot be.
    pub fn log_likelihood(&self, customers: &[Customer]) -> Result<f64, Unfitted> {
        Ok(self.likelihood_and_gradient(&alike(customers)?, &mut [0.0; 4]))
    }

    /// The log-likelihood, and its slopes along r, alpha, a and b.
    fn likelihood_and_gradient(&self, groups: &[Alike], gradient: &mut [f64]) -> f64 {
        let Self { r, alpha, a, b } = *self;
        // Gamma functions depend on the number of purchases alone, of which there are few.
        let (mut of, mut last) = ([0.0; 5], f64::NAN);
        let (ln_alpha, digamma_r) = (alpha.ln(), digamma(r));
        let (lgamma_r, digamma_ab) = (lgamma(r), digamma(a + b));
        let beta_ab = lgamma(a + b) - lgamma(b);
        let digamma_b = digamma(b);
        gradient.fill(0.0);
        let mut sum = 0.0;
        for group in groups {
            let Alike { frequency: x, recency, age, customers: n } = *group;
            if x != last {
                last = x;
                of = [
                    lgamma(r + x) - lgamma_r + r * ln_alpha + beta_ab + lgamma(b + x)
                        - lgamma(a + b + x),
                    digamma(r + x) - digamma_r + ln_alpha,
                    digamma_ab - digamma(a + b + x),
                    digamma_ab - digamma_b + digamma(b + x) - digamma(a + b + x),
                    if x > 0.0 { (a / (b + x - 1.0)).ln() } else { f64::NEG_INFINITY },
                ];
            }
            let (log_age, log_recency) = ((alpha + age).ln(), (alpha + recency).ln());
            // Still a customer, or gone after the last purchase.
            let stayed = -(r + x) * log_age;
            let left = of[4] - (r + x) * log_recency;
            let higher = stayed.max(left);
            let both = higher + ((stayed - higher).exp() + (left - higher).exp()).ln();
            let (p_stayed, p_left) = ((stayed - both).exp(), (left - both).exp());
            sum += n * (of[0] + both);
            gradient[0] += n * (of[1] - p_stayed * log_age - p_left * log_recency);
            gradient[1] +=
                n * (r / alpha - (r + x) * (p_stayed / (alpha + age) + p_left / (alpha + recency)));
            gradient[2] += n * (of[2] + p_left / a);
            gradient[3] += n * (of[3] - if x > 0.0 { p_left / (b + x - 1.0) } else { 0.0 });
        }
        sum
    }

    /// The chance that somebody with this history is still a customer; 1 for who has not bought again, since the model
    /// lets nobody leave before that (Fader, Hardie & Lee 2008, "Computing P(alive) Using the BG/NBD Model", eq. 2).
    pub fn p_alive(&self, customer: &Customer) -> f64 {
        1.0 / (1.0 + self.odds_of_having_left(customer))
    }

    fn odds_of_having_left(&self, customer: &Customer) -> f64 {
        if customer.frequency == 0 {
            return 0.0;
        }
        let x = f64::from(customer.frequency);
        let ratio = (self.alpha + customer.age) / (self.alpha + customer.recency);
        self.a / (self.b + x - 1.0) * ((self.r + x) * ratio.ln()).exp()
    }

    /// Purchases expected within `time` from now on, given a history (eq. 10 of the paper).
    ///
    /// The hypergeometric function is transformed by Euler's formula (Abramowitz & Stegun 15.3.3): the factor
    /// `(1 - z)^(r + x)` and a function that grows as fast would leave the range of 64 bits for loyal customers.
    pub fn expected_purchases(&self, customer: &Customer, time: f64) -> f64 {
        if time <= 0.0 {
            return 0.0;
        }
        let x = f64::from(customer.frequency);
        let Self { r, alpha, b, .. } = *self;
        let a = self.a_beside_one();
        let z = time / (alpha + customer.age + time);
        let decay = (-z).ln_1p() * (a - 1.0);
        let series = hypergeometric(a + b - 1.0 - r, a - 1.0, a + b + x - 1.0, z);
        let ahead = (a + b + x - 1.0) / (a - 1.0) * (1.0 - decay.exp() * series);
        ahead / (1.0 + self.odds_of_having_left(customer))
    }

    /// Purchases expected of somebody new within `time` of the first, which does not count (eq. 9 of the paper).
    pub fn expected_of_new(&self, time: f64) -> f64 {
        self.expected_purchases(&Customer { frequency: 0, recency: 0.0, age: 0.0 }, time)
    }

    /// The expectations divide by `a - 1`, and have a limit there.
    fn a_beside_one(&self) -> f64 {
        if (self.a - 1.0).abs() < 1e-7 { 1.0 + 1e-7 } else { self.a }
    }
}

fn group(customers: &[Customer]) -> Result<Vec<Alike>, Unfitted> {
    let groups = alike(customers)?;
    let found = customers.iter().filter(|customer| customer.frequency > 0).count();
    if found < FEWEST_REPEATS {
        return Err(Unfitted::TooFewRepeats { found, needed: FEWEST_REPEATS });
    }
    Ok(groups)
}

/// Histories that occur, by number of purchases.
fn alike(customers: &[Customer]) -> Result<Vec<Alike>, Unfitted> {
    let mut groups: BTreeMap<(u32, u64, u64), f64> = BTreeMap::new();
    for (at, customer) in customers.iter().enumerate() {
        let Customer { frequency, recency, age } = *customer;
        let problem = if !(recency >= 0.0 && age.is_finite() && age >= recency) {
            "0 <= recency <= age must hold"
        } else if frequency == 0 && recency != 0.0 {
            "without a repeat purchase the recency is 0"
        } else {
            *groups.entry((frequency, recency.to_bits(), age.to_bits())).or_default() += 1.0;
            continue;
        };
        return Err(Unfitted::Impossible { at, problem });
    }
    Ok(groups
        .into_iter()
        .map(|((frequency, recency, age), customers)| Alike {
            frequency: f64::from(frequency),
            recency: f64::from_bits(recency),
            age: f64::from_bits(age),
            customers,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: BgNbd = BgNbd { r: 0.243, alpha: 4.414, a: 0.793, b: 2.426 };

    #[test]
    fn the_gradient_is_the_slope() {
        let customers: Vec<Customer> = (0..20)
            .map(|at| Customer {
                frequency: at % 4,
                recency: f64::from(at % 4) * 2.5,
                age: 12.0 + f64::from(at),
            })
            .collect();
        let groups = alike(&customers).expect("sound");
        let mut gradient = [0.0; 4];
        PAPER.likelihood_and_gradient(&groups, &mut gradient);
        for (at, slope) in gradient.into_iter().enumerate() {
            let moved = |step: f64| {
                let mut at_of = [PAPER.r, PAPER.alpha, PAPER.a, PAPER.b];
                at_of[at] += step;
                let [r, alpha, a, b] = at_of;
                BgNbd { r, alpha, a, b }.likelihood_and_gradient(&groups, &mut [0.0; 4])
            };
            let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!(
                (slope - numeric).abs() < 1e-5 * (1.0 + slope.abs()),
                "{at}: {slope} {numeric}"
            );
        }
    }

    #[test]
    fn a_very_loyal_customer_stays_within_64_bits() {
        let customer = Customer { frequency: 5_000, recency: 365.0, age: 365.0 };
        let expected = PAPER.expected_purchases(&customer, 365.0);
        assert!(expected.is_finite() && expected > 1_000.0, "{expected}");
    }

    #[test]
    fn the_limit_at_a_of_one_is_smooth() {
        let customer = Customer { frequency: 2, recency: 30.0, age: 40.0 };
        let at = |a| BgNbd { a, ..PAPER }.expected_purchases(&customer, 39.0);
        assert!((at(1.0) - 0.5 * (at(0.999) + at(1.001))).abs() < 1e-4);
    }

    #[test]
    fn histories_that_cannot_be_are_refused() {
        let impossible = Customer { frequency: 1, recency: 5.0, age: 4.0 };
        assert!(matches!(BgNbd::fit(&[impossible]), Err(Unfitted::Impossible { at: 0, .. })));
        let single = Customer { frequency: 0, recency: 0.0, age: 4.0 };
        assert_eq!(
            BgNbd::fit(&[single; 50]),
            Err(Unfitted::TooFewRepeats { found: 0, needed: FEWEST_REPEATS })
        );
    }
}
