//! Questions about the ways that subjects take: funnels, retention, lifecycle and paths, each with every mode that the
//! field knows, and the subjects behind any number of the answer.
//!
//! A stored metric asks the plain form of a funnel or a retention ([`FunnelSpec`](crate::FunnelSpec),
//! [`RetentionSpec`](crate::RetentionSpec)), which is the fast path; these are the ad-hoc questions of people.

mod funnel;
mod lifecycle;
mod members;
mod paths;
mod retention;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{filter::Filter, query::Dimension};

pub use funnel::{
    Attribution, Boundary, CountBy, Exclusion, ExclusionMode, FunnelAnswer, FunnelCell,
    FunnelQuery, FunnelRow, FunnelStep, FunnelValue, HistogramBin, OTHER, Occurrence, StepCount,
    StepOrder, StepOutcome, StepValue, TimeSummary, Window,
};
pub use lifecycle::{LifecycleAnswer, LifecycleCell, LifecycleQuery, LifecycleRow};
pub use members::{MemberPage, Members};
pub use paths::{
    Direction, PathEdge, PathNode, PathStart, PathsAnswer, PathsCell, PathsQuery, PathsStep,
};
pub use retention::{
    Bracket, Clock, CohortRow, Cohorts, RetentionAnswer, RetentionCellKey, RetentionMean,
    RetentionMode, RetentionQuery, RetentionTableCell, Unit,
};

/// How long a session may be silent, unless a question says otherwise: 30 minutes.
pub const DEFAULT_SESSION_GAP_MICROS: i64 = 30 * 60 * 1_000_000;

/// Which events a question is about, whatever it asks of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    /// First instant of the range, microseconds since the epoch, inclusive.
    pub from_micros: i64,
    /// End of the range, exclusive.
    pub to_micros: i64,
    /// Zone whose civil days, weeks and months are meant.
    pub zone: Tz,
    /// Only events that pass this exist for the question.
    pub filter: Option<Filter>,
    /// One row per combination of values of these.
    pub breakdowns: Vec<Dimension>,
    /// Events at or after this instant are not yet known, and maturity is judged against it. `None`: the instant after
    /// the latest event.
    pub as_of_micros: Option<i64>,
    /// Only events at or below this position of the log exist: the same position gives the same answer, however much
    /// was appended since. `None`: all of them.
    pub position: Option<i64>,
}

impl Scope {
    /// Everything in a range, in UTC, as far as it is known.
    pub fn of(from_micros: i64, to_micros: i64) -> Self {
        Self {
            from_micros,
            to_micros,
            zone: Tz::UTC,
            filter: None,
            breakdowns: Vec::new(),
            as_of_micros: None,
            position: None,
        }
    }
}

/// How much of the log an answer rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Events that were looked at.
    pub events_scanned: u64,
    /// Subjects with at least one event in the snapshot.
    pub subjects: u64,
    /// Highest log position that the answer covers.
    pub watermark: i64,
    /// The `as_of` that was used.
    pub as_of_micros: i64,
}

impl Coverage {
    /// Takes the coverage of other subjects in.
    pub(crate) fn merge(&mut self, other: Self) {
        self.events_scanned += other.events_scanned;
        self.subjects += other.subjects;
        self.watermark = self.watermark.max(other.watermark);
        self.as_of_micros = self.as_of_micros.max(other.as_of_micros);
    }
}
