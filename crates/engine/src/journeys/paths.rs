//! What subjects do before or after an event, step by step.

use serde::{Deserialize, Serialize};

use super::{Coverage, DEFAULT_SESSION_GAP_MICROS, Scope, TimeSummary};
use crate::query::{Dimension, EventSelector};

/// One question about paths. A path starts at an anchor event in the range and goes on, or back, over the events that
/// follow, or precede, it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathsQuery {
    /// Range of the anchors, zone, filter. Without breakdowns: filter instead.
    pub scope: Scope,
    /// Event at which a path starts.
    pub anchor: EventSelector,
    /// Which anchors start one.
    pub start: PathStart,
    /// Which way it goes.
    pub direction: Direction,
    /// Steps beyond the anchor, 1 to 10.
    pub depth: u32,
    /// Events that can be steps.
    pub steps: EventSelector,
    /// Events that cannot, at most 20 kinds.
    pub exclude: Vec<EventSelector>,
    /// Tells steps of one name apart by this value of the event.
    pub group_by: Option<Dimension>,
    /// Whether the same step several times in a row is one, the first of them.
    pub collapse_repeats: bool,
    /// A path ends before a step that is so far, or farther, from the one before; `None`: it does not.
    pub session_gap_micros: Option<i64>,
    /// Steps to tell apart at each distance from the anchor; rarer ones become [`OTHER`](super::OTHER).
    pub max_nodes: usize,
    /// Edges with fewer paths are left out, and counted as pruned at both ends.
    pub min_edge_count: u64,
}

impl PathsQuery {
    /// The five steps after the first anchor of each subject within sessions of 30 minutes.
    pub fn new(scope: Scope, anchor: EventSelector) -> Self {
        Self {
            scope,
            anchor,
            start: PathStart::FirstPerSubject,
            direction: Direction::After,
            depth: 5,
            steps: EventSelector::all(),
            exclude: Vec::new(),
            group_by: None,
            collapse_repeats: true,
            session_gap_micros: Some(DEFAULT_SESSION_GAP_MICROS),
            max_nodes: 10,
            min_edge_count: 1,
        }
    }
}

/// Which anchors start a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathStart {
    /// The first one of each subject in the range.
    #[default]
    FirstPerSubject,
    /// Every one, even where paths overlap.
    Every,
}

/// Which way a path goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To later events.
    #[default]
    After,
    /// To earlier events.
    Before,
}

/// What a path is at one distance from its anchor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PathsStep {
    /// Event name, or [`OTHER`](super::OTHER).
    pub event: String,
    /// Its value of the dimension to group by.
    pub value: Option<String>,
}

/// The answer to a [`PathsQuery`].
///
/// Flow is conserved: the paths at a node are those that came in over its edges and the pruned ones, and they are those
/// that go on over its edges, over pruned ones, or end there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathsAnswer {
    /// Paths, each starting at an anchor.
    pub paths: u64,
    /// By distance from the anchor, which is at distance 0; then largest first, [`OTHER`](super::OTHER) last.
    pub nodes: Vec<PathNode>,
    /// By distance of their first node, then largest first.
    pub edges: Vec<PathEdge>,
    /// What the answer rests on.
    pub coverage: Coverage,
}

/// The paths that are at one step at one distance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathNode {
    /// Distance from the anchor.
    pub distance: u32,
    /// Step.
    pub step: PathsStep,
    /// Paths.
    pub count: u64,
    /// Of those, how many end here though they could go on.
    pub dropped: u64,
    /// Of those, how many came over edges that are left out.
    pub pruned_in: u64,
    /// Of those, how many go on over edges that are left out.
    pub pruned_out: u64,
}

/// The paths that go from one step to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathEdge {
    /// Distance of the first of the two.
    pub distance: u32,
    /// From, as paths go: away from the anchor.
    pub from: PathsStep,
    /// To.
    pub to: PathsStep,
    /// Paths.
    pub count: u64,
    /// Time between the two.
    pub time: TimeSummary,
}

/// One number of an answer, to list the subjects behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathsCell {
    /// Distance of the node from the anchor.
    pub distance: u32,
    /// The node; not [`OTHER`](super::OTHER).
    pub step: PathsStep,
    /// Only paths that go on to this step.
    pub to: Option<PathsStep>,
    /// Only paths that end here though they could go on.
    pub dropped: bool,
}
