//! Which selectors each event matches, and walks over the events of a subject that match any.

mod bits;
mod matching;
mod walk;

use std::sync::Arc;

pub(crate) use bits::{Bits, Matches};
pub(crate) use matching::matches;
pub(crate) use walk::{
    Event, RowVisitor, Scratch, Visitor, row_pieces, walk, walk_rows, walk_unordered,
};

use super::Context;
use crate::{
    filter::{BLOCK, Filter, Predicate},
    limits::Workers,
    query::EventSelector,
    runs::Run,
    snapshot::Snapshot,
};

/// Rows that one thread matches at a time; a multiple of [`BLOCK`].
const ROWS_PER_TASK: usize = 128 * BLOCK;

/// One run of events under one question.
pub(crate) struct RunScan<'a, B> {
    pub run: &'a Run,
    pub effective: &'a [[u8; 8]],
    pub matches: Arc<Matches<B>>,
}

/// Matches every event against the selectors and the filter of the question.
pub(crate) fn scan<'a, B: Bits>(
    context: &Context<'a>,
    selectors: &[&EventSelector],
) -> Vec<RunScan<'a, B>> {
    let filter = context.query.filter.as_ref();
    scan_up_to(context.snapshot, selectors, filter, None, context.threads)
}

/// Matches every event against selectors, all of which `filter` narrows; with a position, those beyond it match
/// nothing.
pub(crate) fn scan_up_to<'a, B: Bits>(
    snapshot: &'a Snapshot,
    selectors: &[&EventSelector],
    filter: Option<&Filter>,
    position: Option<i64>,
    workers: Workers<'_>,
) -> Vec<RunScan<'a, B>> {
    let position = [position, snapshot.position()].into_iter().flatten().min();
    let runs = snapshot.runs().iter().enumerate();
    runs.map(|(number, run)| {
        let excluded = snapshot.excluded_rows(number);
        let beyond = position.filter(|position| run.segment.positions().1 > *position);
        let matches = if excluded.is_empty() && beyond.is_none() {
            kept_matches(run, selectors, filter, workers)
        } else {
            let whole = filter.map(|filter| Predicate::new(filter.condition(), &run.segment));
            let mut matches = matches(run, selectors, whole, workers).without(excluded, run);
            if let Some(position) = beyond {
                matches = matches.up_to(run, position);
            }
            Arc::new(matches)
        };
        RunScan { run, effective: run.segment.effective(), matches }
    })
    .collect()
}

/// What tells questions apart that match different events.
pub(crate) fn key(selectors: &[&EventSelector], filter: Option<&Filter>) -> String {
    let mut key = format!("{:?}", filter.map(Filter::source));
    for selector in selectors {
        let condition = selector.filter.as_ref().map(Filter::source);
        key.push_str(&format!(" {:?} {condition:?}", selector.names));
    }
    key
}

/// What the events of a run match, worked out once for all questions with the same selectors.
pub(crate) fn kept_matches<B: Bits>(
    run: &Run,
    selectors: &[&EventSelector],
    filter: Option<&Filter>,
    workers: Workers<'_>,
) -> Arc<Matches<B>> {
    let key = format!("matches {}", key(selectors, filter));
    if let Some(known) = run.derived.get(&key) {
        return known;
    }
    let whole = filter.map(|filter| Predicate::new(filter.condition(), &run.segment));
    let matches = Arc::new(matches(run, selectors, whole, workers));
    if !workers.should_stop() {
        run.derived.keep(key, &matches, matches.bytes());
    }
    matches
}
