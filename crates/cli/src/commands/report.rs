//! `northstar report`: what happened, why, and what is next.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono_tz::Tz;
use northstar_proto::metrics::v1 as pb;
use serde_json::json;

use crate::connection::Connection;
use crate::{output, time};

/// Write the weekly scorecard or the executive report.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar report weekly
  northstar report weekly --week 2026-03-04 --format html --output scorecard.html
  northstar report executive --days 28 --format md
  northstar report note activation --week 2026-03-04 \"the new onboarding is live\"")]
pub enum Report {
    /// What a week brought, by pillar.
    #[command(after_help = "\
Examples:
  northstar report weekly
  northstar report weekly --week 2026-03-04 --zone Europe/Berlin --format json")]
    Weekly {
        /// A day of the week; the last week that is over when absent.
        #[arg(long, default_value = "")]
        week: String,
        /// IANA zone of the week.
        #[arg(long, default_value = "UTC")]
        zone: Tz,
        /// md, html or json.
        #[arg(long, value_enum, default_value = "md")]
        format: Format,
        /// The same as --format json.
        #[arg(long, conflicts_with = "format")]
        json: bool,
        /// File to write to; standard output when absent.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// What changed, why, and what is next, by business unit.
    #[command(after_help = "\
Examples:
  northstar report executive --days 7
  northstar report executive --unit properties.unit --to 2026-03-31 --format html \\
      --output report.html
  northstar report executive --dimensions properties.plan,properties.platform")]
    Executive {
        /// End of the period: a date (midnight in the zone) or an RFC 3339 time; now
        /// when absent.
        #[arg(long)]
        to: Option<String>,
        /// Length of the period in days.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(i32).range(1..=366))]
        days: i32,
        /// IANA zone of the days.
        #[arg(long, default_value = "UTC")]
        zone: Tz,
        /// What makes a business unit: owner, or a property.
        #[arg(long, default_value = "owner")]
        unit: String,
        /// Dimensions among which drivers are looked for.
        #[arg(long, value_delimiter = ',')]
        dimensions: Vec<String>,
        /// md, html or json.
        #[arg(long, value_enum, default_value = "md")]
        format: Format,
        /// The same as --format json.
        #[arg(long, conflicts_with = "format")]
        json: bool,
        /// File to write to; standard output when absent.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Note something about a pillar and a week; it appears in the scorecard.
    #[command(after_help = "\
Example:
  northstar report note activation --week 2026-03-04 \"the new onboarding is live\"")]
    Note {
        /// Name of the pillar.
        pillar: String,
        /// What is to be noted.
        text: String,
        /// A day of the week.
        #[arg(long)]
        week: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// How a report is written out.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Format {
    /// Markdown.
    Md,
    /// One self-contained HTML file.
    Html,
    /// JSON.
    Json,
}

fn wire(format: Format, json: bool) -> i32 {
    match format {
        _ if json => pb::ReportFormat::Json,
        Format::Md => pb::ReportFormat::Markdown,
        Format::Html => pb::ReportFormat::Html,
        Format::Json => pb::ReportFormat::Json,
    }
    .into()
}

/// Runs the command.
pub async fn run(command: Report, connection: &Connection) -> anyhow::Result<()> {
    let mut reports = connection.clients()?.reports();
    match command {
        Report::Weekly { week, zone, format, json, output } => {
            let request = pb::GetWeeklyScorecardRequest {
                week,
                time_zone: zone.name().to_owned(),
                format: wire(format, json),
            };
            let response = reports.get_weekly_scorecard(request).await?.into_inner();
            deliver(&response.document, output.as_deref())
        }
        Report::Executive { to, days, zone, unit, dimensions, format, json, output } => {
            let end = to.as_deref().map(|to| time::parse(to, zone)).transpose()?;
            let request = pb::GetExecutiveReportRequest {
                end_time: end.map(time::timestamp),
                days,
                time_zone: zone.name().to_owned(),
                unit,
                dimensions,
                format: wire(format, json),
            };
            let response = reports.get_executive_report(request).await?.into_inner();
            deliver(&response.document, output.as_deref())
        }
        Report::Note { pillar, text, week, json } => {
            let request = pb::AddScorecardNoteRequest {
                pillar,
                week,
                text,
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let response = reports.add_scorecard_note(request).await?.into_inner();
            let note = response.note.unwrap_or_default();
            if json {
                return output::json(&json!({
                    "note_id": note.note_id,
                    "pillar": note.pillar,
                    "week": note.week,
                    "author": note.author,
                    "text": note.text,
                    "create_time": time::text(note.create_time.as_ref()),
                }));
            }
            output::line(format!("noted for {} in the week of {}", note.pillar, note.week))?;
            Ok(())
        }
    }
}

fn deliver(document: &str, file: Option<&Path>) -> anyhow::Result<()> {
    match file {
        None => output::line(document.trim_end()).map_err(Into::into),
        Some(file) => {
            std::fs::write(file, document)
                .with_context(|| format!("{} cannot be written", file.display()))?;
            output::note(format!("written to {}", file.display()));
            Ok(())
        }
    }
}
