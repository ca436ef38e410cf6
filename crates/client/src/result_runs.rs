//! Results that come in runs, one by one again.

use northstar_proto::ingestion::v1::{EventResult, ResultRun};

/// The result of every event, in order. A run of many takes no more memory than
/// one: results are made as they are asked for.
pub fn expand(runs: Vec<ResultRun>) -> impl Iterator<Item = EventResult> {
    runs.into_iter().flat_map(|run| {
        let first = run.result.unwrap_or_default();
        (0..i64::from(run.event_count)).map(move |place| EventResult {
            position: if first.position == 0 { 0 } else { first.position + place },
            ..first.clone()
        })
    })
}
