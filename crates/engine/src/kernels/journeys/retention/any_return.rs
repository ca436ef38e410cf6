//! Returns of any kind: where every event is a return, counting times is enough, and no event but the starts has to be
//! matched and collected.

use crate::{
    calendar::Buckets,
    kernels::{
        journeys::Ground,
        scan::{Event, Matches, RunScan},
    },
    snapshot::Part,
};

/// Whether every event of every run matches.
pub(super) fn is_any(scans: &[RunScan<'_, u32>]) -> bool {
    scans.iter().all(|scan| matches!(*scan.matches, Matches::Same(_)))
}

/// Counts a subject's events from one of them on, by units of the calendar, into `counts`, one number a unit.
pub(super) fn count_from(
    ground: &Ground<'_>,
    calendar: &Buckets,
    scans: &[RunScan<'_, u32>],
    parts: &[Part],
    start: &Event,
    counts: &mut [u64],
) {
    counts.fill(0);
    for part in parts {
        let times = &scans[part.run as usize].effective[part.start as usize..part.end as usize];
        let mut at = first_from(scans, *part, start);
        let mut unit = 0;
        while let Some(time) = times.get(at).map(|time| i64::from_le_bytes(*time)) {
            if time >= ground.as_of {
                break;
            }
            let next = unit + 1;
            let is_next = at > 0
                && next < calendar.len()
                && time >= calendar.start(next)
                && time < calendar.end(next);
            unit = if is_next { next } else { calendar.locate(time) };
            let end = calendar.end(unit).min(ground.as_of);
            let first = at;
            at += 1;
            while times.get(at).is_some_and(|time| i64::from_le_bytes(*time) < end) {
                at += 1;
            }
            counts[unit] += (at - first) as u64;
        }
    }
}

/// The first event of a part that is the start or comes after it, counted from the first of the part.
pub(super) fn first_from(scans: &[RunScan<'_, u32>], part: Part, start: &Event) -> usize {
    if part.run == start.run && (part.start..part.end).contains(&start.row) {
        return (start.row - part.start) as usize;
    }
    let order = |run: u32, row: u32| {
        let segment = &scans[run as usize].run.segment;
        (segment.sequence().get(row as usize), segment.position().get(row as usize))
    };
    let times = &scans[part.run as usize].effective[part.start as usize..part.end as usize];
    let mut at = times.partition_point(|time| i64::from_le_bytes(*time) < start.time);
    // Events of the very instant come in the order of the log.
    while times.get(at).is_some_and(|time| i64::from_le_bytes(*time) == start.time)
        && order(part.run, part.start + at as u32) < order(start.run, start.row)
    {
        at += 1;
    }
    at
}
