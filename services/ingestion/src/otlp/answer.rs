//! Partial success, which in OTLP is a number and a text: the text says which
//! records and why.

use std::fmt::Write as _;

use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome;

/// Records whose reasons are spelled out; of the others there is the number.
const SPELLED_OUT: usize = 100;

/// What a partial success says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Rejected {
    /// How many records are not in the log.
    pub(crate) count: i64,
    /// `index: outcome, reason (field): message` of each.
    pub(crate) message: String,
}

/// The records that are not in the log; `None` when all are. Those in
/// quarantine count: they are kept, but no question sees them. A client must
/// not send any of them again.
pub(super) fn rejected(records: &str, results: &[pb::EventResult]) -> Option<Rejected> {
    let outside: Vec<_> =
        results.iter().enumerate().filter(|(_, result)| !is_in_the_log(result)).collect();
    if outside.is_empty() {
        return None;
    }
    let mut message =
        format!("{} of {} {records} are not in the log", outside.len(), results.len());
    for (index, result) in outside.iter().take(SPELLED_OUT) {
        let outcome = match result.outcome() {
            EventOutcome::Rejected => "rejected",
            _ => "in quarantine",
        };
        // A text grows.
        let _ = write!(message, "; {index}: {outcome}, {}", result.reason);
        if !result.field.is_empty() {
            let _ = write!(message, " ({})", result.field);
        }
        if !result.message.is_empty() {
            let _ = write!(message, ": {}", result.message);
        }
    }
    if outside.len() > SPELLED_OUT {
        let _ = write!(message, "; and {} more", outside.len() - SPELLED_OUT);
    }
    Some(Rejected { count: i64::try_from(outside.len()).unwrap_or(i64::MAX), message })
}

/// A duplicate without a position repeats what waits in quarantine.
fn is_in_the_log(result: &pb::EventResult) -> bool {
    match result.outcome() {
        EventOutcome::Accepted => true,
        EventOutcome::Duplicate => result.position > 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(outcome: EventOutcome, position: i64, reason: &str) -> pb::EventResult {
        pb::EventResult {
            outcome: outcome.into(),
            position,
            reason: reason.to_owned(),
            field: "name".to_owned(),
            message: "an event needs a name".to_owned(),
        }
    }

    #[test]
    fn what_is_in_the_log_is_no_partial_success() {
        let accepted = result(EventOutcome::Accepted, 7, "");
        let duplicate = result(EventOutcome::Duplicate, 3, "");
        assert_eq!(rejected("spans", &[accepted, duplicate]), None);
        assert_eq!(rejected("spans", &[]), None);
    }

    #[test]
    fn every_record_outside_of_the_log_is_named_by_its_index() {
        let found = rejected(
            "spans",
            &[
                result(EventOutcome::Accepted, 7, ""),
                result(EventOutcome::Quarantined, 0, "missing_name"),
                result(EventOutcome::Rejected, 0, "schema_violation"),
                result(EventOutcome::Duplicate, 0, "already_quarantined"),
            ],
        )
        .unwrap();
        assert_eq!(found.count, 3);
        assert_eq!(
            found.message,
            "3 of 4 spans are not in the log; 1: in quarantine, missing_name (name): an event \
             needs a name; 2: rejected, schema_violation (name): an event needs a name; 3: in \
             quarantine, already_quarantined (name): an event needs a name"
        );
    }

    #[test]
    fn the_text_is_bounded() {
        let many = vec![result(EventOutcome::Quarantined, 0, "missing_name"); 5000];
        let found = rejected("spans", &many).unwrap();
        assert_eq!(found.count, 5000);
        assert!(found.message.ends_with("; and 4900 more"), "{}", found.message);
    }
}
