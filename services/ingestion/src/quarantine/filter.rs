//! Which quarantined events a call is about.

use northstar_domain::QuarantineId;
use northstar_domain::event::Fault;
use northstar_domain::expression::{Condition, EventFacts};
use northstar_domain::quarantine::QuarantineState;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::quarantine::{Content, Quarantined, Search};
use prost::Message as _;

use crate::convert::{time_from_proto, write_properties};
use crate::error::Error;
use crate::service::some_if_set;

const MAX_IDS: usize = 1_000;

/// A filter, checked: what Postgres looks at, and what is looked at here.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    pub(crate) search: Search,
    event_name: String,
    condition: Option<Condition>,
    /// Whether it picks exactly one event by its id.
    pub(crate) names_one: bool,
}

/// Whether the call changes what it picks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    Read,
    Change,
}

impl Picked {
    /// Reads a filter.
    pub(crate) fn read(
        filter: Option<&pb::QuarantineFilter>,
        purpose: Purpose,
    ) -> Result<Self, Error> {
        let filter = filter.cloned().unwrap_or_default();
        let is_empty = filter == pb::QuarantineFilter::default();
        if purpose == Purpose::Change && is_empty {
            return Err(Error::invalid(
                "filter",
                "say which events: give at least one condition, or all",
            ));
        }
        if filter.quarantine_ids.len() > MAX_IDS {
            let problem = format!("must hold at most {MAX_IDS} ids");
            return Err(Error::invalid("filter.quarantine_ids", problem));
        }
        let ids = filter
            .quarantine_ids
            .iter()
            .map(|id| {
                id.parse().map_err(|_| {
                    Error::invalid("filter.quarantine_ids", format!("{id:?} is no quarantine id"))
                })
            })
            .collect::<Result<Vec<QuarantineId>, _>>()?;
        let time = |field: &str, time: Option<prost_types::Timestamp>| {
            time.map(|time| {
                time_from_proto(&time).ok_or_else(|| {
                    Error::invalid(format!("filter.{field}"), "lies outside of the years 1 to 9999")
                })
            })
            .transpose()
        };
        let condition = some_if_set(&filter.condition)
            .map(|text| {
                Condition::parse(text)
                    .map_err(|error| Error::InvalidFilter { filter: text.to_owned(), error })
            })
            .transpose()?;
        let states = if filter.states.is_empty() {
            QuarantineState::WAITING.to_vec()
        } else {
            filter.states().map(states).collect::<Result<Vec<_>, _>>()?.concat()
        };
        Ok(Self {
            names_one: ids.len() == 1,
            search: Search {
                ids,
                source: some_if_set(&filter.source).map(str::to_owned),
                reason: some_if_set(&filter.reason).map(str::to_owned),
                received_from: time("received_from_time", filter.received_from_time)?,
                received_until: time("received_until_time", filter.received_until_time)?,
                states,
            },
            event_name: filter.event_name,
            condition,
        })
    }

    /// Whether an event that Postgres found matches the rest of the filter.
    pub(crate) fn matches(&self, row: &Quarantined) -> bool {
        if self.event_name.is_empty() && self.condition.is_none() {
            return true;
        }
        let Some(event) = event_of(row) else { return false };
        if !self.event_name.is_empty() && event.name != self.event_name {
            return false;
        }
        let Some(condition) = &self.condition else { return true };
        let Ok(properties) = properties_of(&event) else { return false };
        condition.matches(&EventFacts {
            name: &event.name,
            source: &row.source,
            user_id: &event.user_id,
            anonymous_id: &event.anonymous_id,
            account_id: &event.account_id,
            properties: &properties,
        })
    }
}

fn states(state: pb::QuarantineState) -> Result<Vec<QuarantineState>, Error> {
    // What is on its way is shown as what it was before.
    Ok(match state {
        pb::QuarantineState::Open => vec![QuarantineState::Open, QuarantineState::Replaying],
        pb::QuarantineState::Patched => vec![QuarantineState::Patched, QuarantineState::Replaying],
        pb::QuarantineState::Replayed => vec![QuarantineState::Replayed],
        pb::QuarantineState::Discarded => vec![QuarantineState::Discarded],
        pb::QuarantineState::Unspecified => {
            return Err(Error::invalid("filter.states", "holds a state that is not set"));
        }
    })
}

/// The event as it would be replayed; `None` for a record that is none yet.
pub(crate) fn event_of(row: &Quarantined) -> Option<pb::Event> {
    match (&row.patched, &row.content) {
        (Some(bytes), _) | (None, Content::Event(bytes)) => {
            pb::Event::decode(bytes.as_slice()).ok()
        }
        (None, Content::Raw(_)) => None,
    }
}

fn properties_of(event: &pb::Event) -> Result<serde_json::Map<String, serde_json::Value>, Fault> {
    let mut text = Vec::new();
    write_properties(&mut text, &event.properties)?;
    Ok(serde_json::from_slice(&text).unwrap_or_default())
}
