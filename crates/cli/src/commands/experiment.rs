//! `northstar experiment`: start, stop, analyse, ship; and the inference alone,
//! on a plain file.

use northstar_proto::experiments::v1 as pb;
use serde::Serialize;

use crate::analyze::{self, AnalyzeFile};
use crate::commands::automation::Estimate;
use crate::connection::Connection;
use crate::output;

/// Run and analyse experiments.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar experiment start guided-onboarding
  northstar experiment analyze guided-onboarding --json
  northstar experiment stop guided-onboarding
  northstar experiment ship guided-onboarding --variant guided
  northstar experiment conclude guided-onboarding --decision ID --learning \"guiding pays\"
  northstar experiment analyze-file cookie_cats.csv --variant version --control gate_30 \\
      --metric retention_7")]
pub enum Experiment {
    /// Start a draft.
    Start {
        /// Its name.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Stop assigning.
    Stop {
        /// Its name.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Compare the variants.
    Analyze {
        /// Its name.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Ask the approvers to ship a variant.
    Ship {
        /// Its name.
        name: String,
        /// The variant to ship.
        #[arg(long)]
        variant: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// End a stopped experiment: shipped with a decision, rolled back without.
    Conclude {
        /// Its name.
        name: String,
        /// Id of the approved decision request; without it control stays.
        #[arg(long)]
        decision: Option<String>,
        /// What was learned.
        #[arg(long)]
        learning: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Analyse a plain file, without a server.
    AnalyzeFile(Box<AnalyzeFile>),
}

/// An analysis as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Analysis {
    /// Name of the experiment.
    pub experiment: String,
    /// Whether the horizon is reached.
    pub horizon_reached: bool,
    /// Arms.
    pub variants: Vec<Variant>,
    /// Primary metric against control.
    pub comparisons: Vec<Comparison>,
    /// Guardrails against control.
    pub guardrails: Vec<Guardrail>,
    /// Sample-ratio check.
    pub srm: Option<SampleRatio>,
    /// Subjects seen in more than one variant.
    pub multiple_exposures: i64,
    /// What the ship rule says.
    pub recommendation: String,
    /// The variant it would ship.
    pub recommended_variant: String,
    /// Why.
    pub explanation: String,
}

/// An arm.
#[derive(Clone, Debug, Serialize)]
pub struct Variant {
    /// Name.
    pub name: String,
    /// Subjects.
    pub n: i64,
    /// Mean, unless withheld.
    pub mean: Option<f64>,
}

/// A variant against control.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Name of the variant.
    pub variant: String,
    /// Name of the metric.
    pub metric: String,
    /// Difference.
    pub absolute: Option<Estimate>,
    /// Difference relative to control.
    pub relative: Option<Estimate>,
    /// Significant after correction.
    pub significant: bool,
}

/// A guardrail of a variant against control.
#[derive(Clone, Debug, Serialize)]
pub struct Guardrail {
    /// Name of the variant.
    pub variant: String,
    /// Name of the metric.
    pub metric: String,
    /// Difference relative to control.
    pub relative: Option<Estimate>,
    /// Non-inferiority margin.
    pub margin: f64,
    /// Whether a worsening beyond the margin is excluded.
    pub non_inferior: bool,
}

/// Sample-ratio check.
#[derive(Clone, Debug, Serialize)]
pub struct SampleRatio {
    /// Pearson's chi-square.
    pub chi2: f64,
    /// Its p-value.
    pub p_value: f64,
}

impl From<pb::Analysis> for Analysis {
    fn from(from: pb::Analysis) -> Self {
        Self {
            recommendation: from
                .recommendation()
                .as_str_name()
                .trim_start_matches("RECOMMENDATION_")
                .to_ascii_lowercase(),
            experiment: from.experiment,
            horizon_reached: from.horizon_reached,
            variants: from
                .variants
                .into_iter()
                .map(|arm| Variant { name: arm.variant, n: arm.subjects, mean: arm.mean })
                .collect(),
            comparisons: from
                .comparisons
                .into_iter()
                .map(|comparison| Comparison {
                    variant: comparison.variant,
                    metric: comparison.metric,
                    absolute: comparison.absolute.map(Estimate::from),
                    relative: comparison.relative.map(Estimate::from),
                    significant: comparison.significant,
                })
                .collect(),
            guardrails: from
                .guardrails
                .into_iter()
                .map(|guardrail| Guardrail {
                    variant: guardrail.variant,
                    metric: guardrail.metric,
                    relative: guardrail.relative.map(Estimate::from),
                    margin: guardrail.margin,
                    non_inferior: guardrail.non_inferior,
                })
                .collect(),
            srm: from
                .sample_ratio
                .map(|check| SampleRatio { chi2: check.chi_square, p_value: check.p_value }),
            multiple_exposures: from.multiple_exposure_subjects,
            recommended_variant: from.recommended_variant,
            explanation: from.explanation,
        }
    }
}

/// Runs the command.
pub async fn run(command: Experiment, connection: &Connection) -> anyhow::Result<()> {
    if let Experiment::AnalyzeFile(arguments) = command {
        let report = analyze::run(&arguments)?;
        return if arguments.json {
            output::json(&report)
        } else {
            output::line(report.to_string()).map_err(Into::into)
        };
    }
    let mut experiments = connection.clients()?.experiments();
    let request_id = uuid::Uuid::new_v4().to_string();
    let (experiment, json) = match command {
        Experiment::Start { name, json } => {
            let request = pb::StartExperimentRequest { name, request_id, start_time: None };
            (experiments.start_experiment(request).await?.into_inner().experiment, json)
        }
        Experiment::Stop { name, json } => {
            let request = pb::StopExperimentRequest { name, request_id };
            (experiments.stop_experiment(request).await?.into_inner().experiment, json)
        }
        Experiment::Conclude { name, decision, learning, json } => {
            let conclusion = if decision.is_some() {
                pb::ExperimentState::Shipped
            } else {
                pb::ExperimentState::RolledBack
            };
            let request = pb::ConcludeExperimentRequest {
                name,
                conclusion: conclusion.into(),
                decision_request: decision.unwrap_or_default(),
                learning,
                request_id,
            };
            (experiments.conclude_experiment(request).await?.into_inner().experiment, json)
        }
        Experiment::Ship { name, variant, json } => {
            let request = pb::RequestShipDecisionRequest { name, variant, request_id };
            let id = experiments.request_ship_decision(request).await?.into_inner();
            if json {
                return output::json(
                    &serde_json::json!({ "decision_request": id.decision_request }),
                );
            }
            output::line(id.decision_request)?;
            output::note("an approver decides with: northstar decision approve ID");
            return Ok(());
        }
        Experiment::Analyze { name, json } => {
            let request = pb::AnalyzeExperimentRequest { name };
            let found = experiments.analyze_experiment(request).await?.into_inner().analysis;
            let analysis = Analysis::from(found.unwrap_or_default());
            return if json { output::json(&analysis) } else { print(&analysis) };
        }
        Experiment::AnalyzeFile(_) => return Ok(()),
    };
    let experiment = experiment.unwrap_or_default();
    let state = experiment
        .state()
        .as_str_name()
        .trim_start_matches("EXPERIMENT_STATE_")
        .to_ascii_lowercase();
    if json {
        return output::json(&serde_json::json!({ "name": experiment.name, "state": state }));
    }
    output::line(format!("{} is {state}", experiment.name))?;
    Ok(())
}

fn print(analysis: &Analysis) -> anyhow::Result<()> {
    let rows = analysis
        .variants
        .iter()
        .map(|arm| [arm.name.clone(), output::number(arm.n as f64), output::optional(arm.mean)]);
    output::line(output::table(&["variant", "subjects", "mean"], rows))?;
    let text = |estimate: &Option<Estimate>| {
        estimate.as_ref().map_or_else(|| "–".to_owned(), Estimate::text)
    };
    if !analysis.comparisons.is_empty() {
        let rows = analysis.comparisons.iter().map(|comparison| {
            [
                comparison.variant.clone(),
                comparison.metric.clone(),
                text(&comparison.absolute),
                text(&comparison.relative),
                if comparison.significant { "significant" } else { "" }.to_owned(),
            ]
        });
        let header = ["variant", "metric", "difference", "relative", ""];
        output::line(output::table(&header, rows))?;
    }
    for guardrail in &analysis.guardrails {
        output::line(format!(
            "guardrail {} of {}: {} (margin {}) {}",
            guardrail.metric,
            guardrail.variant,
            text(&guardrail.relative),
            guardrail.margin,
            if guardrail.non_inferior { "held" } else { "not shown to hold" },
        ))?;
    }
    if let Some(srm) = &analysis.srm {
        output::line(format!(
            "sample ratio: chi-square {:.3}, p {:.4}; {} subjects in more than one variant",
            srm.chi2, srm.p_value, analysis.multiple_exposures
        ))?;
    }
    output::line(format!("{}: {}", analysis.recommendation, analysis.explanation))?;
    Ok(())
}
