//! Events as actor-sorted columns, and the KPI kernels that scan them.
//!
//! A [`Dataset`] holds the events of one project: immutable memory-mapped segments, a fresh tail in
//! memory, and the identity map that resolves an anonymous id to a user. [`Dataset::snapshot`] gives a consistent
//! view that stays valid while appends go on; [`Snapshot::query`] answers a [`Query`] from it, and
//! [`Snapshot::variant_stats`] answers the question of experiments and automations.
//!
//! What is absent: SQL, async, the network and the clock. Time enters as an argument, the log through
//! [`Dataset::append`] and [`Dataset::append_columns`], and the manifest of segments is kept by the caller.
//!
//! # Order
//!
//! Events of a subject are in the total order (effective time, sequence, position). "Later" means later in that
//! order, see [`Ties`] for the exceptions a question may ask for.

mod adoption;
pub mod calendar;
mod cohort;
mod columns;
mod dataset;
mod derived;
mod error;
mod event;
mod evidence;
pub mod filter;
mod formula;
mod identity;
pub mod journeys;
mod kernels;
mod limits;
mod purchases;
mod query;
mod runs;
mod segment;
mod snapshot;
mod subjects;
mod tail;
mod variants;

pub use adoption::{AdoptionAnswer, AdoptionQuery, Below, DayZero, Labels};
pub use calendar::{Grain, Span, SpanUnit};
pub use cohort::{Cohort, CohortRule, FirstEvent, Take};
pub use columns::{Coded, EventColumns, Properties, Property};
pub use dataset::{Appended, Compacted, CompactionJob, Dataset, FinishedCompaction, SegmentInfo};
pub use error::{Error, Result, SegmentFault};
pub use event::{Actor, EventRecord};
pub use evidence::{Cell, Contribution, Contributions, FoundEvent};
pub use filter::{Filter, FilterError};
pub use formula::{Formula, FormulaError};
pub use kernels::journeys::{FunnelPartial, LifecyclePartial, PathsPartial, RetentionTablePartial};
pub use kernels::{AcrossGroups, Partial};
pub use limits::Cancel;
pub use purchases::{PurchaseAnswer, PurchaseQuery, Purchases};
pub use query::{
    Aggregate, Anchor, Answer, ConversionMeasure, ConversionSpec, CumulativeEnd, CumulativeSpec,
    CumulativeWindow, DerivedInput, Detail, Dimension, DistinctOf, DurationDetail, Entry,
    EventSelector, FunnelSpec, FunnelStepDetail, Lifecycle, LifecycleDetail, LifecycleSpec,
    Maturity, MetricSpec, Offset, PerSubjectSpec, Period, Query, RetentionCell, RetentionSpec,
    Return, Row, Statistic, StickinessMeasure, StickinessSpec, Ties, TimeToEventSpec,
};
pub use snapshot::{Side, Snapshot};
pub use subjects::{SubjectName, SubjectSet};
pub use variants::{Moments, Outcome, VariantAnswer, VariantQuery, VariantStats};
