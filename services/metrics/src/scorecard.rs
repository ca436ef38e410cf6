//! GetScorecard: every KPI against baseline and target, from one view of the
//! log.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use northstar_domain::activity::Activity;
use northstar_domain::kpi::{
    self, Charter, Direction, Guardrail, GuardrailStanding, Kpi, Window, evaluation_window,
};
use northstar_domain::metric::Metric;
use northstar_domain::{ProjectId, ResourceName};
use northstar_engine::{Answer, Grain, Query};
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::definition::{self, Stored};
use northstar_store::{Error as StoreError, PgPool};

use crate::ask::ask_view;
use crate::convert::kpi::{status_to_proto, to_proto};
use crate::convert::{from_timestamp, to_timestamp};
use crate::dataset::View;
use crate::evidence::keep::{self, Told};
use crate::plan::{self, Metrics};
use crate::provenance::{Answered, Sources, digest, provenance};
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// A KPI with its rules and the stretch it is judged over.
pub(crate) struct Judged {
    pub(crate) stored: Stored<Kpi>,
    pub(crate) charter: Charter,
    pub(crate) window: Window,
}

/// Answers the question.
pub(crate) async fn get_scorecard(
    service: &Service,
    project: ProjectId,
    request: pb::GetScorecardRequest,
) -> Result<pb::GetScorecardResponse> {
    let evaluation_time = match &request.evaluation_time {
        None => service.clock.now(),
        Some(time) => from_timestamp(time).ok_or_else(|| {
            Error::field("evaluation_time", "is not a time: seconds or nanos are out of range")
        })?,
    };
    let (kpis, versions) = load(&service.pool, project).await?;
    let mut judged = kpis
        .into_iter()
        .map(|stored| judge(stored, evaluation_time))
        .collect::<Result<Vec<_>>>()?;
    judged.sort_by(|a, b| {
        let key = |judged: &Judged| {
            let Stored { name, document, .. } = &judged.stored;
            (document.pillar.clone(), judged.charter.layer, name.clone())
        };
        key(a).cmp(&key(b))
    });

    let view = service.datasets.view(project).await?;
    let sources = Sources::read(&service.pool, project, view.head, service.clock.now()).await?;
    // All questions are asked of the same view, on one thread beside the async
    // ones; the engine spreads each over the cores.
    let (kpis, told) = ask_view(view, move |view| {
        let mut told = Vec::new();
        let values =
            judged.iter().map(|judged| value(view, &versions, &sources, judged, &mut told));
        values.collect::<Result<Vec<_>>>().map(|values| (values, told))
    })
    .await?;
    keep::kpis(service, project, told).await?;
    Ok(pb::GetScorecardResponse { kpis, evaluation_time: Some(to_timestamp(evaluation_time)) })
}

/// What KPIs are computed from, with its versions.
pub(crate) struct Versions {
    metrics: BTreeMap<ResourceName, Stored<Metric>>,
    activities: Vec<Stored<Activity>>,
}

/// Every KPI of a project, and what KPIs are computed from.
pub(crate) async fn load(
    pool: &PgPool,
    project: ProjectId,
) -> Result<(Vec<Stored<Kpi>>, Versions)> {
    let mut connection = pool.acquire().await.map_err(StoreError::from)?;
    let kpis = definition::all::<Kpi>(&mut connection, project).await?;
    let metrics = definition::all::<Metric>(&mut connection, project).await?;
    let metrics = metrics.into_iter().map(|stored| (stored.name.clone(), stored)).collect();
    let activities = definition::all::<Activity>(&mut connection, project).await?;
    Ok((kpis, Versions { metrics, activities }))
}

/// The rules of a KPI, and its window at a time.
pub(crate) fn judge(stored: Stored<Kpi>, evaluation_time: DateTime<Utc>) -> Result<Judged> {
    let charter = stored.document.charter().map_err(|violations| StoreError::Corrupt {
        table: "metrics.definitions",
        column: "document",
        row: format!("kpi {}", stored.name),
        value: violations.to_string(),
    })?;
    let window = evaluation_window(evaluation_time, charter.window_days, charter.zone)
        .map_err(|error| Error::field("evaluation_time", error.to_string()))?;
    Ok(Judged { stored, charter, window })
}

/// The number of a KPI over its window.
pub(crate) fn number(view: &View, versions: &Versions, judged: &Judged) -> Result<Option<f64>> {
    let Judged { stored, charter, window } = judged;
    let (metrics, _) = needed(versions, &stored.document.metric)?;
    let (_, answer) = ask(view, &metrics, &stored.document.metric, *window, charter)?;
    Ok(total(&answer))
}

/// How a KPI stands.
pub(crate) fn value(
    view: &View,
    versions: &Versions,
    sources: &Sources,
    judged: &Judged,
    told: &mut Vec<Told>,
) -> Result<pb::KpiValue> {
    let Judged { stored, charter, window } = judged;
    let kpi = &stored.document;
    let (metrics, version) = needed(versions, &kpi.metric)?;
    let (query, answer) = ask(view, &metrics, &kpi.metric, *window, charter)?;
    let value = total(&answer);
    told.push(Told {
        kpi: stored.name.to_string(),
        metric: kpi.metric.clone(),
        window: *window,
        zone: charter.zone,
        definitions_hash: keep::definitions_hash(&metrics, version, &[])?,
        metric_version: version,
        head: view.head,
        value,
    });
    let guardrails = kpi
        .guardrails
        .iter()
        .map(|guardrail| guardrail_value(view, versions, guardrail, judged))
        .collect::<Result<Vec<_>>>()?;
    let standings: Vec<_> = guardrails
        .iter()
        .map(|guardrail| GuardrailStanding {
            metric: &guardrail.metric,
            breached: guardrail.breached,
        })
        .collect();
    let status = kpi::status(value, charter);
    let freshness = sources.freshness_of(&metrics);
    let next_step = kpi::next_step(status, &standings, freshness, value, &kpi.owner, charter);
    let answered = Answered {
        metrics: &metrics,
        metric_version: version,
        window: *window,
        time_zone: charter.zone.name(),
        filter: "",
        head: view.head,
        excluded_events: view.excluded_events,
        scanned_events: answer.events_scanned,
        digest: digest(&metrics, version, &query, view.head, &answer.rows)?,
    };
    Ok(pb::KpiValue {
        kpi: Some(to_proto(stored.name.as_str(), &stored.etag, kpi)),
        value,
        status: status_to_proto(status).into(),
        next_step,
        provenance: Some(provenance(sources, answered)),
        guardrails,
    })
}

/// A guardrail over the KPI's window and over its baseline's. Counts and sums
/// grow with the length of a window, so their baseline is scaled to the KPI's.
pub(crate) fn guardrail_value(
    view: &View,
    versions: &Versions,
    guardrail: &Guardrail,
    judged: &Judged,
) -> Result<pb::GuardrailValue> {
    let Judged { charter, window, .. } = judged;
    let (metrics, _) = needed(versions, &guardrail.metric)?;
    let (_, now) = ask(view, &metrics, &guardrail.metric, *window, charter)?;
    let baseline_window = charter.baseline_window;
    let (_, before) = ask(view, &metrics, &guardrail.metric, baseline_window, charter)?;
    let additive = plan::definition(&metrics, &guardrail.metric)?.is_additive();
    let scale = if additive {
        window.length().as_seconds_f64() / baseline_window.length().as_seconds_f64()
    } else {
        1.0
    };
    let value = total(&now);
    let baseline = total(&before).map(|value| value * scale);
    let direction = guardrail.direction.unwrap_or(Direction::Increase);
    Ok(pb::GuardrailValue {
        metric: guardrail.metric.clone(),
        value,
        baseline,
        breached: kpi::breached(value, baseline, direction, guardrail.margin),
    })
}

/// The definitions that a metric needs, and its version.
pub(crate) fn needed(versions: &Versions, name: &str) -> Result<(Metrics, i64)> {
    let find = |name: &str| {
        let found = versions.metrics.get(name);
        found.ok_or_else(|| Error::NotFound { kind: "Metric", name: name.to_owned() })
    };
    let mut metrics = Metrics::new();
    let mut wanted = vec![name];
    while let Some(name) = wanted.pop() {
        let stored = find(name)?;
        let parts = stored.document.parts().into_iter().map(|(_, part)| part.metric.as_str());
        wanted.extend(parts.filter(|part| !metrics.contains_key(*part)));
        metrics.insert(stored.name.clone(), stored.document.clone());
    }
    let activities = versions.activities.iter();
    metrics
        .take_activities(activities.map(|stored| (&stored.name, stored.version, &stored.document)));
    Ok((metrics, find(name)?.version))
}

/// Computes a metric over a window as it stood at the end of the window, so that
/// a window long ago had no more time to ripen than the present one.
fn ask(
    view: &View,
    metrics: &Metrics,
    name: &str,
    window: Window,
    charter: &Charter,
) -> Result<(Query, Answer)> {
    let query = Query {
        metric: plan::spec(metrics, name)?,
        from_micros: plan::instant(window.start),
        to_micros: plan::instant(window.end),
        zone: charter.zone,
        grain: Grain::Total,
        breakdowns: Vec::new(),
        filter: None,
        as_of_micros: Some(plan::instant(window.end)),
    };
    let answer = view.snapshot.query(&query)?;
    Ok((query, answer))
}

fn total(answer: &Answer) -> Option<f64> {
    answer.rows.first().and_then(|row| row.value)
}
