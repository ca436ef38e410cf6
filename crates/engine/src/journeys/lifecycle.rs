//! New, returning, resurrecting and dormant subjects, period by period.

use serde::{Deserialize, Serialize};

use super::{Coverage, Scope};
use crate::{
    calendar::Grain,
    query::{EventSelector, Lifecycle},
};

/// One lifecycle question. Periods are whole: the range is widened to them. A subject is active in a period in which it
/// has an event that counts, and new in the first one of all times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifecycleQuery {
    /// Range, zone, filter. Without breakdowns: who does nothing has no values.
    pub scope: Scope,
    /// Events that make a subject active.
    pub event: EventSelector,
    /// Length of a period; not the total.
    pub period: Grain,
}

/// The answer to a [`LifecycleQuery`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifecycleAnswer {
    /// Every period of the range that has begun.
    pub rows: Vec<LifecycleRow>,
    /// What the answer rests on.
    pub coverage: Coverage,
}

/// One period. `new + returning + resurrecting` are active, and `dormant + returning` were active in the period before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleRow {
    /// First instant of the period.
    pub bucket_start: i64,
    /// Active for the first time.
    pub new: u64,
    /// Active, as in the period before.
    pub returning: u64,
    /// Active again after a gap.
    pub resurrecting: u64,
    /// Active in the period before only.
    pub dormant: u64,
    /// Whether the period is over.
    pub complete: bool,
}

impl LifecycleRow {
    /// Subjects that are active.
    pub fn active(&self) -> u64 {
        self.new + self.returning + self.resurrecting
    }
}

/// One number of a lifecycle answer, to list the subjects behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleCell {
    /// First instant of the period.
    pub bucket_start: i64,
    /// Which of its numbers.
    pub state: Lifecycle,
}
