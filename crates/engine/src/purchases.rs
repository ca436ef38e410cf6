//! The question behind customer value: how often, how recently, for how long and for how much.

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::query::EventSelector;

/// The purchase history of every customer in a few numbers. Purchases of one civil day are one purchase, as in the
/// literature on buying behaviour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PurchaseQuery {
    /// The purchases.
    pub purchase: EventSelector,
    /// Dotted path of the amount; `None` when only the number of purchases matters.
    pub amount: Option<String>,
    /// Customers whose first purchase ever is at or after this instant count.
    pub from_micros: i64,
    /// Purchases before this instant are known: the end of the observation.
    pub to_micros: i64,
    /// Zone of the civil days.
    pub zone: Tz,
    /// Cohorts of the view that are told apart, see [`Purchases::member_of`].
    pub cohorts: Vec<String>,
}

/// The history of one customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Purchases {
    /// Id of the user, or the anonymous id of a subject without.
    pub subject: String,
    /// First instant of the day of the first purchase.
    pub first_micros: i64,
    /// Whether it is in each of [`PurchaseQuery::cohorts`].
    pub member_of: Vec<bool>,
    /// Days with a purchase, less the first.
    pub repeats: u32,
    /// Days from the first purchase to the last.
    pub recency_days: u32,
    /// Days from the first purchase to the end of the observation.
    pub age_days: u32,
    /// Amount on all days.
    pub total: f64,
    /// Amount on all days but the first.
    pub repeat_total: f64,
}

/// The answer to a [`PurchaseQuery`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PurchaseAnswer {
    /// Every customer, by subject.
    pub customers: Vec<Purchases>,
    /// Customers who bought before the range.
    pub bought_earlier: u64,
    /// Events that were looked at.
    pub events_scanned: u64,
    /// Highest log position that the answer covers.
    pub watermark: i64,
}
