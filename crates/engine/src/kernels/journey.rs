//! The way of one subject: whether it took steps in order, and whether it came back.

use super::{MAX_STEPS, any_order, scan::Event};
use crate::query::{Anchor, Return, Ties};

const DAY: i64 = 86_400_000_000;

/// Steps in order. Step number `n` is bit `first + n` of an event.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    pub first: usize,
    pub count: usize,
    pub window_micros: Option<i64>,
    pub anchor: Anchor,
    pub ties: Ties,
}

/// Latest start of the attempts that have taken so many steps. Of two attempts at the same step the one that started
/// later can do whatever the other can, so one each is enough.
type Waiting = [Option<i64>; MAX_STEPS + 1];

impl Steps {
    /// Times of the first and the last step of the attempt that is the first to take every step; one that any attempt
    /// does is enough. The events are those of one subject, in order.
    pub(super) fn complete(&self, events: &[Event]) -> Option<(i64, i64)> {
        let mut waiting: Waiting = [None; MAX_STEPS + 1];
        let mut started = false;
        // Only events that may change places are looked at together.
        let together =
            |left: &Event, right: &Event| self.ties != Ties::ByOrder && left.time == right.time;
        for group in events.chunk_by(together) {
            let time = group[0].time;
            let mut next: Waiting = [None; MAX_STEPS + 1];
            for (reached, start) in waiting.iter().enumerate().take(self.count).skip(1) {
                if let Some(start) = start.filter(|start| self.in_window(*start, time)) {
                    let reached = self.advance(group, reached, None);
                    next[reached] = next[reached].max(Some(start));
                }
            }
            let mut tried: Vec<u32> = Vec::new();
            for (at, event) in group.iter().enumerate() {
                let counts = self.anchor == Anchor::BestAttempt || !started;
                // Events of one instant that match the same steps are interchangeable.
                if event.bits & self.bit(0) == 0 || !counts || tried.contains(&event.bits) {
                    continue;
                }
                started = true;
                let reached = self.advance(group, 1, Some(at));
                next[reached] = next[reached].max(Some(time));
                if group.len() > 1 {
                    tried.push(event.bits);
                }
            }
            if let Some(start) = next[self.count] {
                return Some((start, time));
            }
            waiting = next;
        }
        None
    }

    fn bit(&self, step: usize) -> u32 {
        1 << (self.first + step)
    }

    fn in_window(&self, start: i64, time: i64) -> bool {
        self.window_micros.is_none_or(|window| time <= start.saturating_add(window))
    }

    /// How many steps an attempt has taken after a group, that had taken `reached` before, the last one with event
    /// `own` of the group.
    fn advance(&self, group: &[Event], mut reached: usize, own: Option<usize>) -> usize {
        if group.len() == 1 || !any_order(self.ties) {
            let wanted = self.bit(reached);
            let moves = reached < self.count
                && own.is_none()
                && group.iter().any(|event| event.bits & wanted != 0);
            return reached + usize::from(moves);
        }
        let mut used = vec![false; group.len()];
        if let Some(own) = own {
            used[own] = true;
        }
        while reached < self.count {
            let wanted = self.bit(reached);
            let next =
                group.iter().zip(&used).position(|(event, used)| !used && event.bits & wanted != 0);
            let Some(next) = next else { break };
            used[next] = true;
            reached += 1;
        }
        reached
    }
}

/// Whether a subject came back so many UTC days after its first start; `None` when it did not start, or when that day
/// had not begun at `end`, up to which the events are known. The start may be the return, too.
pub(super) fn returned(
    events: &[Event],
    start: u32,
    returning: u32,
    days: u32,
    mode: Return,
    end: i64,
) -> Option<bool> {
    let first = events.iter().position(|event| event.bits & start != 0)?;
    let wanted = events[first].time.div_euclid(DAY) + i64::from(days);
    if wanted > end.saturating_sub(1).div_euclid(DAY) {
        return None;
    }
    let came_back = |event: &Event| {
        let day = event.time.div_euclid(DAY);
        match mode {
            Return::On => day == wanted,
            Return::OnOrAfter => day >= wanted,
        }
    };
    let mut after = events[first..].iter();
    Some(after.any(|event| event.bits & returning != 0 && came_back(event)))
}
