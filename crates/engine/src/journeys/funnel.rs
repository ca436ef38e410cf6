//! A funnel in all its modes.

use serde::{Deserialize, Serialize};

use super::{Coverage, DEFAULT_SESSION_GAP_MICROS, Scope};
use crate::{
    calendar::Grain,
    query::{Anchor, Dimension, EventSelector},
};

/// Name of the group that holds what is beyond the largest groups.
pub const OTHER: &str = "$other";

/// One funnel question.
///
/// An *attempt* starts with a step-1 event in the range and takes the steps that follow it, also after the end of the
/// range, as far as its window and `as_of` allow. What is counted (a subject, a session or an attempt, see [`CountBy`])
/// is the *unit*.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelQuery {
    /// Range, zone, filter, breakdowns.
    pub scope: Scope,
    /// One to 20 steps.
    pub steps: Vec<FunnelStep>,
    /// In which order the steps must happen.
    pub order: StepOrder,
    /// How long an attempt has.
    pub window: Window,
    /// Whether the last instant of the window belongs to it.
    pub boundary: Boundary,
    /// Events that end an attempt between two steps.
    pub exclusions: Vec<Exclusion>,
    /// What an exclusion does.
    pub exclusion_mode: ExclusionMode,
    /// At most three dimensions that must have one value over all steps of an attempt. An event without a value is no
    /// step.
    pub constant: Vec<Dimension>,
    /// Which event of an attempt gives it its values of the breakdowns.
    pub attribution: Attribution,
    /// What is counted.
    pub count_by: CountBy,
    /// Inactivity that ends a session; an event exactly this long after the one before begins a new one.
    pub session_gap_micros: i64,
    /// Events that keep a session alive, and that [`StepOrder::StrictAnyEvent`] allows between no two steps. The
    /// question's filter applies to the latter only: sessions are what subjects did, filtered or not.
    pub activity: EventSelector,
    /// Which step-1 events start attempts, and which attempt counts.
    ///
    /// Units that are subjects or sessions: with [`Anchor::FirstTouch`] the first step-1 event, with
    /// [`Anchor::BestAttempt`] every one, and the attempt that gets furthest counts (of those the one that got there
    /// first, of those the one that started last). Units that are attempts: a new attempt starts when the one before
    /// is over (converted, excluded, broken or out of time), and with [`Anchor::BestAttempt`] also in place of one
    /// that has only entered: the most recent entry counts.
    pub anchor: Anchor,
    /// Events so far apart, or less, may be taken in any order; for steps in [`StepOrder::Ordered`] and for
    /// exclusions.
    pub tie_tolerance_micros: i64,
    /// Also by the time of entry. A subject then counts once per bucket in which it enters.
    pub trend: Option<Grain>,
    /// The two steps, counted from 0, whose distance in time is summed up and drawn as a histogram; over attempts
    /// that took both.
    pub between: (usize, usize),
    /// Bins of the histogram; 0 for the cube root of the number of times, at most 60.
    pub bins: u32,
    /// Groups to tell apart; the smaller ones become [`OTHER`].
    pub max_groups: usize,
    /// What is added up at every step.
    pub value: Option<FunnelValue>,
}

impl FunnelQuery {
    /// The plain form: steps in order, 14 days, the best attempt of each subject.
    pub fn new(scope: Scope, steps: Vec<FunnelStep>) -> Self {
        let last = steps.len().saturating_sub(1);
        Self {
            scope,
            steps,
            order: StepOrder::Ordered,
            window: Window::default(),
            boundary: Boundary::Inclusive,
            exclusions: Vec::new(),
            exclusion_mode: ExclusionMode::Attempt,
            constant: Vec::new(),
            attribution: Attribution::FirstTouch,
            count_by: CountBy::Uniques,
            session_gap_micros: DEFAULT_SESSION_GAP_MICROS,
            activity: EventSelector::all(),
            anchor: Anchor::BestAttempt,
            tie_tolerance_micros: 0,
            trend: None,
            between: (0, last),
            bins: 0,
            max_groups: 200,
            value: None,
        }
    }
}

/// A number that goes through the steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelValue {
    /// Dotted path of the property.
    pub property: String,
    /// The step, counted from 0, whose event has it, for every step that the same attempt took; `None` takes it from
    /// the event of each step itself.
    pub step: Option<usize>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FunnelStep {
    /// Which events.
    pub event: EventSelector,
    /// An optional step may be passed over: the step after it follows either. When an event matches both, it is taken
    /// as the optional one. Neither the first nor the last step is optional.
    pub optional: bool,
    /// Which of them.
    pub occurrence: Occurrence,
}

impl FunnelStep {
    /// Events of this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { event: EventSelector::named(name), ..Self::default() }
    }
}

/// Which of the events of a step can be the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occurrence {
    /// Any of them.
    #[default]
    Any,
    /// The first event of these names that the subject ever had, and only if it passes the filter of the step.
    FirstEver,
    /// The first event that matches the step, of all times.
    FirstMatching,
}

/// In which order steps must happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOrder {
    /// One after the other; whatever happens in between does not matter.
    #[default]
    Ordered,
    /// One after the other, and no other event of the funnel's own steps in between.
    StrictSteps,
    /// One after the other, and no other event at all in between, see [`FunnelQuery::activity`].
    StrictAnyEvent,
    /// In any order, the first listed step not needed first: step `k` is reached with the k-th different step. An event
    /// that matches several steps is the first of them that is still open.
    AnyOrder,
    /// The first listed step first, and the others after it in any order.
    FirstThenAny,
}

/// How long an attempt has from its step-1 event on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// So long; `None` is without end.
    pub micros: Option<i64>,
    /// And within so many sessions, the one of the step-1 event included.
    pub sessions: Option<u32>,
}

impl Default for Window {
    /// 14 days.
    fn default() -> Self {
        Self { micros: Some(14 * 86_400_000_000), sessions: None }
    }
}

/// Whether an event exactly at the end of the window counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// It does, as in stored funnel metrics.
    #[default]
    Inclusive,
    /// It does not.
    Exclusive,
}

/// Events that must not happen between two steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Which events.
    pub event: EventSelector,
    /// After this step, counted from 0.
    pub from_step: usize,
    /// Until this step.
    pub to_step: usize,
}

/// What an exclusion does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExclusionMode {
    /// Ends the attempt, which keeps the steps it took; another attempt may follow.
    #[default]
    Attempt,
    /// Takes the unit out of the funnel, its first step included.
    Subject,
}

/// Which event gives an attempt its values of the breakdowns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    /// The first step of the attempt that has a value, for each dimension.
    #[default]
    FirstTouch,
    /// The last step that has one.
    LastTouch,
    /// This step, counted from 0; attempts that did not take it, or whose event lacks a value, are in no group.
    Step(usize),
    /// A funnel of its own for every value: a subject may be in several groups.
    All,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountBy {
    /// Subjects.
    #[default]
    Uniques,
    /// Attempts. No event belongs to two of them.
    Totals,
    /// Sessions: an attempt starts and ends in one.
    Sessions,
}

/// The answer to a [`FunnelQuery`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelAnswer {
    /// Everybody.
    pub total: FunnelRow,
    /// By values of the breakdowns, largest first; [`OTHER`] last. Empty without breakdowns.
    pub groups: Vec<FunnelRow>,
    /// By entry, with a trend: by bucket, then by group; without breakdowns every bucket of the range.
    pub trend: Vec<FunnelRow>,
    /// What the answer rests on.
    pub coverage: Coverage,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelRow {
    /// First instant of the bucket of entry, in a trend.
    pub bucket_start: Option<i64>,
    /// Value per breakdown; `None` where there is none.
    pub dimensions: Vec<Option<String>>,
    /// One per step.
    pub steps: Vec<StepCount>,
    /// Time between the two steps asked for.
    pub between: Option<TimeSummary>,
    /// The same as a histogram.
    pub histogram: Vec<HistogramBin>,
    /// Units that have not converted and still may.
    pub open: u64,
    /// Whether nothing that may still happen can change the row (apart from late events).
    pub complete: bool,
}

impl FunnelRow {
    /// Share of those who entered that took the last step; absent when nobody entered.
    pub fn conversion(&self) -> Option<f64> {
        self.steps.last().and_then(|step| step.from_first)
    }
}

/// One step of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepCount {
    /// Units that took it.
    pub count: u64,
    /// Share of those at the last step before that is not optional; absent for the first step and of nobody.
    pub from_previous: Option<f64>,
    /// Share of those at the first step.
    pub from_first: Option<f64>,
    /// Time from the last step before that is not optional, over units that took this one.
    pub time: Option<TimeSummary>,
    /// What [`FunnelQuery::value`] adds up to, when it is asked for.
    pub value: Option<StepValue>,
}

/// A number that was added up over the units at a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepValue {
    /// Units that have it.
    pub n: u64,
    /// Its sum.
    pub sum: f64,
    /// `sum / n`; absent of none.
    pub mean: Option<f64>,
}

/// Times in seconds, exact; percentiles by linear interpolation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeSummary {
    /// How many.
    pub n: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Shortest.
    pub min: f64,
    /// 25th percentile.
    pub p25: f64,
    /// Median.
    pub p50: f64,
    /// 75th percentile.
    pub p75: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Longest.
    pub max: f64,
}

/// One bar: times from `from`, up to the next bar's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HistogramBin {
    /// Lower end in seconds, inclusive.
    pub from: f64,
    /// Upper end in seconds, exclusive but for the last bar.
    pub to: f64,
    /// Times in it.
    pub count: u64,
}

/// One number of a funnel answer, to list the subjects behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelCell {
    /// The step, counted from 0.
    pub step: usize,
    /// Which of its two numbers.
    pub outcome: StepOutcome,
    /// Row of the trend, by the first instant of its bucket.
    pub bucket_start: Option<i64>,
    /// Group, by its values; `None` is everybody.
    pub dimensions: Option<Vec<Option<String>>>,
}

/// Who is meant at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Those who took it.
    Reached,
    /// Those who took the last step before it that is not optional, and not this one.
    Dropped,
}
