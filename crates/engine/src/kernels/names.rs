//! What a subject is called, when it was first seen, and what was last known of it.

use super::space::ValueColumn;
use crate::{
    segment::Field,
    snapshot::{Part, Snapshot},
};

/// The user id of a subject, or its anonymous id when it has none; of several the first in the order of text.
pub(super) fn subject_name<'a>(snapshot: &'a Snapshot, parts: &[Part]) -> &'a str {
    let of = |field: Field| {
        let name = |part: &Part| {
            let column = snapshot.runs()[part.run as usize].segment.field(field);
            let code = column.codes.get(part.start as usize) as usize;
            (code > 0).then(|| column.strings.get(code - 1))
        };
        parts.iter().filter_map(name).min()
    };
    of(Field::UserId).or_else(|| of(Field::AnonymousId)).unwrap_or_default()
}

/// The instant of the first event of a subject, whatever it was.
pub(super) fn first_seen(snapshot: &Snapshot, parts: &[Part]) -> i64 {
    let first = |part: &Part| {
        let run = &snapshot.runs()[part.run as usize];
        i64::from_le_bytes(run.segment.effective()[part.start as usize])
    };
    parts.iter().map(first).min().unwrap_or(i64::MAX)
}

/// The number of the last value that a subject had in a column, one a run, before an instant; 0 for none.
pub(super) fn last_value<'c, 'a: 'c>(
    snapshot: &Snapshot,
    column: impl Fn(usize) -> &'c ValueColumn<'a>,
    parts: &[Part],
    before: i64,
) -> u32 {
    let mut last: Option<((i64, i64, i64), u32)> = None;
    for part in parts {
        let segment = &snapshot.runs()[part.run as usize].segment;
        let rows = part.start as usize..part.end as usize;
        let times = &segment.effective()[rows.clone()];
        let known = times.partition_point(|time| i64::from_le_bytes(*time) < before);
        let column = column(part.run as usize);
        let found = rows.take(known).rev().find_map(|row| {
            let value = column.get(row);
            (value != 0).then_some((row, value))
        });
        let Some((row, value)) = found else { continue };
        let order = (
            i64::from_le_bytes(segment.effective()[row]),
            segment.sequence().get(row),
            segment.position().get(row),
        );
        if last.is_none_or(|(latest, _)| order > latest) {
            last = Some((order, value));
        }
    }
    last.map_or(0, |(_, value)| value)
}
