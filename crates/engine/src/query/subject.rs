//! Metrics about what each subject did in a bucket.

use serde::{Deserialize, Serialize};

use super::{EventSelector, Period, Statistic};

/// How many days, weeks or months of a bucket subjects are active in. With breakdowns, activity is judged per
/// combination of values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StickinessSpec {
    /// What makes a subject active.
    pub event: EventSelector,
    /// Length of an interval.
    pub interval: Period,
    /// Which figure is the value.
    pub measure: StickinessMeasure,
}

/// Which figure of the stickiness of a bucket is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StickinessMeasure {
    /// Mean number of subjects active in an interval over subjects active in the bucket: DAU/MAU for intervals of a
    /// day and buckets of a month. Intervals that have not begun at `as_of` do not count.
    Ratio,
    /// Share of the active subjects that are active in at least so many intervals.
    ShareAtLeast(u32),
    /// Share of the active subjects that are active in exactly so many.
    ShareExactly(u32),
    /// Number of subjects that are active in at least so many intervals.
    CountAtLeast(u32),
    /// Number of subjects that are active in exactly so many.
    CountExactly(u32),
}

/// What a subject was in a bucket, judged by the whole of that bucket, the one before (for
/// [`Grain::Total`](crate::Grain::Total) a stretch of the same length) and everything earlier, also where the range
/// begins or ends within one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifecycleSpec {
    /// What makes a subject active.
    pub event: EventSelector,
    /// Whose number is the value.
    pub state: Lifecycle,
}

/// What a subject is in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Active for the first time ever.
    New,
    /// Active in this period and the one before.
    Returning,
    /// Active in this period and some earlier one, but not in the one before.
    Resurrecting,
    /// Active in the period before, but not in this one. A period that has not begun at `as_of` has none.
    Dormant,
}

/// A number per subject that has a matching event in a bucket, over these subjects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerSubjectSpec {
    /// Which events.
    pub event: EventSelector,
    /// The number of a subject.
    pub aggregate: Aggregate,
    /// Which figure over the subjects is the value.
    pub statistic: Statistic,
}

/// The number of one subject, by the dotted path of a property where it takes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// Events.
    Count,
    /// Sum of a property over the events that carry a number.
    Sum(String),
    /// Smallest number.
    Min(String),
    /// Largest number.
    Max(String),
    /// The number of its first event that carries one.
    First(String),
    /// The number of its last event that carries one. Of first and last a subject belongs to the dimension values of
    /// that event alone, so that rows of a breakdown add up.
    Last(String),
}
