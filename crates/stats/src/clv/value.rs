//! From purchases and amounts to money, discounted.

use serde::{Deserialize, Serialize};

use super::{BgNbd, Customer};

/// How far ahead, in what steps, and what later money is worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Horizon {
    /// How many periods.
    pub periods: u32,
    /// Length of a period in the unit of the histories.
    pub length: f64,
    /// Discount rate per period: money of period `n` counts `1 / (1 + rate)^n`.
    pub rate: f64,
}

/// The value of a customer's purchases within the horizon: per period the expected number times the expected amount,
/// discounted at the end of the period (Fader, Hardie & Lee 2005, "RFM and CLV: Using Iso-Value Curves for Customer
/// Base Analysis", in steps instead of continuous time).
pub fn lifetime_value(model: &BgNbd, customer: &Customer, amount: f64, horizon: Horizon) -> f64 {
    let (mut sum, mut before) = (0.0, 0.0);
    for period in 1..=horizon.periods {
        let until = model.expected_purchases(customer, f64::from(period) * horizon.length);
        sum += (until - before) * amount / (1.0 + horizon.rate).powi(period.cast_signed());
        before = until;
    }
    sum
}

/// The value of somebody new within the horizon, the first purchase included.
pub fn next_value(model: &BgNbd, amount: f64, horizon: Horizon) -> f64 {
    let new = Customer { frequency: 0, recency: 0.0, age: 0.0 };
    amount + lifetime_value(model, &new, amount, horizon)
}
