//! QueryMetric: one metric over a range of time.

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;
use northstar_domain::activity::Activity;
use northstar_domain::kpi::{Window, not_a_zone, read_zone};
use northstar_domain::metric::{Definition, Metric};
use northstar_domain::{InvalidExpression, Problems, ProjectId};
use northstar_engine::{Answer, Detail, Dimension, Filter, Grain, Query, Row};
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::definition;
use northstar_store::{Error as StoreError, PgConnection, PgPool};

use crate::ask::ask;
use crate::cohorts::{self, Scope, Used};
use crate::convert::{from_timestamp, to_timestamp};
use crate::dataset::View;
use crate::evidence::keep;
use crate::plan::{self, Metrics};
use crate::provenance::{Answered, Sources, provenance};
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Most dimensions of a breakdown.
const MAX_BREAKDOWNS: usize = 4;

/// Most rows of an answer: what fits into a message with room to spare, and more
/// than people read.
pub(crate) const MAX_ROWS: usize = 50_000;

/// A question that makes sense.
struct Question {
    window: Window,
    zone: Tz,
    grain: Grain,
    breakdowns: Vec<Dimension>,
    filter: Option<Filter>,
    scope: Scope,
}

/// A question, and the view it is asked of.
struct Prepared {
    metrics: Metrics,
    version: i64,
    query: Query,
    view: View,
    cohorts: Vec<Used>,
    window: Window,
}

/// An answer with everything that it rests on.
pub(crate) struct Computed {
    pub(crate) metrics: Metrics,
    pub(crate) version: i64,
    pub(crate) query: Query,
    pub(crate) view: View,
    pub(crate) cohorts: Vec<Used>,
    pub(crate) answer: Answer,
    window: Window,
}

/// Answers a question.
pub(crate) async fn query_metric(
    service: &Service,
    project: ProjectId,
    request: pb::QueryMetricRequest,
) -> Result<pb::QueryMetricResponse> {
    if request.keep_for_restatements && request.log_position != 0 {
        let problem = "is for answers of the whole log: leave log_position out";
        return Err(Error::field("keep_for_restatements", problem));
    }
    let prepared = prepare(service, project, &request, None).await?;
    let head = prepared.view.head;
    let (sources, computed) = tokio::try_join!(
        Sources::read(&service.pool, project, head, service.clock.now()),
        prepared.answer(),
    )?;
    check_size(&computed.answer)?;
    if request.keep_for_restatements {
        keep::question(service, project, &request, &computed).await?;
    }
    Ok(pb::QueryMetricResponse {
        provenance: Some(computed.provenance(&sources, &request)?),
        rows: computed.rows(&request)?,
        metric: request.metric,
    })
}

/// Computes an answer; with `as_of_micros`, as if later events were not known.
pub(crate) async fn compute(
    service: &Service,
    project: ProjectId,
    request: &pb::QueryMetricRequest,
    as_of_micros: Option<i64>,
) -> Result<Computed> {
    prepare(service, project, request, as_of_micros).await?.answer().await
}

/// Reads a question, finds what it is about and takes a view.
async fn prepare(
    service: &Service,
    project: ProjectId,
    request: &pb::QueryMetricRequest,
    as_of_micros: Option<i64>,
) -> Result<Prepared> {
    let question = read(request)?;
    let (metrics, version) = find(&service.pool, project, &request.metric).await?;
    let query = Query {
        metric: plan::spec(&metrics, &request.metric)?,
        from_micros: plan::instant(question.window.start),
        to_micros: plan::instant(question.window.end),
        zone: question.zone,
        grain: question.grain,
        breakdowns: question.breakdowns,
        filter: question.filter,
        as_of_micros,
    };
    let window = question.window;
    let (mut view, cohorts) = cohorts::view(service, project, &question.scope, window.end).await?;
    hold(&mut view, question.scope.position).await?;
    Ok(Prepared { metrics, version, query, view, cohorts, window })
}

impl Prepared {
    async fn answer(self) -> Result<Computed> {
        let Self { metrics, version, query, view, cohorts, window } = self;
        let asked = query.clone();
        let answer = ask(&view.snapshot, move |snapshot| snapshot.query(&asked)).await?;
        Ok(Computed { metrics, version, query, view, cohorts, answer, window })
    }
}

impl Computed {
    /// Where the answer comes from.
    pub(crate) fn provenance(
        &self,
        sources: &Sources,
        request: &pb::QueryMetricRequest,
    ) -> Result<pb::Provenance> {
        let Self { metrics, version, query, view, cohorts, answer, window } = self;
        let answered = Answered {
            metrics,
            metric_version: *version,
            window: *window,
            time_zone: query.zone.name(),
            filter: &request.filter,
            head: view.head,
            excluded_events: view.excluded_events,
            scanned_events: answer.events_scanned,
            digest: cohorts::digest(metrics, *version, query, cohorts, view.head, &answer.rows)?,
        };
        Ok(provenance(sources, answered))
    }

    /// The rows for the wire.
    pub(crate) fn rows(&self, request: &pb::QueryMetricRequest) -> Result<Vec<pb::MetricRow>> {
        let definition = plan::definition(&self.metrics, &request.metric)?;
        Ok(rows(&self.answer, &request.breakdowns, definition))
    }
}

/// Ties a view to a position of the log.
pub(crate) async fn hold(view: &mut View, position: Option<i64>) -> Result<()> {
    let Some(position) = position else { return Ok(()) };
    let head = view.head.position;
    if position > head {
        let problem = format!("{position} is beyond the log, which has come to {head}");
        return Err(Error::field("log_position", problem));
    }
    if position < head {
        let held = ask(&view.snapshot, move |snapshot| Ok::<_, Error>(snapshot.up_to(position)));
        view.snapshot = held.await?.limited_as(&view.snapshot);
        view.head.position = position;
    }
    Ok(())
}

/// Reads the position of the log that a question is about; 0 is all of it.
pub(crate) fn read_position(problems: &mut Problems, position: i64) -> Option<i64> {
    if position < 0 {
        problems.fields.push("log_position", "must not be negative; 0 is all of the log");
    }
    Some(position).filter(|position| *position > 0)
}

/// Reads a request, or says everything that is wrong with it.
fn read(request: &pb::QueryMetricRequest) -> Result<Question> {
    let mut problems = Problems::default();
    let window = read_window(&mut problems, request.start_time, request.end_time);
    let zone = read_zone(&request.time_zone);
    if zone.is_none() {
        problems.fields.push("time_zone", not_a_zone(&request.time_zone));
    }
    let grain = read_grain(&mut problems, request.grain);
    let breakdowns = read_breakdowns(&mut problems, &request.breakdowns);
    let filter = read_filter(&mut problems, "filter", &request.filter);
    cohorts::check_number(&mut problems, &request.cohorts);
    let position = read_position(&mut problems, request.log_position);
    match (window, zone, grain) {
        (Some(window), Some(zone), Some(grain)) if problems.is_empty() => {
            let scope = Scope { position, ..Scope::of(&request.cohorts, &breakdowns) };
            Ok(Question { window, zone, grain, breakdowns, filter, scope })
        }
        _ => Err(Error::Refused(problems)),
    }
}

/// Reads a grain; notes one that is none.
pub(crate) fn read_grain(problems: &mut Problems, grain: i32) -> Option<Grain> {
    match pb::Grain::try_from(grain) {
        Ok(pb::Grain::Hour) => Some(Grain::Hour),
        Ok(pb::Grain::Day) => Some(Grain::Day),
        Ok(pb::Grain::Week) => Some(Grain::Week),
        Ok(pb::Grain::Month) => Some(Grain::Month),
        Ok(pb::Grain::Quarter) => Some(Grain::Quarter),
        Ok(pb::Grain::Year) => Some(Grain::Year),
        Ok(pb::Grain::Total | pb::Grain::Unspecified) => Some(Grain::Total),
        Err(_) => {
            problems.fields.push("grain", "is not a known grain");
            None
        }
    }
}

/// Reads a required range; notes what is wrong with it.
pub(crate) fn read_window(
    problems: &mut Problems,
    start: Option<prost_types::Timestamp>,
    end: Option<prost_types::Timestamp>,
) -> Option<Window> {
    let mut read = |field: &str, time: Option<prost_types::Timestamp>| {
        let problem = match &time {
            None => "is required",
            Some(time) => match from_timestamp(time) {
                Some(time) => return Some(time),
                None => "is not a time: seconds or nanos are out of range",
            },
        };
        problems.fields.push(field, problem);
        None
    };
    let (start, end) = (read("start_time", start), read("end_time", end));
    let window = Window { start: start?, end: end? };
    if window.start >= window.end {
        problems.fields.push("end_time", "must be later than start_time");
        return None;
    }
    Some(window)
}

/// Reads an optional filter; notes one that does not compile.
pub(crate) fn read_filter(problems: &mut Problems, field: &str, text: &str) -> Option<Filter> {
    plan::filter(text).unwrap_or_else(|error| {
        problems.expressions.push(InvalidExpression {
            field: field.to_owned(),
            expression: text.to_owned(),
            problem: error.to_string(),
        });
        None
    })
}

pub(crate) fn read_breakdowns(problems: &mut Problems, breakdowns: &[String]) -> Vec<Dimension> {
    if breakdowns.len() > MAX_BREAKDOWNS {
        let problem = format!("at most {MAX_BREAKDOWNS} are allowed, not {}", breakdowns.len());
        problems.fields.push("breakdowns", problem);
    }
    let mut names = BTreeSet::new();
    for (index, name) in breakdowns.iter().enumerate() {
        let problem = if name.is_empty() || name == "properties." || name == plan::COHORT {
            "names no dimension: use \"properties.x\", \"event.name\", \"event.source\", \
             \"event.account_id\" or \"cohort.x\""
        } else if !names.insert(name) {
            "is asked for twice"
        } else {
            continue;
        };
        problems.fields.push(format!("breakdowns[{index}]"), problem);
    }
    breakdowns.iter().map(|name| plan::dimension(name)).collect()
}

/// Finds a metric, those that it is computed from and their activities; and the
/// metric's version.
pub(crate) async fn find(pool: &PgPool, project: ProjectId, name: &str) -> Result<(Metrics, i64)> {
    let mut connection = pool.acquire().await.map_err(StoreError::from)?;
    let mut metrics = Metrics::new();
    let version = find_into(&mut metrics, &mut connection, project, name).await?;
    let activities = definition::all::<Activity>(&mut connection, project).await?;
    let activities = activities.iter();
    metrics
        .take_activities(activities.map(|stored| (&stored.name, stored.version, &stored.document)));
    Ok((metrics, version))
}

/// Adds a metric and those that it is computed from; the metric's version.
async fn find_into(
    metrics: &mut Metrics,
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<i64> {
    let mut version = None;
    let mut wanted = vec![name.to_owned()];
    while let Some(name) = wanted.pop() {
        let stored = definition::find::<Metric>(connection, project, &name)
            .await?
            .ok_or_else(|| Error::NotFound { kind: "Metric", name })?;
        version.get_or_insert(stored.version);
        let parts = stored.document.parts().into_iter().map(|(_, part)| part.metric.clone());
        wanted.extend(parts.filter(|part| !metrics.contains_key(part.as_str())));
        metrics.insert(stored.name, stored.document);
    }
    Ok(version.unwrap_or_default())
}

pub(crate) fn check_size(answer: &Answer) -> Result<()> {
    if answer.rows.len() <= MAX_ROWS {
        return Ok(());
    }
    let field = if answer.rows[0].dimensions.is_empty() { "grain" } else { "breakdowns" };
    let problem = format!(
        "gives {} rows, more than {MAX_ROWS}: choose a coarser grain, fewer dimensions, a shorter \
         range or a filter",
        answer.rows.len()
    );
    Err(Error::field(field, problem))
}

fn rows(answer: &Answer, breakdowns: &[String], definition: &Definition) -> Vec<pb::MetricRow> {
    answer.rows.iter().map(|row| row_to_proto(row, breakdowns, definition)).collect()
}

pub(crate) fn row_to_proto(
    row: &Row,
    breakdowns: &[String],
    definition: &Definition,
) -> pb::MetricRow {
    let dimensions: BTreeMap<String, String> = breakdowns
        .iter()
        .zip(&row.dimensions)
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect();
    let mut converted = pb::MetricRow {
        bucket_time: row
            .bucket_start
            .and_then(chrono::DateTime::from_timestamp_micros)
            .map(to_timestamp),
        dimensions,
        value: row.value,
        numerator: row.numerator,
        denominator: row.denominator,
        ..pb::MetricRow::default()
    };
    match (&row.detail, definition) {
        (Detail::Funnel(reached), Definition::Funnel { steps, .. }) => {
            converted.steps = steps
                .iter()
                .zip(reached)
                .map(|(step, reached)| pb::FunnelStep {
                    event: step.name.clone(),
                    subjects: reached.count.cast_signed(),
                    conversion: reached.from_previous,
                    median_seconds: reached.median_seconds,
                })
                .collect();
        }
        (Detail::Durations(times), _) => {
            if let (Some(mean), Some(p50), Some(p90), Some(p95)) =
                (times.mean, times.p50, times.p90, times.p95)
            {
                converted.time_summary = Some(pb::TimeSummary {
                    subjects: times.n.cast_signed(),
                    mean_seconds: mean,
                    p50_seconds: p50,
                    p90_seconds: p90,
                    p95_seconds: p95,
                });
            }
        }
        (
            Detail::None
            | Detail::Funnel(_)
            | Detail::Retention(_)
            | Detail::Stickiness(_)
            | Detail::Lifecycle(_),
            _,
        ) => {}
    }
    converted
}
