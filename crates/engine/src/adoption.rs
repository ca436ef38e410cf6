//! The question behind quasi-experiments: every subject before and after a day zero of its own.

use serde::{Deserialize, Serialize};

use crate::{
    query::{Dimension, EventSelector},
    variants::Outcome,
};

/// Per subject, an outcome before and after the day it adopted something; for subjects that did not adopt, before and
/// after a day that stands for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdoptionQuery {
    /// The adoption events. A subject's day zero is the instant of its first one ever.
    pub adoption: EventSelector,
    /// First adoptions from this instant on count, inclusive; whoever adopted earlier is left out.
    pub from_micros: i64,
    /// First adoptions before this instant count; whoever adopted later is left out.
    pub to_micros: i64,
    /// Length of a period. The time before and after day zero is cut into periods of this length.
    pub period_micros: i64,
    /// Periods before day zero, at least one.
    pub periods_before: u32,
    /// Periods after day zero, at least one.
    pub periods_after: u32,
    /// What is measured.
    pub outcome: Outcome,
    /// Below the line of a ratio metric, measured likewise; `None` for an outcome that
    /// [brings its own](Outcome::has_denominator), and for one that is an amount.
    pub denominator: Option<Outcome>,
    /// Events that are counted over the time before, as covariates.
    pub counts: Vec<EventSelector>,
    /// Properties (and accounts, sources) whose last value before day zero is wanted, and cohorts of the view:
    /// covariates, segments, clusters.
    pub properties: Vec<Dimension>,
    /// The day zero of subjects that did not adopt.
    pub day_zero: DayZero,
    /// A subject must have been there for so long at its day zero, by its first event.
    pub minimum_history_micros: i64,
    /// Events at or after this instant are treated as not yet known, and a subject whose time after is not over by then
    /// is left out. `None`: the instant after the latest event.
    pub as_of_micros: Option<i64>,
}

/// The day zero of a subject that did not adopt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayZero {
    /// One of the adopters' day zeros at which the subject had been there for long enough, drawn by a hash of its id,
    /// so that days zero are distributed alike in both groups (Zhou, Rahme, Abrahamowicz & Pilote 2005, "Survival bias
    /// associated with time-to-treatment initiation in drug effectiveness evaluation").
    #[default]
    Drawn,
    /// The day zero of the first adopter, for everybody who had been there by then.
    First,
}

/// The answer to an [`AdoptionQuery`]: columns with one entry per subject, in no meaningful order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AdoptionAnswer {
    /// Whether the subject adopted.
    pub adopted: Vec<bool>,
    /// Its day zero.
    pub day_zero: Vec<i64>,
    /// The outcome over all of the time before.
    pub before: Vec<f64>,
    /// The outcome over all of the time after.
    pub after: Vec<f64>,
    /// The outcome by period, a column per period in the order of time, those before day zero first.
    pub periods: Vec<Vec<f64>>,
    /// What is below the line, likewise; no columns where the outcome is an amount.
    pub below: Below,
    /// Events before day zero, a column per selector.
    pub counts: Vec<Vec<f64>>,
    /// Last values before day zero, per property.
    pub properties: Vec<Labels>,
    /// Adopters and others whose time after is not over.
    pub immature: u64,
    /// Subjects that had not been there for long enough.
    pub too_new: u64,
    /// Subjects that adopted before the range.
    pub adopted_earlier: u64,
    /// Subjects that adopted after the range.
    pub adopted_later: u64,
    /// Events that were looked at.
    pub events_scanned: u64,
    /// Highest log position that the answer covers.
    pub watermark: i64,
}

/// The denominator of a ratio by subject.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Below {
    /// Over all of the time before.
    pub before: Vec<f64>,
    /// Over all of the time after.
    pub after: Vec<f64>,
    /// By period, as [`AdoptionAnswer::periods`].
    pub periods: Vec<Vec<f64>>,
}

/// The values of a property by subject.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Labels {
    /// Distinct values; number 0 is absent.
    pub labels: Vec<Option<String>>,
    /// Per subject, the number of its value.
    pub of: Vec<u32>,
}
