//! A funnel question, checked and compiled to bits.

use crate::{
    error::Result,
    journeys::{CountBy, ExclusionMode, FunnelQuery, Occurrence, StepOrder},
    kernels::journeys::{collect::Sessions, invalid, not_negative},
    kernels::scan::Event,
    kernels::space::Locator,
    query::EventSelector,
};

/// Most steps.
const MAX_STEPS: usize = 20;

/// Most dimensions that can be held constant.
const MAX_CONSTANT: usize = 3;

/// Most bins of a histogram.
const MAX_BINS: u32 = 1_000;

/// Set on events that a strict order allows between no two steps; no selector has this bit.
pub(super) const BREAKS: u32 = 1 << 31;

/// Most selectors, [`BREAKS`] left out.
const MAX_BITS: usize = 31;

/// An event that matters, with what depends on the events before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub time: i64,
    /// Steps, exclusions and [`BREAKS`].
    pub bits: u32,
    /// Place among the events of the subject.
    pub order: u32,
    pub session: u32,
    /// Values held constant, as one number.
    pub key: u64,
    pub run: u32,
    pub row: u32,
}

/// Exclusion: its bit, and the progress of attempts that it concerns.
pub(super) struct Excluded {
    pub bit: u32,
    pub progress: std::ops::RangeInclusive<u32>,
}

/// Sessions of a subject, as far as they are known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LastSession {
    pub number: u32,
    pub over_at: i64,
}

pub(super) struct Plan<'q> {
    pub query: &'q FunnelQuery,
    pub steps: usize,
    pub step_mask: u32,
    pub exclusions: Vec<Excluded>,
    pub exclusion_mask: u32,
    /// By progress: the bits of the steps that can be taken next.
    take: Vec<u32>,
    /// Step bits with the bit that, seen for the first time, decides whether the step can be.
    occurrences: Vec<(u32, u32)>,
    /// Bit of the activity; 0 when it does not matter.
    activity: u32,
    /// Bit of the question's filter; 0 when the scan applies it.
    filter: u32,
    uses_sessions: bool,
    pub selectors: Vec<EventSelector>,
    /// Whether the scan applies the question's filter.
    pub filtered_scan: bool,
}

impl<'q> Plan<'q> {
    pub(super) fn new(query: &'q FunnelQuery) -> Result<Self> {
        check(query)?;
        let steps = query.steps.len();
        let mut selectors: Vec<EventSelector> =
            query.steps.iter().map(|step| step.event.clone()).collect();
        let add = |selectors: &mut Vec<EventSelector>, selector: EventSelector| {
            selectors.push(selector);
            1u32.checked_shl(selectors.len() as u32 - 1).unwrap_or(0)
        };
        let mut exclusions = Vec::new();
        for exclusion in &query.exclusions {
            let bit = add(&mut selectors, exclusion.event.clone());
            let progress = exclusion.from_step as u32 + 1..=exclusion.to_step as u32;
            exclusions.push(Excluded { bit, progress });
        }
        let mut occurrences = Vec::new();
        for (step, number) in query.steps.iter().zip(0..) {
            match step.occurrence {
                Occurrence::Any => {}
                Occurrence::FirstMatching => occurrences.push((1 << number, 1 << number)),
                Occurrence::FirstEver => {
                    let names =
                        EventSelector { names: step.event.names.clone(), ..Default::default() };
                    occurrences.push((1 << number, add(&mut selectors, names)));
                }
            }
        }
        let uses_sessions = query.count_by == CountBy::Sessions || query.window.sessions.is_some();
        let mut activity = 0;
        if uses_sessions || query.order == StepOrder::StrictAnyEvent {
            activity = add(&mut selectors, query.activity.clone());
        }
        // Sessions are made of events that the question's filter leaves out, too.
        let filtered_scan = !uses_sessions || query.scope.filter.is_none();
        let mut filter = 0;
        if !filtered_scan {
            let passing = EventSelector { names: Vec::new(), filter: query.scope.filter.clone() };
            filter = add(&mut selectors, passing);
        }
        if selectors.len() > MAX_BITS {
            let problem = format!(
                "{} kinds of events, steps and exclusions together; at most {MAX_BITS} fit",
                selectors.len()
            );
            return Err(invalid("steps", problem));
        }
        Ok(Self {
            query,
            steps,
            step_mask: (1 << steps) - 1,
            exclusion_mask: exclusions.iter().fold(0, |mask, exclusion| mask | exclusion.bit),
            exclusions,
            take: takes(query),
            occurrences,
            activity,
            filter,
            uses_sessions,
            selectors,
            filtered_scan,
        })
    }

    /// The step that an attempt takes next with an event of these bits, and its state after it. The state of an attempt
    /// is the number of the step it waits for, or, in any order, the set of steps it took.
    #[inline(always)]
    pub(super) fn next(&self, state: u32, bits: u32) -> Option<(usize, u32)> {
        if self.is_unordered() {
            // Only the first listed step begins where it is the anchor of the others.
            let anchored = state == 0 && self.query.order == StepOrder::FirstThenAny;
            let wanted = if anchored { 1 } else { self.step_mask };
            let open = bits & wanted & !state;
            let step = 1u32.checked_shl(open.trailing_zeros())?;
            return Some((state.count_ones() as usize, state | step));
        }
        let step = (bits & self.take.get(state as usize)?).trailing_zeros();
        (step < u32::BITS).then_some((step as usize, step + 1))
    }

    /// How many steps an attempt has behind it.
    pub(super) fn progress(&self, state: u32) -> u32 {
        if self.is_unordered() { state.count_ones() } else { state }
    }

    /// Whether the state of an attempt is the set of steps it took.
    fn is_unordered(&self) -> bool {
        is_unordered(self.query.order)
    }

    /// Whether a step may be taken from before the step that it follows.
    pub(super) fn reaches_back(&self) -> bool {
        self.query.tie_tolerance_micros > 0 && self.query.order == StepOrder::Ordered
    }

    /// The last step before another that is not optional.
    pub(super) fn previous(&self, step: usize) -> Option<usize> {
        (0..step).rev().find(|step| !self.query.steps[*step].optional)
    }

    /// The events of a subject that matter.
    pub(super) fn prepare(
        &self,
        events: &[Event],
        constant: Option<&Locator<'_>>,
        seen: &mut Vec<Seen>,
    ) -> LastSession {
        seen.clear();
        let mut sessions = Sessions::new(self.query.session_gap_micros);
        let mut decided = 0u32;
        for event in events {
            let is_activity = event.bits & (self.activity | self.step_mask) != 0;
            let session =
                if self.uses_sessions { sessions.see(event.time, is_activity) } else { 0 };
            if self.filter != 0 && event.bits & self.filter == 0 {
                continue;
            }
            let mut bits = event.bits & (self.step_mask | self.exclusion_mask);
            let breaks = match self.query.order {
                StepOrder::StrictSteps => event.bits & self.step_mask != 0,
                StepOrder::StrictAnyEvent => is_activity,
                StepOrder::Ordered | StepOrder::AnyOrder | StepOrder::FirstThenAny => false,
            };
            for ((step, decides), number) in self.occurrences.iter().zip(0..) {
                if event.bits & decides != 0 {
                    if decided & (1 << number) != 0 {
                        bits &= !step;
                    }
                    decided |= 1 << number;
                }
            }
            let mut key = 0;
            if let Some(constant) = constant
                && bits & self.step_mask != 0
            {
                let row = event.row as usize;
                key = constant.combination(event.run, row);
                let lacks = |at| constant.value(at, event.run, row) == 0;
                if (0..self.query.constant.len()).any(lacks) {
                    bits &= !self.step_mask;
                }
            }
            bits |= if breaks { BREAKS } else { 0 };
            if bits != 0 {
                seen.push(Seen {
                    time: event.time,
                    bits,
                    order: seen.len() as u32,
                    session,
                    key,
                    run: event.run,
                    row: event.row,
                });
            }
        }
        let (number, over_at) = sessions.last();
        LastSession { number, over_at }
    }
}

/// By progress, the steps that can be taken next: the one waited for and, while they are optional, those after it.
fn takes(query: &FunnelQuery) -> Vec<u32> {
    (0..query.steps.len())
        .map(|first| {
            let mut mask = 0;
            for (step, number) in query.steps.iter().zip(0..).skip(first) {
                mask |= 1 << number;
                if !step.optional {
                    break;
                }
            }
            mask
        })
        .collect()
}

fn is_unordered(order: StepOrder) -> bool {
    matches!(order, StepOrder::AnyOrder | StepOrder::FirstThenAny)
}

fn check(query: &FunnelQuery) -> Result<()> {
    let steps = query.steps.len();
    if !(1..=MAX_STEPS).contains(&steps) {
        return Err(invalid("steps", format!("{steps} steps; a funnel has 1 to {MAX_STEPS}")));
    }
    let optional = |step: usize| query.steps[step].optional;
    if optional(0) || optional(steps - 1) {
        return Err(invalid("steps", "neither the first nor the last step can be optional"));
    }
    if is_unordered(query.order) && (0..steps).any(optional) {
        return Err(invalid("steps", "in any order no step can be optional"));
    }
    for exclusion in &query.exclusions {
        if exclusion.from_step >= exclusion.to_step || exclusion.to_step >= steps {
            return Err(invalid(
                "exclusions",
                format!(
                    "between step {} and step {}; the first must come before the second, and the \
                     funnel has {steps}",
                    exclusion.from_step + 1,
                    exclusion.to_step + 1
                ),
            ));
        }
    }
    if query.constant.len() > MAX_CONSTANT {
        return Err(invalid(
            "constant",
            format!("{} dimensions; at most {MAX_CONSTANT}", query.constant.len()),
        ));
    }
    let (from, to) = query.between;
    if from > to || to >= steps {
        return Err(invalid("between", "two steps of the funnel, the earlier one first"));
    }
    if let crate::journeys::Attribution::Step(step) = query.attribution
        && step >= steps
    {
        return Err(invalid("attribution", format!("step {}; the funnel has {steps}", step + 1)));
    }
    if let Some(value) = &query.value {
        if value.property.is_empty() {
            return Err(invalid("value_property", "is required with a step"));
        }
        if let Some(step) = value.step.filter(|step| *step >= steps) {
            return Err(invalid(
                "value_step",
                format!("step {}; the funnel has {steps}", step + 1),
            ));
        }
    }
    if query.bins > MAX_BINS {
        return Err(invalid("bins", format!("{}; at most {MAX_BINS}", query.bins)));
    }
    if query.max_groups == 0 {
        return Err(invalid("max_groups", "is 0; at least one group can be told apart"));
    }
    not_negative("window", query.window.micros)?;
    not_negative("tie_tolerance", Some(query.tie_tolerance_micros))?;
    if query.session_gap_micros <= 0 {
        return Err(invalid("session_gap", "must be longer than nothing"));
    }
    if query.window.sessions == Some(0) {
        return Err(invalid("window", "is 0 sessions; the session of the first step is one"));
    }
    let strict = matches!(query.order, StepOrder::StrictSteps | StepOrder::StrictAnyEvent);
    if strict && query.tie_tolerance_micros > 0 {
        return Err(invalid(
            "tie_tolerance",
            "a strict order says which event comes directly after which; it knows no tolerance",
        ));
    }
    if query.exclusion_mode == ExclusionMode::Subject && query.exclusions.is_empty() {
        return Err(invalid("exclusion_mode", "there is no exclusion"));
    }
    Ok(())
}
