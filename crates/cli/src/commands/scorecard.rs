//! `northstar scorecard`: every KPI against baseline and target.

use northstar_proto::metrics::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// Show every KPI against baseline and target, by pillar.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar scorecard
  northstar scorecard --at 2026-03-06 --json")]
pub struct Scorecard {
    /// End of every KPI's window; now when absent.
    #[arg(long)]
    at: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// A KPI and how it stands, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Kpi {
    /// Its name.
    pub name: String,
    /// Its pillar.
    pub pillar: String,
    /// outcome, driver, adoption or efficiency.
    pub layer: String,
    /// Value over its window.
    pub value: Option<f64>,
    /// Where it started.
    pub baseline: f64,
    /// Where it must go.
    pub target: f64,
    /// achieved, on_track, at_risk, off_track or no_data.
    pub status: String,
    /// Its unit.
    pub unit: String,
    /// Who answers for it.
    pub owner: String,
    /// What to do next.
    pub next_step: String,
    /// Guardrails that are breached.
    pub breached_guardrails: Vec<String>,
}

impl From<pb::KpiValue> for Kpi {
    fn from(from: pb::KpiValue) -> Self {
        let status = from.status().as_str_name().trim_start_matches("KPI_STATUS_");
        let status = status.to_ascii_lowercase();
        let breached_guardrails = from
            .guardrails
            .iter()
            .filter(|guardrail| guardrail.breached == Some(true))
            .map(|guardrail| guardrail.metric.clone())
            .collect();
        let kpi = from.kpi.unwrap_or_default();
        Self {
            layer: kpi.layer().as_str_name().trim_start_matches("LAYER_").to_ascii_lowercase(),
            value: from.value,
            baseline: kpi.baseline.unwrap_or_default().value,
            target: kpi.target.unwrap_or_default().value,
            status,
            next_step: from.next_step,
            breached_guardrails,
            name: kpi.name,
            pillar: kpi.pillar,
            unit: kpi.unit,
            owner: kpi.owner,
        }
    }
}

/// The table for people, grouped by pillar.
pub fn table(kpis: &[Kpi]) -> String {
    let mut last_pillar = "";
    let rows: Vec<_> = kpis
        .iter()
        .map(|kpi| {
            let pillar = if kpi.pillar == last_pillar { "" } else { kpi.pillar.as_str() };
            last_pillar = &kpi.pillar;
            [
                pillar.to_owned(),
                kpi.name.clone(),
                kpi.layer.clone(),
                format!("{} {}", output::optional(kpi.value), kpi.unit),
                output::number(kpi.baseline),
                output::number(kpi.target),
                kpi.status.replace('_', " "),
            ]
        })
        .collect();
    output::table(&["pillar", "KPI", "layer", "value", "baseline", "target", "status"], rows)
}

/// Runs the command.
pub async fn run(command: Scorecard, connection: &Connection) -> anyhow::Result<()> {
    let at = command.at.as_deref().map(|at| time::parse(at, chrono_tz::UTC)).transpose()?;
    let request = pb::GetScorecardRequest { evaluation_time: at.map(time::timestamp) };
    let response = connection.clients()?.metrics().get_scorecard(request).await?.into_inner();
    let kpis: Vec<Kpi> = response.kpis.into_iter().map(Kpi::from).collect();
    if command.json {
        return output::json(&serde_json::json!({
            "evaluation_time": time::text(response.evaluation_time.as_ref()),
            "kpis": kpis,
        }));
    }
    output::line(table(&kpis))?;
    for kpi in &kpis {
        output::line(format!("{}: {}", kpi.name, kpi.next_step))?;
    }
    Ok(())
}
