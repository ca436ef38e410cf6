//! Steps in order, per subject: one pass, each attempt moves at most once per step.

use std::ops::ControlFlow;

use super::{
    Context, any_order,
    gather::{Found, Gathered},
    partial::{State, StepState},
    scan::{self, Bits, Event, RunScan, Scratch, Visitor},
    selectors,
    space::{BucketCursor, Cells, Locator},
};
use crate::{
    query::{Anchor, Entry, FunnelSpec, Ties},
    snapshot::Part,
};

pub(super) fn run<B: Bits>(context: &Context<'_>, spec: &FunnelSpec) -> Found {
    let locator = Locator::new(context);
    let scans = scan::scan::<B>(context, &selectors(&spec.steps));
    let funnel = Funnel { context, spec, locator: &locator, steps: spec.steps.len() };
    let index = context.snapshot.index();
    let single = spec.anchor == Anchor::FirstTouch
        && (spec.entry != Entry::PerBucket || context.buckets.len() == 1);
    let (workers, combinations) = (context.threads, locator.space.combinations());
    let cells = Gathered::from_pieces(workers, combinations, index.chunks.clone(), |subjects| {
        let mut cells = locator.cells::<StepState>();
        let mut room = Room { waiting: vec![Vec::new(); spec.steps.len() + 1], ..Room::default() };
        for subject in subjects {
            let parts = index.parts(subject);
            if parts.is_empty() {
                continue;
            }
            if !single || !funnel.single(&scans, parts, &mut room, &mut cells) {
                funnel.attempts(&scans, parts, &mut room, &mut cells);
            }
        }
        cells.into_states(|state| (!state.counts.is_empty()).then_some(State::Steps(state)))
    });
    Found { space: locator.space, cells }
}

struct Funnel<'a> {
    context: &'a Context<'a>,
    spec: &'a FunnelSpec,
    locator: &'a Locator<'a>,
    steps: usize,
}

/// Room for the attempts of one subject.
#[derive(Default)]
struct Room {
    scratch: Scratch,
    attempts: Vec<Attempt>,
    /// Time of each step of each attempt.
    times: Vec<i64>,
    /// Attempts by the number of steps they have taken.
    waiting: Vec<Vec<u32>>,
    group: Vec<Event>,
    used: Vec<bool>,
}

struct Attempt {
    cell: u64,
    bucket: usize,
    reached: usize,
}

/// What a step-1 event means under the entry rule.
enum Start {
    Counts(usize),
    Ignored,
    /// The subject does not count at all.
    Disqualifies,
}

impl Funnel<'_> {
    /// One attempt per subject; false, with nothing counted, when events of one instant would have to be reordered.
    #[inline(always)]
    fn single<B: Bits>(
        &self,
        scans: &[RunScan<'_, B>],
        parts: &[Part],
        room: &mut Room,
        cells: &mut Cells<StepState>,
    ) -> bool {
        let Room { scratch, times, .. } = room;
        times.clear();
        let mut attempt = SingleAttempt {
            funnel: self,
            first_ever: self.spec.entry == Entry::FirstEver,
            strictly_later: self.spec.ties == Ties::StrictlyLater,
            any_order: any_order(self.spec.ties),
            tied: false,
            last: None,
            deadline: i64::MAX,
            cell: 0,
            times,
        };
        scan::walk(scans, parts, scratch, &mut attempt);
        if attempt.tied {
            return false;
        }
        if !attempt.times.is_empty() {
            self.count(cells.at(attempt.cell), attempt.times);
        }
        true
    }

    /// Any number of attempts per subject.
    fn attempts<B: Bits>(
        &self,
        scans: &[RunScan<'_, B>],
        parts: &[Part],
        room: &mut Room,
        cells: &mut Cells<StepState>,
    ) {
        let mut scratch = std::mem::take(&mut room.scratch);
        room.attempts.clear();
        room.times.clear();
        room.waiting.iter_mut().for_each(Vec::clear);
        room.group.clear();
        let mut attempts = Attempts {
            funnel: self,
            room,
            cursor: BucketCursor::new(),
            started: false,
            disqualified: false,
        };
        scan::walk(scans, parts, &mut scratch, &mut attempts);
        let Attempts { mut cursor, mut started, mut disqualified, .. } = attempts;
        if !disqualified && !room.group.is_empty() {
            disqualified = self.group(room, &mut cursor, &mut started);
        }
        room.scratch = scratch;
        if !disqualified {
            self.count_attempts(room, cells);
        }
    }

    /// Begins an attempt if the event is a step 1 that counts; true when the subject is out.
    fn start(
        &self,
        event: Event,
        room: &mut Room,
        cursor: &mut BucketCursor,
        started: &mut bool,
    ) -> bool {
        if event.bits & 1 == 0 {
            return false;
        }
        match self.entry(event, room.attempts.last(), cursor, started) {
            Start::Ignored => {}
            Start::Disqualifies => return true,
            Start::Counts(bucket) => {
                let cell = self.locator.cell(bucket, event.run, event.row as usize);
                room.waiting[1].push(room.attempts.len() as u32);
                room.attempts.push(Attempt { cell, bucket, reached: 1 });
                room.times.push(event.time);
                room.times.resize(room.attempts.len() * self.steps, 0);
            }
        }
        false
    }

    fn entry(
        &self,
        event: Event,
        last: Option<&Attempt>,
        cursor: &mut BucketCursor,
        started: &mut bool,
    ) -> Start {
        let first = !std::mem::replace(started, true);
        if event.time < self.context.query.from_micros || event.time >= self.context.until {
            return if first && self.spec.entry == Entry::FirstEver {
                Start::Disqualifies
            } else {
                Start::Ignored
            };
        }
        let bucket = cursor.locate(&self.context.buckets, event.time);
        let repeated = match (self.spec.anchor, self.spec.entry) {
            (Anchor::BestAttempt, _) => false,
            (Anchor::FirstTouch, Entry::PerBucket) => {
                last.is_some_and(|last| last.bucket == bucket)
            }
            (Anchor::FirstTouch, Entry::FirstInRange | Entry::FirstEver) => last.is_some(),
        };
        if repeated { Start::Ignored } else { Start::Counts(bucket) }
    }

    /// Moves every attempt that waits for this event.
    fn advance(&self, event: Event, room: &mut Room) {
        let Room { times, waiting, attempts, .. } = room;
        // From the last step down, so that an event moves an attempt by one step only.
        for reached in (1..self.steps).rev() {
            if event.bits & (1 << reached) == 0 || waiting[reached].is_empty() {
                continue;
            }
            let mut staying = std::mem::take(&mut waiting[reached]);
            staying.retain(|number| {
                let times = &mut times[*number as usize * self.steps..][..self.steps];
                if self.spec.ties == Ties::StrictlyLater && event.time <= times[reached - 1] {
                    return true;
                }
                if event.time <= self.deadline(times[0]) {
                    times[reached] = event.time;
                    attempts[*number as usize].reached = reached + 1;
                    waiting[reached + 1].push(*number);
                }
                false
            });
            waiting[reached] = staying;
        }
    }

    /// Takes in events of one instant, in whichever order serves each attempt; true when the subject is out.
    fn group(&self, room: &mut Room, cursor: &mut BucketCursor, started: &mut bool) -> bool {
        let group = std::mem::take(&mut room.group);
        if let [event] = *group {
            self.advance(event, room);
            let disqualified = self.start(event, room, cursor, started);
            room.group = group;
            return disqualified;
        }
        let mut moving: Vec<(u32, Option<usize>)> = room.waiting[1..self.steps]
            .iter_mut()
            .flat_map(|waiting| waiting.drain(..))
            .map(|number| (number, None))
            .collect();
        let mut disqualified = false;
        for (at, event) in group.iter().enumerate() {
            let before = room.attempts.len();
            disqualified |= self.start(*event, room, cursor, started);
            if room.attempts.len() > before {
                moving.push((before as u32, Some(at)));
            }
        }
        room.waiting[1].clear();
        for (number, own) in moving {
            room.used.clear();
            room.used.resize(group.len(), false);
            if let Some(own) = own {
                room.used[own] = true;
            }
            let attempt = &mut room.attempts[number as usize];
            let times = &mut room.times[number as usize * self.steps..][..self.steps];
            let time = group[0].time;
            let in_window = time <= self.deadline(times[0]);
            while in_window && attempt.reached < self.steps {
                let wanted = 1 << attempt.reached;
                let Some(at) =
                    (0..group.len()).find(|at| !room.used[*at] && group[*at].bits & wanted != 0)
                else {
                    break;
                };
                room.used[at] = true;
                times[attempt.reached] = time;
                attempt.reached += 1;
            }
            room.waiting[attempt.reached].push(number);
        }
        room.group = group;
        disqualified
    }

    fn deadline(&self, start: i64) -> i64 {
        self.spec.window_micros.map_or(i64::MAX, |window| start.saturating_add(window))
    }

    fn count_attempts(&self, room: &Room, cells: &mut Cells<StepState>) {
        let times =
            |number: usize| &room.times[number * self.steps..][..room.attempts[number].reached];
        let per_bucket = self.spec.entry == Entry::PerBucket;
        let mut best: Option<usize> = None;
        for (number, attempt) in room.attempts.iter().enumerate() {
            best = Some(match best {
                Some(other) if !per_bucket || room.attempts[other].bucket == attempt.bucket => {
                    let key = |number: usize| {
                        (times(number).len(), std::cmp::Reverse(times(number).last().copied()))
                    };
                    // On a tie the one that started last wins.
                    if key(number) >= key(other) { number } else { other }
                }
                Some(other) => {
                    self.count(cells.at(room.attempts[other].cell), times(other));
                    number
                }
                None => number,
            });
        }
        if let Some(best) = best {
            self.count(cells.at(room.attempts[best].cell), times(best));
        }
    }

    #[inline(always)]
    fn count(&self, state: &mut StepState, times: &[i64]) {
        if state.counts.is_empty() {
            state.counts.resize(self.steps, 0);
            state.micros.resize(self.steps - 1, Vec::new());
        }
        for (step, time) in times.iter().enumerate() {
            state.counts[step] += 1;
            if step > 0 {
                state.micros[step - 1].push(time - times[step - 1]);
            }
        }
    }
}

/// The first attempt of a subject, and nothing else.
struct SingleAttempt<'a> {
    funnel: &'a Funnel<'a>,
    first_ever: bool,
    strictly_later: bool,
    any_order: bool,
    /// Whether two events of one instant may change places.
    tied: bool,
    last: Option<i64>,
    deadline: i64,
    cell: u64,
    times: &'a mut Vec<i64>,
}

impl Visitor for SingleAttempt<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        let context = self.funnel.context;
        let reached = self.times.len();
        if self.any_order && self.last.replace(event.time) == Some(event.time) {
            self.tied = true;
            return ControlFlow::Break(());
        }
        if event.bits & (1 << reached) == 0 {
            return ControlFlow::Continue(());
        }
        if event.time >= context.as_of || event.time > self.deadline {
            return ControlFlow::Break(());
        }
        if reached == 0 {
            if event.time < context.query.from_micros || event.time >= context.until {
                return if self.first_ever {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                };
            }
            let bucket = context.buckets.locate(event.time);
            self.cell = self.funnel.locator.cell(bucket, event.run, event.row as usize);
            self.deadline = self.funnel.deadline(event.time);
        } else if self.strictly_later && event.time <= self.times[reached - 1] {
            return ControlFlow::Continue(());
        }
        self.times.push(event.time);
        if self.times.len() == self.funnel.steps {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// All attempts of a subject.
struct Attempts<'a> {
    funnel: &'a Funnel<'a>,
    room: &'a mut Room,
    cursor: BucketCursor,
    started: bool,
    disqualified: bool,
}

impl Visitor for Attempts<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        let Self { funnel, room, cursor, started, disqualified } = self;
        if event.time >= funnel.context.as_of {
            return ControlFlow::Break(());
        }
        if any_order(funnel.spec.ties) {
            if room.group.first().is_some_and(|first| first.time != event.time) {
                *disqualified |= funnel.group(room, cursor, started);
                room.group.clear();
            }
            room.group.push(event);
        } else {
            funnel.advance(event, room);
            *disqualified |= funnel.start(event, room, cursor, started);
        }
        if *disqualified { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
