//! What the log tells of decisions, as far as it is carried out here.

use northstar_domain::DecisionRequestId;
use northstar_proto::ingestion::v1 as ingestion;

/// The event that tells of a verdict.
pub(super) const VERDICT: &str = "northstar.decision.verdict";

/// What is carried out here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// The automation stops acting.
    Pause,
    /// Its definition is replaced by the approved one.
    Change,
}

impl Action {
    /// The action by its name in decision requests; `None` when it is not carried
    /// out here.
    pub(super) fn of(action: &str) -> Option<Self> {
        match action {
            "automation.pause" => Some(Self::Pause),
            "automation.scale" | "automation.adjust" => Some(Self::Change),
            _ => None,
        }
    }
}

/// The decision request that an event says was approved.
pub(super) fn approved(logged: &ingestion::LoggedEvent) -> Option<DecisionRequestId> {
    let event = logged.event.as_ref()?;
    let text = |name: &str| match event.properties.get(name)?.kind.as_ref()? {
        ingestion::value::Kind::StringValue(text) => Some(text.as_str()),
        _ => None,
    };
    let approved = event.name == VERDICT
        && text("action").and_then(Action::of).is_some()
        && text("state") == Some("approved");
    if approved { text("decision_request")?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(action: &str, state: &str) -> ingestion::LoggedEvent {
        let text = |text: &str| ingestion::Value {
            kind: Some(ingestion::value::Kind::StringValue(text.to_owned())),
        };
        let properties = [
            ("decision_request".to_owned(), text("0198c7e0-0000-7000-8000-000000000001")),
            ("action".to_owned(), text(action)),
            ("state".to_owned(), text(state)),
        ];
        ingestion::LoggedEvent {
            event: Some(ingestion::Event {
                name: VERDICT.to_owned(),
                properties: properties.into(),
                ..ingestion::Event::default()
            }),
            ..ingestion::LoggedEvent::default()
        }
    }

    #[test]
    fn only_what_was_approved_and_is_carried_out_here_is_heard() {
        for action in ["automation.pause", "automation.scale", "automation.adjust"] {
            assert!(approved(&verdict(action, "approved")).is_some(), "{action}");
            for state in ["pending", "rejected", "withdrawn", "acknowledged"] {
                assert!(approved(&verdict(action, state)).is_none(), "{action} {state}");
            }
        }
        for action in ["automation.activate", "automation.investigate", "experiment.ship"] {
            assert!(approved(&verdict(action, "approved")).is_none(), "{action}");
        }
        assert!(approved(&ingestion::LoggedEvent::default()).is_none());
    }
}
