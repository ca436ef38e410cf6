//! Where a number comes from.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::ProjectId;
use northstar_domain::kpi::{Freshness, Window};
use northstar_engine as engine;
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::log::{self, Head};
use northstar_store::{Error as StoreError, PgPool};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::convert::kpi::freshness_to_proto;
use crate::convert::to_timestamp;
use crate::plan::{Metrics, events_read};

/// Sources that sent nothing for longer than this are stale.
const STALE_AFTER: TimeDelta = TimeDelta::days(1);

/// What is known of a project's sources when a question is asked.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) freshness: Freshness,
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
            quarantined: log::quarantined(&mut connection, project).await?,
            contract_versions: log::contract_versions(&mut connection, project).await?,
        })
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
        freshness: freshness_to_proto(sources.freshness).into(),
        excluded_quarantined_events: sources.quarantined,
        excluded_no_consent_events: answered.excluded_events.cast_signed(),
        scanned_events: answered.scanned_events.cast_signed(),
        digest: answered.digest,
    }
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
    let covered = (
        head.position,
        head.identity_version,
        head.consent_version,
        head.consent_policy_version,
    );
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
