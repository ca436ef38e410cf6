//! Random histories: whatever the order in which events, identity, consent, compactions and restarts came, the answers
//! are those of a data set made from scratch.

use std::collections::HashMap;

use northstar_engine::{Cell, Dataset, Grain, Query, SubjectName};
use proptest::prelude::*;

use crate::world::{EPOCH, Event, MINUTE, events, query};

/// An identifier: kind and number.
type Id = (u8, u8);

fn kind(id: Id) -> (&'static str, String) {
    match id.0 {
        0 => ("user_id", format!("u{}", id.1)),
        1 => ("anonymous_id", format!("d{}", id.1)),
        _ => ("email", format!("e{}", id.1)),
    }
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// So many events, of any time: late ones among them.
    Append(usize),
    /// An identifier follows another (link, merge).
    Point(Id, Id),
    /// An identifier stands alone again (unlink, unmerge).
    Alone(Id),
    /// A holder says something about a purpose.
    Word(Id, i64, bool),
    /// The policy changes.
    Purposes(bool),
    /// Somebody asks.
    Ask,
    Compact,
    /// A compaction runs while events come.
    CompactBeside(usize),
    /// The process stops and starts again on its files.
    Restart,
    /// The process stops and its files are lost.
    RestartEmpty,
}

fn id() -> impl Strategy<Value = Id> {
    (0u8..3, 0u8..4)
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1usize..30).prop_map(Step::Append),
        4 => (id(), id()).prop_map(|(from, to)| Step::Point(from, to)),
        2 => id().prop_map(Step::Alone),
        3 => (id(), 0i64..5, any::<bool>()).prop_map(|(id, at, yes)| Step::Word(id, at, yes)),
        1 => any::<bool>().prop_map(Step::Purposes),
        3 => Just(Step::Ask),
        2 => Just(Step::Compact),
        1 => (0usize..20).prop_map(Step::CompactBeside),
        1 => Just(Step::Restart),
        1 => Just(Step::RestartEmpty),
    ];
    proptest::collection::vec(step, 0..40)
}

/// What is known beside the events: who follows whom, what was said, what counts.
#[derive(Default)]
struct Facts {
    subjects: HashMap<Id, Id>,
    words: Vec<(Id, i64, bool)>,
    required: Option<bool>,
}

impl Facts {
    fn tell(&self, dataset: &mut Dataset) {
        for (from, to) in &self.subjects {
            let ((kind_from, from), (kind_to, to)) = (kind(*from), kind(*to));
            dataset.point((kind_from, &from), (kind_to, &to));
        }
        for (id, at, granted) in &self.words {
            let (kind, value) = kind(*id);
            dataset.word((kind, &value), "analytics", EPOCH + at * MINUTE, *granted);
        }
        if let Some(required) = self.required {
            dataset.set_purposes(&[("analytics", required)]);
        }
    }
}

fn append(dataset: &mut Dataset, events: &[Event]) {
    dataset.append(events.iter().map(Event::record)).expect("an append");
}

/// A data set that lived through a history, and the facts that it ended with.
fn live(events: &[Event], history: &[Step], dir: &std::path::Path) -> (Dataset, Facts) {
    let mut dataset = Dataset::new(dir).expect("a folder");
    let mut facts = Facts::default();
    let mut next = 0;
    for step in history {
        match step {
            Step::Append(count) => {
                let until = (next + count).min(events.len());
                append(&mut dataset, &events[next..until]);
                next = until;
            }
            Step::Point(from, to) | Step::Alone(from @ to) => {
                facts.subjects.insert(*from, *to);
                let ((kind_from, from), (kind_to, to)) = (kind(*from), kind(*to));
                dataset.point((kind_from, &from), (kind_to, &to));
            }
            Step::Word(id, at, granted) => {
                facts.words.push((*id, *at, *granted));
                let (kind, value) = kind(*id);
                dataset.word((kind, &value), "analytics", EPOCH + at * MINUTE, *granted);
            }
            Step::Purposes(required) => {
                facts.required = Some(*required);
                dataset.set_purposes(&[("analytics", *required)]);
            }
            Step::Ask => {
                let snapshot = dataset.snapshot().expect("a snapshot");
                assert_eq!(snapshot.events(), next as u64);
            }
            Step::Compact => {
                if let Some(compacted) = dataset.compact().expect("a compaction") {
                    dataset.remove_files(&compacted.removed).expect("removal");
                }
            }
            Step::CompactBeside(count) => {
                let job = dataset.plan_compaction().expect("a plan");
                let until = (next + count).min(events.len());
                append(&mut dataset, &events[next..until]);
                next = until;
                if let Some(job) = job {
                    let written = job.run().expect("a file");
                    let compacted = dataset.install(written).expect("installed");
                    dataset.remove_files(&compacted.removed).expect("removal");
                }
            }
            Step::Restart | Step::RestartEmpty => {
                let manifest = match step {
                    Step::Restart => dataset.manifest(),
                    _ => Vec::new(),
                };
                dataset = Dataset::open(dir, manifest).expect("the manifest opens");
                append(&mut dataset, &events[..next]);
                facts.tell(&mut dataset);
            }
        }
    }
    append(&mut dataset, events);
    (dataset, facts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_gives_the_answers_of_a_data_set_made_from_scratch(
        events in events(120), history in history(), queries in proptest::collection::vec(query(), 6)
    ) {
        let (dir, fresh_dir) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (lived, facts) = live(&events, &history, dir.path());
        let mut fresh = Dataset::new(fresh_dir.path()).expect("a folder");
        facts.tell(&mut fresh);
        append(&mut fresh, &events);
        let (lived, fresh) =
            (lived.snapshot().expect("a snapshot"), fresh.snapshot().expect("a snapshot"));
        prop_assert_eq!(lived.events(), fresh.events());
        prop_assert_eq!(lived.subjects(), fresh.subjects());
        prop_assert_eq!(lived.excluded_events(), fresh.excluded_events());
        prop_assert_eq!(lived.watermark(), fresh.watermark());
        for query in queries {
            let (found, expected) = (
                lived.query(&query).expect("an answer"),
                fresh.query(&query).expect("an answer"),
            );
            prop_assert_eq!(found.rows.len(), expected.rows.len());
            for (row, other) in found.rows.iter().zip(&expected.rows) {
                prop_assert_eq!(
                    (row.bucket_start, &row.dimensions, row.n, row.complete),
                    (other.bucket_start, &other.dimensions, other.n, other.complete)
                );
                // Sums may differ in their last bits with the order of their terms.
                prop_assert!(
                    crate::differential::near(row.value, other.value),
                    "{:?} {:?}", row, other
                );
            }
            let total = Query { grain: Grain::Total, breakdowns: Vec::new(), ..query };
            let behind = |snapshot: &northstar_engine::Snapshot| -> Vec<SubjectName> {
                let subjects = snapshot.behind(&total, &Cell::default()).expect("subjects");
                snapshot.names(&subjects)
            };
            prop_assert_eq!(behind(&lived), behind(&fresh));
        }
    }
}
