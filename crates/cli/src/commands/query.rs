//! `northstar query`: metrics over time, as table, chart or JSON.

mod several;

use std::collections::BTreeMap;

use chrono_tz::Tz;
use northstar_proto::metrics::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// Ask for one metric or several.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar query weekly-active-users --from 2026-01-05 --to 2026-03-02 --grain week
  northstar query revenue --from 2026-01-01 --to 2026-04-01 --grain month --by plan,country
  northstar query sign-ups --from 2026-01-01 --to 2026-02-01 --grain day \\
      --where \"properties.channel == 'paid'\" --zone Europe/Berlin --json
  northstar query sign-ups,activation-rate --from 2026-03-01 --to 2026-04-01 --by plan \\
      --having \"values['sign-ups'] >= 30\" --order -sign-ups --limit 5 --compare previous-period
  northstar query revenue --from 2026-01-01 --to 2026-04-01 --by cohort.power-users
  northstar query revenue --from 2026-01-01 --to 2026-04-01 --cohort power-users --keep
  northstar query revenue --from 2026-01-01 --to 2026-04-01 --at-position 31106

--having sees value (of the first metric), values['name'], previous['name'] and
dimensions['plan']. --limit keeps the largest groups and adds up the others as $other
where the metric allows it.")]
pub struct Query {
    /// Names of the metrics, apart by commas.
    #[arg(required = true, value_delimiter = ',')]
    metrics: Vec<String>,
    /// Start, inclusive: a date (midnight in the zone) or an RFC 3339 time.
    #[arg(long)]
    from: String,
    /// End, exclusive.
    #[arg(long)]
    to: String,
    /// Length of a bucket.
    #[arg(long, value_enum, default_value = "total")]
    grain: Grain,
    /// Dimensions to break down by, for example plan,country.
    #[arg(long, value_delimiter = ',')]
    by: Vec<String>,
    /// CEL condition, for example "properties.plan == 'pro'".
    #[arg(long = "where", value_name = "CEL", default_value = "")]
    filter: String,
    /// CEL condition over the rows of the answer, for example "value > 10".
    #[arg(long, value_name = "CEL", default_value = "")]
    having: String,
    /// time, a breakdown or a metric, with - before it for falling; apart by commas.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    order: Vec<String>,
    /// Most groups of a breakdown; without one, most rows.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    limit: i32,
    /// Compare with another time.
    #[arg(long, value_enum)]
    compare: Option<Compare>,
    /// A row for every bucket of every group.
    #[arg(long)]
    fill: bool,
    /// IANA zone of the buckets.
    #[arg(long, default_value = "UTC")]
    zone: Tz,
    /// Only subjects in this cohort; give it again for more, all of which must hold.
    #[arg(long = "cohort", value_name = "COHORT")]
    cohorts: Vec<String>,
    /// Ask the log as it was at this position, as an earlier answer tells it: the same answer again.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    at_position: i64,
    /// Keep the values, so that `northstar restatements` tells when one changes.
    #[arg(long)]
    keep: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Length of a bucket.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Grain {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Total,
}

/// The other time.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[expect(clippy::enum_variant_names, reason = "the names that people write")]
enum Compare {
    PreviousPeriod,
    PreviousWeek,
    PreviousMonth,
    PreviousYear,
}

impl From<Grain> for pb::Grain {
    fn from(grain: Grain) -> Self {
        match grain {
            Grain::Hour => Self::Hour,
            Grain::Day => Self::Day,
            Grain::Week => Self::Week,
            Grain::Month => Self::Month,
            Grain::Quarter => Self::Quarter,
            Grain::Year => Self::Year,
            Grain::Total => Self::Total,
        }
    }
}

impl Query {
    /// Whether it asks for more than one metric by itself.
    fn is_plain(&self) -> bool {
        self.metrics.len() == 1
            && self.having.is_empty()
            && self.order.is_empty()
            && self.limit == 0
            && self.compare.is_none()
            && !self.fill
    }
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer {
    metric: String,
    rows: Vec<Row>,
    provenance: Option<Provenance>,
}

#[derive(Serialize)]
struct Row {
    time: Option<String>,
    dimensions: BTreeMap<String, String>,
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    numerator: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    denominator: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_summary: Option<TimeSummary>,
}

#[derive(Serialize)]
struct Step {
    event: String,
    subjects: i64,
    conversion: Option<f64>,
    median_seconds: Option<f64>,
}

#[derive(Serialize)]
struct TimeSummary {
    subjects: i64,
    mean_seconds: f64,
    p50_seconds: f64,
    p90_seconds: f64,
    p95_seconds: f64,
}

/// Where a number comes from, as JSON.
#[derive(Serialize)]
pub struct Provenance {
    metric_version: i64,
    identity_map_version: i64,
    contract_versions: BTreeMap<String, String>,
    time_zone: String,
    from: Option<String>,
    to: Option<String>,
    filter: String,
    log_position: i64,
    freshness: String,
    breached_sources: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    activity_versions: BTreeMap<String, i64>,
    excluded_quarantined_events: i64,
    excluded_no_consent_events: i64,
    scanned_events: i64,
    digest: String,
}

impl From<pb::Provenance> for Provenance {
    fn from(from: pb::Provenance) -> Self {
        Self {
            freshness: from
                .freshness()
                .as_str_name()
                .trim_start_matches("FRESHNESS_")
                .to_ascii_lowercase(),
            breached_sources: from.breached_sources,
            activity_versions: from.activity_versions,
            metric_version: from.metric_version,
            identity_map_version: from.identity_map_version,
            contract_versions: from.contract_versions,
            time_zone: from.time_zone,
            from: time::text(from.start_time.as_ref()),
            to: time::text(from.end_time.as_ref()),
            filter: from.filter,
            log_position: from.log_position,
            excluded_quarantined_events: from.excluded_quarantined_events,
            excluded_no_consent_events: from.excluded_no_consent_events,
            scanned_events: from.scanned_events,
            digest: from.digest,
        }
    }
}

/// Runs the command.
pub async fn run(query: Query, connection: &Connection) -> anyhow::Result<()> {
    if !query.is_plain() {
        return several::run(&query, connection).await;
    }
    let request = pb::QueryMetricRequest {
        metric: query.metrics[0].clone(),
        start_time: Some(time::timestamp(time::parse(&query.from, query.zone)?)),
        end_time: Some(time::timestamp(time::parse(&query.to, query.zone)?)),
        grain: pb::Grain::from(query.grain).into(),
        breakdowns: query.by.clone(),
        filter: query.filter.clone(),
        time_zone: query.zone.to_string(),
        cohorts: query.cohorts.clone(),
        keep_for_restatements: query.keep,
        log_position: query.at_position,
    };
    let response = connection.clients()?.metrics().query_metric(request).await?.into_inner();
    if query.json { output::json(&answer(response)) } else { print(&query, &response) }
}

fn steps(steps: Vec<pb::FunnelStep>) -> Vec<Step> {
    let steps = steps.into_iter().map(|step| Step {
        event: step.event,
        subjects: step.subjects,
        conversion: step.conversion,
        median_seconds: step.median_seconds,
    });
    steps.collect()
}

fn time_summary(summary: pb::TimeSummary) -> TimeSummary {
    TimeSummary {
        subjects: summary.subjects,
        mean_seconds: summary.mean_seconds,
        p50_seconds: summary.p50_seconds,
        p90_seconds: summary.p90_seconds,
        p95_seconds: summary.p95_seconds,
    }
}

fn answer(response: pb::QueryMetricResponse) -> Answer {
    let rows = response.rows.into_iter().map(|row| Row {
        time: time::text(row.bucket_time.as_ref()),
        dimensions: row.dimensions,
        value: row.value,
        numerator: row.numerator,
        denominator: row.denominator,
        steps: steps(row.steps),
        time_summary: row.time_summary.map(time_summary),
    });
    Answer {
        metric: response.metric,
        rows: rows.collect(),
        provenance: response.provenance.map(Provenance::from),
    }
}

fn print(query: &Query, response: &pb::QueryMetricResponse) -> anyhow::Result<()> {
    let largest = response.rows.iter().filter_map(|row| row.value).fold(0.0_f64, f64::max);
    let mut header = vec!["time"];
    header.extend(query.by.iter().map(String::as_str));
    header.extend(["value", ""]);
    let place = |row: &pb::MetricRow| {
        let time = row
            .bucket_time
            .as_ref()
            .map_or_else(|| "total".to_owned(), |start| time::local_text(start, query.zone));
        let dimensions = query
            .by
            .iter()
            .map(|name| row.dimensions.get(name).cloned().unwrap_or_else(|| "–".to_owned()));
        std::iter::once(time).chain(dimensions).collect::<Vec<_>>()
    };
    let rows = response.rows.iter().map(|row| {
        let bar = match row.value {
            Some(value) if largest > 0.0 && value > 0.0 => {
                "█".repeat(((value / largest) * 24.0).round() as usize)
            }
            _ => String::new(),
        };
        [place(row), vec![output::optional(row.value), bar]].concat()
    });
    output::line(output::table(&header, rows))?;
    for row in &response.rows {
        if !row.steps.is_empty() {
            let steps: Vec<_> = row
                .steps
                .iter()
                .map(|step| format!("{} {}", step.event, output::number(step.subjects as f64)))
                .collect();
            output::line(format!("{}: {}", place(row).join(" "), steps.join(" → ")))?;
        }
    }
    if query.by.is_empty() && response.rows.len() > 2 {
        let values: Vec<_> = response.rows.iter().map(|row| row.value).collect();
        output::line(output::sparkline(&values))?;
    }
    if let Some(provenance) = &response.provenance {
        output::line(format!(
            "log position {}, {} events scanned, {} quarantined left out, digest {}",
            provenance.log_position,
            output::number(provenance.scanned_events as f64),
            provenance.excluded_quarantined_events,
            provenance.digest.get(..12).unwrap_or_default(),
        ))?;
    }
    Ok(())
}
