//! What a subject is called, and when it was first seen.

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
