//! Subjects by what was known of them at a first event of their own.

use std::ops::ControlFlow;

use super::{
    names::last_value,
    scan::{self, Event, RunScan, Visitor},
    space::{ValueColumn, Values},
    tasks,
};
use crate::{
    cohort::FirstEvent,
    error::Result,
    filter::Filter,
    limits::Use,
    query::{Dimension, EventSelector},
    snapshot::{Side, Snapshot, unknown_cohort},
    subjects::SubjectSet,
};

/// The subjects with such an event by the last value of a dimension before it, or by whether they are in a cohort.
pub(crate) fn segments(
    snapshot: &Snapshot,
    dimension: &Dimension,
    first: &FirstEvent,
    threads: usize,
) -> Result<Vec<(Option<String>, SubjectSet)>> {
    let cohort = match dimension {
        Dimension::Cohort(name) => {
            Some(snapshot.cohort_members(name).ok_or_else(|| unknown_cohort(name))?)
        }
        _ => None,
    };
    let carries = first.property.as_ref().map(|property| Filter::carries(property));
    let mut wanted = vec![first.event.clone()];
    wanted.extend(carries.map(|carries| EventSelector::all().filtered(carries)));
    let wanted: Vec<&EventSelector> = wanted.iter().collect();
    let mind = Use::of(snapshot.limits());
    let workers = snapshot.workers(threads, &mind);
    let scans: Vec<RunScan<'_, u8>> = scan::scan_up_to(snapshot, &wanted, None, None, workers);
    let mut values = Values::new();
    let columns: Vec<ValueColumn<'_>> =
        snapshot.runs().iter().map(|run| ValueColumn::new(dimension, run, &mut values)).collect();
    let [within, without] =
        Side::BOTH.map(|side| cohort.map_or(0, |_| values.number(Some(side.value().to_owned()))));
    let index = snapshot.index();
    let pieces = tasks::run(workers, index.chunks.clone(), |subjects| {
        let value = |subject: u32| {
            let parts = index.parts(subject);
            let mut found = First { bits: (1 << wanted.len()) - 1, first, time: i64::MAX };
            scan::walk_unordered(&scans, parts, &mut found);
            let number = match cohort {
                _ if found.time == i64::MAX => return None,
                Some(members) if members.contains(subject) => within,
                Some(_) => without,
                None => last_value(snapshot, |run| &columns[run], parts, found.time),
            };
            Some((number, subject))
        };
        subjects.filter_map(value).collect::<Vec<_>>()
    });
    mind.check()?;
    let mut segments: Vec<(Option<String>, SubjectSet)> =
        values.into_values().into_iter().map(|value| (value, SubjectSet::default())).collect();
    for (number, subject) in pieces.into_iter().flatten() {
        segments[number as usize].1.insert(subject);
    }
    segments.retain(|(_, subjects)| !subjects.is_empty());
    Ok(segments)
}

/// The time of the first event that counts.
struct First<'a> {
    bits: u32,
    first: &'a FirstEvent,
    time: i64,
}

impl Visitor for First<'_> {
    #[inline(always)]
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        let FirstEvent { from_micros, to_micros, .. } = self.first;
        if event.bits & self.bits == self.bits && (*from_micros..*to_micros).contains(&event.time) {
            self.time = self.time.min(event.time);
        }
        ControlFlow::Continue(())
    }
}
