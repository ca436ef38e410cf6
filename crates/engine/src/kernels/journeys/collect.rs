//! The events of one subject that a question is about, in order.

use std::ops::ControlFlow;

use crate::kernels::scan::{self, Event, RunScan, Scratch, Visitor};
use crate::snapshot::Part;

/// Collects the matching events of one subject after another.
#[derive(Default)]
pub(super) struct Collector {
    scratch: Scratch,
    events: Vec<Event>,
}

impl Collector {
    /// The matching events of a subject before an instant, in order.
    pub(super) fn collect(
        &mut self,
        scans: &[RunScan<'_, u32>],
        parts: &[Part],
        before: i64,
    ) -> &mut Vec<Event> {
        self.events.clear();
        let mut until = Until { before, events: &mut self.events };
        scan::walk(scans, parts, &mut self.scratch, &mut until);
        &mut self.events
    }
}

struct Until<'a> {
    before: i64,
    events: &'a mut Vec<Event>,
}

impl Visitor for Until<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        if event.time >= self.before {
            return ControlFlow::Break(());
        }
        self.events.push(event);
        ControlFlow::Continue(())
    }
}

/// Numbers the sessions of ordered events, from 1: one begins with the first activity, and with every activity that
/// comes at least the gap after the one before. What is no activity belongs to the session it falls in or follows.
pub(super) struct Sessions {
    gap: i64,
    number: u32,
    last: Option<i64>,
}

impl Sessions {
    pub(super) fn new(gap: i64) -> Self {
        Self { gap, number: 0, last: None }
    }

    /// The session of an event at this instant.
    pub(super) fn see(&mut self, time: i64, is_activity: bool) -> u32 {
        if is_activity {
            if self.last.is_none_or(|last| time.saturating_sub(last) >= self.gap) {
                self.number += 1;
            }
            self.last = Some(time);
        }
        self.number
    }

    /// Number of the last session, and when it is over if nothing more happens.
    pub(super) fn last(&self) -> (u32, i64) {
        (self.number, self.last.map_or(i64::MIN, |last| last.saturating_add(self.gap)))
    }
}
