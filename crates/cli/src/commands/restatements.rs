//! `northstar restatements`: the numbers that changed after they were told.

use std::collections::BTreeMap;

use northstar_proto::metrics::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// Most restatements that one call fetches.
const PAGE_SIZE: i32 = 200;

/// List the numbers that changed after they were told, the newest first.
#[derive(clap::Args)]
#[command(after_help = "\
Values of scorecards are kept, and those of `northstar query --keep`.

Examples:
  northstar restatements
  northstar restatements --metric revenue --since 2026-03-01 --json
  northstar restatements --kpi activation --limit 10")]
pub struct Restatements {
    /// Only of this metric.
    #[arg(long, default_value = "")]
    metric: String,
    /// Only of this KPI.
    #[arg(long, default_value = "")]
    kpi: String,
    /// Only seen since this date or time.
    #[arg(long)]
    since: Option<String>,
    /// Most restatements to print.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Restatement {
    id: i64,
    metric: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    kpi: String,
    from: Option<String>,
    to: Option<String>,
    bucket: Option<String>,
    dimensions: BTreeMap<String, String>,
    old_value: Option<f64>,
    new_value: Option<f64>,
    difference: Option<f64>,
    causes: Vec<String>,
    old_metric_version: i64,
    new_metric_version: i64,
    old_log_position: i64,
    new_log_position: i64,
    told: Option<String>,
    restated: Option<String>,
}

impl From<pb::Restatement> for Restatement {
    fn from(from: pb::Restatement) -> Self {
        let causes = from.causes().map(|cause| {
            cause.as_str_name().trim_start_matches("RESTATEMENT_CAUSE_").to_ascii_lowercase()
        });
        let causes = causes.collect();
        let question = from.question.unwrap_or_default();
        Self {
            id: from.restatement_id,
            metric: from.metric,
            kpi: from.kpi,
            from: time::text(question.start_time.as_ref()),
            to: time::text(question.end_time.as_ref()),
            bucket: time::text(from.bucket_time.as_ref()),
            dimensions: from.dimensions,
            old_value: from.old_value,
            new_value: from.new_value,
            difference: from.difference,
            causes,
            old_metric_version: from.old_metric_version,
            new_metric_version: from.new_metric_version,
            old_log_position: from.old_log_position,
            new_log_position: from.new_log_position,
            told: time::text(from.served_time.as_ref()),
            restated: time::text(from.restated_time.as_ref()),
        }
    }
}

/// Runs the command.
pub async fn run(command: Restatements, connection: &Connection) -> anyhow::Result<()> {
    let since = command.since.as_deref().map(|text| time::parse(text, chrono_tz::UTC));
    let since_time = since.transpose()?.map(time::timestamp);
    let mut evidence = connection.clients()?.evidence();
    let mut found: Vec<Restatement> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListRestatementsRequest {
            metric: command.metric.clone(),
            kpi: command.kpi.clone(),
            since_time,
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = evidence.list_restatements(request).await?.into_inner();
        found.extend(page.restatements.into_iter().map(Restatement::from));
        page_token = page.next_page_token;
        if page_token.is_empty() || found.len() >= command.limit {
            break;
        }
    }
    found.truncate(command.limit);
    if command.json {
        return output::json(&found);
    }
    let rows = found.into_iter().map(|of| {
        let dimensions: Vec<String> =
            of.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let what = if of.kpi.is_empty() { of.metric } else { format!("{} (KPI)", of.kpi) };
        [
            of.restated.unwrap_or_default(),
            what,
            of.bucket.or(of.from).unwrap_or_default(),
            dimensions.join(" "),
            output::optional(of.old_value),
            output::optional(of.new_value),
            of.causes.join(", "),
        ]
    });
    let header = ["seen", "number", "bucket", "dimensions", "was", "is", "cause"];
    output::line(output::table(&header, rows))?;
    Ok(())
}
