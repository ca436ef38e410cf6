//! Paths from an anchor: the events of a subject linked to the next different one, once, so that any number of paths
//! over them costs its length.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::{Ground, collect::Collector, funnel::summary, invalid, members::Page, not_negative};
use crate::{
    calendar::Grain,
    error::Result,
    journeys::{
        Coverage, Direction, MemberPage, Members, OTHER, PathEdge, PathNode, PathStart,
        PathsAnswer, PathsCell, PathsQuery, PathsStep,
    },
    kernels::{scan::Event, scan::RunScan, space::Locator},
    query::{Dimension, EventSelector},
    snapshot::Snapshot,
};

const ANCHOR: u32 = 1;
const STEP: u32 = 2;

/// Most steps beyond the anchor.
const MAX_DEPTH: u32 = 10;

/// Most kinds of excluded events.
const MAX_EXCLUDED: usize = 20;

/// What one data set contributes to paths: merge those of several, then finish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathsPartial {
    paths: u64,
    nodes: Vec<(NodeKey, NodeState)>,
    edges: Vec<(EdgeKey, Vec<i64>)>,
    coverage: Coverage,
}

/// Distance and step.
type NodeKey = (u32, PathsStep);

/// Distance and step of the first, and the step of the second.
type EdgeKey = (u32, PathsStep, PathsStep);

/// Paths at a node, and how many end there though they could go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct NodeState {
    count: u64,
    dropped: u64,
}

impl PathsPartial {
    /// Adds the contribution of other subjects to the same question; no subject may be in both.
    pub fn merge(&mut self, other: Self) {
        self.paths += other.paths;
        let mut nodes: BTreeMap<NodeKey, NodeState> = self.nodes.drain(..).collect();
        for (key, state) in other.nodes {
            let mine = nodes.entry(key).or_default();
            mine.count += state.count;
            mine.dropped += state.dropped;
        }
        self.nodes = nodes.into_iter().collect();
        let mut edges: BTreeMap<EdgeKey, Vec<i64>> = self.edges.drain(..).collect();
        for (key, micros) in other.edges {
            edges.entry(key).or_default().extend(micros);
        }
        self.edges = edges.into_iter().collect();
        self.coverage.merge(other.coverage);
    }

    /// The answer.
    pub fn finish(self, query: &PathsQuery) -> PathsAnswer {
        // The steps that are told apart at each distance.
        let mut ranked: BTreeMap<u32, Vec<(Reverse<u64>, PathsStep)>> = BTreeMap::new();
        for ((distance, step), state) in &self.nodes {
            ranked.entry(*distance).or_default().push((Reverse(state.count), step.clone()));
        }
        for steps in ranked.values_mut() {
            steps.sort();
            steps.truncate(query.max_nodes);
        }
        let named = |distance: u32, step: PathsStep| {
            let known = ranked
                .get(&distance)
                .is_some_and(|steps| steps.iter().any(|(_, known)| *known == step));
            if known { step } else { PathsStep { event: OTHER.to_owned(), value: None } }
        };
        let mut nodes: BTreeMap<NodeKey, PathNode> = BTreeMap::new();
        for ((distance, step), state) in self.nodes {
            let step = named(distance, step);
            let node = nodes.entry((distance, step.clone())).or_insert_with(|| PathNode {
                distance,
                step,
                count: 0,
                dropped: 0,
                pruned_in: 0,
                pruned_out: 0,
            });
            node.count += state.count;
            node.dropped += state.dropped;
        }
        let mut times: BTreeMap<EdgeKey, Vec<i64>> = BTreeMap::new();
        for ((distance, from, to), micros) in self.edges {
            let key = (distance, named(distance, from), named(distance + 1, to));
            times.entry(key).or_default().extend(micros);
        }
        let mut edges = Vec::new();
        for ((distance, from, to), micros) in times {
            let count = micros.len() as u64;
            if count < query.min_edge_count {
                if let Some(node) = nodes.get_mut(&(distance, from)) {
                    node.pruned_out += count;
                }
                if let Some(node) = nodes.get_mut(&(distance + 1, to)) {
                    node.pruned_in += count;
                }
            } else if let Some((time, _)) = summary(micros) {
                edges.push(PathEdge { distance, from, to, count, time });
            }
        }
        let mut nodes: Vec<PathNode> = nodes.into_values().collect();
        nodes.sort_by_key(|node| {
            (node.distance, node.step.event == OTHER, Reverse(node.count), node.step.clone())
        });
        edges.sort_by_key(|edge| {
            (edge.distance, Reverse(edge.count), edge.from.clone(), edge.to.clone())
        });
        PathsAnswer { paths: self.paths, nodes, edges, coverage: self.coverage }
    }
}

struct Kernel<'a> {
    ground: Ground<'a>,
    query: &'a PathsQuery,
    scans: Vec<RunScan<'a, u32>>,
    labels: Locator<'a>,
    excluded: u32,
}

/// An event that is an anchor or a step, as paths see it.
#[derive(Clone, Copy)]
struct Place {
    time: i64,
    label: u64,
    is_step: bool,
    starts: bool,
    /// Where a path that is here goes next.
    next: Option<u32>,
}

#[derive(Default)]
struct Room {
    collector: Collector,
    places: Vec<Place>,
}

/// One path: its places, and whether it ended though it could have gone on.
struct Walked<'a> {
    places: &'a [Place],
    dropped: bool,
}

impl<'a> Kernel<'a> {
    fn new(snapshot: &'a Snapshot, query: &'a PathsQuery, threads: usize) -> Result<Self> {
        check(query)?;
        let ground = Ground::new(snapshot, &query.scope, threads)?;
        let selectors: Vec<&EventSelector> =
            [&query.anchor, &query.steps].into_iter().chain(&query.exclude).collect();
        let scans = ground.scan(&selectors)?;
        let mut dimensions = vec![Dimension::Event];
        dimensions.extend(query.group_by.clone());
        let labels = Locator::over(snapshot, &dimensions, ground.buckets(Grain::Total)?);
        let excluded = (1u32 << query.exclude.len()) - 1;
        Ok(Self { ground, query, scans, labels, excluded: excluded << 2 })
    }

    /// Shows every path of a subject.
    fn subject(&self, subject: u32, room: &mut Room, see: &mut impl FnMut(&Walked<'_>)) {
        let parts = self.ground.snapshot.index().parts(subject);
        if parts.is_empty() {
            return;
        }
        let Room { collector, places } = room;
        let events = collector.collect(&self.scans, parts, self.ground.as_of);
        places.clear();
        let mut started = false;
        for event in events.iter() {
            self.place(event, &mut started, places);
        }
        if !started {
            return;
        }
        if self.query.direction == Direction::Before {
            places.reverse();
        }
        self.link(places);
        let mut walked = Vec::with_capacity(self.query.depth as usize + 1);
        for start in 0..places.len() {
            if !places[start].starts {
                continue;
            }
            walked.clear();
            walked.push(places[start]);
            let mut next = places[start].next;
            while walked.len() <= self.query.depth as usize
                && let Some(at) = next
            {
                walked.push(places[at as usize]);
                next = places[at as usize].next;
            }
            let dropped = walked.len() <= self.query.depth as usize;
            see(&Walked { places: &walked, dropped });
        }
    }

    fn place(&self, event: &Event, started: &mut bool, places: &mut Vec<Place>) {
        let is_step = event.bits & STEP != 0 && event.bits & self.excluded == 0;
        let in_range =
            event.time >= self.ground.scope.from_micros && event.time < self.ground.until;
        let starts = event.bits & ANCHOR != 0
            && in_range
            && (self.query.start == PathStart::Every || !*started);
        *started |= starts;
        if is_step || starts {
            let label = self.labels.combination(event.run, event.row as usize);
            places.push(Place { time: event.time, label, is_step, starts, next: None });
        }
    }

    /// Links every place to the next one, from the end of the path on.
    fn link(&self, places: &mut [Place]) {
        let mut following: Option<u32> = None;
        for at in (0..places.len()).rev() {
            let Place { time, label, is_step, .. } = places[at];
            places[at].next = following.and_then(|next| {
                let step = places[next as usize];
                let apart = step.time.abs_diff(time);
                let gap = self.query.session_gap_micros;
                if gap.is_some_and(|gap| apart >= gap.unsigned_abs()) {
                    None
                } else if self.query.collapse_repeats && step.label == label {
                    step.next
                } else {
                    Some(next)
                }
            });
            if is_step {
                following = Some(at as u32);
            }
        }
    }

    fn step(&self, label: u64) -> PathsStep {
        let mut values = self.labels.space.decode(label).1.into_iter();
        let event = values.next().flatten().unwrap_or_default();
        PathsStep { event, value: values.next().flatten() }
    }
}

fn check(query: &PathsQuery) -> Result<()> {
    if !(1..=MAX_DEPTH).contains(&query.depth) {
        return Err(invalid("depth", format!("{}; give 1 to {MAX_DEPTH}", query.depth)));
    }
    if query.exclude.len() > MAX_EXCLUDED {
        return Err(invalid(
            "exclude",
            format!("{} kinds of events; at most {MAX_EXCLUDED}", query.exclude.len()),
        ));
    }
    if query.max_nodes == 0 {
        return Err(invalid("max_nodes", "is 0; at least one step can be told apart"));
    }
    if !query.scope.breakdowns.is_empty() {
        return Err(invalid("breakdowns", "paths are grouped by a property of their events"));
    }
    not_negative("session_gap", query.session_gap_micros)
}

/// Runs paths over a snapshot.
pub(crate) fn paths_partial(
    snapshot: &Snapshot,
    query: &PathsQuery,
    threads: usize,
) -> Result<PathsPartial> {
    let kernel = Kernel::new(snapshot, query, threads)?;
    let pieces = kernel.ground.over_subjects(|subjects| {
        let mut room = Room::default();
        let mut paths = 0u64;
        let mut nodes: BTreeMap<(u32, u64), NodeState> = BTreeMap::new();
        let mut edges: BTreeMap<(u32, u64, u64), Vec<i64>> = BTreeMap::new();
        for subject in subjects {
            kernel.subject(subject, &mut room, &mut |walked| {
                paths += 1;
                let last = walked.places.len() - 1;
                for (at, place) in walked.places.iter().enumerate() {
                    let node = nodes.entry((at as u32, place.label)).or_default();
                    node.count += 1;
                    node.dropped += u64::from(walked.dropped && at == last);
                }
                for (at, pair) in walked.places.windows(2).enumerate() {
                    let apart = pair[1].time.abs_diff(pair[0].time).cast_signed();
                    edges.entry((at as u32, pair[0].label, pair[1].label)).or_default().push(apart);
                }
            });
        }
        (paths, nodes, edges)
    });
    let coverage = kernel.ground.coverage();
    let mut partial = PathsPartial { paths: 0, nodes: Vec::new(), edges: Vec::new(), coverage };
    let (mut nodes, mut edges) = (BTreeMap::new(), BTreeMap::new());
    for (paths, of_nodes, of_edges) in pieces {
        partial.paths += paths;
        for (key, state) in of_nodes {
            let mine: &mut NodeState = nodes.entry(key).or_default();
            mine.count += state.count;
            mine.dropped += state.dropped;
        }
        for (key, micros) in of_edges {
            let mine: &mut Vec<i64> = edges.entry(key).or_default();
            mine.extend(micros);
        }
    }
    partial.nodes =
        nodes.into_iter().map(|((at, label), state)| ((at, kernel.step(label)), state)).collect();
    partial.edges = edges
        .into_iter()
        .map(|((at, from, to), micros)| ((at, kernel.step(from), kernel.step(to)), micros))
        .collect();
    Ok(partial)
}

/// The subjects behind one number of paths.
pub(crate) fn paths_members(
    snapshot: &Snapshot,
    query: &PathsQuery,
    cell: &PathsCell,
    page: &MemberPage,
    threads: usize,
) -> Result<Members> {
    let kernel = Kernel::new(snapshot, query, threads)?;
    if cell.step.event == OTHER || cell.to.as_ref().is_some_and(|to| to.event == OTHER) {
        return Err(invalid(
            "step",
            format!("{OTHER} stands for many; raise max_nodes to see them"),
        ));
    }
    let find = |step: &PathsStep| {
        let mut values = vec![Some(step.event.clone())];
        if query.group_by.is_some() {
            values.push(step.value.clone());
        }
        kernel.labels.space.find(&values)
    };
    let (step, to) = (find(&cell.step), cell.to.as_ref().map(find));
    let at = cell.distance as usize;
    let pages = kernel.ground.over_subjects(|subjects| {
        let mut room = Room::default();
        let mut found = Page::new(snapshot, page);
        for subject in subjects {
            let mut is_member = false;
            kernel.subject(subject, &mut room, &mut |walked| {
                let label = |at: usize| walked.places.get(at).map(|place| place.label);
                is_member |= step.is_some()
                    && label(at) == step
                    && to.is_none_or(|to| to.is_some() && label(at + 1) == to)
                    && (!cell.dropped || (walked.dropped && at + 1 == walked.places.len()));
            });
            if is_member {
                found.take(subject);
            }
        }
        found
    });
    Ok(Page::finish(pages, page.limit))
}
