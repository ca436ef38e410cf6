//! How a number is computed from events.

use serde::{Deserialize, Serialize};

use super::{
    ConversionSpec, EventSelector, FunnelSpec, LifecycleSpec, PerSubjectSpec, RetentionSpec,
    StickinessSpec, TimeToEventSpec,
};
use crate::{
    calendar::{Grain, Span},
    formula::Formula,
};

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
    /// Sum; of numbers per subject zero where there are none.
    Sum,
}
