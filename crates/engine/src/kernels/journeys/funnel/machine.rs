//! The attempts of one subject: one pass over its events, in which every attempt moves at most once per step.

use super::plan::{BREAKS, LastSession, Plan, Seen};
use crate::{
    calendar::Buckets,
    journeys::{Boundary, CountBy},
    kernels::space::BucketCursor,
    query::Anchor,
};

/// No event.
const NONE: u32 = u32::MAX;

/// The event that is a step of an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub time: i64,
    pub run: u32,
    pub row: u32,
    /// Place among the events of the subject; [`NONE`] for a step that was not taken.
    order: u32,
}

impl Taken {
    const NOT: Self = Self { time: 0, run: 0, row: 0, order: NONE };

    pub(super) fn is(&self) -> bool {
        self.order != NONE
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    start_time: i64,
    /// Place of the step-1 event among the events of the subject.
    start_order: u32,
    pub bucket: usize,
    pub session: u32,
    key: u64,
    state: u32,
    /// Time of the step that was taken last.
    last_time: i64,
    /// When an exclusion fell that a step soon after may still outrun.
    doomed: Option<i64>,
    pub excluded: bool,
    /// Nothing moves it any more.
    over: bool,
}

/// The attempts of a subject while its events go by.
#[derive(Default)]
pub(super) struct Attempts {
    attempts: Vec<Attempt>,
    taken: Vec<Taken>,
    /// Attempts that can move, by state.
    live: Vec<(u32, Vec<u32>)>,
    moved: Vec<(u32, u32)>,
    /// By place: whether the event is a step of any attempt. Kept only where an attempt may reach back for one.
    used: Vec<bool>,
}

/// One pass over events.
pub(super) struct Pass<'a> {
    pub plan: &'a Plan<'a>,
    pub buckets: &'a Buckets,
    /// Attempts start in this range.
    pub from: i64,
    pub until: i64,
}

impl Attempts {
    pub(super) fn clear(&mut self) {
        self.attempts.clear();
        self.taken.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.attempts.len()
    }

    pub(super) fn get(&self, attempt: usize) -> &Attempt {
        &self.attempts[attempt]
    }

    /// The steps of an attempt.
    pub(super) fn taken(&self, attempt: usize, steps: usize) -> &[Taken] {
        &self.taken[attempt * steps..][..steps]
    }

    /// Brings attempts of several passes into the order of their starts.
    pub(super) fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.attempts.len()).collect();
        order.sort_by_key(|attempt| self.attempts[*attempt].start_order);
        order
    }

    /// What makes one attempt count rather than another: how far it got, how early, and how late it started.
    pub(super) fn rank(
        &self,
        attempt: usize,
        plan: &Plan<'_>,
    ) -> (u32, std::cmp::Reverse<i64>, u32) {
        let Attempt { state, last_time, start_order, .. } = &self.attempts[attempt];
        (plan.progress(*state), std::cmp::Reverse(*last_time), *start_order)
    }

    /// Whether an attempt has not converted and still may, seen from an instant.
    pub(super) fn is_open(
        &self,
        attempt: usize,
        plan: &Plan<'_>,
        as_of: i64,
        last: LastSession,
    ) -> bool {
        let attempt = &self.attempts[attempt];
        if attempt.over {
            return false;
        }
        let in_time = plan.query.window.micros.is_none_or(|window| {
            let end = attempt.start_time.saturating_add(window);
            match plan.query.boundary {
                Boundary::Inclusive => end >= as_of,
                Boundary::Exclusive => end > as_of,
            }
        });
        let sessions = sessions(plan);
        let in_session = sessions.is_none_or(|sessions| {
            let used = last.number.saturating_sub(attempt.session) + 1;
            used < sessions || (used == sessions && last.over_at > as_of)
        });
        in_time && in_session
    }

    /// Takes events in, which are in order.
    pub(super) fn run(&mut self, pass: &Pass<'_>, events: &[Seen]) {
        let plan = pass.plan;
        let first = self.attempts.len();
        self.live.clear();
        self.used.clear();
        if plan.reaches_back() {
            self.used.resize(events.last().map_or(0, |last| last.order as usize + 1), false);
        }
        let mut cursor = BucketCursor::new();
        let single = plan.query.count_by == CountBy::Uniques
            && plan.query.anchor == Anchor::FirstTouch
            && pass.buckets.len() == 1;
        for (at, event) in events.iter().enumerate() {
            if event.bits & plan.exclusion_mask != 0 {
                self.exclude(plan, event);
            }
            let consumed = self.advance(plan, events, at);
            if event.bits & BREAKS != 0 {
                self.break_off();
            }
            for (state, attempt) in self.moved.drain(..) {
                push(&mut self.live, state, attempt);
            }
            let starts = event.time >= pass.from && event.time < pass.until;
            if starts && let Some((_, state)) = plan.next(0, event.bits) {
                self.start(pass, events, at, (first, state, consumed), &mut cursor);
            }
            if single && self.attempts.len() > first && self.live.is_empty() {
                break;
            }
        }
        for attempt in &mut self.attempts[first..] {
            if attempt.doomed.take().is_some() {
                (attempt.over, attempt.excluded) = (true, true);
            }
        }
    }

    /// Ends, or dooms, the attempts that an exclusion concerns.
    fn exclude(&mut self, plan: &Plan<'_>, event: &Seen) {
        let tolerance = plan.query.tie_tolerance_micros;
        for (state, group) in &mut self.live {
            let progress = plan.progress(*state);
            let concerned = plan.exclusions.iter().any(|exclusion| {
                event.bits & exclusion.bit != 0 && exclusion.progress.contains(&progress)
            });
            if !concerned {
                continue;
            }
            let attempts = &mut self.attempts;
            if tolerance > 0 {
                for number in group {
                    let attempt = &mut attempts[*number as usize];
                    let apart = event.time.saturating_sub(attempt.last_time);
                    if apart > tolerance && in_window(plan, attempt, event) {
                        attempt.doomed.get_or_insert(event.time);
                    }
                }
                continue;
            }
            for number in group.drain(..) {
                let attempt = &mut attempts[number as usize];
                attempt.excluded = in_window(plan, attempt, event);
                attempt.over = true;
            }
        }
    }

    /// Moves every attempt that waits for this event; whether there was one.
    fn advance(&mut self, plan: &Plan<'_>, events: &[Seen], at: usize) -> bool {
        let event = &events[at];
        let mut live = std::mem::take(&mut self.live);
        let mut consumed = false;
        for (state, group) in &mut live {
            let Some((step, next)) = plan.next(*state, event.bits) else { continue };
            group.retain(|number| {
                let attempt = &mut self.attempts[*number as usize];
                if attempt.key != event.key {
                    return true;
                }
                let outrun = attempt.doomed.take().is_some_and(|doomed| {
                    event.time.saturating_sub(doomed) > plan.query.tie_tolerance_micros
                });
                if outrun || !in_window(plan, attempt, event) {
                    (attempt.over, attempt.excluded) = (true, outrun);
                    return false;
                }
                consumed = true;
                self.take(plan, *number, (step, next), event);
                self.catch_up(plan, *number, events, at);
                let attempt = &mut self.attempts[*number as usize];
                attempt.over = plan.progress(attempt.state) as usize == plan.steps;
                if !attempt.over {
                    self.moved.push((attempt.state, *number));
                }
                false
            });
        }
        self.live = live;
        consumed
    }

    /// Ends every attempt that could have moved and did not.
    fn break_off(&mut self) {
        for (_, group) in &mut self.live {
            for number in group.drain(..) {
                self.attempts[number as usize].over = true;
            }
        }
    }

    /// Starts an attempt with an event, unless the question says otherwise.
    fn start(
        &mut self,
        pass: &Pass<'_>,
        events: &[Seen],
        at: usize,
        (first, state, consumed): (usize, u32, bool),
        cursor: &mut BucketCursor,
    ) {
        let (plan, event) = (pass.plan, &events[at]);
        let bucket = cursor.locate(pass.buckets, event.time);
        let last = self.attempts[first..].last();
        match (plan.query.count_by, plan.query.anchor) {
            (CountBy::Uniques, Anchor::FirstTouch) => {
                if last.is_some_and(|last| last.bucket == bucket) {
                    return;
                }
            }
            (CountBy::Sessions, Anchor::FirstTouch) => {
                if last.is_some_and(|last| last.session == event.session) {
                    return;
                }
            }
            (CountBy::Uniques | CountBy::Sessions, Anchor::BestAttempt) => {}
            (CountBy::Totals, anchor) => {
                if consumed {
                    return;
                }
                let going = last.is_some_and(|last| {
                    !last.over && last.doomed.is_none() && in_window(plan, last, event)
                });
                if going {
                    let only_entered = last.is_some_and(|last| plan.progress(last.state) == 1);
                    if anchor == Anchor::FirstTouch || !only_entered {
                        return;
                    }
                    // The most recent entry takes the place of the one before.
                    let replaced = self.attempts.pop().map(|attempt| attempt.start_order as usize);
                    if let Some(used) = replaced.and_then(|order| self.used.get_mut(order)) {
                        *used = false;
                    }
                    self.taken.truncate(self.attempts.len() * plan.steps);
                } else if let Some(last) = self.attempts[first..].last_mut() {
                    last.excluded |= last.doomed.take().is_some();
                    last.over = true;
                }
                self.live.clear();
            }
        }
        let number = self.attempts.len() as u32;
        self.attempts.push(Attempt {
            start_time: event.time,
            start_order: event.order,
            bucket,
            session: event.session,
            key: event.key,
            state: 0,
            last_time: event.time,
            doomed: None,
            excluded: false,
            over: false,
        });
        self.taken.resize(self.attempts.len() * plan.steps, Taken::NOT);
        self.take(plan, number, (0, state), event);
        self.catch_up(plan, number, events, at);
        let attempt = &mut self.attempts[number as usize];
        attempt.over = plan.progress(attempt.state) as usize == plan.steps;
        if !attempt.over {
            push(&mut self.live, attempt.state, number);
        }
    }

    fn take(&mut self, plan: &Plan<'_>, number: u32, (step, state): (usize, u32), event: &Seen) {
        let attempt = &mut self.attempts[number as usize];
        attempt.state = state;
        attempt.last_time = event.time;
        self.taken[number as usize * plan.steps + step] =
            Taken { time: event.time, run: event.run, row: event.row, order: event.order };
        if let Some(used) = self.used.get_mut(event.order as usize) {
            *used = true;
        }
    }

    /// With a tolerance, takes the next steps from events shortly before the one that moved the attempt: the earliest
    /// that is within the tolerance of the step before and serves no step yet.
    fn catch_up(&mut self, plan: &Plan<'_>, number: u32, events: &[Seen], at: usize) {
        if !plan.reaches_back() {
            return;
        }
        let tolerance = plan.query.tie_tolerance_micros;
        loop {
            let Attempt { state, last_time, key, session, .. } = self.attempts[number as usize];
            // No event belongs to two attempts where attempts are counted.
            let own = &self.taken[number as usize * plan.steps..][..plan.steps];
            let serves = |order: u32| match plan.query.count_by {
                CountBy::Totals => self.used[order as usize],
                CountBy::Uniques | CountBy::Sessions => {
                    own.iter().any(|taken| taken.order == order)
                }
            };
            let earlier = events[..=at]
                .iter()
                .rev()
                .take_while(|event| last_time.saturating_sub(event.time) <= tolerance)
                .filter(|event| event.key == key && event.session >= session)
                .filter(|event| plan.next(state, event.bits).is_some() && !serves(event.order))
                .last();
            let Some(event) = earlier else { return };
            let Some(next) = plan.next(state, event.bits) else { return };
            self.take(plan, number, next, event);
        }
    }
}

fn push(live: &mut Vec<(u32, Vec<u32>)>, state: u32, attempt: u32) {
    match live.iter_mut().find(|(known, _)| *known == state) {
        Some((_, group)) => group.push(attempt),
        None => live.push((state, vec![attempt])),
    }
}

/// Sessions that an attempt may last.
fn sessions(plan: &Plan<'_>) -> Option<u32> {
    if plan.query.count_by == CountBy::Sessions { Some(1) } else { plan.query.window.sessions }
}

/// Whether an event comes in time for an attempt.
fn in_window(plan: &Plan<'_>, attempt: &Attempt, event: &Seen) -> bool {
    let in_time = plan.query.window.micros.is_none_or(|window| {
        let end = attempt.start_time.saturating_add(window);
        match plan.query.boundary {
            Boundary::Inclusive => event.time <= end,
            Boundary::Exclusive => event.time < end,
        }
    });
    in_time && sessions(plan).is_none_or(|sessions| event.session - attempt.session < sessions)
}
