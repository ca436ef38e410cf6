//! What customers will be worth: who is still one, how often they will buy, and for how much.
//!
//! Purchases come by BG/NBD ([`BgNbd`]), amounts by Gamma-Gamma ([`GammaGamma`]), both fitted by maximum likelihood to
//! the few numbers a customer boils down to ([`Customer`]); [`lifetime_value`] puts the two together.

mod bg_nbd;
mod gamma_gamma;
mod value;

use serde::{Deserialize, Serialize};

pub use self::{
    bg_nbd::{BgNbd, FittedBgNbd},
    gamma_gamma::{FittedGammaGamma, GammaGamma},
    value::{Horizon, lifetime_value, next_value},
};

/// The history of one customer: time runs from the first purchase, in any unit that is the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    /// Repeat purchases: those after the first.
    pub frequency: u32,
    /// Time of the last purchase; 0 without a repeat.
    pub recency: f64,
    /// Time that was observed.
    pub age: f64,
}

/// Why there is no fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unfitted {
    /// A history that cannot be.
    #[error("customer {at}: {problem}")]
    Impossible {
        /// Which, from 0.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// Too few customers bought again.
    #[error("{found} customers bought again, at least {needed} are needed")]
    TooFewRepeats {
        /// How many did.
        found: usize,
        /// How many would do.
        needed: usize,
    },
    /// The likelihood has no maximum that the search could find.
    #[error("the likelihood has no maximum: the histories do not tell the parameters apart")]
    NoMaximum,
}

/// Fewest customers with a repeat purchase.
const FEWEST_REPEATS: usize = 10;
