//! Who comes back, in all modes.

use serde::{Deserialize, Serialize};

use super::{Coverage, Scope};
use crate::{
    calendar::Grain,
    query::{Entry, EventSelector},
};

/// One retention question. The cohort of a subject is the bucket, and the values of the breakdowns, of its start event;
/// a return is an event at or after the start event, the start event itself included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetentionQuery {
    /// Range of the start events, zone, filter, breakdowns.
    pub scope: Scope,
    /// Event that starts the clock.
    pub start: EventSelector,
    /// Event that counts as coming back.
    pub returning: EventSelector,
    /// Which start events count: every bucket a cohort of its own (recurring), or once per subject.
    pub entry: Entry,
    /// Which cohorts there are.
    pub cohorts: Cohorts,
    /// Unit of the brackets.
    pub unit: Unit,
    /// Where a unit begins.
    pub clock: Clock,
    /// Columns of the table, at most 400, each after the one before.
    pub brackets: Vec<Bracket>,
    /// What coming back means.
    pub mode: RetentionMode,
    /// Numeric property of the return events to add up; `None` adds up 1 for each.
    pub value: Option<String>,
    /// Only returns with the values that the start has for the breakdowns.
    pub same_values: bool,
}

/// How start events are put into cohorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cohorts {
    /// By these buckets of the start event.
    By(Grain),
    /// One for all.
    #[default]
    One,
}

impl Cohorts {
    /// The grain of the buckets.
    pub fn grain(self) -> Grain {
        match self {
            Self::By(grain) => grain,
            Self::One => Grain::Total,
        }
    }
}

/// Unit of brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Hours.
    Hour,
    /// Days.
    #[default]
    Day,
    /// Weeks, from Monday on the calendar.
    Week,
    /// Months; rolling, 30 days.
    Month,
}

/// Where the units of a subject begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// With the calendar of the zone: unit 0 is the hour, day, week or month of the start event.
    #[default]
    Calendar,
    /// With the start event, to the microsecond: day 1 is hours 24 to 48 after it.
    Rolling,
}

/// Some units in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bracket {
    /// First unit after the start, 0 for its own.
    pub first: u32,
    /// Last unit.
    pub last: u32,
}

impl Bracket {
    /// One unit.
    pub fn at(unit: u32) -> Self {
        Self { first: unit, last: unit }
    }
}

/// What coming back means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionMode {
    /// A return in the bracket.
    #[default]
    On,
    /// A return in the bracket or later, as far as is known.
    OnOrAfter,
    /// A return in the bracket or earlier; values add up from the start on (lifetime value).
    OnOrBefore,
    /// A return in the bracket and in every one before it.
    Streak,
}

/// The answer to a [`RetentionQuery`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetentionAnswer {
    /// By bucket, then by values with absent ones last.
    pub cohorts: Vec<CohortRow>,
    /// Per bracket, over all cohorts.
    pub mean: Vec<RetentionMean>,
    /// What the answer rests on.
    pub coverage: Coverage,
}

/// One cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CohortRow {
    /// First instant of its bucket; `None` for the one cohort of all.
    pub bucket_start: Option<i64>,
    /// Value per breakdown.
    pub dimensions: Vec<Option<String>>,
    /// Subjects in it.
    pub entered: u64,
    /// One per bracket.
    pub cells: Vec<RetentionTableCell>,
}

/// One cell of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetentionTableCell {
    /// Subjects for whom the bracket is over.
    pub eligible: u64,
    /// Of those, how many came back.
    pub retained: u64,
    /// `retained / eligible`; absent of nobody.
    pub rate: Option<f64>,
    /// Values of their returns in the bracket, of the eligible: from the bracket on, or up to it, as the mode says.
    pub value: f64,
    /// `value / eligible`; absent of nobody.
    pub value_per_subject: Option<f64>,
    /// Subjects for whom the bracket has begun, over or not.
    pub begun: u64,
    /// Of those, how many came back so far: not to be compared with others before the cell is mature.
    pub begun_retained: u64,
    /// Whether the bracket is over for the whole cohort.
    pub mature: bool,
}

/// A bracket over all cohorts, of which only mature cells take part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetentionMean {
    /// Cohorts with a mature cell.
    pub cohorts: u64,
    /// Their subjects.
    pub eligible: u64,
    /// Of those, how many came back.
    pub retained: u64,
    /// `retained / eligible`: the mean rate, weighted by the size of the cohorts.
    pub rate: Option<f64>,
    /// The mean of the rates, each cohort alike.
    pub simple_rate: Option<f64>,
    /// Value per eligible subject.
    pub value_per_subject: Option<f64>,
}

/// One number of a retention table, to list the subjects behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetentionCellKey {
    /// Cohort, by the first instant of its bucket; `None` for the one cohort of all.
    pub bucket_start: Option<i64>,
    /// Values of the cohort, one per breakdown.
    pub dimensions: Vec<Option<String>>,
    /// Number of the bracket, from 0; `None` is everybody in the cohort.
    pub bracket: Option<usize>,
    /// Those who came back, or the eligible who did not.
    pub retained: bool,
}
