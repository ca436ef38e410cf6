//! Results in runs.

use northstar_proto::ingestion::v1 as pb;

/// Adjacent results that are alike as one, with their positions counted up.
pub(crate) fn result_runs(results: Vec<pb::EventResult>) -> Vec<pb::ResultRun> {
    let mut runs: Vec<pb::ResultRun> = Vec::new();
    for result in results {
        if let Some(pb::ResultRun { event_count, result: Some(first) }) = runs.last_mut()
            && continues(first, *event_count, &result)
        {
            *event_count += 1;
        } else {
            runs.push(pb::ResultRun { event_count: 1, result: Some(result) });
        }
    }
    runs
}

fn continues(first: &pb::EventResult, count: u32, next: &pb::EventResult) -> bool {
    let position = if first.position == 0 { 0 } else { first.position + i64::from(count) };
    next.position == position
        && next.outcome == first.outcome
        && next.reason == first.reason
        && next.field == first.field
        && next.message == first.message
}

#[cfg(test)]
mod tests {
    use northstar_client::result_runs::expand;
    use proptest::prelude::*;

    use super::*;

    fn result() -> impl Strategy<Value = pb::EventResult> {
        (0..3, 0..4_i64, "[ab]?").prop_map(|(outcome, position, reason)| pb::EventResult {
            outcome,
            position,
            field: reason.clone(),
            message: reason.clone(),
            reason,
        })
    }

    proptest! {
        #[test]
        fn runs_expand_to_the_results(results in prop::collection::vec(result(), 0..20)) {
            prop_assert_eq!(expand(result_runs(results.clone())).collect::<Vec<_>>(), results);
        }
    }

    #[test]
    fn adjacent_positions_of_one_outcome_are_one_run() {
        let accepted = |position| pb::EventResult {
            outcome: pb::EventOutcome::Accepted.into(),
            position,
            ..pb::EventResult::default()
        };
        let runs = result_runs(vec![accepted(7), accepted(8), accepted(9), accepted(11)]);
        assert_eq!(runs.iter().map(|run| run.event_count).collect::<Vec<_>>(), [3, 1]);
    }
}
