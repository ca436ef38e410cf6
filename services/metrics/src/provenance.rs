//! Where a number comes from.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::ProjectId;
use northstar_domain::kpi::{Freshness, Window};
use northstar_domain::source::State;
use northstar_engine as engine;
use northstar_proto::metrics::v1 as pb;
use northstar_server::outbox::SOURCE as SUITE_SOURCE;
use northstar_store::metrics::log::{self, Head, SourceStates};
use northstar_store::{Error as StoreError, PgPool};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::convert::kpi::freshness_to_proto;
use crate::convert::to_timestamp;
use crate::plan::{Metrics, events_read};

/// Sources without rules of their own that sent nothing for longer than this are
/// stale.
const STALE_AFTER: TimeDelta = TimeDelta::days(1);

/// What is known of a project's sources when a question is asked.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// By the newest event of any source; holds for sources that nothing is
    /// asked of.
    freshness: Freshness,
    states: SourceStates,
    quarantined: i64,
    contract_versions: BTreeMap<String, String>,
}

impl Sources {
    /// Reads the state of the sources behind a view of the log.
    pub(crate) async fn read(
        pool: &PgPool,
        project: ProjectId,
        head: Head,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let mut connection = pool.acquire().await.map_err(StoreError::from)?;
        let newest = log::last_received_at(&mut connection, project).await?;
        Ok(Self {
            freshness: match newest {
                _ if head.position == 0 => Freshness::Empty,
                Some(newest) if now - newest <= STALE_AFTER => Freshness::Fresh,
                _ => Freshness::Stale,
            },
            states: log::source_states(&mut connection, project).await?,
            quarantined: log::quarantined(&mut connection, project).await?,
            contract_versions: log::contract_versions(&mut connection, project).await?,
        })
    }

    /// Whether the sources behind these metrics deliver.
    pub(crate) fn freshness_of(&self, metrics: &Metrics) -> Freshness {
        if self.freshness == Freshness::Empty {
            return Freshness::Empty;
        }
        if !self.breached_for(metrics).is_empty() {
            return Freshness::Stale;
        }
        // Where every source says how soon its events must arrive, that holds.
        let judged = |source: &str| {
            let mut states = self.states.states.iter();
            states.any(|(name, event, state)| {
                name == source && event.is_empty() && *state != State::Off
            })
        };
        let senders = self.senders_of(metrics);
        if !senders.is_empty() && senders.iter().all(|source| judged(source)) {
            Freshness::Fresh
        } else {
            self.freshness
        }
    }

    /// The sources that send what the metrics read, the suite itself left out.
    fn senders_of(&self, metrics: &Metrics) -> BTreeSet<&str> {
        let read = events_read(metrics);
        let is_read = |event: &str| {
            // A name that is not known may be any.
            event.is_empty() || read.as_ref().is_none_or(|read| read.contains(event))
        };
        self.states
            .senders
            .iter()
            .filter(|(source, event)| source != SUITE_SOURCE && is_read(event))
            .map(|(source, _)| source.as_str())
            .collect()
    }

    /// The sources, or events of them as `source/event`, behind these metrics
    /// that are breached.
    pub(crate) fn breached_for(&self, metrics: &Metrics) -> Vec<String> {
        let read = events_read(metrics);
        let senders = self.senders_of(metrics);
        self.states
            .states
            .iter()
            .filter(|(_, _, state)| *state == State::Breached)
            .filter(|(source, event, _)| {
                if event.is_empty() {
                    senders.contains(source.as_str())
                } else {
                    read.as_ref().is_none_or(|read| read.contains(event.as_str()))
                }
            })
            .map(
                |(source, event, _)| {
                    if event.is_empty() { source.clone() } else { format!("{source}/{event}") }
                },
            )
            .collect()
    }

    /// Versions of the contracts of the events that the metrics read.
    fn contracts_of(&self, metrics: &Metrics) -> BTreeMap<String, String> {
        let read = events_read(metrics);
        let is_read = |name: &str| read.as_ref().is_none_or(|read| read.contains(name));
        self.contract_versions
            .iter()
            .filter(|(name, _)| is_read(name))
            .map(|(name, version)| (name.clone(), version.clone()))
            .collect()
    }
}

/// An answer, as far as its provenance is concerned.
pub(crate) struct Answered<'a> {
    /// Every definition that was used.
    pub(crate) metrics: &'a Metrics,
    /// Version of the metric asked for.
    pub(crate) metric_version: i64,
    /// The range.
    pub(crate) window: Window,
    /// The zone, by its IANA name.
    pub(crate) time_zone: &'a str,
    /// The filter as given.
    pub(crate) filter: &'a str,
    /// How much of the log was covered.
    pub(crate) head: Head,
    /// Events left out for lack of consent.
    pub(crate) excluded_events: u64,
    /// Events looked at.
    pub(crate) scanned_events: u64,
    /// See [`digest`].
    pub(crate) digest: String,
}

/// The provenance of an answer.
pub(crate) fn provenance(sources: &Sources, answered: Answered<'_>) -> pb::Provenance {
    pb::Provenance {
        metric_version: answered.metric_version,
        identity_map_version: answered.head.identity_version,
        contract_versions: sources.contracts_of(answered.metrics),
        time_zone: answered.time_zone.to_owned(),
        start_time: Some(to_timestamp(answered.window.start)),
        end_time: Some(to_timestamp(answered.window.end)),
        filter: answered.filter.to_owned(),
        log_position: answered.head.position,
        freshness: freshness_to_proto(sources.freshness_of(answered.metrics)).into(),
        breached_sources: sources.breached_for(answered.metrics),
        excluded_quarantined_events: sources.quarantined,
        excluded_no_consent_events: answered.excluded_events.cast_signed(),
        scanned_events: answered.scanned_events.cast_signed(),
        digest: answered.digest,
        activity_versions: answered.metrics.activity_versions(),
    }
}

/// A provenance as JSON.
pub(crate) fn to_json(provenance: &pb::Provenance) -> serde_json::Value {
    let state = provenance.freshness().as_str_name().trim_start_matches("FRESHNESS_");
    serde_json::json!({
        "metric_version": provenance.metric_version,
        "identity_map_version": provenance.identity_map_version,
        "contract_versions": provenance.contract_versions,
        "time_zone": provenance.time_zone,
        "log_position": provenance.log_position,
        "freshness": state.to_ascii_lowercase(),
        "breached_sources": provenance.breached_sources,
        "excluded_quarantined_events": provenance.excluded_quarantined_events,
        "excluded_no_consent_events": provenance.excluded_no_consent_events,
        "digest": provenance.digest,
    })
}

/// SHA-256, in hex, over what was asked, what it was asked of and what the
/// answer was. Times of receipt, files and threads have no part in it.
pub(crate) fn digest(
    metrics: &Metrics,
    metric_version: i64,
    question: &impl Serialize,
    head: Head,
    answer: &impl Serialize,
) -> Result<String> {
    let covered =
        (head.position, head.identity_version, head.consent_version, head.consent_policy_version);
    let document = (metrics, metric_version, question, covered, answer);
    let mut document = serde_json::to_value(document).map_err(|error| {
        crate::Error::Engine(engine::Error::Manifest(format!("answer has no JSON: {error}")))
    })?;
    round(&mut document);
    Ok(hex::encode(Sha256::digest(document.to_string())))
}

/// Cuts every fraction to twelve significant digits. A sum of fractions may
/// differ in its last bits with the order of its terms, which changes when a
/// tail becomes a segment; the number people see does not.
fn round(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Number(number) if number.is_f64() => {
            let rounded = number.as_f64().map(|fraction| format!("{fraction:.11e}"));
            *value = rounded.map_or(Value::Null, Value::String);
        }
        Value::Array(values) => values.iter_mut().for_each(round),
        Value::Object(fields) => fields.values_mut().for_each(round),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_sees_the_answer_but_not_the_order_of_a_sum() {
        let of = |answer: f64| {
            digest(&Metrics::new(), 1, &"question", Head::default(), &answer).unwrap()
        };
        assert_eq!(of(0.1 + 0.2), of(0.3));
        assert_ne!(of(0.3), of(0.300_000_001));
    }

    #[test]
    fn a_digest_sees_the_position_of_the_log() {
        let at = |position| {
            let head = Head { position, ..Head::default() };
            digest(&Metrics::new(), 1, &"question", head, &1).unwrap()
        };
        assert_ne!(at(1), at(2));
    }
}
