//! Keeping account of the values that were told: those of scorecards, and those of
//! questions that ask for it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use northstar_domain::ProjectId;
use northstar_domain::kpi::Window;
use northstar_engine::{Answer, Row};
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::log::Head;
use northstar_store::metrics::restatement::{self, Question, Value};
use northstar_store::{Error as StoreError, PgConnection};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::cohorts::Used;
use crate::convert::to_timestamp;
use crate::plan::Metrics;
use crate::query::Computed;
use crate::service::Metrics as Service;
use crate::{Result, provenance};

/// Most values of one question that are kept: the first ones.
const MAX_VALUES: usize = 5_000;

/// Most questions of a project whose values are kept: those told last.
const MAX_QUESTIONS: i64 = 1_000;

/// A value of a scorecard.
pub(crate) struct Told {
    /// Name of the KPI.
    pub(crate) kpi: String,
    /// Name of its metric.
    pub(crate) metric: String,
    /// The window.
    pub(crate) window: Window,
    /// Its zone.
    pub(crate) zone: Tz,
    /// See [`definitions_hash`].
    pub(crate) definitions_hash: Vec<u8>,
    /// Version of the metric.
    pub(crate) metric_version: i64,
    /// What the value rests on.
    pub(crate) head: Head,
    /// The value.
    pub(crate) value: Option<f64>,
}

/// A hash of everything but the log that a value depends on.
pub(crate) fn definitions_hash(
    metrics: &Metrics,
    version: i64,
    cohorts: &[Used],
) -> Result<Vec<u8>> {
    let definitions: BTreeMap<_, _> =
        metrics.iter().map(|(name, metric)| (name.as_str(), &metric.definition)).collect();
    let digest = provenance::digest(
        &Metrics::new(),
        version,
        &(definitions, metrics.activity_versions(), cohorts),
        Head::default(),
        &(),
    )?;
    Ok(Sha256::digest(digest).to_vec())
}

/// Keeps the closed buckets of an answer. Where cohorts have a part, only when the
/// whole range is closed: until then, who is in them is not settled.
pub(crate) async fn question(
    service: &Service,
    project: ProjectId,
    request: &pb::QueryMetricRequest,
    computed: &Computed,
) -> Result<()> {
    let is_open = computed.answer.as_of_micros < computed.query.to_micros;
    if is_open && !computed.cohorts.is_empty() {
        return Ok(());
    }
    let request = pb::QueryMetricRequest { keep_for_restatements: false, ..request.clone() };
    let body = request.encode_to_vec();
    let question = Question {
        id: Sha256::digest(&body).to_vec(),
        metric: request.metric.clone(),
        kpi: String::new(),
        as_of: instant(computed.answer.as_of_micros),
        metric_version: computed.version,
        definitions_hash: definitions_hash(&computed.metrics, computed.version, &computed.cohorts)?,
        head: computed.view.head,
        request: body,
    };
    let now = service.clock.now();
    let mut values = closed(&computed.answer, &request, now);
    values.truncate(MAX_VALUES);
    let mut transaction = service.pool.begin().await.map_err(StoreError::from)?;
    keep(&mut transaction, project, &question, &values, now).await?;
    restatement::forget_old_questions(&mut transaction, project, MAX_QUESTIONS).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(())
}

/// Keeps the values of a scorecard: of each KPI the first of a day, so that a
/// scorecard that is looked at all day long does not fill the account.
pub(crate) async fn kpis(service: &Service, project: ProjectId, told: Vec<Told>) -> Result<()> {
    if told.is_empty() {
        return Ok(());
    }
    let now = service.clock.now();
    let mut transaction = service.pool.begin().await.map_err(StoreError::from)?;
    for told in told {
        let Told { kpi, metric, window, zone, definitions_hash, metric_version, head, value } =
            told;
        let day = window.end.with_timezone(&zone).date_naive();
        let request = pb::QueryMetricRequest {
            metric: metric.clone(),
            start_time: Some(to_timestamp(window.start)),
            end_time: Some(to_timestamp(window.end)),
            grain: pb::Grain::Total.into(),
            time_zone: zone.name().to_owned(),
            ..Default::default()
        };
        let question = Question {
            id: Sha256::digest(format!("{kpi} {metric} {day}")).to_vec(),
            metric,
            kpi,
            request: request.encode_to_vec(),
            as_of: window.end,
            metric_version,
            definitions_hash,
            head,
        };
        let value = Value {
            bucket_start: window.start,
            dimensions: serde_json::json!({}),
            value,
            served_at: now,
        };
        keep(&mut transaction, project, &question, &[value], now).await?;
    }
    restatement::forget_old_questions(&mut transaction, project, MAX_QUESTIONS).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(())
}

async fn keep(
    connection: &mut PgConnection,
    project: ProjectId,
    question: &Question,
    values: &[Value],
    now: DateTime<Utc>,
) -> Result<()> {
    if !values.is_empty() && restatement::keep_question(connection, project, question, now).await? {
        restatement::keep_values(connection, project, &question.id, values).await?;
    }
    Ok(())
}

/// The values that only late events, or another view of the subjects, can change.
pub(super) fn closed(
    answer: &Answer,
    request: &pb::QueryMetricRequest,
    served_at: DateTime<Utc>,
) -> Vec<Value> {
    let start = request.start_time.as_ref().and_then(crate::convert::from_timestamp);
    let value = |row: &Row| {
        let dimensions: BTreeMap<&str, &str> = request
            .breakdowns
            .iter()
            .zip(&row.dimensions)
            .filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
            .collect();
        Value {
            bucket_start: row.bucket_start.map(instant).or(start).unwrap_or_default(),
            dimensions: serde_json::json!(dimensions),
            value: row.value,
            served_at,
        }
    };
    answer.rows.iter().filter(|row| row.complete).map(value).collect()
}

fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
