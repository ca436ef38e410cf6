//! QueryMetrics: several metrics over a range of time, side by side.

mod read;
mod table;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use futures::stream;
use northstar_domain::ProjectId;
use northstar_domain::kpi::Window;
use northstar_engine::{
    Answer, DerivedInput, Formula, Grain, MetricSpec, Offset, Query, Row, Snapshot, Span,
};
use northstar_proto::metrics::v1 as pb;
use tonic::Status;

use crate::cohorts;
use crate::convert::to_timestamp;
use crate::plan::{self, Metrics};
use crate::provenance::{Answered, Sources, provenance};
use crate::query::{find, hold, row_to_proto};
use crate::service::Metrics as Service;
use crate::{Error, Result};

use read::Question;
use table::Table;

/// Most rows of an answer.
const MAX_ROWS: usize = 1_000_000;

/// Rows of one message.
const ROWS_PER_PART: usize = 500;

/// The parts of an answer.
pub(crate) type Answers =
    stream::Iter<std::vec::IntoIter<Result<pb::QueryMetricsResponse, Status>>>;

/// A metric that is asked for.
struct Asked {
    name: String,
    version: i64,
    metrics: Metrics,
    query: Query,
    /// The same question about the other time, under the buckets of this one.
    previous: Option<Query>,
}

/// What the engine said about a metric.
struct Found {
    answer: Answer,
    previous: Option<Answer>,
}

/// Answers a question.
pub(crate) async fn query_metrics(
    service: &Service,
    project: ProjectId,
    request: pb::QueryMetricsRequest,
) -> Result<Answers> {
    let question = read::read(&request)?;
    let mut asked = Vec::with_capacity(request.metrics.len());
    for name in &request.metrics {
        let (metrics, version) = find(&service.pool, project, name).await?;
        asked.push(ask(&question, name, metrics, version)?);
    }
    let (mut view, cohorts) =
        cohorts::view(service, project, &question.scope, question.window.end).await?;
    hold(&mut view, question.scope.position).await?;
    let sources = Sources::read(&service.pool, project, view.head, service.clock.now()).await?;
    let answered = crate::ask::ask(&view.snapshot, move |snapshot| {
        let found = asked.iter().map(|asked| answer(snapshot, asked));
        let found = found.collect::<Result<Vec<_>>>()?;
        let totals = totals(snapshot, &question, &asked, &found)?;
        let table = Table::new(&question, &asked, &found, totals.as_deref());
        Ok::<_, Error>((question, asked, found, table))
    });
    let (question, asked, found, table) = answered.await?;
    if table.rows.len() > MAX_ROWS {
        let problem = format!(
            "gives {} rows, more than {MAX_ROWS}: choose a coarser grain, fewer dimensions, a \
             shorter range, a filter or a limit",
            table.rows.len()
        );
        return Err(Error::field(
            if request.breakdowns.is_empty() { "grain" } else { "breakdowns" },
            problem,
        ));
    }
    let mut provenances = Vec::with_capacity(asked.len());
    for (asked, found) in asked.iter().zip(&found) {
        let rows = (&found.answer.rows, found.previous.as_ref().map(|answer| &answer.rows));
        let answered = Answered {
            metrics: &asked.metrics,
            metric_version: asked.version,
            window: question.window,
            time_zone: question.zone.name(),
            filter: &request.filter,
            head: view.head,
            excluded_events: view.excluded_events,
            scanned_events: found.answer.events_scanned,
            digest: cohorts::digest(
                &asked.metrics,
                asked.version,
                &(&asked.query, &asked.previous),
                &cohorts,
                view.head,
                &rows,
            )?,
        };
        let previous = question.previous_window()?;
        provenances.push(pb::MetricProvenance {
            metric: asked.name.clone(),
            provenance: Some(provenance(&sources, answered)),
            previous_start_time: previous.map(|window| to_timestamp(window.start)),
            previous_end_time: previous.map(|window| to_timestamp(window.end)),
        });
    }
    parts(&request.breakdowns, &asked, &table, provenances)
}

/// The questions for the engine.
fn ask(question: &Question, name: &str, metrics: Metrics, version: i64) -> Result<Asked> {
    let spec = plan::spec(&metrics, name)?;
    let query = Query {
        metric: spec,
        from_micros: plan::instant(question.window.start),
        to_micros: plan::instant(question.window.end),
        zone: question.zone,
        grain: question.grain,
        breakdowns: question.breakdowns.clone(),
        filter: question.filter.clone(),
        as_of_micros: None,
    };
    let previous = question.compare.map(|span| offset(&query, span)).transpose()?;
    Ok(Asked { name: name.to_owned(), version, metrics, query, previous })
}

/// The question about another time whose answer stands under the buckets of this.
fn offset(query: &Query, span: Span) -> Result<Query> {
    let formula = Formula::parse("then", &["then"])
        .map_err(|error| Error::field("compare", error.to_string()))?;
    let input = DerivedInput { metric: query.metric.clone(), offset: Some(Offset::Window(span)) };
    Ok(Query { metric: MetricSpec::Derived { formula, inputs: vec![input] }, ..query.clone() })
}

fn answer(snapshot: &Snapshot, asked: &Asked) -> Result<Found> {
    let previous = asked.previous.as_ref().map(|query| snapshot.query(query)).transpose()?;
    Ok(Found { answer: snapshot.query(&asked.query)?, previous })
}

/// What ranks the groups of a breakdown: the metric over the whole range. `None`
/// when nothing has to be ranked.
fn totals(
    snapshot: &Snapshot,
    question: &Question,
    asked: &[Asked],
    found: &[Found],
) -> Result<Option<Vec<Row>>> {
    if question.limit == 0 || question.breakdowns.is_empty() {
        return Ok(None);
    }
    let (metric, _) = question.ranking();
    if question.grain == Grain::Total {
        return Ok(Some(found[metric].answer.rows.clone()));
    }
    let query = Query { grain: Grain::Total, ..asked[metric].query.clone() };
    Ok(Some(snapshot.query(&query)?.rows))
}

/// The answer in parts: rows, and with the last ones where they come from.
fn parts(
    breakdowns: &[String],
    asked: &[Asked],
    table: &Table,
    metrics: Vec<pb::MetricProvenance>,
) -> Result<Answers> {
    let mut parts = Vec::with_capacity(table.rows.len() / ROWS_PER_PART + 1);
    for rows in table.rows.chunks(ROWS_PER_PART) {
        let rows = rows.iter().map(|row| row_of(row, breakdowns, asked));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        parts.push(pb::QueryMetricsResponse { rows, ..Default::default() });
    }
    if parts.is_empty() {
        parts.push(pb::QueryMetricsResponse::default());
    }
    if let Some(last) = parts.last_mut() {
        last.metrics = metrics;
        last.other_groups = table.other_groups;
    }
    Ok(stream::iter(parts.into_iter().map(Ok).collect::<Vec<_>>()))
}

fn row_of(row: &table::TableRow, breakdowns: &[String], asked: &[Asked]) -> Result<pb::MetricsRow> {
    let cells = row.cells.iter().zip(asked).map(|(cell, asked)| {
        let definition = plan::definition(&asked.metrics, &asked.name)?;
        let details = cell.row.as_ref().map(|row| row_to_proto(row, &[], definition));
        Ok(cell.to_proto(details.unwrap_or_default()))
    });
    Ok(pb::MetricsRow {
        bucket_time: row
            .bucket_start
            .and_then(DateTime::<Utc>::from_timestamp_micros)
            .map(to_timestamp),
        dimensions: table::dimensions(breakdowns, &row.dimensions),
        cells: cells.collect::<Result<_>>()?,
    })
}

impl Question {
    /// The other time, when it is compared with one.
    fn previous_window(&self) -> Result<Option<Window>> {
        self.compare.map(|span| before(span, self.window, self.zone)).transpose()
    }
}

/// The range that another is compared with, if any.
pub(crate) fn previous_window(
    comparison: pb::Comparison,
    window: Window,
    zone: Tz,
) -> Result<Option<Window>> {
    let span = read::span(comparison, window, zone);
    span.map(|span| before(span, window, zone)).transpose()
}

/// A range so much earlier.
fn before(span: Span, window: Window, zone: Tz) -> Result<Window> {
    let back = |time| -> Result<_> {
        let micros = span.before(plan::instant(time), zone)?;
        DateTime::from_timestamp_micros(micros)
            .ok_or_else(|| Error::field("compare", "lies outside the calendar"))
    };
    Ok(Window { start: back(window.start)?, end: back(window.end)? })
}
