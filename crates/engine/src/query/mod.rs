//! Questions and answers: plain data, serialisable, no behaviour.

mod answer;
mod journey;
mod metric;
mod subject;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

pub use answer::{
    Answer, Detail, DurationDetail, FunnelStepDetail, LifecycleDetail, RetentionCell, Row,
};
pub use journey::{
    Anchor, ConversionMeasure, ConversionSpec, Entry, FunnelSpec, Maturity, Period, RetentionSpec,
    Return, Ties, TimeToEventSpec,
};
pub use metric::{
    CumulativeEnd, CumulativeSpec, CumulativeWindow, DerivedInput, DistinctOf, MetricSpec, Offset,
    Statistic,
};
pub use subject::{
    Aggregate, Lifecycle, LifecycleSpec, PerSubjectSpec, StickinessMeasure, StickinessSpec,
};

use crate::{calendar::Grain, filter::Filter};

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
