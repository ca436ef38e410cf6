//! Several metrics side by side, or one that is compared, limited or filtered.
//!
//! As JSON one metric keeps the form of the plain question, with `previous_value`,
//! `change` and `relative_change` where it is compared. Several are
//! `{metrics: [{metric, provenance}], rows: [{time, dimensions, values: {NAME: {value, ..}}}]}`.

use std::collections::BTreeMap;

use northstar_proto::metrics::v1 as pb;
use serde::Serialize;

use super::{Compare, Provenance, Query, Step, TimeSummary, steps, time_summary};
use crate::connection::Connection;
use crate::{output, time};

#[derive(Serialize)]
struct One {
    metric: String,
    rows: Vec<OneRow>,
    other_groups: i64,
    provenance: Option<Provenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Range>,
}

#[derive(Serialize)]
struct OneRow {
    time: Option<String>,
    dimensions: BTreeMap<String, String>,
    #[serde(flatten)]
    cell: Cell,
}

#[derive(Serialize)]
struct Several {
    metrics: Vec<Metric>,
    rows: Vec<SeveralRow>,
    other_groups: i64,
}

#[derive(Serialize)]
struct Metric {
    metric: String,
    provenance: Option<Provenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Range>,
}

#[derive(Serialize)]
struct SeveralRow {
    time: Option<String>,
    dimensions: BTreeMap<String, String>,
    values: BTreeMap<String, Cell>,
}

/// The range that it was compared with.
#[derive(Serialize)]
struct Range {
    from: Option<String>,
    to: Option<String>,
}

#[derive(Serialize)]
struct Cell {
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    numerator: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    denominator: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relative_change: Option<f64>,
    sample_size: i64,
    complete: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_summary: Option<TimeSummary>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    active_intervals: Vec<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle: Option<Lifecycle>,
}

#[derive(Serialize)]
struct Lifecycle {
    new: i64,
    returning: i64,
    resurrecting: i64,
    dormant: i64,
}

impl From<pb::MetricCell> for Cell {
    fn from(cell: pb::MetricCell) -> Self {
        Self {
            value: cell.value,
            numerator: cell.numerator,
            denominator: cell.denominator,
            previous_value: cell.previous_value,
            change: cell.change,
            relative_change: cell.relative_change,
            sample_size: cell.sample_size,
            complete: cell.complete,
            steps: steps(cell.steps),
            time_summary: cell.time_summary.map(time_summary),
            active_intervals: cell.active_intervals,
            lifecycle: cell.lifecycle.map(|found| Lifecycle {
                new: found.new,
                returning: found.returning,
                resurrecting: found.resurrecting,
                dormant: found.dormant,
            }),
        }
    }
}

/// Asks and prints.
pub(super) async fn run(query: &Query, connection: &Connection) -> anyhow::Result<()> {
    if query.keep {
        anyhow::bail!(
            "--keep goes with one metric, without --having, --order, --limit, --compare and --fill"
        );
    }
    let request = pb::QueryMetricsRequest {
        metrics: query.metrics.clone(),
        start_time: Some(time::timestamp(time::parse(&query.from, query.zone)?)),
        end_time: Some(time::timestamp(time::parse(&query.to, query.zone)?)),
        grain: pb::Grain::from(query.grain).into(),
        breakdowns: query.by.clone(),
        filter: query.filter.clone(),
        having: query.having.clone(),
        order_by: query.order.clone(),
        limit: query.limit,
        time_zone: query.zone.to_string(),
        compare: match query.compare {
            None => pb::Comparison::Unspecified,
            Some(Compare::PreviousPeriod) => pb::Comparison::PreviousPeriod,
            Some(Compare::PreviousWeek) => pb::Comparison::PreviousWeek,
            Some(Compare::PreviousMonth) => pb::Comparison::PreviousMonth,
            Some(Compare::PreviousYear) => pb::Comparison::PreviousYear,
        }
        .into(),
        zero_fill: query.fill,
        cohorts: query.cohorts.clone(),
        log_position: query.at_position,
    };
    let mut stream = connection.clients()?.metrics().query_metrics(request).await?.into_inner();
    let mut answer = pb::QueryMetricsResponse::default();
    while let Some(part) = stream.message().await? {
        answer.rows.extend(part.rows);
        answer.metrics.extend(part.metrics);
        answer.other_groups = part.other_groups;
    }
    if query.json { json(query, answer) } else { print(query, &answer) }
}

fn json(query: &Query, answer: pb::QueryMetricsResponse) -> anyhow::Result<()> {
    let range = |metric: &pb::MetricProvenance| {
        metric.previous_start_time.as_ref().map(|start| Range {
            from: time::text(Some(start)),
            to: time::text(metric.previous_end_time.as_ref()),
        })
    };
    let mut metrics = answer.metrics.into_iter().map(|metric| Metric {
        previous: range(&metric),
        provenance: metric.provenance.map(Provenance::from),
        metric: metric.metric,
    });
    let other_groups = answer.other_groups;
    if query.metrics.len() == 1 {
        let (provenance, previous) =
            metrics.next().map_or((None, None), |metric| (metric.provenance, metric.previous));
        let rows = answer.rows.into_iter().filter_map(|row| {
            Some(OneRow {
                time: time::text(row.bucket_time.as_ref()),
                dimensions: row.dimensions,
                cell: row.cells.into_iter().next()?.into(),
            })
        });
        let metric = query.metrics[0].clone();
        return output::json(&One {
            metric,
            rows: rows.collect(),
            other_groups,
            provenance,
            previous,
        });
    }
    let rows = answer.rows.into_iter().map(|row| SeveralRow {
        time: time::text(row.bucket_time.as_ref()),
        dimensions: row.dimensions,
        values: query.metrics.iter().cloned().zip(row.cells.into_iter().map(Cell::from)).collect(),
    });
    let rows = rows.collect();
    output::json(&Several { metrics: metrics.collect(), rows, other_groups })
}

fn print(query: &Query, answer: &pb::QueryMetricsResponse) -> anyhow::Result<()> {
    let mut header = vec!["time"];
    header.extend(query.by.iter().map(String::as_str));
    for metric in &query.metrics {
        header.push(metric);
        if query.compare.is_some() {
            header.extend(["before", "change"]);
        }
    }
    let rows = answer.rows.iter().map(|row| {
        let time = row.bucket_time.as_ref();
        let time =
            time.map_or_else(|| "total".to_owned(), |start| time::local_text(start, query.zone));
        let dimensions = query
            .by
            .iter()
            .map(|name| row.dimensions.get(name).cloned().unwrap_or_else(|| "–".to_owned()));
        let cells = row.cells.iter().flat_map(|cell| {
            let change = cell.relative_change.map_or_else(
                || output::optional(cell.change),
                |change| format!("{:+.1} %", change * 100.0),
            );
            let compared = [output::optional(cell.previous_value), change];
            let compared = compared.into_iter().filter(|_| query.compare.is_some());
            std::iter::once(output::optional(cell.value)).chain(compared)
        });
        std::iter::once(time).chain(dimensions).chain(cells).collect::<Vec<_>>()
    });
    output::line(output::table(&header, rows))?;
    if answer.other_groups > 0 {
        output::line(format!("{} more groups are $other", answer.other_groups))?;
    }
    for metric in &answer.metrics {
        if let Some(provenance) = &metric.provenance {
            output::line(format!(
                "{}: version {}, log position {}, digest {}",
                metric.metric,
                provenance.metric_version,
                provenance.log_position,
                provenance.digest.get(..12).unwrap_or_default(),
            ))?;
        }
    }
    Ok(())
}
