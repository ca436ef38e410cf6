//! Answers in the shape in which they are printed as JSON.

use std::collections::BTreeMap;

use northstar_proto::ingestion::v1 as pb;
use serde::Serialize;

use super::identified::text;
use crate::time;

/// How far an erasure is.
#[derive(Serialize)]
pub(super) struct ShownErasure {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) actor: String,
    pub(super) reason: String,
    pub(super) proof: String,
    pub(super) requested: Option<String>,
    pub(super) finished: Option<String>,
    pub(super) last_position: i64,
    pub(super) position: i64,
    pub(super) identifiers: i64,
    pub(super) events: i64,
    pub(super) quarantined: i64,
    pub(super) archived_events: i64,
    pub(super) archived_files: i64,
    pub(super) rewritten: Option<String>,
    pub(super) followers: Vec<ShownFollower>,
    pub(super) problem: String,
}

/// A service that has to follow an erasure.
#[derive(Serialize)]
pub(super) struct ShownFollower {
    pub(super) service: String,
    pub(super) done: bool,
    pub(super) records: i64,
    pub(super) note: String,
    pub(super) reported: Option<String>,
}

impl From<pb::ErasureFollower> for ShownFollower {
    fn from(follower: pb::ErasureFollower) -> Self {
        Self {
            reported: time::text(follower.report_time.as_ref()),
            service: follower.service,
            done: follower.done,
            records: follower.records,
            note: follower.note,
        }
    }
}

impl ShownErasure {
    /// How far the other services are, in a few words.
    pub(super) fn reach(&self) -> String {
        let done = self.followers.iter().filter(|follower| follower.done).count();
        match self.followers.len() {
            0 => "none has to".to_owned(),
            all => format!("{done} of {all}"),
        }
    }
}

impl From<pb::Erasure> for ShownErasure {
    fn from(erasure: pb::Erasure) -> Self {
        Self {
            state: lower(erasure.state().as_str_name(), "ERASURE_STATE_"),
            requested: time::text(erasure.request_time.as_ref()),
            finished: time::text(erasure.finish_time.as_ref()),
            id: erasure.erasure_id,
            actor: erasure.actor,
            reason: erasure.reason,
            proof: erasure.proof,
            last_position: erasure.last_position,
            position: erasure.position,
            identifiers: erasure.identifiers,
            events: erasure.events,
            quarantined: erasure.quarantined,
            archived_events: erasure.archived_events,
            archived_files: erasure.archived_files,
            rewritten: time::text(erasure.rewrite_time.as_ref()),
            followers: erasure.followers.into_iter().map(ShownFollower::from).collect(),
            problem: erasure.problem,
        }
    }
}

#[derive(Serialize)]
pub(super) struct ShownFact {
    pub(super) id: i64,
    pub(super) verb: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) effective: Option<String>,
    pub(super) recorded: Option<String>,
    pub(super) position: i64,
    pub(super) actor: String,
    pub(super) reason: String,
    pub(super) undoes: i64,
    pub(super) refusal: String,
}

impl From<pb::IdentityFact> for ShownFact {
    fn from(fact: pb::IdentityFact) -> Self {
        Self {
            id: fact.fact_id,
            verb: lower(fact.verb().as_str_name(), "IDENTITY_VERB_"),
            from: text(fact.from.as_ref()),
            to: text(fact.to.as_ref()),
            effective: time::text(fact.effective_time.as_ref()),
            recorded: time::text(fact.record_time.as_ref()),
            position: fact.position,
            actor: fact.actor,
            reason: fact.reason,
            undoes: fact.undoes_fact_id,
            refusal: fact.refusal,
        }
    }
}

fn lower(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_ascii_lowercase()
}

#[derive(Serialize)]
pub(super) struct ShownSide {
    pub(super) subject: String,
    pub(super) identifiers: Vec<String>,
    pub(super) events: i64,
    pub(super) events_by_name: BTreeMap<String, i64>,
    pub(super) first_event: Option<String>,
    pub(super) last_event: Option<String>,
}

impl From<pb::MergeSide> for ShownSide {
    fn from(side: pb::MergeSide) -> Self {
        Self {
            subject: text(side.subject.as_ref()),
            identifiers: side.identifiers.iter().map(|found| text(Some(found))).collect(),
            events: side.events,
            events_by_name: side.events_by_name,
            first_event: time::text(side.first_event_time.as_ref()),
            last_event: time::text(side.last_event_time.as_ref()),
        }
    }
}
