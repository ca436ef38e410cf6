//! Who is in a cohort: one ordered pass per subject, judged at any number of instants.

use super::{
    MAX_STEPS,
    journey::Steps,
    scan::{self, Event, RunScan, Scratch, Visitor},
    tasks,
};
use crate::{
    cohort::{Cohort, CohortRule, FirstEvent, Take},
    error::{Error, Result},
    filter::Filter,
    limits::Use,
    query::{Anchor, EventSelector, Ties},
    snapshot::{Part, Snapshot},
    subjects::SubjectSet,
};

/// Conditions on events that a rule may have: one bit each.
const MAX_SELECTORS: usize = 32;

/// How deeply rules may stand in rules.
const MAX_DEPTH: usize = 8;

/// A rule whose events are bits.
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Latest { carries: u32, passes: u32 },
    Some { passes: u32 },
    Did { event: u32, at_least: u64, at_most: Option<u64>, within: Option<i64> },
    Sequence { steps: Steps, within: Option<i64> },
    FirstTime { event: u32, from: i64, to: i64 },
}

/// Judges every subject at instants that rise; with a position, as if the log had ended there.
pub(crate) fn cohort(
    snapshot: &Snapshot,
    rule: &CohortRule,
    as_of: &[i64],
    position: Option<i64>,
    threads: usize,
) -> Result<Cohort> {
    let mut selectors = Vec::new();
    let node = compile(rule, &mut selectors, 0)?;
    check(&selectors)?;
    let wanted: Vec<&EventSelector> = selectors.iter().collect();
    let mind = Use::of(snapshot.limits());
    let workers = snapshot.workers(threads, &mind);
    let scans: Vec<RunScan<'_, u32>> = scan::scan_up_to(snapshot, &wanted, None, position, workers);
    let index = snapshot.index();
    let last = as_of.last().copied().unwrap_or(i64::MIN);
    let pieces = tasks::run(workers, index.chunks.clone(), |subjects| {
        let mut piece = (vec![0u64; as_of.len()], Vec::new());
        let mut scratch = Scratch::default();
        let mut history = History { until: last, events: Vec::new() };
        for subject in subjects {
            let parts = index.parts(subject);
            let Some(born) = born(&scans, parts, position) else { continue };
            if born >= last {
                continue;
            }
            history.events.clear();
            scan::walk(&scans, parts, &mut scratch, &mut history);
            let mut is_member = false;
            for (size, instant) in piece.0.iter_mut().zip(as_of) {
                let known = history.events.partition_point(|event| event.time < *instant);
                is_member = born < *instant && node.holds(&history.events[..known], *instant);
                *size += u64::from(is_member);
            }
            if is_member {
                piece.1.push(subject);
            }
        }
        piece
    });
    mind.check()?;
    let mut cohort = Cohort { sizes: vec![0; as_of.len()], members: SubjectSet::default() };
    for (sizes, members) in pieces {
        cohort.sizes.iter_mut().zip(sizes).for_each(|(all, more)| *all += more);
        members.into_iter().for_each(|subject| cohort.members.insert(subject));
    }
    Ok(cohort)
}

/// Judges every subject at its first event of a kind.
pub(crate) fn cohort_at_first(
    snapshot: &Snapshot,
    rule: &CohortRule,
    first: &FirstEvent,
    threads: usize,
) -> Result<SubjectSet> {
    let mut selectors = Vec::new();
    let node = compile(rule, &mut selectors, 0)?;
    let own = selectors.len();
    selectors.push(first.event.clone());
    if let Some(property) = &first.property {
        selectors.push(EventSelector::all().filtered(Filter::carries(property)));
    }
    check(&selectors)?;
    let bits = (own..selectors.len()).fold(0, |bits, number| bits | 1 << number);
    let wanted: Vec<&EventSelector> = selectors.iter().collect();
    let mind = Use::of(snapshot.limits());
    let workers = snapshot.workers(threads, &mind);
    let scans: Vec<RunScan<'_, u32>> = scan::scan_up_to(snapshot, &wanted, None, None, workers);
    let index = snapshot.index();
    let range = first.from_micros..first.to_micros;
    let pieces = tasks::run(workers, index.chunks.clone(), |subjects| {
        let mut scratch = Scratch::default();
        let mut history = History { until: first.to_micros, events: Vec::new() };
        let is_member = |subject: &u32| {
            let parts = index.parts(*subject);
            let Some(born) = born(&scans, parts, None) else { return false };
            history.events.clear();
            scan::walk(&scans, parts, &mut scratch, &mut history);
            let events = &history.events;
            let own = |event: &&Event| event.bits & bits == bits && range.contains(&event.time);
            let Some(instant) = events.iter().find(own).map(|event| event.time) else {
                return false;
            };
            let known = events.partition_point(|event| event.time < instant);
            born < instant && node.holds(&events[..known], instant)
        };
        subjects.filter(is_member).collect::<Vec<u32>>()
    });
    mind.check()?;
    Ok(pieces.into_iter().flatten().collect())
}

fn check(selectors: &[EventSelector]) -> Result<()> {
    if selectors.len() > MAX_SELECTORS {
        return Err(Error::InvalidQuery {
            field: "rule",
            problem: format!(
                "{} conditions on events; at most {MAX_SELECTORS} are possible",
                selectors.len()
            ),
        });
    }
    Ok(())
}

/// The time of a subject's first event, of those up to a position; `None` when there is none.
fn born(scans: &[RunScan<'_, u32>], parts: &[Part], position: Option<i64>) -> Option<i64> {
    let time = |part: &Part, row: u32| {
        i64::from_le_bytes(scans[part.run as usize].effective[row as usize])
    };
    let Some(position) = position else {
        // Parts are in the order of their first events.
        return parts.first().map(|part| time(part, part.start));
    };
    let first = |part: &Part| {
        let positions = scans[part.run as usize].run.segment.position();
        let known = (part.start..part.end).find(|row| positions.get(*row as usize) <= position);
        known.map(|row| time(part, row))
    };
    parts.iter().filter_map(first).min()
}

fn compile(rule: &CohortRule, selectors: &mut Vec<EventSelector>, depth: usize) -> Result<Node> {
    if depth > MAX_DEPTH {
        return Err(Error::InvalidQuery {
            field: "rule",
            problem: format!("rules are nested deeper than {MAX_DEPTH}"),
        });
    }
    let mut bit = |selector: EventSelector| {
        let known = selectors.iter().position(|known| *known == selector);
        let number = known.unwrap_or_else(|| {
            selectors.push(selector);
            selectors.len() - 1
        });
        1u32.checked_shl(number as u32).unwrap_or_default()
    };
    Ok(match rule {
        CohortRule::All(parts) | CohortRule::Any(parts) => {
            let nodes = parts.iter().map(|part| compile(part, selectors, depth + 1));
            let nodes = nodes.collect::<Result<_>>()?;
            if matches!(rule, CohortRule::All(_)) { Node::All(nodes) } else { Node::Any(nodes) }
        }
        CohortRule::Not(part) => Node::Not(Box::new(compile(part, selectors, depth + 1)?)),
        CohortRule::Property { event, property, condition, take } => {
            let event = bit(event.clone());
            let passes = event | bit(EventSelector::all().filtered(condition.clone()));
            match take {
                Take::Any => Node::Some { passes },
                Take::Latest => {
                    let carries = Filter::carries(property);
                    Node::Latest {
                        carries: event | bit(EventSelector::all().filtered(carries)),
                        passes,
                    }
                }
            }
        }
        CohortRule::Did { event, at_least, at_most, within_micros } => Node::Did {
            event: bit(event.clone()),
            at_least: *at_least,
            at_most: *at_most,
            within: *within_micros,
        },
        CohortRule::Sequence { steps, window_micros, within_micros } => {
            if !(1..=MAX_STEPS).contains(&steps.len()) {
                return Err(Error::InvalidQuery {
                    field: "rule",
                    problem: format!("{} steps; a sequence has 1 to {MAX_STEPS}", steps.len()),
                });
            }
            // Steps are bits that follow one another, so they share none.
            let first = selectors.len();
            selectors.extend(steps.iter().cloned());
            Node::Sequence {
                steps: Steps {
                    first,
                    count: steps.len(),
                    window_micros: *window_micros,
                    anchor: Anchor::BestAttempt,
                    ties: Ties::ByOrder,
                },
                within: *within_micros,
            }
        }
        CohortRule::FirstTime { event, from_micros, to_micros } => {
            Node::FirstTime { event: bit(event.clone()), from: *from_micros, to: *to_micros }
        }
    })
}

impl Node {
    /// Whether it holds for a subject with these events, in order, at an instant after all of them.
    fn holds(&self, events: &[Event], instant: i64) -> bool {
        let has = |event: &&Event, bits: u32| event.bits & bits == bits;
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(events, instant)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(events, instant)),
            Self::Not(node) => !node.holds(events, instant),
            Self::Latest { carries, passes } => events
                .iter()
                .rev()
                .find(|event| has(event, *carries))
                .is_some_and(|event| has(&event, *passes)),
            Self::Some { passes } => events.iter().any(|event| has(&event, *passes)),
            Self::Did { event, at_least, at_most, within } => {
                let events = &events[recent(events, *within, instant)..];
                let times = events.iter().filter(|found| has(found, *event)).count() as u64;
                times >= *at_least && at_most.is_none_or(|most| times <= most)
            }
            Self::Sequence { steps, within } => {
                steps.complete(&events[recent(events, *within, instant)..]).is_some()
            }
            Self::FirstTime { event, from, to } => events
                .iter()
                .find(|found| has(found, *event))
                .is_some_and(|first| first.time >= *from && first.time < *to),
        }
    }
}

/// The first of the events that happened at most so long before an instant.
fn recent(events: &[Event], within: Option<i64>, instant: i64) -> usize {
    within.map_or(0, |within| {
        let from = instant.saturating_sub(within);
        events.partition_point(|event| event.time < from)
    })
}

/// The matching events of a subject, in order.
struct History {
    until: i64,
    events: Vec<Event>,
}

impl Visitor for History {
    #[inline(always)]
    fn see(&mut self, event: Event) -> std::ops::ControlFlow<()> {
        if event.time >= self.until {
            return std::ops::ControlFlow::Break(());
        }
        self.events.push(event);
        std::ops::ControlFlow::Continue(())
    }
}
