//! Answers: rows, and what kinds of metrics say beside a value.

use serde::{Deserialize, Serialize};

/// The answer to a [`Query`](super::Query).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Ordered by bucket, then by dimension values with absent ones last. Without breakdowns every bucket of the
    /// range has its row (zero-filled); with breakdowns only combinations that occur.
    pub rows: Vec<Row>,
    /// Events that were looked at.
    pub events_scanned: u64,
    /// Subjects with at least one event in the snapshot.
    pub subjects: u64,
    /// Highest log position that the answer covers.
    pub watermark: i64,
    /// The `as_of` that was used.
    pub as_of_micros: i64,
}

/// One cell of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// First instant of the bucket; `None` for [`Grain::Total`](crate::Grain::Total).
    pub bucket_start: Option<i64>,
    /// Value per breakdown, in their order; `None` where the event has none.
    pub dimensions: Vec<Option<String>>,
    /// The number; absent where it is undefined (mean of nothing, rate of nobody).
    pub value: Option<f64>,
    /// Events or subjects that the number rests on: events for count, sum, mean, min and max; distinct things for
    /// unique; entered subjects for funnel and time-to-event; eligible subjects for retention; the denominator's
    /// `n` for ratio; subjects for stickiness and per-subject numbers, those of the state for lifecycle; base events for
    /// conversion; the smallest of its inputs for derived.
    pub n: u64,
    /// For rates: what is above the line.
    pub numerator: Option<f64>,
    /// For rates: what is below the line.
    pub denominator: Option<f64>,
    /// Whether nothing that may still happen can change it (apart from late events): the bucket is over at `as_of`,
    /// and so is the window or the headline period of everybody in it.
    pub complete: bool,
    /// Figures that only some metrics have.
    pub detail: Detail,
}

/// Figures that only some metrics have.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Nothing more to say.
    #[default]
    None,
    /// One entry per step.
    Funnel(Vec<FunnelStepDetail>),
    /// One cell per offset.
    Retention(Vec<RetentionCell>),
    /// The distribution of times.
    Durations(DurationDetail),
    /// Subjects by the number of intervals they were active in, from one interval up.
    Stickiness(Vec<u64>),
    /// Subjects by what they were.
    Lifecycle(LifecycleDetail),
}

/// Subjects of a period by what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LifecycleDetail {
    /// Active for the first time ever.
    pub new: u64,
    /// Active in this period and the one before.
    pub returning: u64,
    /// Active in this period and some earlier one, but not in the one before.
    pub resurrecting: u64,
    /// Active in the period before, but not in this one.
    pub dormant: u64,
}

/// One step of a funnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelStepDetail {
    /// Subjects that reached it.
    pub count: u64,
    /// Share of those at the step before; absent for the first step and after a step nobody reached.
    pub from_previous: Option<f64>,
    /// Share of those at the first step.
    pub from_first: Option<f64>,
    /// Median seconds from the step before, over those who reached this one.
    pub median_seconds: Option<f64>,
}

/// One offset of a cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetentionCell {
    /// Periods after the start.
    pub offset: u32,
    /// Subjects old enough to be judged.
    pub eligible: u64,
    /// Of those, how many came back.
    pub retained: u64,
    /// `retained / eligible`; absent when nobody is old enough.
    pub rate: Option<f64>,
    /// Whether the whole cohort is old enough; a cell that is not must not be averaged with others.
    pub mature: bool,
}

/// A distribution of times, in seconds; percentiles are continuous (linear interpolation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DurationDetail {
    /// Subjects (or subject and bucket pairs) whose clock started.
    pub entered: u64,
    /// Of those, how many reached the second event.
    pub n: u64,
    /// Median.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Longest.
    pub max: Option<f64>,
}
