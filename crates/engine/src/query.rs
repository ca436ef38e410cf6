//! Questions and answers: plain data, serialisable, no behaviour.

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    calendar::{Grain, Span},
    filter::Filter,
    formula::Formula,
};

/// One question about the events of a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// What to compute.
    pub metric: MetricSpec,
    /// First instant of the range, microseconds since the epoch, inclusive.
    pub from_micros: i64,
    /// End of the range, exclusive.
    pub to_micros: i64,
    /// Zone whose civil days, weeks and months are meant.
    pub zone: Tz,
    /// Width of a bucket.
    pub grain: Grain,
    /// One row per combination of values of these.
    pub breakdowns: Vec<Dimension>,
    /// Only events that pass this exist for the metric (before any filter of the metric itself).
    pub filter: Option<Filter>,
    /// Events at or after this instant are treated as not yet known, and maturity is judged against it.
    /// `None`: the instant after the latest event of the data set.
    pub as_of_micros: Option<i64>,
}

/// Which events are meant: any of the names, and passing the filter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EventSelector {
    /// Event names, any of which will do; empty means every event.
    pub names: Vec<String>,
    /// Condition on the event.
    pub filter: Option<Filter>,
}

impl EventSelector {
    /// Events of this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { names: vec![name.into()], filter: None }
    }

    /// Events of any of these names.
    pub fn any_of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect(), filter: None }
    }

    /// Every event.
    pub fn all() -> Self {
        Self::default()
    }

    /// The same events, as far as they pass `filter`.
    #[must_use]
    pub fn filtered(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }
}

/// What splits an answer into rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Event name.
    Event,
    /// Name of the source.
    Source,
    /// Account of the event.
    AccountId,
    /// A property by its dotted path.
    Property(String),
    /// Whether the subject is in a cohort of the view, see [`Snapshot::with_cohorts`](crate::Snapshot::with_cohorts):
    /// [`Dimension::IN`] or [`Dimension::OUT`].
    Cohort(String),
}

impl Dimension {
    /// The value of a cohort's dimension for its members.
    pub const IN: &str = "in";
    /// The value of a cohort's dimension for everybody else, and for events of nobody.
    pub const OUT: &str = "out";
}

/// How a number is computed from events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricSpec {
    /// Number of events.
    Count {
        /// Which events.
        event: EventSelector,
    },
    /// Number of distinct subjects, accounts or property values.
    Unique {
        /// Which events.
        event: EventSelector,
        /// What is counted once.
        of: DistinctOf,
    },
    /// Sum of a numeric property; booleans count as 1 and 0, anything else that is not a number is left out.
    /// The sum of nothing is 0.
    Sum {
        /// Which events.
        event: EventSelector,
        /// Dotted path.
        property: String,
    },
    /// Arithmetic mean of a numeric property over the events that carry a number.
    Mean {
        /// Which events.
        event: EventSelector,
        /// Dotted path.
        property: String,
    },
    /// Smallest value of a numeric property.
    Min {
        /// Which events.
        event: EventSelector,
        /// Dotted path.
        property: String,
    },
    /// Largest value of a numeric property.
    Max {
        /// Which events.
        event: EventSelector,
        /// Dotted path.
        property: String,
    },
    /// Value of one metric over the value of another, cell by cell; absent when the denominator is absent or zero.
    /// An absent numerator counts as zero when the numerator is a count or a sum.
    Ratio {
        /// Above the line.
        numerator: Box<MetricSpec>,
        /// Below the line.
        denominator: Box<MetricSpec>,
    },
    /// Steps in order, per subject.
    Funnel(FunnelSpec),
    /// Who comes back.
    Retention(RetentionSpec),
    /// Time from one event to the first later event of another kind, per subject.
    TimeToEvent(TimeToEventSpec),
    /// A percentile of a numeric property over the events that carry a number.
    Percentile {
        /// Which events.
        event: EventSelector,
        /// Dotted path.
        property: String,
        /// Share of the numbers that lie below, between 0 and 1.
        quantile: f64,
        /// Estimate it with a t-digest of bounded size instead of keeping every number.
        approximate: bool,
    },
    /// Net promoter score of a property that holds scores from 0 to 10: the percentage of 9 and 10 minus the percentage
    /// of 0 to 6. Whatever is no number from 0 to 10 is left out.
    Nps {
        /// Which events.
        event: EventSelector,
        /// Dotted path.
        property: String,
    },
    /// How many days, weeks or months of a bucket subjects are active in.
    Stickiness(StickinessSpec),
    /// Who is new, returning, resurrecting or dormant.
    Lifecycle(LifecycleSpec),
    /// A number per subject and bucket, over the subjects.
    PerSubject(PerSubjectSpec),
    /// Events of one kind that lead to an event of another.
    Conversion(ConversionSpec),
    /// A metric over a window that ends with each bucket.
    Cumulative(CumulativeSpec),
    /// An expression over other metrics, cell by cell.
    Derived {
        /// Over the inputs by their names.
        formula: Formula,
        /// What the formula reads, in the order of its names.
        inputs: Vec<DerivedInput>,
    },
}

/// What [`MetricSpec::Unique`] counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistinctOf {
    /// Subjects: users, and anonymous ids that are linked to no user.
    Subject,
    /// Accounts.
    Account,
    /// Values of a property by its dotted path.
    Property(String),
}

/// Which start events of a subject count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// Once per bucket: every bucket is a cohort of its own, so a value does not depend on where the range begins.
    #[default]
    PerBucket,
    /// Once per query: the first start event in the range.
    FirstInRange,
    /// Once per query, and only if the first start event the subject ever had lies in the range.
    FirstEver,
}

/// Which attempt of a subject a funnel counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// The attempt that starts with the first step-1 event; the window is not restarted by later ones.
    #[default]
    FirstTouch,
    /// Every step-1 event starts an attempt; the one that gets furthest counts, of those the one that got there
    /// first, of those the one that started last.
    BestAttempt,
}

/// How events at the same instant are ordered between steps. An event never serves two steps of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// By sequence, then by position in the log.
    #[default]
    ByOrder,
    /// Events of the same instant may be taken in any order (`>=` on time).
    AnyOrder,
    /// A later step needs a later instant (`>` on time).
    StrictlyLater,
}

/// Steps in order, per subject: each step is the earliest event of its kind after the step before.
///
/// Steps after the first may happen after the end of the range, up to the window and to `as_of`. A row belongs to the
/// bucket and the dimension values of its step-1 event. The value is the share that reached the last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelSpec {
    /// At least one, at most 31.
    pub steps: Vec<EventSelector>,
    /// Time from the step-1 event within which every other step must happen, inclusive; `None` is unlimited.
    pub window_micros: Option<i64>,
    /// Which attempt counts.
    pub anchor: Anchor,
    /// Which step-1 events count.
    pub entry: Entry,
    /// Events at the same instant.
    pub ties: Ties,
}

/// Unit of retention offsets, civil in the zone of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Calendar days.
    #[default]
    Day,
    /// Weeks from Monday.
    Week,
    /// Calendar months.
    Month,
}

/// What counts as having come back at offset N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Return {
    /// A return event in exactly that period.
    #[default]
    On,
    /// A return event in that period or any later one.
    OnOrAfter,
}

/// When a subject counts for an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maturity {
    /// When the period of the offset is over at `as_of`.
    #[default]
    PeriodEnded,
    /// As soon as the period of the offset has begun before `as_of`.
    PeriodStarted,
}

/// Who comes back. The cohort of a subject is the bucket (and the dimension values) of its start event; a return is
/// an event at or after the start event, the start event itself included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetentionSpec {
    /// Event that starts the clock.
    pub start: EventSelector,
    /// Event that counts as coming back.
    pub returning: EventSelector,
    /// Unit of the offsets.
    pub period: Period,
    /// Offsets to report, at most 400, each at most 3,660.
    pub offsets: Vec<u32>,
    /// The offset whose rate is the value; one of `offsets`.
    pub headline: u32,
    /// Exact period or unbounded.
    pub mode: Return,
    /// When a cell counts.
    pub maturity: Maturity,
    /// Which start events count.
    pub entry: Entry,
}

/// Which figure of the distribution is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Median.
    #[default]
    P50,
    /// 90th percentile.
    P90,
    /// 95th percentile.
    P95,
    /// Arithmetic mean.
    Mean,
}

/// Time from one event to the first later event of another kind. A row belongs to the bucket of the `from` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeToEventSpec {
    /// Event that starts the clock.
    pub from: EventSelector,
    /// Event that stops it.
    pub to: EventSelector,
    /// Longest time that counts, inclusive; `None` is unlimited.
    pub window_micros: Option<i64>,
    /// Which `from` events count.
    pub entry: Entry,
    /// Events at the same instant.
    pub ties: Ties,
    /// Which figure is the value, in seconds.
    pub statistic: Statistic,
}

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

/// What a subject was in a bucket, judged by the whole of that bucket, the one before (for [`Grain::Total`] a stretch
/// of the same length) and everything earlier, also where the range begins or ends within one.
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
}

/// Events of one kind that lead to an event of another. Each conversion is credited to the nearest base event of the
/// same subject before it in the order of events, if that lies less than a window back; the row is that of the base
/// event, and the conversion may lie after the end of the range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversionSpec {
    /// What may lead to a conversion.
    pub base: EventSelector,
    /// The conversion.
    pub conversion: EventSelector,
    /// Time from base to conversion, exclusive; `None` is unlimited.
    pub window_micros: Option<i64>,
    /// Properties of the base and of the conversion that must be there and equal, as dotted paths.
    pub constants: Vec<(String, String)>,
    /// Which figure is the value.
    pub measure: ConversionMeasure,
}

/// Which figure of conversions is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversionMeasure {
    /// Share of the base events that a conversion was credited to; never above one.
    #[default]
    Rate,
    /// Conversions that were credited to a base event.
    Conversions,
}

/// A metric over a window that ends (or that begins and ends before) each bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CumulativeSpec {
    /// A count, unique, sum, mean, min, max, percentile or score.
    pub metric: Box<MetricSpec>,
    /// How far the window goes back from its end.
    pub window: CumulativeWindow,
    /// Where it ends.
    pub end: CumulativeEnd,
}

/// How far the window of a [`CumulativeSpec`] goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CumulativeWindow {
    /// To the first event ever.
    AllTime,
    /// So far by the calendar.
    Trailing(Span),
    /// To the start of the week, month, quarter or year that the last instant of the window lies in.
    ToDate(Grain),
}

/// Where the window of a [`CumulativeSpec`] ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CumulativeEnd {
    /// With the bucket (or the range, if that ends first): the closing balance.
    #[default]
    BucketEnd,
    /// Before the bucket (or the range, if that begins later): the opening balance.
    BucketStart,
}

/// What a [`MetricSpec::Derived`] reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DerivedInput {
    /// What is computed.
    pub metric: MetricSpec,
    /// Of which time, if not of the same.
    pub offset: Option<Offset>,
}

/// Which other bucket stands for a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offset {
    /// What lies so far before it by the calendar: a bucket where the offset leads from buckets to buckets, else the
    /// stretch from its moved start to its moved end.
    Window(Span),
    /// The first of the week, month, quarter or year it lies in.
    ToGrain(Grain),
}

/// The answer to a [`Query`].
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
    /// First instant of the bucket; `None` for [`Grain::Total`].
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
