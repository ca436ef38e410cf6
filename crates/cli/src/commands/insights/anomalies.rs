//! `northstar anomalies`: what is out of the ordinary.

use anyhow::Context as _;
use chrono_tz::Tz;
use northstar_proto::metrics::v1 as pb;
use serde_json::{Value, json};

use super::{Range, footer, named, percent, provenance};
use crate::connection::Connection;
use crate::{output, time};

/// Judge every bucket of a metric by the buckets before it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar anomalies sign-ups --from 2026-03-01 --to 2026-04-01 --grain day
  northstar anomalies checkout --from 2026-03-01 --to 2026-03-08 --grain hour --by platform \\
      --zone Europe/Berlin --direction down
  northstar anomalies revenue --from 2026-01-01 --to 2026-04-01 --grain day --threshold 5 \\
      --label 2026-02-10..2026-02-12 --json")]
pub struct Anomalies {
    /// Name of the metric.
    metric: String,
    #[command(flatten)]
    range: Range,
    /// Length of a bucket.
    #[arg(long, value_enum, default_value = "day")]
    grain: Grain,
    /// A series per combination of values of these dimensions.
    #[arg(long, value_delimiter = ',')]
    by: Vec<String>,
    /// CEL condition on events.
    #[arg(long = "where", value_name = "CEL", default_value = "")]
    filter: String,
    /// IANA zone of the buckets.
    #[arg(long, default_value = "UTC")]
    zone: Tz,
    /// Robust standard deviations beyond which a value is an anomaly; lower is
    /// more sensitive.
    #[arg(long, default_value_t = 3.5)]
    threshold: f64,
    /// Smallest share of what was expected that counts, for example 0.1.
    #[arg(long, default_value_t = 0.0)]
    minimum_change: f64,
    /// Which way a value must stray.
    #[arg(long, value_enum, default_value = "both")]
    direction: Direction,
    /// Buckets of the past that a value is judged by.
    #[arg(long)]
    history: Option<i32>,
    /// What is known to have been anomalous, for the back-test; may be given
    /// several times.
    #[arg(long = "label", value_name = "FROM..TO")]
    labels: Vec<String>,
    /// Show every bucket, not only anomalies.
    #[arg(long)]
    all: bool,
    /// Only subjects in this cohort; give it again for more, all of which must hold.
    #[arg(long = "cohort", value_name = "COHORT")]
    cohorts: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Grain {
    Hour,
    Day,
    Week,
    Month,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Direction {
    Both,
    Up,
    Down,
}

/// Runs the command.
pub async fn run(anomalies: Anomalies, connection: &Connection) -> anyhow::Result<()> {
    let zone = anomalies.zone;
    let labels = anomalies.labels.iter().map(|label| range(label, zone));
    let request = pb::DetectAnomaliesRequest {
        metric: anomalies.metric,
        start_time: anomalies.range.start(zone)?,
        end_time: anomalies.range.end(zone)?,
        grain: match anomalies.grain {
            Grain::Hour => pb::Grain::Hour,
            Grain::Day => pb::Grain::Day,
            Grain::Week => pb::Grain::Week,
            Grain::Month => pb::Grain::Month,
        }
        .into(),
        time_zone: zone.to_string(),
        breakdowns: anomalies.by,
        filter: anomalies.filter,
        threshold: anomalies.threshold,
        minimum_change: anomalies.minimum_change,
        direction: match anomalies.direction {
            Direction::Both => pb::AnomalyDirection::Unspecified,
            Direction::Up => pb::AnomalyDirection::Up,
            Direction::Down => pb::AnomalyDirection::Down,
        }
        .into(),
        history_buckets: anomalies.history.unwrap_or_default(),
        minimum_history_buckets: 0,
        labels: labels.collect::<anyhow::Result<_>>()?,
        cohorts: anomalies.cohorts,
    };
    let answer = connection.clients()?.insights().detect_anomalies(request).await?.into_inner();
    if anomalies.json {
        output::json(&as_json(answer)?)
    } else {
        print(&answer, zone, anomalies.all)
    }
}

fn range(text: &str, zone: Tz) -> anyhow::Result<pb::TimeRange> {
    let (from, to) = text
        .split_once("..")
        .with_context(|| format!("{text:?} is no stretch of time: write 2026-02-10..2026-02-12"))?;
    let instant = |text| time::parse(text, zone).map(time::timestamp).map(Some);
    Ok(pb::TimeRange { start_time: instant(from)?, end_time: instant(to)? })
}

fn as_json(answer: pb::DetectAnomaliesResponse) -> anyhow::Result<Value> {
    let series: Vec<Value> = answer
        .series
        .iter()
        .map(|series| {
            let backtest = series.backtest.clone().unwrap_or_default();
            json!({
                "dimensions": series.dimensions,
                "points": series.points.iter().map(|point| json!({
                    "time": time::text(point.bucket_time.as_ref()),
                    "value": point.value,
                    "expected": point.expected,
                    "low": point.low,
                    "high": point.high,
                    "score": point.score,
                    "anomaly": point.anomaly,
                })).collect::<Vec<_>>(),
                "backtest": {
                    "judged_buckets": backtest.judged_buckets,
                    "alarms": backtest.alarms.iter().map(|alarm| json!({
                        "from": time::text(alarm.start_time.as_ref()),
                        "to": time::text(alarm.end_time.as_ref()),
                    })).collect::<Vec<_>>(),
                    "hits": backtest.hits,
                    "misses": backtest.misses,
                    "false_alarms": backtest.false_alarms,
                    "hit_rate": backtest.hit_rate,
                    "precision": backtest.precision,
                    "false_alarms_per_hundred": backtest.false_alarms_per_hundred,
                    "mean_delay_buckets": backtest.mean_delay_buckets,
                },
            })
        })
        .collect();
    Ok(json!({
        "summary": answer.summary,
        "series": series,
        "provenance": provenance(answer.provenance)?,
    }))
}

fn print(answer: &pb::DetectAnomaliesResponse, zone: Tz, all: bool) -> anyhow::Result<()> {
    output::line(&answer.summary)?;
    let rows: Vec<[String; 6]> = answer
        .series
        .iter()
        .flat_map(|series| series.points.iter().map(move |point| (series, point)))
        .filter(|(_, point)| all || point.anomaly)
        .map(|(series, point)| {
            let time = point.bucket_time.as_ref().map(|time| time::local_text(time, zone));
            let between = match (point.low, point.high) {
                (Some(low), Some(high)) => {
                    format!("{} to {}", output::number(low), output::number(high))
                }
                _ => "not judged".to_owned(),
            };
            [
                time.unwrap_or_default(),
                if series.dimensions.is_empty() {
                    String::new()
                } else {
                    named(&series.dimensions)
                },
                output::optional(point.value),
                between,
                output::optional(point.score),
                if point.anomaly { "anomaly" } else { "" }.to_owned(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let header = ["time", "series", "value", "expected between", "score", ""];
        output::line(output::table(&header, rows))?;
    }
    for series in &answer.series {
        let Some(backtest) = series.backtest.as_ref().filter(|found| found.hit_rate.is_some())
        else {
            continue;
        };
        output::line(format!(
            "back-test: {} of {} labels raised, {} false alarms in {} buckets (precision {})",
            backtest.hits,
            backtest.hits + backtest.misses,
            backtest.false_alarms,
            backtest.judged_buckets,
            percent(backtest.precision),
        ))?;
    }
    footer(answer.provenance.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_stretch_of_time() {
        let read = range("2026-02-10..2026-02-12", Tz::UTC).expect("a stretch");
        let seconds = |time: Option<prost_types::Timestamp>| time.expect("a time").seconds;
        assert_eq!(seconds(read.end_time) - seconds(read.start_time), 2 * 86_400);
        assert!(range("2026-02-10", Tz::UTC).is_err());
    }
}
