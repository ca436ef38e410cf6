//! Contracts held against events without a server: for producers' CI.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::contract::{ContractMode, ContractSpec};
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::SourceId;

use crate::batch::{Batch, Item, Origin};
use crate::contracts::ProjectContracts;
use crate::notes::flagged;
use crate::quarantine::document;
use crate::transaction::faulty;

/// Contracts from documents, ready to judge events as the service does.
pub struct ContractSet(ProjectContracts);

/// A contract cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the contract of {name:?}: {problem}")]
pub struct UnusableContract {
    /// The event name.
    pub name: String,
    /// Why not.
    pub problem: String,
}

impl ContractSet {
    /// Compiles contracts. `unplanned_events` is what happens to events whose
    /// name has none; `None` lets them pass.
    ///
    /// # Errors
    /// [`UnusableContract`] for the first whose schema does not compile.
    pub fn compile(
        contracts: impl IntoIterator<Item = (String, ContractSpec)>,
        unplanned_events: Option<ContractMode>,
    ) -> Result<Self, UnusableContract> {
        ProjectContracts::compile(contracts, unplanned_events)
            .map(Self)
            .map_err(|(name, problem)| UnusableContract { name, problem })
    }

    /// What the service would answer if it received the event at that time,
    /// apart from whether its message id is taken.
    pub fn judge(&self, event: pb::Event, received_at: DateTime<Utc>) -> pb::EventResult {
        let origin = Origin { project: ProjectId(0), source: SourceId(0), received_at };
        let batch = Batch::of_events(origin, vec![event], &self.0);
        batch.items.first().map(judged).unwrap_or_default()
    }
}

/// Reads an event from a JSON object: message_id, name, user_id, anonymous_id,
/// account_id, occurred_time and sent_time as RFC 3339 texts, sequence,
/// properties.
///
/// # Errors
/// One sentence that names the field, when it is not one.
pub fn event_from_json(text: &str) -> Result<pb::Event, String> {
    document::read(text).map_err(|bad| bad.to_string())
}

/// An event as the JSON object that [`event_from_json`] reads; null when it has
/// values that JSON does not.
pub fn event_to_json(event: &pb::Event) -> serde_json::Value {
    document::to_document(event).unwrap_or_default()
}

/// What is answered for an item, as far as its message id is free.
pub(crate) fn judged(item: &Item) -> pb::EventResult {
    match item {
        Item::Accept { .. } => flagged(
            item,
            pb::EventResult {
                outcome: pb::EventOutcome::Accepted.into(),
                ..pb::EventResult::default()
            },
        ),
        Item::Quarantine { fault, .. } => faulty(pb::EventOutcome::Quarantined, fault),
        Item::Reject { fault } => faulty(pb::EventOutcome::Rejected, fault),
        Item::Keep { record, .. } => pb::EventResult {
            outcome: pb::EventOutcome::Quarantined.into(),
            reason: record.reason.clone(),
            field: record.field.clone(),
            message: record.message.clone(),
            ..pb::EventResult::default()
        },
    }
}
